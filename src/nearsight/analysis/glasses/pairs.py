"""Correlations of spins by their distance, the length they carry, and the density of levels."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import xarray as xr
from torch import Tensor

from nearsight._validation import integer, number
from nearsight.analysis._fields import SpinField, described, relabel, rows, scalar_labels, spin_field
from nearsight.analysis.statistics._draws import real_array
from nearsight.lattices import Lattice, bonds_within

PAIRS = 2**22
"""Pairs of sites in memory at a time, about."""


def radial_correlation(
    spins: SpinField, lattice: Lattice, bins: np.ndarray, dims: tuple[str, ...] | None = None
) -> xr.DataArray:
    r"""Pair correlation of spins at arbitrary positions, by distance,

    .. math:: C(r) = \frac{1}{N_r} \sum_{i \ne j,\ r_{ij} \in \text{bin}} \mathbf S_i \cdot \mathbf S_j ,

    over all pairs within the bin, periodic images included (a spin and its own image left out). The mean of S_i over an
    ensemble without a preferred direction is zero, and nothing is subtracted. On a lattice of several structures the
    pairs of all of them count alike.

    Parameters
    ----------
    spins: ``(*batch, site, 3)``. lattice: a cloud, several structures, or a lattice.
    bins: edges of the bins ``(bin + 1,)``, ascending from 0 or above.

    Returns
    -------
    A DataArray ``(*batch, r)`` at the middles of the bins, with the number of ``pairs``; NaN in a bin without any.
    """
    labelled = spin_field(spins, lattice, dims)
    edges = real_array(bins, "bins")
    if edges.ndim != 1 or len(edges) < 2 or edges[0] < 0 or (np.diff(edges) <= 0).any():
        raise ValueError(f"bins must be two or more ascending edges from 0 on, got {bins!r}.")
    S = rows(labelled)
    found, pairs = np.zeros((len(S), len(edges) - 1)), np.zeros(len(edges) - 1, dtype=np.int64)
    size = _block(lattice, edges[-1])
    # All pairs are kept for the next call; of several blocks, none but the one at work.
    binned = _binned_pairs if size == lattice.n_sites else _binned_pairs.__wrapped__
    for first in range(0, lattice.n_sites, size):
        i, j, place, counts = binned(lattice, tuple(edges.tolist()), first, first + size)
        pairs += counts
        for k, field in enumerate(S):
            found[k] += np.bincount(place, np.einsum("pa,pa->p", field[i], field[j]), len(edges) - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        C = found / pairs
    middles = 0.5 * (edges[1:] + edges[:-1])
    named = relabel(scalar_labels(labelled), C, "C", "spin correlation", r=len(middles))
    return named.assign_coords(
        r=("r", middles, {"long_name": "distance", "units": "1"}),
        pairs=("r", pairs, {"long_name": "pairs", "units": "1"}),
    )


def _block(lattice: Lattice, radius: float) -> int:
    """So many sites are the first ones of about PAIRS pairs within a radius, or all sites."""
    ball = math.pi ** (lattice.dim / 2) / math.gamma(lattice.dim / 2 + 1) * radius**lattice.dim
    blocks = math.ceil(0.5 * ball * lattice.n_sites**2 / lattice.volume / PAIRS)
    return math.ceil(lattice.n_sites / max(1, min(lattice.n_sites, blocks)))


@lru_cache(maxsize=8)
def _binned_pairs(lattice: Lattice, edges: tuple[float, ...], first: int, last: int) -> tuple[np.ndarray, ...]:
    """Sites of every pair of a block of sites, its bin, and the number of pairs by bin."""
    bonds = bonds_within(lattice, edges[-1], sites=slice(first, last))
    r = np.linalg.norm(bonds.displacement, axis=1)
    place = np.searchsorted(edges, r, side="right") - 1
    keep = (place >= 0) & (place < len(edges) - 1) & (bonds.i != bonds.j)
    place = place[keep]
    return bonds.i[keep], bonds.j[keep], place, np.bincount(place, minlength=len(edges) - 1)


def correlation_moment_length(C: xr.DataArray, *, power: int = 1) -> xr.DataArray:
    r"""The length of a correlation that oscillates, as a ratio of integrals,

    .. math:: \xi_1 = \frac{\int r\, |C(r)|\, dr}{\int |C(r)|\, dr}, \qquad
              \xi_2 = 2\, \frac{\int r\, C(r)^2\, dr}{\int C(r)^2\, dr} ,

    of the mean of C over replicas: for C ~ e^{-r/ξ} both are ξ, and under dynamical scaling C = F(r/ξ) proportional to
    it. \|C\| of a noisy C is biased: where nothing is left but noise, ξ₁ tends to half of the largest distance, so that
    early in a quench it falls while order grows. C² has an estimate without bias, the mean of C_a C_b over pairs of
    different replicas, and with it ξ₂ does not see the noise on the average.

    Each replica gets the pseudo-value of the jackknife, n ξ - (n - 1) ξ(without it), whose mean has the bias to first
    order removed and whose scatter gives the error of the mean, so that fits over replicas can be made of it.

    Parameters
    ----------
    C: from :func:`radial_correlation`, with "replica" (at least 3, for ξ₂ 4) and "r"; bins without pairs are left out.
        The integrals end at its last distance: compare two.
    power: 1 for ξ₁, the length of the thesis; 2 for ξ₂.

    Returns
    -------
    Pseudo-values of ξ, dimensions of C without "r".

    References
    ----------
    S. Zhang, PhD thesis (University of Virginia, 2024), sec. 4.4, for ξ₁.
    """
    power = integer(power, "power", least=1, most=2)
    if not isinstance(C, xr.DataArray) or not {"replica", "r"} <= set(C.dims):
        raise ValueError("C needs the dimensions 'replica' and 'r'; radial_correlation(spins, cloud, bins) has them.")
    n = C.sizes["replica"]
    if n < 2 + power:
        raise ValueError(f"Error bars need at least {2 + power} replicas, got {n}.")
    C = C.dropna("r", how="all").transpose("replica", ..., "r")
    r, values = C.r.values, C.values
    total, squares = values.sum(0), (values**2).sum(0)

    def ratio(total: np.ndarray, squares: np.ndarray, n: int) -> np.ndarray:
        weight = np.abs(total) if power == 1 else (total**2 - squares) / (n * (n - 1))
        return power * np.trapezoid(r * weight, r, axis=-1) / np.trapezoid(weight, r, axis=-1)

    xi = n * ratio(total, squares, n) - (n - 1) * ratio(total - values, squares - values**2, n - 1)
    result = C.isel(r=0, drop=True).copy(data=xi)
    return described(result, f"xi_{power}", "correlation length" + (", of squares" if power == 2 else ""))


def level_density(levels: Tensor | np.ndarray, energies: np.ndarray, width: float, sites: int) -> xr.DataArray:
    r"""Density of states per site, levels as Gaussians of one width :math:`\sigma`,

    .. math:: \rho(\epsilon) = \frac1N \sum_k \frac{e^{-(\epsilon - \epsilon_k)^2 / 2\sigma^2}}{\sqrt{2\pi}\,\sigma} .

    Parameters
    ----------
    levels: eigenvalues ``(*batch, level)``. energies: where ρ is wanted ``(energy,)``. width: σ. sites: N.

    Returns
    -------
    ``(*batch, energy)``; a batch of one axis is called "replica". Large systems without eigenvalues:
    ``solvers.Chebyshev.density_of_states``.
    """
    e = levels.detach().cpu().numpy() if isinstance(levels, Tensor) else real_array(levels, "levels")
    x, width = real_array(energies, "energies"), number(width, "width", above=0)
    flat, rho = e.reshape(-1, e.shape[-1]), np.empty((int(np.prod(e.shape[:-1])), len(x)))
    for k, row in enumerate(flat):
        rho[k] = np.exp(-0.5 * ((x[:, None] - row) / width) ** 2).sum(1) / (np.sqrt(2 * np.pi) * width * sites)
    leading = ["replica"] if e.ndim == 2 else [f"batch_{k}" for k in range(e.ndim - 1)]
    result = xr.DataArray(rho.reshape(*e.shape[:-1], len(x)), dims=[*leading, "energy"])
    result = result.assign_coords(energy=("energy", x, {"long_name": "energy", "units": "t"}))
    return described(result, "dos", "density of states per site", "1/t")
