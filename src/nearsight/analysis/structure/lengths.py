"""Lengths of ordered regions, from the peak of S(k) and from C(r)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from nearsight.analysis._fields import described
from nearsight.analysis.structure._reciprocal import momentum_dims, zone_distance
from nearsight.lattices import Lattice

ROUNDING = 1e-24
"""Fraction of Σ S outside a peak below which it is rounding."""


def correlation_length(
    S: xr.DataArray, lattice: Lattice, *, about: Sequence[float] | None = None, moment: int = 1
) -> xr.DataArray:
    r"""Length of the ordered regions from the width of the peak of S(k) at the wave vector ``about`` = Q (Γ if None),

    .. math:: L = \left[ \frac{\sum_{\mathbf k} S(\mathbf k)\, |\mathbf k - \mathbf Q|^p}{\sum_{\mathbf k} S(\mathbf k)}
              \right]^{-1/p},

    where |k - Q| is the distance to the nearest image of Q and p is ``moment``. The convention has no factor 2π: L is
    an inverse wave number, and 2πL the corresponding wavelength (a pattern cos(2πx/λ) gives L = λ/2π). L is infinite
    for a perfectly ordered state, and close to the inverse mean distance in the zone (2.40/a about any Q of the square
    lattice, so L = 0.416 a) for white noise: noise that carries a fraction w of Σ S bounds L by 0.416 a / w.

    p = 1 is the measure of the thesis. Behind sharp walls S falls as k⁻³ in two dimensions (Porod), so that
    Σ S k grows with the logarithm of the zone and Σ S k² in proportion to it: 1/L with p = 1 holds ln(L/a), and L of
    self-similar domains between 2 and 7 a grows only as their size to the power 0.75. p = 2 is for smooth walls alone;
    :func:`crossing_length` has neither fault.

    The other dimensions of S are kept. Averaging S over replicas before or after gives different estimates, which agree
    as replicas grow large; the average of S first is the less biased one.

    References
    ----------
    S. Zhang, PhD thesis (University of Virginia, 2024), eq. (7.72); A. J. Bray, Adv. Phys. 43, 357 (1994).
    """
    if moment < 1:
        raise ValueError(f"moment must be 1 or 2, got {moment}; the zeroth moment carries no length.")
    names = momentum_dims(S, lattice)
    distance = xr.DataArray(zone_distance(lattice, about), dims=names)
    total = S.sum(names)
    if bool((total <= 0).any()):
        raise ValueError("S(k) vanishes for at least one configuration, which then has no length. Leave it out.")
    share = (S * distance**moment).sum(names) / total
    # Transforms leave some 1e-32 of a perfect peak elsewhere; one deviating site of 10⁸ leaves 1e-8.
    width = share.where(share > ROUNDING, 0.0) ** (1.0 / moment)
    with np.errstate(divide="ignore"):
        return described(1.0 / width, "L", "correlation length", "a")


def crossing_length(C: xr.DataArray, *, level: float = 0.5) -> xr.DataArray:
    """The distance at which C(r)/C(0) first falls to ``level``: ½ for the half height, 0 for the first zero.

    Linear between the two neighbouring distances; NaN where C stays above. The first zero of a conserved or symmetric
    order parameter is a robust length at late times; the half height is defined also when C does not change sign.
    """
    if "r" not in C.dims:
        raise ValueError(f"C has dimensions {C.dims}; pass the result of correlation(field, lattice).")
    if not level < 1:
        raise ValueError(f"level is a fraction of C(0) below 1, got {level}.")
    ordered = C.transpose(..., "r")
    values, r = ordered.values.reshape(-1, C.sizes["r"]), C["r"].values
    values = values / values[:, :1]
    below = values <= level
    lengths = np.full(len(values), np.nan)
    for row in np.flatnonzero(below.any(axis=1)):
        n = int(np.argmax(below[row]))
        high, low = values[row, n - 1], values[row, n]
        lengths[row] = r[n - 1] + (r[n] - r[n - 1]) * (high - level) / (high - low)
    result = ordered.isel(r=0, drop=True).copy(data=lengths.reshape(ordered.shape[:-1]))
    what = "first zero of C(r)" if level == 0 else f"C(r)/C(0) = {level:g}"
    return described(result.drop_vars("pairs", errors="ignore"), "L", what, "a")
