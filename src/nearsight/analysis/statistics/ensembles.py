"""Means over replicas and their errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from scipy import stats

from nearsight._validation import generator, instance, integer
from nearsight.analysis.statistics._draws import QUANTILES, left_out_error, real_array


def mean_and_error(values: xr.DataArray, dim: str = "replica") -> xr.Dataset:
    """Mean over replicas and its standard error, s/√n with s the unbiased standard deviation.

    One standard error covers the mean in 68 % of cases if there are many replicas, in 58 % if there are three; the
    factor for 95 % is Student's t with n - 1 degrees of freedom, 4.3 for three replicas and 2.1 for twenty.

    Returns a Dataset with ``mean``, ``error`` and the attribute ``replicas``; the remaining coordinates are kept. The
    error of a single replica is NaN.
    """
    instance(values, xr.DataArray, "values", "Name the dimension of replicas: xr.DataArray(x, dims=('replica', ...)).")
    if dim not in values.dims:
        raise ValueError(f"No dimension {dim!r} among {values.dims}; name the one that counts independent replicas.")
    n = values.sizes[dim]
    mean = values.mean(dim)
    error = values.std(dim, ddof=1) / np.sqrt(n) if n > 1 else xr.full_like(mean, np.nan)
    return _labelled(values, mean, error, n)


def weighted_mean_and_error(values: xr.DataArray, weights: xr.DataArray, dim: str = "replica") -> xr.Dataset:
    r"""Mean over replicas of unequal weights, and its standard error,

    .. math:: \bar x = \frac{\sum_r w_r x_r}{\sum_r w_r}, \qquad
              \sigma^2 = \frac{n}{n - 1}\, \frac{\sum_r w_r^2 (x_r - \bar x)^2}{(\sum_r w_r)^2}

    (the ratio estimator), with n the number of replicas of positive weight: x a mean over w sites, say, or a fraction
    of a length w of walls. With equal weights this is :func:`mean_and_error`. Values of weight zero may be NaN; without
    any weight the mean is NaN, and with fewer than two replicas the error.
    """
    if dim not in values.dims or dim not in weights.dims:
        raise ValueError(f"values and weights need the dimension {dim!r}, got {values.dims} and {weights.dims}.")
    if bool((weights < 0).any()) or bool((values.isnull() & (weights > 0)).any()):
        raise ValueError("Weights must not be negative, and values must be known where the weight is positive.")
    known = values.where(weights > 0, 0.0)
    n, total = (weights > 0).sum(dim), weights.sum(dim)
    total = total.where(total > 0)
    mean = (weights * known).sum(dim) / total
    scatter = (weights**2 * (known - mean) ** 2).sum(dim)
    error = np.sqrt(scatter * n / (n - 1).where(n > 1)) / total
    return _labelled(values, mean, error, values.sizes[dim])


def _labelled(values: xr.DataArray, mean: xr.DataArray, error: Any, replicas: int) -> xr.Dataset:
    result = xr.Dataset({"mean": mean, "error": error}, attrs={"replicas": replicas})
    name, units = values.attrs.get("long_name", values.name or "value"), values.attrs.get("units", "1")
    result["mean"].attrs = {"long_name": f"{name}", "units": units}
    result["error"].attrs = {"long_name": f"standard error of {name}", "units": units}
    return result


def resampled_means(values: np.ndarray, *, rng: torch.Generator, samples: int) -> np.ndarray:
    """Means ``(sample, ..., point)`` over trials, drawn again with replacement, of values ``(..., point, trial)``.

    Trials are drawn for every point by itself. What stands on the leading axes (models, sizes of blocks) has seen the
    same trials, and does so in every sample.
    """
    generator(rng)
    if values.ndim < 2 or not values.shape[-1]:
        raise ValueError(f"values are (..., point, trial) with one trial or more, got {values.shape}.")
    points, n = values.shape[-2:]
    draws = (torch.randint(n, (points, n), generator=rng).numpy() for _ in range(integer(samples, "samples", least=2)))
    return np.stack([np.take_along_axis(values, np.broadcast_to(d, values.shape), axis=-1).mean(-1) for d in draws])


class Estimate(NamedTuple):
    """A statistic of the whole sample, its bootstrap standard error and its 68 % interval.

    :func:`bootstrap` and :func:`jackknife` return it.
    """

    value: np.ndarray
    error: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray | float],
    replicas: np.ndarray,
    *,
    rng: torch.Generator,
    samples: int = 1000,
) -> Estimate:
    """Error of any ``statistic`` of an array of replicas ``(replica, ...)`` by resampling whole replicas.

    Correlations within a replica (between times, or distances) are kept. Resampling n replicas scatters a mean by
    √((n - 1)/n) too little, which is made up for; the interval is that of the percentiles, widened by Student's t for
    n - 1 degrees of freedom. The statistic has to make sense for n - 1 replicas: errors of extremes come out too small.
    """
    generator(rng)
    samples, replicas = integer(samples, "samples", least=2), real_array(replicas, "replicas")
    if replicas.ndim < 1 or len(replicas) < 2:
        raise ValueError(f"Resampling needs at least 2 replicas along the first axis, got shape {replicas.shape}.")
    if not np.isfinite(replicas).all():
        raise ValueError("replicas hold NaN or infinite values; leave those replicas out, or say what they stand for.")
    draws = torch.randint(len(replicas), (samples, len(replicas)), generator=rng).numpy()
    resampled = np.array([statistic(replicas[draw]) for draw in draws], dtype=float)
    n, value = len(replicas), np.asarray(statistic(replicas), dtype=float)
    low, high = np.quantile(resampled, QUANTILES, axis=0)
    wider = np.sqrt(n / (n - 1))
    t = wider * stats.t.ppf(0.8413, n - 1)
    error = wider * resampled.std(axis=0, ddof=1)
    return Estimate(value, error, value - t * (value - low), value + t * (high - value))


def jackknife(statistic: Callable[[np.ndarray], np.ndarray | float], replicas: np.ndarray) -> Estimate:
    """Error of any smooth ``statistic`` of an array of replicas ``(replica, ...)``, each of which is left out once.

    Needs no random numbers and n + 1 evaluations; the interval is widened by Student's t for n - 1 degrees of freedom.
    Replicas have to be independent: join what is correlated in time to blocks first. It fails for medians and other
    quantiles, whose errors :func:`bootstrap` gives.

    >>> import numpy as np
    >>> found = jackknife(lambda x: x.mean(0) ** 2, np.array([1.0, 2.0, 3.0, 6.0]))
    >>> found.value.item(), round(found.error.item(), 3)
    (9.0, 6.038)
    """
    replicas = real_array(replicas, "replicas")
    n = len(replicas) if replicas.ndim else 0
    if n < 2 or not np.isfinite(replicas).all():
        raise ValueError(f"A jackknife needs 2 finite replicas or more along the first axis, got {replicas.shape}.")
    value = np.asarray(statistic(replicas), dtype=float)
    without = np.array([statistic(np.delete(replicas, k, axis=0)) for k in range(n)], dtype=float)
    error = left_out_error(without)
    wide = stats.t.ppf(0.8413, n - 1) * error
    return Estimate(value, error, value - wide, value + wide)
