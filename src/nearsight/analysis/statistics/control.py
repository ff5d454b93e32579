"""Means of something dear with the help of something cheap: control variates, cross-fitting, several levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nearsight._validation import number, numbers
from nearsight.analysis.statistics._draws import real_array


class ControlledMean(NamedTuple):
    """A mean with its standard error, and what the exact values alone would give.

    ``reduction`` is the factor by which the variance of the mean is smaller than theirs; ``explained``, the part of the
    variance of the exact values that the surrogate explains, 1 - Var(exact - surrogate) / Var(exact).

    :func:`controlled_mean` returns it.
    """

    value: float
    error: float
    plain: float
    plain_error: float
    reduction: float
    explained: float


def controlled_mean(
    exact: np.ndarray, surrogate: np.ndarray, many: np.ndarray | float, *, fold: np.ndarray | None = None
) -> ControlledMean:
    r"""The mean of an exact property from n of its values and m values of a surrogate,

    .. math:: \langle E \rangle = \frac1m \sum_{j=1}^m S(x_j) + \frac1n \sum_{i=1}^n \bigl[E(y_i) - S(y_i)\bigr],
              \qquad \sigma^2 = \frac{\mathrm{Var}\, S}{m} + \frac{\mathrm{Var}(E - S)}{n}.

    Without bias for *any* surrogate S that has not seen the exact values, however bad: it decides about the error
    alone. A surrogate that was fitted to them has seen them. Then fit it several times, each time without one part of
    the data (cross-fitting), and say by ``fold`` which model gave what: every exact value is compared with the model
    that did not see it, and the first term is that of all models, by the number of values of their folds.

    Parameters
    ----------
    exact: E(y) ``(n,)``, of independent y; of antithetic pairs, the means of the pairs.
    surrogate: S(y) of the same ``(n,)``.
    many: S(x) ``(m,)`` of other x with the same distribution, independent of each other; with ``fold``,
        ``(folds, m)``, of each model on the same x. A surrogate whose mean is known exactly, m = ∞, is given by this
        number, or with ``fold`` by those of the models ``(folds,)``.
    fold: for every exact value the row of ``many`` whose model gave its surrogate ``(n,)``.

    Errors are standard errors for large n; from n = 20 on they cover the truth in 66 % of cases or more. With folds the
    models have data in common and are not independent of the corrections of each other; the error leaves that out.

    Examples
    --------
    E = x² of a normal x, by the surrogate x² - x⁴/20 with a bias of its own:

    >>> import numpy as np
    >>> from nearsight.analysis import controlled_mean
    >>> draw = np.random.default_rng(2)
    >>> y, x = draw.normal(size=100), draw.normal(size=20000)
    >>> found = controlled_mean(y**2, y**2 - y**4 / 20, x**2 - x**4 / 20)
    >>> print(f"{found.value:.2f} ± {found.error:.2f}, alone ± {found.plain_error:.2f}")
    0.97 ± 0.03, alone ± 0.13

    References
    ----------
    M. B. Giles, Multilevel Monte Carlo methods, Acta Numerica 24, 259 (2015). V. Chernozhukov et al., Econometrics
    Journal 21, C1 (2018), on cross-fitting.
    """
    exact, surrogate = _values(exact, "exact"), _values(surrogate, "surrogate")
    if len(surrogate) != len(exact):
        raise ValueError(f"{len(exact)} exact values need as many of the surrogate, got {len(surrogate)}.")
    average = real_array(many, "many")
    if fold is not None:
        part = np.asarray(fold)
        if average.ndim not in (1, 2) or part.shape != exact.shape or part.dtype.kind not in "iu":
            raise ValueError(
                f"With folds, many is (fold, m) and fold holds an integer for each of {len(exact)} exact values; got "
                f"shapes {average.shape} and {part.shape}."
            )
        counts = np.bincount(part, minlength=len(average))
        if part.min() < 0 or len(counts) > len(average) or not counts.all():
            named = np.unique(part)
            raise ValueError(f"fold must name all of the {len(average)} rows of many and no others, got {named}.")
        average = counts @ average / len(exact)
    average = _values(np.full(2, average) if average.ndim == 0 else average, "many")  # a known mean has no scatter
    difference = exact - surrogate
    squares = average.var(ddof=1) / len(average) + difference.var(ddof=1) / len(exact)
    plain = exact.var(ddof=1) / len(exact)
    return ControlledMean(
        float(average.mean() + difference.mean()),
        float(np.sqrt(squares)),
        float(exact.mean()),
        float(np.sqrt(plain)),
        float(plain / squares) if squares > 0 else np.inf,
        float(1 - difference.var() / exact.var()) if plain > 0 else np.nan,
    )


def multilevel_mean(levels: Sequence[np.ndarray]) -> tuple[float, float]:
    r"""The mean of the finest of several models and its standard error, from independent samples of each level,

    .. math:: \langle E_L \rangle = \langle E_0 \rangle + \sum_{l=1}^L \langle E_l - E_{l-1} \rangle .

    ``levels`` holds the values of E₀ ``(n₀,)`` and then the differences E_l - E_{l-1} ``(n_l,)`` of both models on the
    same configurations, others at every level: a surrogate, tight binding minus surrogate, and density-functional
    theory minus tight binding. How many of each: :func:`best_numbers`.
    """
    if not len(levels):
        raise ValueError("levels holds no values; give those of the cheapest model and the differences above it.")
    values = [_values(level, f"levels[{k}]") for k, level in enumerate(levels)]
    squares = sum(v.var(ddof=1) / len(v) for v in values)
    return float(sum(v.mean() for v in values)), float(np.sqrt(squares))


def best_numbers(variances: Any, costs: Any, *, budget: float | None = None, error: float | None = None) -> np.ndarray:
    r"""How many values of every level make the error of a mean least, ``(level,)`` whole numbers, 2 at least.

    .. math:: n_l = \lambda \sqrt{V_l / C_l}, \qquad \sigma^2 = \sum_l \frac{V_l}{n_l}, \quad C = \sum_l n_l C_l,

    with λ such that the cost C is ``budget`` or the standard error σ is ``error``: give one of both. Numbers are
    rounded up for an error, and down for a budget.

    Parameters
    ----------
    variances: of the values of each level: of the surrogate, and of the differences above it.
    costs: of one value of each level, in any unit; one of a difference is that of both models.

    Examples
    --------
    A surrogate that costs nothing to speak of and leaves a hundredth of the variance:

    >>> from nearsight.analysis import best_numbers
    >>> best_numbers([1.0, 0.01], [0.001, 1.0], error=0.02)
    array([10406,    33])
    """
    v, c = np.array(numbers(variances, "variances", least=0)), np.array(numbers(costs, "costs", above=0))
    if len(v) != len(c) or not len(v):
        raise ValueError(f"Every level has a variance and a cost, got {len(v)} and {len(c)}.")
    if (budget is None) == (error is None):
        raise ValueError("Give either the budget or the error that is wanted.")
    ratio, total = np.sqrt(v / c), float(np.sqrt(v * c).sum())
    if budget is not None:
        budget = number(budget, "budget", above=0)
        if budget < 2 * c.sum():
            raise ValueError(f"A budget of {budget:g} does not pay two values of every level, {2 * c.sum():g}.")
        return np.maximum(2, np.floor(ratio * (budget / total if total else 0.0))).astype(int)
    scale = total / number(error, "error", above=0) ** 2
    return np.maximum(2, np.ceil(ratio * scale)).astype(int)


def _values(values: Any, name: str) -> np.ndarray:
    found = real_array(values, name)
    if found.ndim != 1 or len(found) < 2 or not np.isfinite(found).all():
        raise ValueError(f"{name} must hold two or more finite numbers in one row, got shape {found.shape}.")
    return found
