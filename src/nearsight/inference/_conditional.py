"""Estimates that solve equations of single sites in their surroundings: Newton's method, and the error bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nearsight.inference._blocks import Blocks, LongRun, long_run
from nearsight.inference._environments import Environments, Local, Records
from nearsight.inference.pseudolikelihood import pseudolikelihood
from nearsight.inference.terms import Terms

FIRST = 20_000
"""Snapshots of a first fit where surroundings are too large to be counted."""
ROUNDS = 60
RUNAWAY = 10.0
"""No J/kT is followed beyond: events that contradict it have odds of e^-20."""
LOOSE = 0.25
"""Variance of a reduced coupling J/kT by its information beyond which one event decides on it, or none."""


Objective = Callable[[Records, np.ndarray], Local]


class Estimate(NamedTuple):
    """Reduced couplings J/kT ``(term,)`` and their long-run covariance."""

    theta: np.ndarray
    error: LongRun


def solve(blocks: Blocks, terms: Terms, objective: Objective) -> Estimate:
    r"""The couplings θ that make an objective :math:`\sum_{n,i} \ell(a_i^n; \theta)` smallest, with the covariance

    .. math:: H^{-1} V H^{-1}, \qquad H = \sum \partial^2 \ell, \quad V = \operatorname{cov} \sum \partial \ell,

    of Godambe: V is measured from blocks of successive observations, with what the sites of a snapshot and successive
    snapshots have in common. Neither independent snapshots nor a true model are assumed.

    References
    ----------
    V. P. Godambe, Ann. Math. Stat. 31, 1208 (1960).
    """
    environments = Environments(blocks, terms)
    theta = np.zeros(len(terms))
    if not environments.counted and blocks.edges[-1] > 2 * FIRST:
        step = int(blocks.edges[-1] // FIRST)
        few = Environments(Blocks(blocks.observations.take(slice(None, None, step))), terms)
        theta, _ = _newton(few, theta, objective)
    theta, curvature = _newton(environments, theta, objective)
    sums = np.zeros((len(blocks), len(terms)))
    for records in environments:
        part = np.zeros((len(blocks), len(records.terms)))
        records.add_to_blocks(part, objective(records, theta[records.terms]).score)
        sums[:, records.terms] += part
    information = total(environments, theta, pseudolikelihood)[2]
    error = long_run(np.linalg.solve(curvature, sums.T).T, blocks.chain)
    return Estimate(theta, bounded(error, information))


def bounded(error: LongRun, information: np.ndarray) -> LongRun:
    """The covariance, infinite where the information of the model says that hardly any event contradicts a coupling.

    Where what a coupling favours always happened, its estimate runs away and takes the scores with it: the measured
    variance is then small without a reason.
    """
    scale = np.sqrt(np.diag(information))
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.diag(np.linalg.pinv(information / scale / scale[:, None], rcond=1e-13)) / scale**2
    loose = ~(variance <= LOOSE)
    covariance = error.covariance.copy()
    covariance[loose] = covariance[:, loose] = 0.0
    covariance[loose, loose] = np.inf
    return LongRun(covariance, error.freedom)


def total(environments: Environments, theta: np.ndarray, objective: Objective) -> tuple[float, np.ndarray, np.ndarray]:
    """The objective, minus its gradient and its second derivatives, over all records."""
    value, score, curvature = 0.0, np.zeros(len(theta)), np.zeros((len(theta), len(theta)))
    for records in environments:
        local = objective(records, theta[records.terms])
        value += float(records.weight @ local.objective)
        score[records.terms] += records.weight @ local.score
        curvature[np.ix_(records.terms, records.terms)] += local.curvature
    return value, score, curvature


def _newton(environments: Environments, theta: np.ndarray, objective: Objective) -> tuple[np.ndarray, np.ndarray]:
    names = environments.terms.names
    value, score, curvature = total(environments, theta, objective)
    for _ in range(ROUNDS):
        step = solve_named(curvature, score, names)
        gain = float(step @ score)
        # Half the gain is what the objective still has to fall; 1e-9 of a standard error is nothing.
        if gain < 1e-14 * environments.number or gain < 1e-10:
            return theta + step, curvature
        length = min(1.0, 2.0 / np.abs(step).max())
        while True:
            there = total(environments, theta + length * step, objective)
            if np.isfinite(there[0]) and there[0] <= value - 0.1 * length * gain:
                break
            length /= 2
            if length < 1e-6:
                return theta, curvature
        theta, (value, score, curvature) = theta + length * step, there
        if np.abs(theta).max() > RUNAWAY:
            break
    return theta, curvature


def solve_named(curvature: np.ndarray, score: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The step that a positive matrix makes of a gradient; where it has none, the terms that are to blame are named."""
    scale = np.sqrt(np.diag(curvature))
    if (scale == 0).any():
        raise ValueError(
            f"Nothing in these observations depends on {names[int(scale.argmin())]}: observe more, or leave it out."
        )
    values, vectors = np.linalg.eigh(curvature / scale / scale[:, None])
    if values[0] < 1e-12:
        together = [names[k] for k in np.flatnonzero(np.abs(vectors[:, 0]) > 0.1)]
        raise ValueError(
            f"Only a combination of {', '.join(together[:6])} follows from these observations, not each: leave one out."
        )
    return vectors @ ((vectors.T @ (score / scale)) / values) / scale
