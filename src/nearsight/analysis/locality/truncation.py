"""How much of a force is decided beyond a radius: the irreducible error of every local model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight.analysis.locality.derivative import doubled, forces
from nearsight.analysis.locality.response import distances
from nearsight.analysis.spins.intensities import peak_length
from nearsight.analysis.statistics.ensembles import bootstrap
from nearsight.analysis.structure._reciprocal import momentum_dims
from nearsight.analysis.structure.brillouin import star
from nearsight.analysis.structure.intensities import structure_factor
from nearsight.analysis.structure.lengths import correlation_length
from nearsight.fields import tangent
from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice
from nearsight.lattices.neighbourhood import SAME


def truncation(
    forcefield: ForceField,
    fields: Tensor,
    radii: Sequence[float],
    *,
    rng: torch.Generator,
    samples: int = 64,
    groups: np.ndarray | None = None,
    candidates: int = 64,
    spins: bool = False,
    turn: bool = False,
    elsewhere: Tensor | None = None,
    progress: Callable[[float], None] | None = None,
) -> xr.Dataset:
    r"""How much of the force at a site is decided beyond a radius R.

    A model with cutoff R can at best give the mean of the force over all that may lie beyond R, and is then wrong by

    .. math::
        \varepsilon(R) = \sqrt{\left\langle \mathrm{Var}(F_i \mid \Phi_{r \le R}) \right\rangle}
                       = \sqrt{\tfrac12 \left\langle (F_i[\Phi_{r \le R}, \Phi'_{r > R}] - F_i[\Phi])^2 \right\rangle},

    where Φ' continues the same neighbourhood in another way, as probable as the first. Such continuations are not to be
    had, so that they are approximated: of ``candidates`` other fields, each shifted by a random lattice vector, the one
    is taken that fits best on the outermost ring of width one inside R, and replaces everything beyond R. A seam
    remains, which makes ε(R) an estimate from above for ordered or correlated fields; for fields without correlations
    it is exact with any number of candidates.

    Parameters
    ----------
    fields: the ensemble ``(sample, site, component)``.
    radii: cutoffs R, in units of a. Near half the period of the lattice ε(R) is about that of the torus, which has no
        beyond.
    samples: how many sites of the ensemble are tried.
    groups: a label for every field, such as its trajectory: continuations come from fields with another label.
    candidates: 1 for a far field that is independent of the near one.
    spins: the fields are unit spins, of which only the part of the force normal to them counts.
    turn: continuations are turned and mirrored, all their spins alike, so that they fit best (Kabsch); for forces that
        turn with the spins, without spin-orbit coupling or a field.
    elsewhere: more fields, of still other trajectories, from which continuations may come.

    References
    ----------
    W. Kabsch, Acta Cryst. A 32, 922 (1976), for the best rotation of one set of vectors onto another.

    Returns
    -------
    ``floor`` ``(radius,)``, rms over samples and components, ``error``, its bootstrap error, ``largest``, the largest
    change of any force over √2, and the ``change`` of every sample ``(radius, sample, component)``. Costs one
    evaluation of the force field per sample and radius, and one per sample.
    """
    lattice = forcefield.lattice
    cutoffs, source = checked(fields, radii, samples, groups, candidates, elsewhere)
    forcefield, fields = doubled(forcefield), fields.double()
    chosen = in_turn(len(fields), samples, rng)
    centres = torch.randint(lattice.n_sites, (samples,), generator=rng)
    used, place = chosen.unique(return_inverse=True)
    true = forces(forcefield, fields[used])[place, centres]
    here = fields[chosen, centres]

    def change(mixed: Tensor) -> Tensor:
        found = forces(forcefield, mixed)[torch.arange(samples), centres] - true
        return tangent(found, here) if spins else found

    r = torch.from_numpy(distances(lattice, centres.tolist()))
    pools = [source.pool(lattice, int(s), candidates, rng) for s in chosen]
    return replaced(
        change, fields[chosen], pools, r, cutoffs, spacing=lattice.spacing, rng=rng, turn=turn, progress=progress
    )


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
    from the pools beyond it. ``spacing`` is the nearest-neighbour distance, the width of the ring on which candidates
    are compared.
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


def ensemble_length(fields: Tensor, lattice: Lattice, *, spins: bool = False) -> float:
    """Correlation length of an ensemble ``(sample, site, component)``: second moment of S(k) about its own maximum.

    The mean of every component over the ensemble is subtracted, and components are summed. See
    :func:`nearsight.analysis.correlation_length` for the convention, in which a domain measures some 2πL, and noise has
    the length of the zone, 0.39 a on the square lattice: nothing is correlated at or below 1.1 times that, and the
    answer is then zero.

    With ``spins`` it is the first moment of the spin structure factor about all wave vectors that symmetry makes
    equivalent to the maximum, :func:`nearsight.analysis.peak_length`: spirals and skyrmions have several peaks, and
    S falls about each of them too slowly for a second moment that would not be one of the background.
    """
    centred = fields.double() - fields.double().mean((0, 1))
    S = structure_factor(centred.movedim(-1, 0), lattice, dims=("component", "sample")).sum("component").mean("sample")
    if float(S.sum()) <= 0:
        return float("inf")  # the same uniform field throughout
    names = momentum_dims(S, lattice)
    peak = S.isel(S.argmax(names))
    Q = [float(peak.coords[name]) for name in ("kx", "ky", "kz")[: lattice.dim]]

    def length(intensity: xr.DataArray) -> float:
        if spins:
            return float(peak_length(intensity, lattice, star(Q, lattice)))
        return float(correlation_length(intensity, lattice, about=Q, moment=2))

    found = length(S)
    return found if found > 1.1 * length(xr.ones_like(S)) else 0.0


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
