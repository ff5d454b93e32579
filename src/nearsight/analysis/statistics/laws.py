"""A straight line through independent points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nearsight._validation import generator, integer
from nearsight.analysis.statistics._draws import QUANTILES, quantile_interval


@dataclass(frozen=True)
class LinearLaw:
    """A straight line y = intercept + slope × x by least squares, with bootstrap standard errors over points.

    ``correlation`` is that of Pearson, with its error: 1 for points on a rising line.

    :func:`linear_law` returns it.
    """

    slope: float
    slope_sigma: float
    intercept: float
    intercept_sigma: float
    correlation: float
    correlation_sigma: float
    points: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The line at other x."""
        return self.intercept + self.slope * np.asarray(x, dtype=float)

    def __str__(self) -> str:
        return (
            f"y = ({self.intercept:.3g} ± {self.intercept_sigma:.1g}) + ({self.slope:.3g} ± {self.slope_sigma:.1g}) x, "
            f"r = {self.correlation:.3f} ± {self.correlation_sigma:.3f} of {self.points} points"
        )


def linear_law(x: np.ndarray, y: np.ndarray, *, rng: torch.Generator, samples: int = 1000) -> LinearLaw:
    """Fit independent points ``(point,)`` by a straight line, all points of equal weight; errors resample points, and
    make up for the two degrees of freedom that the line takes, √(n/(n - 2)). Few points need Student's t with n - 2."""
    generator(rng)
    samples = integer(samples, "samples", least=2)
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 5:
        raise ValueError(f"A line with an error needs 5 or more points (x, y), got {x.shape} and {y.shape}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError("Points must be finite and not all have the same x or y; leave out infinite lengths.")

    def line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u, v = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
        uu, vv, uv = (u * u).sum(-1), (v * v).sum(-1), (u * v).sum(-1)
        slope = uv / uu
        return np.stack([slope, y.mean(-1) - slope * x.mean(-1), uv / np.sqrt(uu * vv)])

    draws = torch.randint(len(x), (samples, len(x)), generator=rng).numpy()
    # A resampling that holds a single point, over and over, has no slope.
    draws = draws[(np.ptp(x[draws], axis=1) > 0) & (np.ptp(y[draws], axis=1) > 0)]
    slope, intercept, r = line(x, y)
    s_slope, s_intercept, s_r = np.sqrt(len(x) / (len(x) - 2)) * line(x[draws], y[draws]).std(1, ddof=1)
    return LinearLaw(float(slope), float(s_slope), float(intercept), float(s_intercept), float(r), float(s_r), len(x))


@dataclass(frozen=True)
class SizeLaw:
    """A fit y = amplitude × size^exponent, with the bootstrap error and 68 % and 95 % intervals of the exponent.

    :func:`size_law` returns it.
    """

    exponent: float
    error: float
    interval: tuple[float, float]
    confidence: tuple[float, float]
    amplitude: float

    def __call__(self, size: np.ndarray) -> np.ndarray:
        """The law at other sizes."""
        return self.amplitude * np.asarray(size, dtype=float) ** self.exponent

    def __str__(self) -> str:
        low, high = self.confidence
        return f"~ size^n, n = {self.exponent:.3f} ± {self.error:.3f} (95 %: {low:.3f} to {high:.3f})"


def size_law(sizes: np.ndarray, values: np.ndarray, samples: np.ndarray) -> SizeLaw:
    """Fit values ``(size,)`` by a power law, ln y against ln size, weighted by the scatter of ln y over resamplings.

    ``samples`` ``(sample, size)`` are the same values of resampled data, each of which is fitted again. Sets with a
    value that is not positive (or NaN, a window that did not open or close) are left out; if more than half are, the
    exponent is not known at all and a ``ValueError`` says so.
    """
    x, y = np.log(np.asarray(sizes, dtype=float)), np.asarray(values, dtype=float)
    if len(x) < 2 or len(np.unique(x)) != len(x):
        raise ValueError(f"A power law needs two or more different sizes, got {np.asarray(sizes).tolist()}.")
    good = (np.nan_to_num(samples) > 0).all(axis=1)
    if not (np.nan_to_num(y) > 0).all() or good.mean() < 0.5:
        raise ValueError(
            f"Values {np.round(y, 4).tolist()} at sizes {np.asarray(sizes).tolist()} or most of their resamplings are "
            f"not positive: there is no power law to fit. Take more data, finer steps, or other sizes."
        )
    logs = np.log(samples[good])
    weight = 1.0 / np.maximum(logs.std(axis=0), 1e-6)
    slope, offset = np.polyfit(x, np.log(y), 1, w=weight)
    slopes = np.array([np.polyfit(x, row, 1, w=weight)[0] for row in logs])
    inner, outer = (quantile_interval(slopes, quantiles) for quantiles in (QUANTILES, (0.025, 0.975)))
    return SizeLaw(float(slope), float(slopes.std(ddof=1)), inner, outer, float(np.exp(offset)))
