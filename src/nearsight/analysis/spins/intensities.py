"""Spins in reciprocal space and their correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr

from nearsight._validation import choice
from nearsight.analysis._fields import (
    SpinField,
    described,
    on_cells,
    relabel,
    scalar_labels,
    spin_field,
    transform,
    units_of,
)
from nearsight.analysis.structure._reciprocal import (
    check_wave_vector,
    distance_to,
    label_wave_vectors,
    momentum_dims,
    reciprocal_vectors,
    wave_vectors,
)
from nearsight.analysis.structure.brillouin import Path, fold
from nearsight.analysis.structure.correlations import correlation
from nearsight.analysis.structure.intensities import structure_factor_at
from nearsight.fields import tangent
from nearsight.lattices import Lattice

Normalisation = Literal["1/N", "1/N^2"]


def spin_structure_factor(
    spins: SpinField,
    lattice: Lattice,
    *,
    normalisation: Normalisation = "1/N",
    reach: float | None = None,
    dims: tuple[str, ...] | None = None,
) -> xr.DataArray:
    r"""Spin structure factor at every wave vector of a two-dimensional lattice,

    .. math:: S(\mathbf q) = \frac1N \Big| \sum_i \mathbf S_i\, e^{i \mathbf q \cdot \mathbf r_i} \Big|^2 .

    Parameters
    ----------
    spins: ``(*batch, site, 3)``, or a DataArray with "site" and "component".
    normalisation: "1/N", so that white noise gives 1 and an ordered state a peak of order N (Σ_q S = N on a Bravais
        lattice); "1/N^2", as often printed, so that a perfect ferromagnet or antiferromagnet has a peak of 1 at any N.
    reach: None for the first Brillouin zone alone; otherwise all wave vectors with \|kx\|, \|ky\| ≤ ``reach``, for
        pictures that show the zone and what surrounds it, and with several sites per cell the other zones, where S is
        not the same.

    Returns
    -------
    A DataArray ``(*batch, h1, h2)`` whose coordinates kx, ky lie in the first zone (folded; positions of the sites in
    the cell enter the phases there), or ``(*batch, point)`` with kx, ky if ``reach`` is given.
    """
    if lattice.dim != 2:
        raise ValueError(f"Wave vectors are laid out for lattices of two dimensions, got {lattice!r}.")
    power = _power_of_n(normalisation)
    labelled = spin_field(spins, lattice, dims)
    modes = transform(on_cells(labelled, lattice), (1, 2))
    if reach is None:
        index = np.stack(np.meshgrid(*(_centred(n) for n in lattice.shape), indexing="ij"), -1)
        k = fold(wave_vectors(lattice), lattice)
        sizes = {"h1": lattice.shape[0], "h2": lattice.shape[1]}
    else:
        index = _within(lattice, reach)
        k = index / np.asarray(lattice.shape) @ reciprocal_vectors(lattice)
        sizes = {"point": len(index)}
    where = tuple(torch.from_numpy(index[..., axis] % n) for axis, n in enumerate(lattice.shape))
    # The transform over cells does not see by which reciprocal vector k is shifted; the sites inside of a cell do.
    phases = torch.from_numpy(np.exp(-1j * k @ lattice.basis.T))
    amplitude = (modes[:, where[0], where[1]] * phases).sum(-1)
    flat = amplitude.abs().square().reshape(-1, 3, *amplitude.shape[1:]).sum(1) / lattice.n_sites**power
    result = relabel(scalar_labels(labelled), flat, "S", "spin structure factor", "1", None, **sizes)
    return label_wave_vectors(result, k, tuple(sizes))


def spin_structure_factor_at(
    spins: SpinField,
    lattice: Lattice,
    k: np.ndarray | Path,
    *,
    normalisation: Normalisation = "1/N",
    dims: tuple[str, ...] | None = None,
) -> xr.DataArray:
    """S(q) at chosen wave vectors ``(point, dim)`` or along a path, by direct summation over the sites.

    Any lattice, periodic or open, and any wave vector; N operations for each. A path adds the coordinate ``distance``.
    """
    power = _power_of_n(normalisation)
    points = k.k if isinstance(k, Path) else k
    S = structure_factor_at(spin_field(spins, lattice, dims), lattice, points).sum("component")
    result = described(S / lattice.n_sites ** (power - 1), "S", "spin structure factor")
    return result.assign_coords(distance=("point", k.distance)) if isinstance(k, Path) else result


def peak_order(
    S: xr.DataArray, lattice: Lattice, peaks: Sequence[Sequence[float]] | np.ndarray, *, radius: float = 0.1
) -> xr.DataArray:
    """Mean of S(q) over all wave vectors within ``radius`` of one of the ``peaks``: the height of the order.

    The peak order M(t) of skyrmion lattices, with ``peaks = star(Q, lattice)`` for all six of them. A radius smaller
    than the spacing of the wave vectors takes the peaks alone.
    """
    distance = _from_peaks(S, lattice, peaks)
    near = distance <= radius + 1e-9
    if not near.any():
        raise ValueError(
            f"No wave vector of {lattice!r} lies within {radius:g} of a peak; the nearest is "
            f"{float(distance.min()):.4g} away. Use a commensurate lattice or a larger radius."
        )
    height = S.where(near).sum(momentum_dims(S, lattice)) / int(near.sum())
    return described(height, "M", "height of the peaks", units_of(S))


def peak_length(S: xr.DataArray, lattice: Lattice, peaks: Sequence[Sequence[float]] | np.ndarray) -> xr.DataArray:
    r"""Length of the ordered regions from the width of S about several peaks, Σ S / Σ S \|q - q_p\|,

    with the distance from the nearest of the ``peaks`` and their images. It is the inverse of the expression printed in
    the thesis for L(t), which is a width. All of the zone is weighed: the background bounds L from above.
    """
    distance = _from_peaks(S, lattice, peaks)
    names = momentum_dims(S, lattice)
    total = S.sum(names)
    if bool((total <= 0).any()):
        raise ValueError("S(q) vanishes for at least one configuration, which then has no length. Leave it out.")
    with np.errstate(divide="ignore"):
        return described(total / (S * distance).sum(names), "L", "length of the ordered regions", "a")


def peak_growth(
    spins: SpinField,
    H: SpinField,
    lattice: Lattice,
    peaks: Sequence[Sequence[float]] | np.ndarray,
    *,
    dims: tuple[str, ...] | None = None,
) -> xr.DataArray:
    r"""How fast damping in the fields ``H`` makes the peaks of S(q) grow: d ln M / dt = 2 α Γ, with

    .. math::
        \Gamma = \frac{\sum_p \mathrm{Re}\, \mathbf H^\perp(\mathbf q_p) \cdot \mathbf S(\mathbf q_p)^*}
                      {\sum_p |\mathbf S(\mathbf q_p)|^2}, \qquad
        \mathbf H^\perp_i = \mathbf H_i - (\mathbf H_i \cdot \mathbf S_i)\, \mathbf S_i .

    With H_i = Σ_j J_ij S_j it is ⅔ J(q_p) on average over random spins. Precession adds a part of either sign, that of
    -S being opposite to that of S. What a learned force field misses far away is small on every site and may add up
    here: of errors of equal size this finds those that change how spins order.

    Parameters
    ----------
    spins, H: unit spins and the fields on them, ``(*batch, site, 3)`` or labelled as for :func:`spin_structure_factor`.
    peaks: wave vectors ``(peak, dim)``, such as :func:`star`; S must not vanish at all of them.

    Returns Γ ``(*batch)`` in the units of H. Cost: two sums over the sites for every peak.
    """
    labelled, fields = spin_field(spins, lattice, dims), spin_field(H, lattice, dims)
    if labelled.shape != fields.shape:
        raise ValueError(f"Spins and fields differ in shape, {labelled.shape} and {fields.shape}.")
    where = np.array([check_wave_vector(p, lattice) for p in np.atleast_2d(peaks)])
    S, H_site = (torch.from_numpy(x.values).mT for x in (labelled, fields))  # (*batch, site, component)
    S_q, H_q = (_modes(x.mT.numpy(), lattice, where) for x in (S, tangent(H_site, S)))
    power = (np.abs(S_q) ** 2).sum((-2, -1))
    if (power < 1e-20 * lattice.n_sites).any():
        raise ValueError(
            "S vanishes at all peaks for at least one configuration, which grows from nothing. Leave it out."
        )
    rate = (H_q * S_q.conj()).real.sum((-2, -1)) / power
    return relabel(scalar_labels(labelled), rate, "growth", "growth of the peaks", units_of(fields))


def spin_correlation(
    spins: SpinField,
    lattice: Lattice,
    *,
    connected: bool = False,
    max_distance: float | None = None,
    dims: tuple[str, ...] | None = None,
) -> xr.DataArray:
    """C(r) = mean of S_i·S_j over all pairs of sites at distance r, ``(*batch, r)``; parameters as ``correlation``."""
    labelled = spin_field(spins, lattice, dims)
    C = correlation(labelled, lattice, connected=connected, max_distance=max_distance)
    result = C.sum("component", keep_attrs=True)
    return result.assign_attrs(long_name="spin correlation").rename("C")


def _power_of_n(normalisation: Normalisation) -> int:
    return 1 if choice(normalisation, "normalisation", ("1/N", "1/N^2")) == "1/N" else 2


def _modes(values: np.ndarray, lattice: Lattice, k: np.ndarray) -> np.ndarray:
    """Σ_i v_i exp(i k·r_i) of values ``(..., site)`` at wave vectors ``(point, dim)``: ``(..., point)``."""
    return values @ np.exp(1j * lattice.positions @ k.T)


def _centred(n: int) -> np.ndarray:
    return np.rint(np.fft.fftshift(np.fft.fftfreq(n)) * n).astype(int)


def _within(lattice: Lattice, reach: float) -> np.ndarray:
    """Integer indices of all wave vectors in the square of half width ``reach``, ``(point, 2)``."""
    if not 0 < reach < np.inf:
        raise ValueError(f"reach must be a positive wave number, got {reach}.")
    step = reciprocal_vectors(lattice) / np.asarray(lattice.shape)[:, None]
    bound = np.ceil(reach * np.abs(np.linalg.inv(step)).sum(0)).astype(int)
    index = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in bound), indexing="ij"), -1).reshape(-1, 2)
    return index[np.all(np.abs(index @ step) <= reach + 1e-9, axis=1)]


def _from_peaks(S: xr.DataArray, lattice: Lattice, peaks: Sequence[Sequence[float]] | np.ndarray) -> xr.DataArray:
    """Distance of every wave vector from the nearest peak."""
    where = [check_wave_vector(p, lattice) for p in np.atleast_2d(peaks)]
    k = wave_vectors(lattice)
    return xr.DataArray(np.min([distance_to(k - p, lattice) for p in where], axis=0), dims=momentum_dims(S, lattice))
