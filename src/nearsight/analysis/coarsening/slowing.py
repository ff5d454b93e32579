"""Whether growth slows down: the local exponent, and when it falls below a threshold for good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from nearsight._validation import number
from nearsight.analysis.coarsening._lengths import check_positive, lengths_and_times
from nearsight.analysis.statistics._draws import QUANTILES, mean_draws, students_interval, weighted_line


def local_exponent(
    length: xr.DataArray,
    *,
    rng: torch.Generator,
    since: float = 0.0,
    factor: float = 2.0,
    samples: int = 1000,
) -> xr.Dataset:
    r"""The exponent at every time, n(t) = d ln L / d ln(t - t0), with its error over replicas.

    At each time t a straight line goes through ln⟨L⟩ over the recorded times with (t - t0) within a ``factor`` of it,
    √factor to either side, by least squares with equal weights. Neighbouring values share records and are correlated.

    Parameters
    ----------
    length: dimensions "replica" (at least 3) and "time" with its coordinate.
    since: t0; with 0, L = a (t - t0)^½ shows n = ½ t/(t - t0), above ½ at early times. Pass the t0 of
        :func:`allen_cahn` where the question is whether that law holds.
    factor: width of the window in time, above 1. A wide one has small errors and blurs a change of the law.

    Returns
    -------
    A Dataset ``(time)`` with ``exponent``, ``error`` (one standard error) and the ends ``low`` and ``high`` of the
    interval that covers the exponent in 95 % of cases (Student's t, each time by itself), at those times whose whole
    window has been recorded and holds at least 3 records.
    """
    values, age, at, windows = _windows(length, since, factor)
    exponent = _slopes(np.log(values.mean(0)), age, windows)
    error = _slopes(np.log(mean_draws(values, rng=rng, samples=samples)), age, windows).std(0, ddof=1)
    half = error * students_interval(0.0, 1.0, len(values) - 1)[1]
    named = {
        "exponent": (exponent, "local exponent of growth"),
        "error": (error, "standard error of the local exponent"),
        "low": (exponent - half, "lower end of the 95 % interval"),
        "high": (exponent + half, "upper end of the 95 % interval"),
    }
    return xr.Dataset(
        {name: ("time", values, {"long_name": label, "units": "1"}) for name, (values, label) in named.items()},
        coords={"time": ("time", at, length["time"].attrs)},
        attrs={"since": float(since), "factor": float(factor), "replicas": len(values)},
    )


@dataclass(frozen=True)
class Departure:
    """When a curve of an ensemble falls below a threshold for good, if it does.

    ``reached`` is the fraction of drawn means (by Student's t) in which it does by the time ``until``: near 1 for a
    finding, near 0 for none, and between them the records do not decide. ``until`` is the last time whose exponent is
    known, half a window before the last record. ``time`` is that of the ensemble itself and ``low``, ``high`` the 68 %
    interval over the draws, in which "not reached" counts as later than ``until`` (inf). ``time`` is None if the
    ensemble itself does not get there.

    :func:`departure` returns it.
    """

    time: float | None
    low: float
    high: float
    reached: float
    threshold: float
    until: float

    def __str__(self) -> str:
        below = f"below {self.threshold:g}"
        if self.time is None:
            return f"not {below} by t = {self.until:g} ({100 * self.reached:.0f} % of resampled ensembles are)"
        high = f"{self.high:.3g}" if np.isfinite(self.high) else f"later than {self.until:.3g}"
        return (
            f"{below} from t = {self.time:.3g} on (68 %: {self.low:.3g} to {high}; reached in {100 * self.reached:.0f} "
            "% of resampled ensembles)"
        )


def departure(
    length: xr.DataArray,
    *,
    rng: torch.Generator,
    threshold: float = 0.25,
    since: float = 0.0,
    factor: float = 2.0,
    samples: int = 1000,
) -> Departure:
    """When growth slows down for good: the time after which :func:`local_exponent` stays below ``threshold``.

    The threshold ¼ is half the exponent of Allen and Cahn: domains that freeze reach it, and those that follow the law
    never do. The crossing is linear between records. Staying below until the end of the record is asked for, because a
    noisy exponent dips below any threshold now and then; what happens after the record is not known.

    The draws follow all times together, so that correlations between times are kept.
    """
    threshold = number(threshold, "threshold")
    values, age, at, windows = _windows(length, since, factor)

    def crossing(L: np.ndarray) -> np.ndarray:
        return _last_fall(_slopes(np.log(L), age, windows), at, threshold)

    own = float(crossing(values.mean(0)[None])[0])
    drawn = crossing(mean_draws(values, rng=rng, samples=samples, students=True))
    low, high = map(float, np.quantile(drawn, QUANTILES, method="inverted_cdf"))
    reached = float(np.isfinite(drawn).mean())
    return Departure(own if np.isfinite(own) else None, low, high, reached, threshold, float(at[-1]))


def _last_fall(curves: np.ndarray, at: np.ndarray, threshold: float) -> np.ndarray:
    """Time after which each curve ``(curve, time)`` stays below the threshold; inf if it ends above."""
    above = curves >= threshold
    last = above.shape[1] - 1 - np.argmax(above[:, ::-1], axis=1)
    result = np.full(len(curves), np.inf)
    always = ~above.any(1)
    result[always] = at[0]
    inner = ~always & ~above[:, -1]
    n, rows = last[inner], np.flatnonzero(inner)
    high, low = curves[rows, n], curves[rows, n + 1]
    result[inner] = at[n] + (at[n + 1] - at[n]) * (high - threshold) / (high - low)
    return result


def _windows(
    length: xr.DataArray, since: float, factor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Lengths and ages after ``since``; the usable times, and for each the indices of its window."""
    since = number(since, "since")
    factor = number(factor, "factor, the ratio of the last to the first time of a window,", above=1.0)
    values, times = lengths_and_times(length)
    if np.any(np.diff(times) <= 0):
        raise ValueError("Times must ascend; use length.sortby('time').")
    values, times = check_positive(values[:, times > since]), times[times > since]
    age, half = times - since, np.sqrt(factor) * (1 + 1e-9)
    # A time counts if its whole window was recorded, up to rounding of times on a logarithmic grid.
    usable = np.flatnonzero(
        (age * (1 + 1e-6) >= age[0] * np.sqrt(factor)) & (age <= age[-1] / np.sqrt(factor) * (1 + 1e-6))
    )
    windows = [np.flatnonzero((age >= age[k] / half) & (age <= age[k] * half)) for k in usable]
    whole = [len(window) >= 3 for window in windows]
    if not any(whole):
        raise ValueError(
            f"No time after {since:g} has 3 records within a factor {factor:g}; widen the window with factor=, or "
            f"record more often."
        )
    return values, age, times[usable[whole]], [window for window in windows if len(window) >= 3]


def _slopes(curves: np.ndarray, age: np.ndarray, windows: list[np.ndarray]) -> np.ndarray:
    """Slope of ``(..., time)`` against ln(age) in every window."""
    x = np.log(age)
    return np.stack([weighted_line(x[w], curves[..., w])[0] for w in windows], axis=-1)
