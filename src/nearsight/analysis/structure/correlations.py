"""Correlations in real space."""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr

from nearsight.analysis._fields import SiteField, on_cells, pair_modes, pair_sums, relabel, site_field, units_of
from nearsight.lattices import Lattice, half_period, torus_distance


def correlation(
    field: SiteField,
    lattice: Lattice,
    *,
    connected: bool = False,
    normalised: bool = False,
    max_distance: float | None = None,
    dims: tuple[str, ...] | None = None,
) -> xr.DataArray:
    r"""Pair correlation of a site field, averaged over all pairs of sites at the same distance,

    .. math:: C(r) = \frac{1}{N_r} \sum_{|\mathbf r_j - \mathbf r_i| = r} s_i^* s_j .

    Equal distance joins displacements that are not related by symmetry, such as (5, 0) and (3, 4) on the square
    lattice. Along periodic axes distances are to the nearest image. Fast Fourier transforms over the cells give all
    pairs at once; open axes are padded with empty cells, and N_r counts the pairs that exist.

    Parameters
    ----------
    connected: subtract the mean of every configuration first, so that C decays to zero in a uniform state. For
        staggered order pass ``staggered(field, lattice, Q)``.
    normalised: divide every configuration by its C(0).
    max_distance: largest r, at least 0. The default is half the shortest period of the torus (half the shortest edge of
        an open lattice): beyond it shells are incomplete, and pairs of an open lattice few.

    Returns
    -------
    A DataArray ``(*batch, r)`` with the coordinate ``pairs``, the number of ordered pairs N_r behind each point.
    """
    labelled = site_field(field, lattice, dims)
    shells = _shells(lattice, max_distance)
    grid = on_cells(labelled, lattice, centred=connected)
    axes = tuple(range(1, lattice.dim + 1))
    modes = pair_modes(grid, axes, _padded(lattice))
    sums = torch.zeros(len(grid), len(shells.distance), dtype=torch.float64)
    for (a, b), shell in shells.members.items():
        pairs = pair_sums(modes[..., a], modes[..., b], axes, _padded(lattice)).reshape(len(grid), shell.size)
        kept = torch.from_numpy(np.flatnonzero(shell >= 0))
        sums.index_add_(1, torch.from_numpy(shell)[kept], pairs[:, kept])
    C = sums / torch.from_numpy(shells.pairs)
    units = units_of(labelled, 2)
    if normalised:
        if bool((C[:, 0] == 0).any()):
            raise ValueError("C(0) = 0: a configuration without fluctuations cannot be normalised. Leave it out.")
        C, units = C / C[:, :1], "1"
    name = "connected correlation" if connected else "correlation"
    return _by_distance(labelled, C, shells.distance, shells.pairs, name, units)


def axial_correlation(field: SiteField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    r"""Pair correlation along the primitive vectors, averaged over sites and axes,

    .. math:: C(r) = \frac{1}{N_r} \sum_\alpha \sum_i s_i^*\, s_{i + n \mathbf a_\alpha}, \qquad r = n |\mathbf a| .

    Unlike :func:`correlation` no two directions are mixed, and the sign is kept: staggered order alternates with r. For
    two components (C^{xx} of a doublet, C^{zz}) pass one component at a time.

    Returns
    -------
    A DataArray ``(*batch, r)`` up to half the shortest periodic axis (the shortest edge of an open lattice), with the
    number of ``pairs``.
    """
    labelled = site_field(field, lattice, dims)
    spacing = np.linalg.norm(lattice.vectors, axis=1)
    if not np.allclose(spacing, spacing[0], atol=0.0):
        raise ValueError(f"The primitive vectors of {lattice!r} differ in length; use correlation(field, lattice).")
    opened = _open_axes(lattice)
    largest = min(n - 1 if free else n // 2 for n, free in zip(lattice.shape, opened, strict=True))
    grid = on_cells(labelled, lattice)
    sums = torch.zeros(len(grid), largest + 1, dtype=torch.float64)
    pairs = np.zeros(largest + 1)
    cells = tuple(range(1, lattice.dim + 1))
    for axis, free in zip(cells, opened, strict=True):
        n = grid.shape[axis]
        length = (2 * n if free else n,)
        modes = pair_modes(grid, (axis,), length)
        along = pair_sums(modes, modes, (axis,), length).sum([*(a for a in cells if a != axis), -1])
        sums += along[:, : largest + 1]
        pairs += (n - np.arange(largest + 1) if free else n) * lattice.n_sites / n
    C = sums / torch.from_numpy(pairs)
    r, name = spacing[0] * np.arange(largest + 1), "correlation along the axes"
    return _by_distance(labelled, C, r, pairs, name, units_of(labelled, 2))


def _by_distance(
    like: xr.DataArray, C: torch.Tensor, r: np.ndarray, pairs: np.ndarray, name: str, units: str
) -> xr.DataArray:
    return relabel(like, C, "C", name, units, r=len(r)).assign_coords(
        r=("r", r, {"long_name": "distance", "units": "a"}),
        pairs=("r", np.rint(pairs).astype(np.int64), {"long_name": "ordered pairs", "units": "1"}),
    )


class _Shells(NamedTuple):
    distance: np.ndarray
    """Distance of every shell, ascending from 0."""
    pairs: np.ndarray
    """Ordered pairs of sites in every shell."""
    members: dict[tuple[int, int], np.ndarray]
    """For sublattices (a, b): the shell of every displacement on the padded grid, -1 beyond the largest distance."""


def _open_axes(lattice: Lattice) -> np.ndarray:
    return ~np.broadcast_to(np.asarray(lattice.periodic), lattice.dim)


def _padded(lattice: Lattice) -> tuple[int, ...]:
    return tuple(int(n) for n in np.asarray(lattice.shape) * np.where(_open_axes(lattice), 2, 1))


@lru_cache(maxsize=8)
def _shells(lattice: Lattice, max_distance: float | None) -> _Shells:
    shape = _padded(lattice)
    limit = half_period(lattice) if max_distance is None else float(max_distance)
    if not limit >= 0:
        raise ValueError(f"max_distance must be a distance >= 0 in units of a, got {max_distance}.")
    ranges = [np.fft.fftfreq(n, 1.0 / n) for n in shape]
    cells = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, lattice.dim)
    # The mask's own correlation counts the pairs: all cells along a periodic axis, L - |m| along an open one.
    lengths = np.asarray(lattice.shape)
    count = np.maximum(np.where(_open_axes(lattice), lengths - np.abs(cells), lengths), 0).prod(axis=1)
    distances = {
        (a, b): torus_distance(cells @ lattice.vectors + lattice.basis[b] - lattice.basis[a], lattice)
        for a, b in itertools.product(range(lattice.n_basis), repeat=2)
    }
    inside = {key: (d <= limit + lattice.tolerance) & (count > 0) for key, d in distances.items()}
    ordered = np.unique(np.concatenate([distances[key][inside[key]] for key in distances]))
    starts = np.concatenate([[True], np.diff(ordered) > lattice.tolerance])
    shell_distance = ordered[starts]
    pairs = np.zeros(len(shell_distance))
    members = {}
    for key, d in distances.items():
        shell = np.searchsorted(shell_distance, d + lattice.tolerance, side="right") - 1
        members[key] = np.where(inside[key], shell, -1)
        np.add.at(pairs, shell[inside[key]], count[inside[key]])
    return _Shells(shell_distance, pairs, members)
