"""What an ensemble of replicas says, and whether two ensembles say the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from scipy import stats

from nearsight._validation import boolean, generator, instance, integer


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
    result = xr.Dataset({"mean": mean, "error": error}, attrs={"replicas": n})
    name, units = values.attrs.get("long_name", values.name or "value"), values.attrs.get("units", "1")
    result["mean"].attrs = {"long_name": f"{name}", "units": units}
    result["error"].attrs = {"long_name": f"standard error of {name}", "units": units}
    return result


def weighted_mean_and_error(values: xr.DataArray, weights: xr.DataArray, dim: str = "replica") -> xr.Dataset:
    r"""Mean over replicas that know a quantity unequally well, and its standard error,

    .. math:: \bar x = \frac{\sum_r w_r x_r}{\sum_r w_r}, \qquad
              \sigma^2 = \frac{n}{n - 1}\, \frac{\sum_r w_r^2 (x_r - \bar x)^2}{(\sum_r w_r)^2}

    (the ratio estimator), with n the number of replicas of positive weight: x a mean over w sites, say, or a share of a
    length w of walls. With equal weights this is :func:`mean_and_error`. Values of weight zero may be NaN; without any
    weight the mean is NaN, and with fewer than two replicas the error.
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
    result = xr.Dataset({"mean": mean, "error": error}, attrs={"replicas": values.sizes[dim]})
    name, units = values.attrs.get("long_name", values.name or "value"), values.attrs.get("units", "1")
    result["mean"].attrs = {"long_name": f"{name}", "units": units}
    result["error"].attrs = {"long_name": f"standard error of {name}", "units": units}
    return result


class Estimate(NamedTuple):
    """A statistic of the whole sample, its bootstrap standard error and its 68 % interval."""

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
    samples, replicas = integer(samples, "samples", least=2), _real(replicas, "replicas")
    if replicas.ndim < 1 or len(replicas) < 2:
        raise ValueError(f"Resampling needs at least 2 replicas along the first axis, got shape {replicas.shape}.")
    if not np.isfinite(replicas).all():
        raise ValueError("replicas hold NaN or infinite values; leave those replicas out, or say what they stand for.")
    draws = torch.randint(len(replicas), (samples, len(replicas)), generator=rng).numpy()
    resampled = np.array([statistic(replicas[draw]) for draw in draws], dtype=float)
    n, value = len(replicas), np.asarray(statistic(replicas), dtype=float)
    low, high = np.quantile(resampled, [0.1587, 0.8413], axis=0)
    wider = np.sqrt(n / (n - 1))
    t = wider * stats.t.ppf(0.8413, n - 1)
    error = wider * resampled.std(axis=0, ddof=1)
    return Estimate(value, error, value - t * (value - low), value + t * (high - value))


def mean_draws(values: np.ndarray, *, rng: torch.Generator, samples: int, students: bool = False) -> np.ndarray:
    r"""Where the mean of positive quantities ``(replica, ...)`` could as well have been, ``(sample, ...)``,

    .. math:: \bar x \exp\left[\frac{1}{\bar x} \sum_r g_r \frac{x_r - \bar x}{\sqrt{n (n - 1)}}\right]

    with unit normals g, one for each replica and the same at all times: the covariance is that of the mean, S/n, with
    the unbiased S, for three replicas as for many, where a resampling of replicas finds (n - 1)/n of it. ``students``
    divides g by √(χ²/(n - 1)): the draws then follow Student's t, whose quantiles are intervals for the true mean.
    """
    n, mean = len(values), values.mean(0)
    g = torch.randn((samples, n), generator=rng, dtype=torch.float64).numpy()
    if students:
        chi2 = torch.randn((samples, n - 1), generator=rng, dtype=torch.float64).square().sum(1, keepdim=True).numpy()
        g = g / np.sqrt(chi2 / (n - 1))
    relative = (values - mean) / mean / np.sqrt(n * (n - 1))
    return mean * np.exp(np.einsum("sr,r...->s...", g, relative))


def students_interval(value: float, error: float, dof: int, level: float = 0.95) -> tuple[float, float]:
    """The interval that covers the truth with probability ``level``, from a standard error of so many degrees of
    freedom: value ± t × error."""
    half = float(stats.t.ppf(0.5 + level / 2, dof)) * error
    return float(value - half), float(value + half)


