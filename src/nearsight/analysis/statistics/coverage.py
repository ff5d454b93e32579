"""Whether posteriors are as wide as they say: ranks of the truth among samples, and coverage."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy import stats

from nearsight._validation import generator, instance, integer
from nearsight.analysis.statistics._draws import real_array


def truth_ranks(
    truth: np.ndarray,
    samples: Sequence[np.ndarray] | np.ndarray,
    *,
    rng: torch.Generator,
    weights: Sequence[np.ndarray] | np.ndarray | None = None,
) -> np.ndarray:
    r"""Where true parameters lie among samples of their posteriors, ``(trial, parameter)`` in (0, 1),

    .. math:: r = \frac{\#\{\theta_k < \theta\} + U\,(1 + \#\{\theta_k = \theta\})}{m + 1} ,

    with U uniform in (0, 1). If truth and samples follow the same law, r is uniform exactly: for any number m of
    samples, independent of each other, and with ties. Of samples with weights it is
    :math:`\sum_{\theta_k < \theta} w_k + U \sum_{\theta_k = \theta} w_k` with :math:`\sum_k w_k = 1`, uniform up to the
    error of a distribution function of that effective size.

    Parameters
    ----------
    truth: ``(trial, parameter)``, drawn from the prior, from which the data of the trial were made.
    samples: of the posterior of each trial ``(trial, sample, parameter)``, or a list with numbers of samples that
        differ. Memory of a Markov chain makes ranks pile up at both ends: thin it.
    weights: of the samples ``(trial, sample)``, not negative.

    References
    ----------
    S. Talts et al., arXiv:1804.06788 (2018).
    """
    generator(rng)
    truth, trials = _trials(truth, samples, weights)
    uniform = torch.rand(truth.shape, generator=rng, dtype=torch.float64).numpy()
    ranks = np.empty_like(truth)
    for k, (drawn, weight) in enumerate(trials):
        less, equal = drawn < truth[k], drawn == truth[k]
        if weight is None:
            ranks[k] = (np.count_nonzero(less, 0) + uniform[k] * (1 + np.count_nonzero(equal, 0))) / (len(drawn) + 1)
        else:
            ranks[k] = weight @ less + uniform[k] * (weight @ equal)
    return ranks


def calibration(
    truth: np.ndarray,
    samples: Sequence[np.ndarray] | np.ndarray,
    *,
    rng: torch.Generator,
    weights: Sequence[np.ndarray] | np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> xr.Dataset:
    r"""Simulation-based calibration: are true parameters spread over their posteriors as samples are?

    ``ranks`` r ``(trial, parameter)`` as :func:`truth_ranks` finds them, which a P-P plot shows sorted. If posteriors
    are right, r is uniform and :math:`z = \Phi^{-1}(r)` normal, which two tests with exact p-values ``(parameter,)``
    examine: ``p_value`` by the largest distance of the P-P curve from the diagonal (Kolmogorov and Smirnov), and
    ``p_scatter`` by :math:`\sum z^2 \sim \chi^2_n`, which is far more sensitive to widths. ``scatter``
    :math:`= \sqrt{\langle z^2 \rangle}` says how many times too narrow posteriors are, as far as so many samples can
    tell, with its ``scatter_error``. ``combined``, the least of all p-values times their number, at most 1, is a
    p-value of all parameters at once however they are correlated.

    Marginal posteriors are examined only, and the prior itself, in place of every posterior, passes: see
    :func:`expected_coverage`. Arguments are those of :func:`truth_ranks`, and names of the parameters.

    Examples
    --------
    Data x = θ + noise of width 1/2, θ with the prior N(0, 1): the posterior is normal with mean 0.8 x, width 0.447.

    >>> import numpy as np, torch
    >>> from nearsight.analysis import calibration
    >>> draw = np.random.default_rng(1)
    >>> theta = draw.normal(size=(300, 1))
    >>> mean = 0.8 * (theta + 0.5 * draw.normal(size=(300, 1)))
    >>> rng = torch.Generator().manual_seed(1)
    >>> for width in (0.447, 0.35):
    ...     samples = mean[:, None] + width * draw.normal(size=(300, 200, 1))
    ...     found = calibration(theta, samples, rng=rng)
    ...     print(f"{float(found.scatter[0]):.1f} {float(found.combined) > 0.01}")
    1.0 True
    1.2 False
    """
    rank = truth_ranks(truth, samples, rng=rng, weights=weights)
    n, p_value = len(rank), np.array([stats.kstest(column, "uniform").pvalue for column in rank.T])
    squares = (stats.norm.ppf(np.clip(rank, 1e-12, 1 - 1e-12)) ** 2).sum(0)  # weights can put the truth outside of all
    p_scatter = 2 * np.minimum(stats.chi2.cdf(squares, n), stats.chi2.sf(squares, n))
    least = min(p_value.min(), p_scatter.min())
    data: dict[str, Any] = {
        "ranks": (("trial", "parameter"), rank, {"long_name": "fraction of samples below the truth", "units": "1"}),
        "p_value": ("parameter", p_value, {"long_name": "p-value of uniform ranks", "units": "1"}),
        "p_scatter": ("parameter", p_scatter, {"long_name": "p-value of right widths", "units": "1"}),
        "scatter": ("parameter", np.sqrt(squares / n), {"long_name": "scatter of truths in widths", "units": "1"}),
        "scatter_error": ("parameter", np.full(len(squares), (2 * n) ** -0.5), {"units": "1"}),
        "combined": ((), min(1.0, 2 * len(p_value) * least), {"long_name": "p-value of all parameters"}),
    }
    return xr.Dataset(data, {"parameter": _names(names, rank.shape[1])})


def expected_coverage(
    truth: np.ndarray,
    samples: Sequence[np.ndarray] | np.ndarray,
    *,
    rng: torch.Generator,
    weights: Sequence[np.ndarray] | np.ndarray | None = None,
    references: np.ndarray | None = None,
    levels: int = 50,
) -> xr.Dataset:
    r"""How often credible regions of all parameters at once hold the truth (TARP: accuracy by random points).

    The region of credibility :math:`\gamma` is the ball about a reference point that holds a fraction γ of the samples,
    distances in units of the standard deviation of the true parameters. ``coverage`` ``(credibility,)``, the fraction
    of trials whose region holds the truth, equals γ if posteriors are right; ``error`` is its standard error and
    ``band`` the half-width of the strip about γ that holds the whole curve in 95 % of all cases; ``p_value`` is that of
    Kolmogorov and Smirnov. About references far away, regions are slabs, and too narrow posteriors have too little
    coverage above γ = 1/2 and too much below; about references within, too little everywhere.

    Parameters
    ----------
    truth, samples, weights: as in :func:`truth_ranks`.
    references: a point for each trial ``(trial, parameter)``, which may depend on the data of the trial but not on its
        truth. None: the truth of another trial, which depends on no data; the prior in place of the posterior then
        passes, and only references near what the data suggest can find that.
    levels: number of credibilities from 0 to 1.

    References
    ----------
    P. Lemos, A. Coogan, Y. Hezaveh, L. Perreault-Levasseur, ICML (2023), arXiv:2302.03026.
    """
    generator(rng)
    truth, trials = _trials(truth, samples, weights)
    if len(truth) < 2:
        raise ValueError("The coverage of one trial says nothing; give 2 trials or more.")
    if references is None:
        order = torch.randperm(len(truth), generator=rng).numpy()
        points = np.empty_like(truth)
        points[order] = truth[np.roll(order, 1)]
    else:
        points = real_array(references, "references")
        if points.shape != truth.shape or not np.isfinite(points).all():
            raise ValueError(f"references must be finite points {truth.shape}, got shape {points.shape}.")
    scale = np.where(truth.std(0) > 0, truth.std(0), 1.0)
    far = np.linalg.norm((truth - points) / scale, axis=-1)[:, None]
    distances = [np.linalg.norm((d - p) / scale, axis=-1)[:, None] for (d, _), p in zip(trials, points, strict=True)]
    found = None if weights is None else [w for _, w in trials]
    rank = truth_ranks(far, distances, rng=rng, weights=found)[:, 0]  # type: ignore[arg-type]
    gamma, n = np.linspace(0, 1, integer(levels, "levels", least=2)), len(rank)
    data: dict[str, Any] = {
        "coverage": ("credibility", (rank[:, None] <= gamma).mean(0), {"long_name": "coverage", "units": "1"}),
        "error": ("credibility", np.sqrt(gamma * (1 - gamma) / n), {"long_name": "standard error", "units": "1"}),
        "ranks": ("trial", rank, {"long_name": "fraction of samples nearer than the truth", "units": "1"}),
        "p_value": ((), float(stats.kstest(rank, "uniform").pvalue), {"long_name": "p-value of right coverage"}),
    }
    coords = {"credibility": ("credibility", gamma, {"long_name": "credibility", "units": "1"})}
    return xr.Dataset(data, coords, {"band": _largest_distance(n)})


@functools.cache
def _largest_distance(n: int) -> float:
    """What the distance of Kolmogorov and Smirnov between n uniform numbers and their law exceeds in 5 % of cases."""
    return float(stats.kstwo.ppf(0.95, n))


def _trials(truth: Any, samples: Any, weights: Any) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray | None]]]:
    """The truth, and of every trial its samples with weights of sum 1, checked."""
    truth = real_array(truth, "truth")
    if truth.ndim != 2 or not truth.size or not np.isfinite(truth).all():
        raise ValueError(f"truth must be finite numbers (trial, parameter), got shape {truth.shape}.")
    for name, several in (("samples", samples), ("weights", weights)):
        if (several is not None or name == "samples") and (
            not hasattr(several, "__len__") or len(several) != len(truth)
        ):
            raise ValueError(
                f"{name} must hold one array for each of {len(truth)} trials, got {type(several).__name__}."
            )
    found: list[tuple[np.ndarray, np.ndarray | None]] = []
    for k in range(len(truth)):
        drawn = real_array(samples[k], "samples")
        if drawn.ndim != 2 or drawn.shape[1] != truth.shape[1] or not len(drawn) or np.isnan(drawn).any():
            raise ValueError(
                f"samples of trial {k} must be numbers (sample, {truth.shape[1]}), at least one, got {drawn.shape}."
            )
        weight = None
        if weights is not None:
            weight = real_array(weights[k], "weights")
            if weight.shape != drawn.shape[:1] or not (weight >= 0).all() or not 0 < weight.sum() < np.inf:
                raise ValueError(f"weights of trial {k} must be {len(drawn)} numbers, not negative and not all zero.")
            weight = weight / weight.sum()
        found.append((drawn, weight))
    return truth, found


def _names(names: Sequence[str] | None, count: int) -> list[str]:
    if names is None:
        return [f"parameter {k}" for k in range(count)]
    if isinstance(names, str) or len(names) != count:
        raise ValueError(f"names must name {count} parameters, got {names!r}.")
    return [instance(name, str, "a name") for name in names]
