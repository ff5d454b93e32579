"""Fields whose far part is replaced: what a truncation of forces and one of hops have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight.analysis.statistics.ensembles import bootstrap
from nearsight.lattices import Lattice
from nearsight.lattices.neighbourhood import SAME


class Source(NamedTuple):
    """Where continuations come from: fields, and a label for each, equal for those of one trajectory."""

    fields: Tensor
    labels: np.ndarray

    def pool(self, lattice: Lattice, own: int, candidates: int, rng: torch.Generator) -> Tensor:
        """Fields of other labels, shifted by random lattice vectors along periodic axes ``(candidate, site, b)``."""
        others = torch.from_numpy(np.flatnonzero(self.labels != self.labels[own]))
        chosen = others[torch.randint(len(others), (candidates,), generator=rng)]
        periodic = np.broadcast_to(np.asarray(lattice.periodic), lattice.dim)
        shifts = torch.stack([torch.randint(n, (candidates,), generator=rng) for n in lattice.shape], -1)
        moved = lattice.cells + (shifts.numpy() * periodic)[:, None]
        sites = torch.from_numpy(lattice.index(moved, lattice.sublattice))
        return torch.gather(self.fields[chosen], 1, sites[..., None].expand(-1, -1, self.fields.shape[-1]))


def checked(
    fields: Tensor,
    radii: Sequence[float],
    samples: int,
    groups: np.ndarray | None,
    candidates: int,
    elsewhere: Tensor | None,
) -> tuple[np.ndarray, Source]:
    """Ascending cutoffs, and where continuations come from; mistakes are answered in words."""
    if fields.ndim != 3 or not len(fields):
        raise ValueError(f"fields must have shape (sample, site, component), got {tuple(fields.shape)}.")
    if samples < 2 or candidates < 1:
        raise ValueError(f"samples must be at least 2 and candidates 1, got {samples} and {candidates}.")
    cutoffs = np.unique(np.asarray(radii, dtype=float))
    if not len(cutoffs) or not np.isfinite(cutoffs).all() or cutoffs[0] < 0:
        raise ValueError(f"radii must be finite distances >= 0, got {list(radii)}.")
    labels = np.arange(len(fields)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if labels.shape != (len(fields),):
        raise ValueError(f"groups must label every field, got {labels.shape} labels of {len(fields)} fields.")
    everything = fields.double()
    if elsewhere is not None and len(elsewhere):
        if elsewhere.shape[1:] != fields.shape[1:]:
            raise ValueError(f"elsewhere must hold fields like {tuple(fields.shape)}, got {tuple(elsewhere.shape)}.")
        everything = torch.cat([everything, elsewhere.double()])
        labels = np.concatenate([labels, np.full(len(elsewhere), -1)])
    if len(np.unique(labels)) < 2:
        raise ValueError(
            "groups must hold at least two different labels: what lies beyond a radius is taken from another "
            "trajectory, and all fields are of one. Make more trajectories, or pass fields of others as elsewhere."
        )
    return cutoffs, Source(everything, labels)


def in_turn(fields: int, samples: int, rng: torch.Generator) -> Tensor:
    """Numbers of fields ``(sample,)``: every field in turn, so that the whole ensemble has its say."""
    rounds = -(-samples // fields)
    return torch.cat([torch.randperm(fields, generator=rng) for _ in range(rounds)])[:samples]


def replaced(
    change: Callable[[Tensor], Tensor],
    fields: Tensor,
    pools: Sequence[Tensor],
    distance: Tensor,
    cutoffs: np.ndarray,
    *,
    spacing: float,
    rng: torch.Generator,
    conserved: bool = False,
    turn: bool = False,
    progress: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """The floor at every cutoff, from the ``change`` ``(sample, component)`` of what is asked of every field.

    ``fields`` ``(sample, site, component)`` lie within a cutoff, by the ``distance`` ``(sample, site)``, and candidates
    from the pools beyond it. ``spacing`` is the distance of neighbours, the width of the ring on which candidates are
    compared.
    """
    found = []
    for n, cutoff in enumerate(cutoffs):
        samples = zip(fields, pools, distance, strict=True)
        mixed = [_continued(*sample, cutoff, spacing, conserved=conserved, turn=turn) for sample in samples]
        found.append(change(torch.stack(mixed)))
        if progress is not None:
            progress((n + 1) / len(cutoffs))
    values = torch.stack(found).numpy()
    estimates = [bootstrap(_rms, c / np.sqrt(2.0), rng=rng, samples=400) for c in values]
    return xr.Dataset(
        {
            "floor": ("radius", [float(e.value) for e in estimates], {"long_name": "force decided beyond R, rms"}),
            "error": ("radius", [float(e.error) for e in estimates], {"long_name": "bootstrap error of the floor"}),
            "largest": ("radius", np.abs(values).max((1, 2)) / np.sqrt(2.0), {"long_name": "largest change / √2"}),
            "change": (("radius", "sample", "component"), values, {"long_name": "change of the force"}),
        },
        coords={"radius": ("radius", cutoffs, {"long_name": "cutoff $R$", "units": "a"})},
        attrs={"candidates": len(pools[0])},
    )


def _continued(
    field: Tensor, pool: Tensor, distance: Tensor, cutoff: float, spacing: float, *, conserved: bool, turn: bool
) -> Tensor:
    """The field within the cutoff, and beyond it the candidate that fits best on the outermost ring within.

    With ``turn``, as each fits best after an orthogonal operation on its components. Where the sum of the field is
    ``conserved``, that one of equally good candidates which changes it least.
    """
    inside = distance <= cutoff + SAME * spacing
    ring = inside & (distance >= cutoff - (1.0 + SAME) * spacing)
    if turn:
        U, _, V = torch.linalg.svd(torch.einsum("cia,ib->cab", pool[:, ring], field[ring]))
        pool = pool @ (U @ V)
    misfit = (pool[:, ring] - field[ring]).square().sum((-2, -1))
    if conserved:
        excess = (pool[:, ~inside].sum((-2, -1)) - field[~inside].sum()).abs()
        misfit = misfit + excess / (1.0 + len(field))
    return torch.where(inside[:, None], field, pool[misfit.argmin()])


def _rms(change: np.ndarray) -> np.ndarray:
    return np.sqrt((change**2).mean((-2, -1)))
