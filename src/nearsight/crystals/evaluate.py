"""A property of many configurations of a crystal: one call for every engine, kept in a table, resumable."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described, plain
from nearsight._validation import filename, instance, integer
from nearsight.crystals.crystal import ASE, Crystal
from nearsight.fields import check_field
from nearsight.parallel import once, resumable
from nearsight.storage import tensor_hash
from nearsight.storage.table import Table

if TYPE_CHECKING:
    from ase import Atoms

CHUNK = 8
"""Configurations of one task: what a killed call loses at most."""


class Property(Protocol):
    """A number of every configuration: :class:`TightBinding`, :class:`AtomsProperty`, a learned one, or your own.

    ``config()`` describes in plain data what decides its values.
    """

    crystal: Crystal

    def __call__(self, displacement: Tensor, /) -> Tensor:
        """``(*batch, site, 3)`` in Å to ``(*batch,)``."""

    def config(self) -> dict[str, Any]: ...


class AtomsProperty(Described):
    """Any function of a structure of ASE as a property: ``function(atoms)`` returns a number.

    Such as a gap by a calculator that is set on the atoms within the function. ``name`` says what it is, with what
    decides its values (functional, cutoff, k points): the cache of :func:`evaluate` knows it by this name alone.

    Examples
    --------
    >>> import torch
    >>> from nearsight.crystals import AtomsProperty, silicon
    >>> volume = AtomsProperty(silicon(1), lambda atoms: atoms.get_volume(), "volume in Å³")
    >>> round(float(volume(torch.zeros(2, 3))), 2)  # a³/4
    39.32
    """

    def __init__(self, crystal: Crystal, function: Callable[[Atoms], float], name: str) -> None:
        self.crystal = instance(crystal, Crystal, "crystal", "crystals.silicon(4) is one.")
        if not callable(function):
            raise TypeError(
                f"function must take a structure of ASE and return a number, got {type(function).__name__}."
            )
        self.function, self.name = function, instance(name, str, "name")
        try:
            import ase  # noqa: F401
        except ImportError as error:
            raise ImportError(ASE) from error

    def __repr__(self) -> str:
        return f"AtomsProperty({self.crystal!r}, {self.name!r})"

    def config(self) -> dict[str, Any]:
        return {"type": "AtomsProperty", "crystal": self.crystal.config(), "name": self.name}

    def __call__(self, displacement: Tensor) -> Tensor:
        check_field(displacement, self.crystal.n_atoms, 3)
        flat = displacement.detach().reshape(-1, self.crystal.n_atoms, 3).numpy()
        values = [float(self.function(self.crystal.to_atoms(u))) for u in flat]
        return torch.tensor(values, dtype=torch.float64).reshape(displacement.shape[:-2])


class PropertyData(Table):
    """A property of configurations of a crystal, made by :func:`evaluate`, in the order in which they were given.

    Columns: ``displacement`` ``(configuration, site, 3)`` in Å, ``temperature`` in K (NaN where none was given) and
    ``value``; ``attrs`` describe property and crystal.

    :func:`evaluate` returns it.
    """

    noun, key, dimension = "table of a property", "property_data", "configuration"
    cure = "Delete it and evaluate again, which gives the same."

    @cached_property
    def displacement(self) -> Tensor:
        return torch.from_numpy(self.read("displacement"))

    @cached_property
    def temperature(self) -> np.ndarray:
        return self.read("temperature")

    @cached_property
    def value(self) -> np.ndarray:
        return self.read("value")

    @property
    def seconds(self) -> float:
        """What one value took on one core, on average."""
        return float(self.attrs["seconds"])

    def __repr__(self) -> str:
        return f"{len(self)} configurations with {self.attrs['property']['type']}"


def evaluate(
    prop: Property,
    displacement: Tensor,
    path: str | Path | None = None,
    *,
    temperature: float | np.ndarray | None = None,
    seconds: float | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> PropertyData:
    """A property of displacements ``(configuration, site, 3)`` in Å, each computed once.

    With a ``path``, results are kept as they come and the same call, killed at any moment, goes on with them; finished,
    it opens the table that is there. One made by another property or of other displacements (by their hash) is refused.
    Configurations from elsewhere, such as snapshots of molecular dynamics minus the perfect positions, serve as well.

    Parameters
    ----------
    temperature: in K, of all or of each ``(configuration,)``, kept beside the values.
    seconds, workers, progress: as in :func:`nearsight.parallel.resumable`; a ``distributed`` client in whose context
        the call is made is used.
    """
    if not isinstance(getattr(prop, "crystal", None), Crystal) or not callable(prop):
        raise TypeError(
            f"A property has a crystal and is called with displacements, as TightBinding; got {type(prop).__name__}. "
            f"AtomsProperty makes one of a function of ASE structures."
        )
    u = check_field(displacement, prop.crystal.n_atoms, 3, finite=True).double()
    if u.ndim != 3:
        raise ValueError(f"displacement must be (configuration, site, 3), got shape {tuple(u.shape)}.")
    heat = np.broadcast_to(np.nan if temperature is None else np.asarray(temperature, dtype=float), (len(u),))
    plan = {
        "property": plain(prop.config()),
        "configurations": len(u),
        "displacements": tensor_hash({"displacement": u, "temperature": torch.from_numpy(heat.copy())}),
    }
    workers = None if workers is None else integer(workers, "workers", least=0)
    tasks = [(part,) for part in u.split(CHUNK)]

    def measured(folder: Path | None) -> Any:
        return resumable(
            _values, tasks, folder, shared=(prop,), plan=plan, workers=workers,
            seconds=None if seconds is None else seconds * len(u), title="configurations", progress=progress,
        )  # fmt: skip

    def table(parts: Any, made: Path | None) -> PropertyData:
        found = list(parts)
        value = np.concatenate([np.asarray(part["value"]) for part in found])
        cost = float(sum(float(part["seconds"]) for part in found)) / len(u)
        arrays = {"displacement": u.numpy(), "temperature": heat.copy(), "value": value}
        dimensions = {"displacement": ("site", "component"), "temperature": (), "value": ()}
        about = {**plan, "seconds": cost, PropertyData.key: 3}
        return PropertyData.write(made, arrays, dimensions, about)

    def build(folder: Path) -> Path:
        made = folder / "assembled.zarr"
        table(measured(folder), made)
        return made

    if path is None:
        return table(measured(None), None)
    return once(PropertyData, filename(path, "path"), plan, build)


def _values(prop: Property, displacement: Tensor) -> dict[str, Tensor]:
    start = time.process_time()
    with torch.no_grad():
        value = prop(displacement)
    taken = time.process_time() - start
    return {"value": value.double(), "seconds": torch.tensor(taken, dtype=torch.float64)}
