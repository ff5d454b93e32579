"""Intensities in reciprocal space."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr

from nearsight._validation import number
from nearsight.analysis._fields import SiteField, on_cells, power, relabel, site_field, transform, units_of
from nearsight.analysis.structure._reciprocal import (
    AXES,
    check_wave_vector,
    label_wave_vectors,
    momentum_dims,
    reciprocal_vectors,
    wave_vectors,
    zone_distance,
)
from nearsight.lattices import Lattice


def structure_factor(
    field: SiteField, lattice: Lattice, *, subtract_mean: bool = False, dims: tuple[str, ...] | None = None
) -> xr.DataArray:
    r"""Structure factor of a site field at every wave vector of the lattice,

    .. math:: S(\mathbf k) = \frac{1}{N} \Big| \sum_i s_i\, e^{-i \mathbf k \cdot \mathbf r_i} \Big|^2 .

    One fast Fourier transform over the cells for every site of the cell, joined by the phases of the basis. With one
    site per cell Parseval's theorem reads Σ_k S(k) = Σ_i |s_i|², so that white noise gives S(k) = ⟨s²⟩ and perfect
    order of wave vector Q gives S(Q) = N ⟨s²⟩.

    Parameters
    ----------
    field: one number per site ``(*batch, site)``. For a vector field put the components in front and sum the result
        over them.
    subtract_mean: subtract the mean of every configuration first, which removes the peak at Γ.
    dims: names of the leading dimensions of a tensor.

    Returns
    -------
    A DataArray ``(*batch, kx, ky)``, with wave vectors ascending in units of 1/a. On a lattice whose primitive vectors
    are not along the axes the dimensions are ``h1, h2`` (k = h1 b1 + h2 b2) and ``kx, ky`` are coordinates on them.
    With several sites per cell S is not periodic in the reciprocal lattice: :func:`structure_factor_at` reaches other
    zones.
    """
    labelled = site_field(field, lattice, dims)
    axes = tuple(range(1, lattice.dim + 1))
    grid, k = on_cells(labelled, lattice, centred=subtract_mean), wave_vectors(lattice)
    if lattice.n_basis == 1:  # the phase of the only site drops out
        intensity = power(grid[..., 0], 1.0 / lattice.n_sites)
    else:
        modes = torch.fft.fftshift(transform(grid, axes), dim=axes)
        amplitude = (modes * torch.from_numpy(np.exp(-1j * k @ lattice.basis.T))).sum(-1)
        intensity = amplitude.abs().square() / lattice.n_sites

    units = units_of(labelled, 2)
    if not np.allclose(lattice.vectors, np.diag(np.diag(lattice.vectors)), atol=lattice.tolerance):
        names = tuple(f"h{j + 1}" for j in range(lattice.dim))
        result = relabel(labelled, intensity, "S", "structure factor", units, None, **_sizes(names, lattice))
        return label_wave_vectors(result, k, names)
    axis = {
        name: xr.Variable(name, k[(*(slice(None) if i == j else 0 for i in range(lattice.dim)), j)], _momentum(name))
        for j, name in enumerate(AXES[: lattice.dim])
    }
    return relabel(labelled, intensity, "S", "structure factor", units, axis, **_sizes(AXES, lattice))


def _momentum(name: str) -> dict[str, str]:
    return {"long_name": f"$k_{name[1]}$", "units": "1/a"}


def _sizes(names: Sequence[str], lattice: Lattice) -> dict[str, int]:
    return dict(zip(names, lattice.shape, strict=False))


def structure_factor_at(
    field: SiteField, lattice: Lattice, k: np.ndarray, *, dims: tuple[str, ...] | None = None
) -> xr.DataArray:
    """S(k) at chosen wave vectors ``(point, dim)`` by direct summation, for paths such as Γ-K-M and for outer zones.

    Costs N operations per wave vector and configuration. The dimension ``point`` carries the coordinates kx, ky.
    """
    labelled = site_field(field, lattice, dims)
    k = np.asarray(k, dtype=float)
    if k.ndim != 2 or k.shape[1] != lattice.dim:
        raise ValueError(f"k must list wave vectors with shape (point, {lattice.dim}), got {k.shape}.")
    intensity = np.abs(labelled.values @ np.exp(-1j * lattice.positions @ k.T)) ** 2 / lattice.n_sites
    result = relabel(labelled, intensity, "S", "structure factor", units_of(labelled, 2), point=len(k))
    return label_wave_vectors(result, k, ("point",))


def shell_average(
    S: xr.DataArray, lattice: Lattice, *, about: Sequence[float] | None = None, width: float | None = None
) -> xr.DataArray:
    """Mean of S(k) over shells of equal distance |k - Q| from a wave vector ``about`` = Q (Γ if not given).

    Distances are to the nearest image of Q. Shell n holds the wave vectors with |k - Q| within half a ``width`` of
    n × width; the default width is the coarsest spacing of the wave vectors, max_j |b_j|/L_j, so that no shell is empty
    of more than geometry demands. The coordinate ``k`` is the mean distance in the shell, ``count`` the number of wave
    vectors.
    """
    names = momentum_dims(S, lattice)
    if width is None:
        width = float(np.max(np.linalg.norm(reciprocal_vectors(lattice), axis=1) / np.asarray(lattice.shape)))
    width = number(width, "width", above=0)
    shells = _shells(lattice, tuple(check_wave_vector(about, lattice).tolist()), width)
    leading = [d for d in S.dims if d not in names]
    ordered = S if S.dims[len(leading) :] == names else S.transpose(*leading, *names)
    rows = np.ascontiguousarray(ordered.values, np.float64).reshape(-1, lattice.n_cells)
    coords = {name: c for name, c in S.coords.items() if not set(c.dims) & set(names)}
    coords["k"] = xr.Variable("k", shells.distance, {"long_name": "distance from Q", "units": "1/a"})
    coords["count"] = xr.Variable("k", shells.members, {"long_name": "wave vectors in the shell", "units": "1"})
    return xr.DataArray(
        (_shell_sums(rows, shells) / shells.members).reshape(*(S.sizes[d] for d in leading), len(shells.members)),
        dims=(*leading, "k"), coords=coords, attrs=S.attrs, name=S.name,
    )  # fmt: skip


class _Shells(NamedTuple):
    of: np.ndarray
    """Number of the shell of every wave vector ``(cell,)``; shells without any are left out."""
    members: np.ndarray
    distance: np.ndarray
    """Mean distance from Q in every shell."""


@lru_cache(maxsize=8)
def _shells(lattice: Lattice, about: tuple[float, ...], width: float) -> _Shells:
    distance = zone_distance(lattice, about).ravel()
    _, index, count = np.unique(np.floor(distance / width + 0.5).astype(int), return_inverse=True, return_counts=True)
    found = _Shells(index.astype(np.int32), count, np.bincount(index, distance) / count)
    for array in found:
        array.setflags(write=False)
    return found


def _shell_sums(rows: np.ndarray, shells: _Shells) -> np.ndarray:
    from nearsight.analysis._power_kernels import shell_sums

    sums = np.zeros((len(rows), len(shells.members)))
    shell_sums(rows, shells.of, sums)
    return sums
