"""The physics of one lattice, as a study of a quench states it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight.dynamics import Scheme
from nearsight.lattices import Lattice

Engine = Any
"""What moves a field: a force field, or the energies of its discrete moves."""


@dataclass(frozen=True, kw_only=True)
class System:
    """Exact electrons, what learns them, and the equation of motion both are put through.

    exact: the exact force field, whose ``electrons`` are learned and whose ``classical`` part is added to what was
        learned; or the exact energies of moves.
    scheme: the equation of motion; for moves the scheme as a function of their energies.
    initial_fields: ``(replicas, rng) -> (replica, site, component)``, float64, from which a quench starts.
    build_model: ``rng -> `` the learned part with its initial weights.
    canonical: the exact force field of the quenches where it is not the one that is learned (at a fixed number of
        electrons forces are not local).
    dress: the learned part made into the force field of the quenches; by default the classical part is added.
    time, unit: name of the study's unit of time, and its length in that of the scheme.
    """

    exact: Engine
    scheme: Scheme | Callable[[Engine], Scheme]
    initial_fields: Callable[[int, torch.Generator], Tensor]
    build_model: Callable[[torch.Generator], Engine]
    canonical: Engine | None = None
    dress: Callable[[Engine], Engine] | None = None
    time: str = "ħ/t"
    unit: float = 1.0

    @property
    def model(self) -> Any:
        return self.exact.model

    @property
    def lattice(self) -> Lattice:
        return self.exact.lattice

    @property
    def discrete(self) -> bool:
        """Whether fields move by discrete moves instead of forces."""
        return not isinstance(self.scheme, Scheme)

    @property
    def quenched(self) -> Engine:
        """What exact quenches move by."""
        return self.exact if self.canonical is None else self.canonical

    def learned(self, part: Engine) -> Engine:
        """What learned quenches move by."""
        part = part.on(self.lattice)
        if self.dress is not None:
            return self.dress(part)
        return part if self.discrete else part + self.exact.classical

    def moved_by(self, engine: Engine) -> tuple[Any, Scheme]:
        """Force field (None for discrete moves) and scheme of a quench."""
        return (engine, self.scheme) if isinstance(self.scheme, Scheme) else (None, self.scheme(engine))

    def steps(self, duration: float, records: int) -> tuple[int, ...]:
        """Step 0 and up to ``records`` more, evenly spaced in the logarithm of time, the last at ``duration``.

        A scheme of discrete moves has the unit of time as its step.
        """
        last = max(1, round(duration / (getattr(self.scheme, "dt", 1.0) / self.unit)))
        return (0, *sorted({round(step) for step in np.geomspace(1, last, records)}))

    def grids(self, **fields: tuple[Any, str]) -> xr.Dataset:
        """Site fields ``(site,)``, each with a word for what it is, as maps ``(x, y)``."""
        shape = self.lattice.shape
        named = {k: (np.asarray(v).reshape(shape), {"long_name": label}) for k, (v, label) in fields.items()}
        return xr.Dataset({k: (("x", "y"), grid, {**label, "units": "1"}) for k, (grid, label) in named.items()})

    def density(self, field: Tensor, force: Tensor) -> Tensor:
        """⟨n_i⟩ ``(*batch, site)``, which the total force minus its classical part tells."""
        density: Tensor = self.model.density(self.electron_force(field, force))
        return density

    def electron_force(self, field: Tensor, force: Tensor) -> Tensor:
        """What is left of a total force without the classical part ``(*batch, site, component)``, float64."""
        field = field.double().cpu()
        return force.double().cpu() - self.exact.classical(field).force
