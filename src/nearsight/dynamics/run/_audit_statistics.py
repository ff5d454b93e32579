"""What errors on a few random sites say of those on all."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
"""Of all intervals."""


class Interval(NamedTuple):
    value: float
    low: float
    high: float


def rms_interval(errors: np.ndarray, population: int, referee: float) -> Interval:
    """The rms error of all sites from ``errors (n, component)`` on n of them, drawn without repetition.

    A t interval for the logarithm of the mean square, since squares of errors are positive and skewed, with the
    variance of a sample from a finite population. The referee's own rms error r is added in quadrature: independent of
    the error that is judged it makes it too large by r², and too small where both miss the same.
    """
    squares = np.square(errors).mean(-1)
    mean, spread = float(squares.mean()), _standard_error(squares, population)
    low, high = (mean * math.exp(s * _quantile(len(squares)) * spread / mean) if mean > 0 else 0.0 for s in (-1, 1))
    return Interval(math.sqrt(mean), math.sqrt(max(0.0, low - referee**2)), math.sqrt(high + referee**2))


def mean_interval(errors: np.ndarray, population: int, referee: float) -> Interval:
    """The mean error of all sites from ``errors (n,)`` on n of them; the referee's rms error in quadrature."""
    half = math.hypot(_quantile(len(errors)) * float(_standard_error(errors, population)), referee)
    mean = float(errors.mean())
    return Interval(mean, mean - half, mean + half)


def _standard_error(values: np.ndarray, population: int) -> float:
    n = len(values)
    if n >= population or n < 2:
        return 0.0 if n >= population else math.inf
    return float(values.std(ddof=1)) * math.sqrt((1 - n / population) / n)


def _quantile(n: int) -> float:
    from scipy.stats import t  # imported when needed: the door of the library stays light

    return float(t.ppf(0.5 + 0.5 * LEVEL, max(1, n - 1)))