@dataclass(frozen=True)
class Comparison:
    """Outcome of :func:`compare_curves`: under the null hypothesis ``statistic`` follows F(dof[0], dof[1]).

    ``explained`` is the share of the total variance (of standardised points) that the compared modes carry, ``scatter``
    the ratio of the scatter of replicas within the first ensemble to that within the second (1 for pairs).
    """

    p_value: float
    statistic: float
    dof: tuple[float, float]
    modes: int
    explained: float
    scatter: float = 1.0

    def __str__(self) -> str:
        uneven = f"; one scatters {self.scatter:.2g} times as much" if not 0.5 < self.scatter < 2 else ""
        return (
            f"p = {self.p_value:.3g} (F = {self.statistic:.2f} with {self.dof[0]:g}, {self.dof[1]:.3g} degrees of "
            + (f"freedom{uneven})")
        )


def compare_curves(
    a: np.ndarray | xr.DataArray,
    b: np.ndarray | xr.DataArray,
    *,
    paired: bool = False,
    modes: int | None = None,
    equal_covariances: bool = False,
) -> Comparison:
    r"""Have two ensembles of curves ``(replica, point)`` the same mean curve?

    The points of a curve are correlated and often more numerous than replicas, so that a sum of squared deviations in
    units of error bars follows no known distribution and the full covariance has no inverse. The tests used here work
    on a few linear scores: all n curves together are standardised point by point and projected on the leading principal
    components of their *total* scatter about the common mean, the difference between the ensembles included.

    Ensembles may scatter unequally, one being of another temperature, size or force field. With the covariances S_a,
    S_b of the scores in either,

    .. math:: T^2 = \bar d^{\,T} \left(\frac{S_a}{n_a} + \frac{S_b}{n_b}\right)^{-1} \bar d , \qquad
              \frac{\nu - m + 1}{m\,\nu}\, T^2 \sim F(m,\, \nu - m + 1),

    nearly, with the degrees of freedom ν of Krishnamoorthy and Yu; for one point it is Welch's test. Counted at 5 %
    nominal, it is wrong in 3 to 6 % of cases for 4 to 24 replicas and scatters between 1 : 3 and 10 : 1.

    ``equal_covariances=True`` claims that they are equal. The total scatter then does not know which curve belongs to
    which ensemble, twice as many modes can be compared, and Hotelling's

    .. math:: F = \frac{n - m - 1}{m\,(n - 2)}\, T^2 \sim F(m,\, n - m - 1), \qquad
              T^2 = \frac{n_a n_b}{n}\, \bar d^{\,T} W^{-1} \bar d

    holds exactly for Gaussian curves, whatever the correlations and however many the points (Läuter, Glimm and Kropf).
    If the claim is wrong it is badly wrong: 24 curves against 8 that scatter three times as much differ "at 5 %" in 70
    of 100 cases. Components of the scatter *within* the ensembles would not do: their variances are
    selected to be large, and the p-values are biased.

    Parameters
    ----------
    a, b: one row for each independent replica, the same points in both.
    paired: replica i of ``a`` and of ``b`` started from the same initial condition with the same noise. The differences
        are then tested against zero, F(m, n - m) with n pairs, which is far more sensitive.
    modes: number of components m. By default as many as carry 95 % of the variance, at most a quarter of the curves of
        the smaller ensemble (of all curves, if covariances are equal; of pairs).
    equal_covariances: whether replicas of both ensembles are known to scatter equally.

    A small p-value means different means. A large one says that no difference was seen in the leading modes (the share
    of the variance they carry is ``explained``) with this number of replicas, not that there is none: quote the error
    bars too.

    References
    ----------
    J. Läuter, E. Glimm, S. Kropf, Ann. Statist. 26, 1972 (1998); H. Hotelling, Ann. Math. Statist. 2, 360 (1931);
    K. Krishnamoorthy, J. Yu, Statist. Probab. Lett. 66, 161 (2004); Y. Yao, Biometrika 52, 139 (1965).
    """
    paired, equal = boolean(paired, "paired"), boolean(equal_covariances, "equal_covariances")
    modes = None if modes is None else integer(modes, "modes")
    x, y = _curves(a, "a"), _curves(b, "b")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"Both ensembles need the same points, got {x.shape[1]} and {y.shape[1]}.")
    if paired:
        if len(x) != len(y):
            raise ValueError(
                f"Paired ensembles have equally many replicas in the same order, got {len(x)} and {len(y)}."
            )
        z, groups, n_free = x - y, None, len(x)
    else:
        z, groups, n_free = np.concatenate([x, y]), len(x), len(x) + len(y) - 1
        z = z - z.mean(0)
    if n_free < 3 or (not paired and min(len(x), len(y)) < 2):
        raise ValueError(
            f"{len(x)} and {len(y)} replicas cannot tell a difference from chance; use at least 3 of each."
        )
    scale = np.sqrt((z**2).mean(0))
    # A point without any scatter (a normalised C(0)) says nothing and is left out.
    informative = scale > 1e-12 * max(float(np.abs(x).max()), float(np.abs(y).max()))
    if not informative.any():
        return Comparison(1.0, 0.0, (1, n_free - 1), 0, 1.0)
    z = z[:, informative] / scale[informative]
    u, singular, _ = np.linalg.svd(z, full_matrices=False)
    share = np.cumsum(singular**2) / np.sum(singular**2)
    rank = int(np.sum(singular > 1e-9 * singular[0]))
    unequal = not paired and not equal
    curves = min(len(x), len(y)) if unequal else len(z)
    largest = min(rank, curves - 1 if unequal else n_free - 1)
    if modes is None:
        m = min(int(np.searchsorted(share, 0.95)) + 1, max(1, curves // 4), largest)
    elif 1 <= modes <= largest:
        m = modes
    else:
        raise ValueError(f"modes must lie in 1..{largest} for {len(z)} curves, got {modes}.")
    scores = u[:, :m] * singular[:m]
    scatter = 1.0 if groups is None else _scatter(scores[:groups], scores[groups:])
    if unequal:
        statistic, dof = _unequal(u[:groups, :m], u[groups:, :m])
        p = float(stats.f.sf(statistic, *dof))
        return Comparison(p, statistic, dof, m, float(share[m - 1]), scatter)
    # The scores of all curves in the leading modes are orthonormal columns of u, so that with h the squared length of
    # the mean (difference) in these units the total scatter is 1 and the scatter within is 1 - h: F = h/(1 - h) · dof
    # ratio.
    if groups is None:
        h = float(np.sum(u[:, :m].sum(0) ** 2) / len(z))
    else:
        difference = u[:groups, :m].mean(0) - u[groups:, :m].mean(0)
        h = float(difference @ difference) * groups * (len(z) - groups) / len(z)
    dof = (m, n_free - m)
    statistic = h / max(1.0 - h, 1e-300) * dof[1] / dof[0]
    return Comparison(float(stats.f.sf(statistic, *dof)), statistic, dof, m, float(share[m - 1]), scatter)


def _scatter(a: np.ndarray, b: np.ndarray) -> float:
    """Ratio of the root mean square deviations within two ensembles of scores."""
    variances = [np.sum(x.var(0, ddof=1)) for x in (a, b)]
    return float(np.sqrt(variances[0] / variances[1])) if variances[1] > 0 else float("inf")


def _unequal(a: np.ndarray, b: np.ndarray) -> tuple[float, tuple[float, float]]:
    """F of Yao's T² for two ensembles of scores ``(curve, mode)`` and its degrees of freedom."""
    m, difference = a.shape[1], a.mean(0) - b.mean(0)
    parts = [np.atleast_2d(np.cov(x.T)) / len(x) for x in (a, b)]
    inverse = np.linalg.pinv(parts[0] + parts[1], hermitian=True)
    lost = 0.0
    for part, curves in zip(parts, (a, b), strict=True):
        q = part @ inverse
        lost += (np.trace(q @ q) + np.trace(q) ** 2) / (len(curves) - 1)
    nu = max((m + m * m) / lost, float(m))
    t2 = float(difference @ inverse @ difference)
    return t2 * (nu - m + 1) / (nu * m), (m, nu - m + 1)


def _real(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be an array of real numbers, got {type(values).__name__} of {array.dtype}.")
    return array.astype(float)


def _curves(curves: np.ndarray | xr.DataArray, name: str) -> np.ndarray:
    if isinstance(curves, xr.DataArray):
        if "replica" not in curves.dims:
            raise ValueError(f"{name} needs a dimension 'replica', got {curves.dims}.")
        curves = curves.transpose("replica", ...).values
    array = _real(curves, name)
    if array.ndim < 2:
        raise ValueError(f"{name} must have shape (replica, point), got {array.shape}.")
    array = array.reshape(len(array), -1)
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} holds NaN or infinite values; leave out the points where the quantity is not defined."
        )
    return array
