"""How long a Markov chain remembers, and the error bars that follow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

WINDOW = 6.0
"""The sum over lags ends at the first that exceeds so many autocorrelation times."""
PIECES, SHORTEST = (64, 32, 16, 8), 4
"""Numbers of pieces whose means are compared, and fewest steps in one."""
CHANCE = 0.1
"""How often pieces of a series without slow modes scatter by so much that they decide."""


class AutocorrelationTime(NamedTuple):
    """Integrated autocorrelation time in steps of the series, its standard error, and the last lag of the sum.

    :func:`autocorrelation_time` returns it.
    """

    tau: float
    error: float
    window: int


def autocorrelation_time(series: np.ndarray) -> AutocorrelationTime:
    r"""Integrated autocorrelation time of a stationary series ``(time,)`` or of equivalent chains ``(chain, time)``,

    .. math:: \tau = \tfrac12 + \sum_{t=1}^{W} \rho(t), \qquad
              \sigma_{\bar x}^2 = \frac{2 \tau}{n} \operatorname{var} x .

    The window W is the smallest with W >= 6 τ(W): beyond it the sum gathers noise, before it signal is cut off (a bias
    of exp(-6) for one exponential). Independent steps have τ = 1/2. The error is that of Madras and Sokal,
    τ √(2 (2W + 1) / n) with n steps in all chains; a series shorter than about 100 τ gives a τ that is too small.

    Chains share one mean: chains that sit in different places make τ large, as they should. A series that never changes
    has no autocorrelation time (NaN).

    References
    ----------
    N. Madras, A. D. Sokal, J. Stat. Phys. 50, 109 (1988), appendix C.
    """
    x = _series(series)
    chains, n = x.shape
    x = x - x.mean()
    spectrum = np.abs(np.fft.rfft(x, 2 * n, axis=-1)) ** 2
    covariance = np.fft.irfft(spectrum, 2 * n, axis=-1)[:, :n].mean(0) / np.arange(n, 0, -1)
    if covariance[0] <= 1e-24 * max(1.0, float(np.abs(np.asarray(series)).max()) ** 2):
        return AutocorrelationTime(np.nan, np.nan, 0)
    sums = 0.5 + np.concatenate([[0.0], np.cumsum(covariance[1:] / covariance[0])])
    inside = np.arange(n) >= WINDOW * sums
    window = int(np.argmax(inside)) if inside.any() else n - 1
    # Alternation can push a noisy sum below zero; nothing is remembered less than not at all by more than this.
    tau = max(float(sums[window]), 0.5 / n)
    return AutocorrelationTime(tau, tau * float(np.sqrt(2 * (2 * window + 1) / (chains * n))), window)


def agreement(series: np.ndarray) -> float:
    r"""How likely chains ``(chain, time)`` that sample the same distribution differ as much as these: a p-value,

    .. math:: \chi^2 = \sum_c \frac{(\bar x_c - \bar x)^2}{2 \tau_w s_w^2 / n} \quad\text{with chains} - 1
              \text{ degrees of freedom},

    where the variance s² and the memory τ are those *within* chains, each about its own mean: a chain that is stuck has
    little of either, and cannot hide what sets it apart. With chains from different starts this is the comparison of
    variances between and within of Gelman and Rubin. Chains of 20 τ or more are needed for the p-value to be right.
    0 for chains that do not move and differ, 1 if none differs.

    References
    ----------
    A. Gelman, D. B. Rubin, Statist. Sci. 7, 457 (1992); U. Wolff, Comput. Phys. Commun. 156, 143 (2004) (bias of τ).
    """
    x = _series(series)
    chains, n = x.shape
    own = x.mean(1, keepdims=True)
    between = float(((own - own.mean()) ** 2).sum())
    if chains < 2 or between <= 1e-24 * max(1.0, float(np.abs(x).max()) ** 2):
        return 1.0
    within = x - own
    tau, _, window = autocorrelation_time(within)
    if np.isnan(tau):
        return 0.0
    # About its own mean, and not the true one, a chain of n steps loses 2τ/n of its variance at every lag of the sum.
    tau = max(tau, 0.5) * (1 + (2 * window + 1) / n)
    variance = 2 * tau * within.var() / (n * max(1 - 2 * tau / n, 0.1))
    return float(stats.chi2.sf(between / variance, chains - 1))


def mean_and_error(series: np.ndarray) -> tuple[float, float]:
    r"""Mean of a stationary series ``(time,)`` or ``(chain, time)`` and its standard error,

    .. math:: \sigma_{\bar x} = c_\nu \sqrt{2 \tau \operatorname{var} x / n}, \qquad \nu = n / (2W + 1),

    such that the mean ± 1.96 σ holds the truth in 95 of 100 series: c is the quantile of Student's distribution with
    ν degrees of freedom over that of the normal one, since τ itself is uncertain. Slow modes of small amplitude are
    missed by the window W of τ, as in glasses; so the scatter of the means of 64, 32, 16 and 8 pieces of the series is
    taken instead, each with its own c, where it is larger by more than chance allows (10 %).
    A series shorter than some fifteen τ cannot know its own memory: of ten τ, 90 of 100 intervals hold the truth.

    >>> import numpy as np
    >>> from nearsight.sampling import mean_and_error
    >>> mean, error = mean_and_error(np.random.default_rng(1).standard_normal(10_000))
    >>> abs(mean) < 2 * error, round(error, 3)
    (True, 0.01)
    """
    x = _series(series)
    found = autocorrelation_time(x)
    if np.isnan(found.tau):
        return float(x.mean()), 0.0
    variance = 2 * found.tau * x.var() / x.size
    error = _widened(variance, x.size / (2 * found.window + 1))
    for pieces in {max(1, number // len(x)) for number in PIECES}:
        length, count = x.shape[1] // pieces, pieces * len(x)
        if length < SHORTEST or count < PIECES[-1]:
            continue
        means = x[:, : pieces * length].reshape(count, length).mean(1)
        scatter = means.var(ddof=1) / count
        if scatter > variance * stats.chi2.isf(CHANCE, count - 1) / (count - 1):
            error = max(error, _widened(scatter, count - 1))
    return float(x.mean()), error


def _widened(variance: float, freedom: float) -> float:
    """A standard error of which 1.96 are the half width of a 95 % interval."""
    return float(np.sqrt(variance) * stats.t.ppf(0.975, max(freedom, 1.0)) / stats.norm.ppf(0.975))


def _series(series: np.ndarray) -> np.ndarray:
    """A series as floats ``(chain, time)``, refused if it is none."""
    wanted = "A series has shape (time,) or (chain, time), at least 4 finite real steps"
    try:
        x = np.atleast_2d(np.asarray(series))
    except ValueError as error:
        raise ValueError(f"{wanted}, and chains of one length.") from error
    if x.dtype.kind not in "fiu":
        raise TypeError(f"{wanted}, got {type(series).__name__} of {x.dtype}.")
    if x.ndim != 2 or x.shape[1] < 4 or not np.isfinite(x).all():
        raise ValueError(f"{wanted}, got {x.shape} with {int((~np.isfinite(x)).sum())} that are not finite.")
    return x.astype(float)
