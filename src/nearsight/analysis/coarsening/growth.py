"""How fast domains grow: power laws and the Allen-Cahn law, with errors over replicas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from nearsight._validation import number
from nearsight.analysis.coarsening._lengths import (
    check_positive,
    lengths_and_times,
    pooled_relative_error,
    times_inside,
)
from nearsight.analysis.statistics._draws import mean_draws, students_interval, weighted_line


@dataclass(frozen=True, kw_only=True)
class _GrowthLaw:
    window: tuple[float, float]
    chi2: float
    dof: int
    replicas: int

    @property
    def chi2_per_dof(self) -> float:
        return self.chi2 / self.dof if self.dof else float("nan")


@dataclass(frozen=True)
class PowerLaw(_GrowthLaw):
    """A fit L = amplitude × (t - onset)^exponent within ``window``, both ends included.

    ``sigma`` is the standard error of the exponent over replicas and ``interval`` covers it in 95 % of cases, by
    Student's t with one degree of freedom less than replicas: 4.3 ``sigma`` to either side for three replicas, 2.4 for
    eight. ``chi2`` weighs the points by the mean over times of the relative variance; points of one replica at
    different times are correlated, so that χ²/dof tells a bad law from a good one but is no basis for a p-value (it
    lies below 1 for strongly correlated points).

    :func:`growth_exponent` returns it.
    """

    exponent: float
    sigma: float
    amplitude: float
    interval: tuple[float, float]
    onset: float = 0.0
    onset_sigma: float | None = None
    """Standard error of a fitted onset; None if it was given."""

    def __call__(self, time: np.ndarray) -> np.ndarray:
        """The law at the given times; NaN before the onset."""
        since = np.asarray(time, dtype=float) - self.onset
        return self.amplitude * np.where(since >= 0, since, np.nan) ** self.exponent

    def __str__(self) -> str:
        law, onset = "t^n", ""
        if self.onset_sigma is not None:
            law, onset = "(t - t0)^n", f", t0 = {self.onset:.3g} ± {self.onset_sigma:.1g}"
        elif self.onset:
            law = f"(t - {self.onset:g})^n"
        return (
            f"L ~ {law}, n = {self.exponent:.3f} ± {self.sigma:.3f} (95 %: {self.interval[0]:.3f} to "
            f"{self.interval[1]:.3f}){onset} for t in [{self.window[0]:g}, {self.window[1]:g}], "
            f"χ²/dof = {self.chi2_per_dof:.2f}"
        )


def growth_exponent(
    length: xr.DataArray,
    *,
    rng: torch.Generator,
    window: tuple[float, float] | None = None,
    onset: float | None = 0.0,
    samples: int = 1000,
) -> PowerLaw:
    r"""Fit a power law of growth to lengths ``(replica, time)``,

    .. math:: L(t) = A\,(t - t_0)^n,

    by least squares of ln⟨L⟩ against ln(t - t0), all times of equal weight.

    Weights from the scatter of a few replicas are themselves noise: with three, times at which they happen to agree
    would decide. The error of n comes from refitting ``samples`` sets of means (:func:`mean_draws`), which keeps the
    correlation between times, and the interval from Student's t.

    Domains that have a size when growth begins make n of a law with t0 = 0 too small by more than its error. Eight
    replicas of 256 × 256 sites under the Ginzburg-Landau equation, where n = ½, give 0.46 ± 0.02 for 20 ≤ t ≤ 300, and
    0.49 ± 0.04 with a fitted t0. Which length is fitted matters more: these are of the mean chord between walls
    (:func:`~nearsight.analysis.mean_chord`), where :func:`~nearsight.analysis.correlation_length` gives 0.37 ± 0.03.

    Parameters
    ----------
    length: dimensions "replica" and "time" (with its coordinate); all values finite and positive inside the window.
    window: first and last time of the fit; all times after the onset if not given. Choose it before looking at n: early
        times carry the formation of order, late ones the finite lattice (L no more than an eighth of its size).
    onset: t0, before the window; None to fit it, from at least 4 times.
    """
    if onset is not None:
        onset = number(onset, "onset")
    t, values, limits = _inside(length, window, "a power law", after=0.0 if onset is None else onset)
    if onset is None and len(t) < 4:
        raise ValueError(f"{len(t)} times lie in the window; a power law with a fitted onset needs at least 4.")
    means = np.concatenate([values.mean(0)[None], mean_draws(values, rng=rng, samples=samples)])
    onsets = _onsets(t, np.log(means)) if onset is None else np.full(len(means), onset)
    x, y = np.log(t - onsets[:, None]), np.log(means)
    slopes, intercepts = weighted_line(x, y)
    slope, intercept, error = float(slopes[0]), float(intercepts[0]), float(slopes[1:].std(ddof=1))
    residual = (y[0] - intercept - slope * x[0]) / pooled_relative_error(values)
    return PowerLaw(
        slope,
        error,
        float(np.exp(intercept)),
        students_interval(slope, error, len(values) - 1),
        float(onsets[0]),
        float(onsets[1:].std(ddof=1)) if onset is None else None,
        **_quality(values, limits, residual, parameters=2 + (onset is None)),
    )


def _onsets(t: np.ndarray, y: np.ndarray) -> np.ndarray:
    """t0 ``(sample,)`` for which ln L ``(sample, time)`` is closest to a straight line in ln(t - t0), from ages t - t0
    of the first time between a hundredth of it and ten times the last."""
    ages = np.geomspace(0.01 * t[0], 10.0 * t[-1], 60) * np.ones((len(y), 1))
    for _ in range(5):
        x = np.log(t - t[0] + ages[..., None])
        slope, intercept = weighted_line(x, y[:, None])
        misfit = ((y[:, None] - intercept[..., None] - slope[..., None] * x) ** 2).sum(-1)
        best = misfit.argmin(-1)[:, None]
        low, high = (np.take_along_axis(ages, np.clip(best + d, 0, ages.shape[1] - 1), 1) for d in (-1, 1))
        found = np.take_along_axis(ages, best, 1)
        ages = low * (high / low) ** np.linspace(0, 1, 12)
    return t[0] - found[:, 0]


@dataclass(frozen=True)
class AllenCahn(_GrowthLaw):
    """A fit L = a (t - t0)^(1/2) within ``window``, with standard errors over replicas.

    ``a_interval`` and ``t0_interval`` cover a and t0 in 95 % of cases; ``chi2`` is that of :class:`PowerLaw`, far above
    one per degree of freedom if the law is ruled out.

    :func:`allen_cahn` returns it.
    """

    a: float
    a_sigma: float
    t0: float
    t0_sigma: float
    a_interval: tuple[float, float]
    t0_interval: tuple[float, float]

    def __call__(self, time: np.ndarray) -> np.ndarray:
        """The law at the given times; NaN before t0."""
        since = np.asarray(time, dtype=float) - self.t0
        return self.a * np.sqrt(np.where(since >= 0, since, np.nan))

    def __str__(self) -> str:
        return (
            f"L = a (t - t0)^½, a = {self.a:.3g} ± {self.a_sigma:.1g}, t0 = {self.t0:.3g} ± {self.t0_sigma:.1g} "
            f"for t in [{self.window[0]:g}, {self.window[1]:g}], χ²/dof = {self.chi2_per_dof:.2f}"
        )


def allen_cahn(
    length: xr.DataArray, *, rng: torch.Generator, window: tuple[float, float] | None = None, samples: int = 1000
) -> AllenCahn:
    r"""Fit the law of walls that move by their curvature, dL/dt = a²/(2L), to lengths ``(replica, time)``,

    .. math:: L(t) = a\,(t - t_0)^{1/2} .

    t0 stands for the time domains take to form, so that the fit may begin long before t ≫ t0, where a plain
    exponent (:func:`growth_exponent`) is biased. ⟨L⟩² is linear in t: a straight line by least squares, weighted for
    one relative error of L at all times (the scatter of a few replicas at a time is no weight), with errors from
    refitting ``samples`` sets of means (:func:`mean_draws`).

    Parameters
    ----------
    length: dimensions "replica" (at least 3) and "time" with its coordinate, finite and positive inside the window.
    window: first and last time of the fit, all times if not given. Choose it before looking at the result: after
        domains have formed, before L reaches an eighth of the lattice.

    References
    ----------
    S. M. Allen, J. W. Cahn, Acta Metall. 27, 1085 (1979); A. J. Bray, Adv. Phys. 43, 357 (1994).
    """
    t, values, limits = _inside(length, window, "the Allen-Cahn law", after=-np.inf)
    mean = values.mean(0)
    # δ(L²) = 2L² δL/L.
    sigma = 2.0 * mean**2 * pooled_relative_error(values)

    def law(L: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        slope, at_zero = weighted_line(t, L**2, sigma)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(np.maximum(slope, 0.0)), -at_zero / slope, at_zero

    a, t0, at_zero = law(mean)
    if not a > 0:
        raise ValueError(f"L does not grow for t in [{limits[0]:g}, {limits[1]:g}], so that no Allen-Cahn law fits.")
    a_drawn, t0_drawn, _ = law(mean_draws(values, rng=rng, samples=samples))
    growing = a_drawn > 0
    a_sigma, t0_sigma = float(np.std(a_drawn, ddof=1)), float(np.std(t0_drawn[growing], ddof=1))
    pairs = (float(a), a_sigma), (float(t0), t0_sigma)
    intervals = (students_interval(*pair, len(values) - 1) for pair in pairs)
    residual = (mean**2 - at_zero - a**2 * t) / sigma
    return AllenCahn(*pairs[0], *pairs[1], *intervals, **_quality(values, limits, residual))


def _quality(
    values: np.ndarray, window: tuple[float, float], residual: np.ndarray, parameters: int = 2
) -> dict[str, Any]:
    chi2 = float(residual @ residual)
    return {"window": window, "chi2": chi2, "dof": len(residual) - parameters, "replicas": len(values)}


def _inside(
    length: xr.DataArray, window: tuple[float, float] | None, law: str, *, after: float
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Times later than ``after`` and lengths ``(replica, time)`` in a window, and its ends."""
    values, times = lengths_and_times(length)
    inside, (low, high) = times_inside(times, window, after)
    if inside.sum() < 3:
        which = {0.0: "positive times", -np.inf: "times"}.get(after, f"times after {after:g}")
        raise ValueError(f"{inside.sum()} {which} lie in the window [{low:g}, {high:g}]; {law} needs at least 3.")
    return times[inside], check_positive(values[:, inside]), (low, high)
