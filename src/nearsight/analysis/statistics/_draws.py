"""Draws of means, Student's intervals and straight lines: what the error bars of fits are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import stats

from nearsight._validation import generator, integer


def mean_draws(values: np.ndarray, *, rng: torch.Generator, samples: int, students: bool = False) -> np.ndarray:
    r"""Where the mean of positive quantities ``(replica, ...)`` could as well have been, ``(sample, ...)``,

    .. math:: \bar x \exp\left[\frac{1}{\bar x} \sum_r g_r \frac{x_r - \bar x}{\sqrt{n (n - 1)}}\right]

    with unit normals g, one for each replica and the same at all times: the covariance is that of the mean, S/n, with
    the unbiased S, for three replicas as for many, where a resampling of replicas finds (n - 1)/n of it. ``students``
    divides g by √(χ²/(n - 1)): the draws then follow Student's t, whose quantiles are intervals for the true mean.
    """
    generator(rng)
    samples, n, mean = integer(samples, "samples", least=2), len(values), values.mean(0)
    g = torch.randn((samples, n), generator=rng, dtype=torch.float64).numpy()
    if students:
        chi2 = torch.randn((samples, n - 1), generator=rng, dtype=torch.float64).square().sum(1, keepdim=True).numpy()
        g = g / np.sqrt(chi2 / (n - 1))
    relative = (values - mean) / mean / np.sqrt(n * (n - 1))
    return mean * np.exp(np.einsum("sr,r...->s...", g, relative))


def left_out_error(without: np.ndarray) -> np.ndarray:
    """Standard error of a statistic, from its values with each of n parts left out ``(n, ...)``."""
    n = len(without)
    return np.sqrt((n - 1) / n * ((without - without.mean(0)) ** 2).sum(0))


def students_interval(value: float, error: float, dof: int, level: float = 0.95) -> tuple[float, float]:
    """The interval that covers the truth with probability ``level``, from a standard error of so many degrees of
    freedom: value ± t × error."""
    half = float(stats.t.ppf(0.5 + level / 2, dof)) * error
    return float(value - half), float(value + half)


def real_array(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got {type(values).__name__} of {array.dtype}.")
    return array.astype(float)


def weighted_line(x: np.ndarray, y: np.ndarray, sigma: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept of the straight line through points ``(..., point)``, weighted by their errors ``(point,)``
    if given; ``x`` may be the same for all lines, ``(point,)``."""
    sigma = np.ones(x.shape[-1]) if sigma is None else sigma
    w = sigma**-2 / np.sum(sigma**-2)
    centre = np.sum(w * x, axis=-1)
    from_centre = x - centre[..., None]
    slope = np.sum(w * from_centre * y, axis=-1) / np.sum(w * from_centre**2, axis=-1)
    return slope, np.sum(w * y, axis=-1) - slope * centre


QUANTILES = (0.1587, 0.8413)
"""Of a bootstrap distribution: a 68 % interval."""


def quantile_interval(values: np.ndarray, quantiles: tuple[float, float]) -> tuple[float, float]:
    low, high = np.quantile(values, quantiles)
    return float(low), float(high)
