"""How large the domains are, and how fast they grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from nearsight._validation import generator, instance, integer
from nearsight.analysis.reciprocal import distance_to, wave_vectors
from nearsight.analysis.statistics import mean_draws, students_interval
from nearsight.analysis.structure_factor import momentum_dims
from nearsight.lattices import Lattice

ROUNDING = 1e-24
"""Share of Σ S outside a peak below which it is rounding."""


def correlation_length(
    S: xr.DataArray, lattice: Lattice, *, about: Sequence[float] | None = None, moment: int = 1
) -> xr.DataArray:
    r"""Length of the ordered regions from the width of the peak of S(k) at the wave vector ``about`` = Q (Γ if None),

    .. math:: L = \left[ \frac{\sum_{\mathbf k} S(\mathbf k)\, |\mathbf k - \mathbf Q|^p}{\sum_{\mathbf k} S(\mathbf k)}
              \right]^{-1/p},

    where |k - Q| is the distance to the nearest image of Q and p is ``moment``. The convention has no factor 2π: L is
    an inverse wave number, and 2πL the corresponding wavelength (a pattern cos(2πx/λ) gives L = λ/2π). L is infinite
    for a perfectly ordered state, and close to the inverse mean distance in the zone (2.40/a about any Q of the square
    lattice, so L = 0.416 a) for white noise: noise that carries a share w of Σ S bounds L by 0.416 a / w.

    p = 1 is the measure of the thesis. Behind sharp walls S falls as k⁻³ in two dimensions (Porod), so that
    Σ S k grows with the logarithm of the zone and Σ S k² in proportion to it: 1/L with p = 1 holds ln(L/a), and L of
    self-similar domains between 2 and 7 a grows only as their size to the power 0.75. p = 2 is for smooth walls alone;
    :func:`crossing_length` knows neither fault.

    The other dimensions of S are kept. Averaging S over replicas before or after gives different estimates, which agree
    as replicas grow large; the average of S first is the less biased one.

    References
    ----------
    S. Zhang, PhD thesis (University of Virginia, 2024), eq. (7.72); A. J. Bray, Adv. Phys. 43, 357 (1994).
    """
    if moment < 1:
        raise ValueError(f"moment must be 1 or 2, got {moment}; the zeroth moment carries no length.")
    names = momentum_dims(S, lattice)
    distance = xr.DataArray(distance_to(wave_vectors(lattice), lattice, about), dims=names)
    total = S.sum(names)
    if bool((total <= 0).any()):
        raise ValueError("S(k) vanishes for at least one configuration, which then has no length. Leave it out.")
    share = (S * distance**moment).sum(names) / total
    # Transforms leave some 1e-32 of a perfect peak elsewhere; one deviating site of 10⁸ leaves 1e-8.
    width = share.where(share > ROUNDING, 0.0) ** (1.0 / moment)
    with np.errstate(divide="ignore"):
        length = 1.0 / width
    length.attrs = {"long_name": "correlation length", "units": "a"}
    return length.rename("L")


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
    result.attrs = {"long_name": "first zero of C(r)" if level == 0 else f"C(r)/C(0) = {level:g}", "units": "a"}
    return result.drop_vars("pairs", errors="ignore").rename("L")


@dataclass(frozen=True)
class PowerLaw:
    """A fit L = amplitude × t^exponent within ``window``, both ends included.

    ``sigma`` is the standard error of the exponent over replicas and ``interval`` covers it in 95 % of cases, by
    Student's t with one degree of freedom less than replicas: 4.3 ``sigma`` to either side for three replicas, 2.4 for
    eight. ``chi2`` weighs the points by the mean over times of the relative variance; points of one replica at
    different times are correlated, so that χ²/dof tells a bad law from a good one but is no basis for a p-value (it
    lies below 1 for strongly correlated points).
    """

    exponent: float
    sigma: float
    amplitude: float
    window: tuple[float, float]
    chi2: float
    dof: int
    replicas: int
    interval: tuple[float, float]

    @property
    def chi2_per_dof(self) -> float:
        return self.chi2 / self.dof if self.dof else float("nan")

    def __call__(self, time: np.ndarray) -> np.ndarray:
        """The fitted length at the given times."""
        return self.amplitude * np.asarray(time, dtype=float) ** self.exponent

    def __str__(self) -> str:
        return (
            f"L ~ t^n, n = {self.exponent:.3f} ± {self.sigma:.3f} (95 %: {self.interval[0]:.3f} to "
            f"{self.interval[1]:.3f}) for t in [{self.window[0]:g}, {self.window[1]:g}], "
            f"χ²/dof = {self.chi2_per_dof:.2f}"
        )


def growth_exponent(
    length: xr.DataArray, *, rng: torch.Generator, window: tuple[float, float] | None = None, samples: int = 1000
) -> PowerLaw:
    """Fit L ~ t^n to lengths ``(replica, time)`` by least squares of ln⟨L⟩ against ln t, all times of equal weight.

    Weights from the scatter of a few replicas are themselves noise: with three, times at which they happen to agree
    would decide. The error of n comes from refitting ``samples`` sets of means (:func:`mean_draws`), which keeps the
    correlation between times, and the interval from Student's t.

    Parameters
    ----------
    length: dimensions "replica" and "time" (with its coordinate); all values finite and positive inside the window.
    window: first and last time of the fit; all positive times if not given. Choose it before looking at n: early times
        carry the formation of order, late ones the finite lattice (L no more than an eighth of its size).
    """
    generator(rng)
    samples = integer(samples, "samples", least=2)
    check_lengths(length)
    times = length["time"].values.astype(float)
    low, high = window if window is not None else (float(np.min(times[times > 0], initial=np.inf)), float(times.max()))
    inside = (times >= low) & (times <= high) & (times > 0)
    values = length.transpose("replica", "time").values[:, inside]
    replicas, points = values.shape
    if points < 3:
        raise ValueError(
            f"{points} positive times lie in the window [{low:g}, {high:g}]; a power law needs at least 3."
        )
    if replicas < 3:
        raise ValueError(f"Error bars need at least 3 replicas, got {replicas}.")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(
            "Lengths must be finite and positive; shorten the window or leave out ordered replicas (L = inf)."
        )

    x, mean, sigma = np.log(times[inside]), values.mean(0), pooled_relative_error(values)
    slope, intercept = weighted_line(x, np.log(mean), np.ones(points))
    slopes, _ = weighted_line(x, np.log(mean_draws(values, rng=rng, samples=samples)), np.ones(points))
    residual = (np.log(mean) - intercept - slope * x) / sigma
    error = float(np.std(slopes, ddof=1))
    return PowerLaw(
        float(slope),
        error,
        float(np.exp(intercept)),
        (float(low), float(high)),
        float(residual @ residual),
        points - 2,
        replicas,
        students_interval(float(slope), error, replicas - 1),
    )


def check_lengths(length: xr.DataArray) -> None:
    """Refuse what are not real lengths ``(replica, time)`` with their times."""
    instance(
        length, xr.DataArray, "length", "Name the dimensions: xr.DataArray(L, dims=('replica', 'time'), coords=...)."
    )
    if set(length.dims) != {"replica", "time"} or "time" not in length.coords:
        raise ValueError(
            f"length needs the dimensions 'replica' and 'time' with times as coordinate, got {length.dims}."
        )
    if length.dtype.kind not in "fiu":
        raise TypeError(f"Lengths must be real numbers, got an array of {length.dtype}; take the real part or |L|.")


def pooled_relative_error(values: np.ndarray) -> float:
    """Relative standard error of the mean over replicas ``(replica, time)``, root mean square over the times; replicas
    that agree to rounding would get infinite weight."""
    relative = values.var(0, ddof=1) / len(values) / values.mean(0) ** 2
    return max(float(np.sqrt(relative.mean())), 1e-12)


def weighted_line(x: np.ndarray, y: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept of the weighted straight line through points ``(..., point)``."""
    w = sigma**-2 / np.sum(sigma**-2)
    centre = np.sum(w * x)
    slope = np.sum(w * (x - centre) * y, axis=-1) / np.sum(w * (x - centre) ** 2)
    return slope, np.sum(w * y, axis=-1) - slope * centre
