"""Chains of any length, exactly."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from nearsight._validation import instance
from nearsight.hamiltonians import ClassicalModel
from nearsight.sampling.thermodynamics import Thermodynamics, _temperatures

Segment = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Stretches of the chain with given end states ``(stretch, q, q)``: logarithm of the weight, mean and variance of E."""

HOT = 30.0
"""In units of the largest energy of a link: above, U follows from the integral of the variance of E over β."""
NODES, WEIGHTS = 0.5 + 0.5 * np.array([-math.sqrt(0.6), 0.0, math.sqrt(0.6)]), np.array([5.0, 8.0, 5.0]) / 18
"""Gauss's three nodes between 0 and 1."""


def chain_thermodynamics(model: ClassicalModel, kT: ArrayLike) -> Thermodynamics:
    r"""Any classical model on a chain with nearest neighbours, periodic or open, uniform or disordered.

    .. math:: Z = \mathrm{Tr} \prod_i T_i, \qquad T_i(a, b) = e^{-\beta [u_i(a) - J_i\, g(a, b)]} ;

    an open end is a link with J = 0. Stretches of the chain are joined pairwise, each as the logarithm of its weight
    and the mean and the variance of its energy for given end states, which are the derivatives of ln Z: nothing
    underflows at low temperature, and nothing of order N² cancels. N sites cost O(q³ N) per temperature, under a
    second for 10⁵ sites of three states.

    ``ValueError`` for other lattices and for bonds beyond nearest neighbours.
    """
    lattice = instance(model, ClassicalModel, "model", "Pass one such as Ising(chain(100)).").lattice
    n = lattice.n_sites
    if lattice.dim != 1 or lattice.n_basis != 1:
        raise ValueError(
            f"A transfer matrix along a chain needs lattices.chain, not {lattice!r}; see enumerate_states."
        )
    i, j = model.pairs.i, model.pairs.j
    if model.tiles is not None or not np.all(((j - i) % n == 1) | ((i - j) % n == 1)):
        raise ValueError(
            "The chain has tiles, or bonds beyond nearest neighbours; enumerate_states takes both, up to 24 spins."
        )
    strength = np.bincount(np.where((j - i) % n == 1, i, j), model.pairs.strength, n)
    cost = model.onsite[:, :, None] - strength[:, None, None] * model.interaction
    lowest = cost.min((1, 2))
    cost -= lowest[:, None, None]
    T = _temperatures(kT)
    results = np.array([_log_trace(cost, 1 / x) for x in T.reshape(-1)])
    zero = np.full(T.size, float(lowest.sum()))
    # Where it is hot U is all but that of equally likely states, which is known: counted from zero it keeps its digits.
    own = cost if n > 1 else cost[:, np.eye(model.n_states, dtype=bool)][..., None]  # one site is bound to itself
    middle = math.fsum((own + lowest[:, None, None]).mean((1, 2)))
    for k in np.flatnonzero(T.reshape(-1) > HOT * (cost.max() or 1.0)):
        beta = 1 / T.reshape(-1)[k]
        variances = [_log_trace(cost, beta * x)[2] for x in NODES]
        results[k, 0] -= beta * zero[k]
        results[k, 1] = -middle + beta * float(np.dot(WEIGHTS, variances))
        zero[k] = 0.0
    value, first, second = (x.reshape(T.shape) / n for x in results.T)
    return Thermodynamics.from_log_partition(T, value, first, second, lowest=zero.reshape(T.shape) / n)


def _log_trace(cost: np.ndarray, beta: float) -> tuple[float, float, float]:
    """ln Tr Π e^{-β cost} and its first two derivatives in β."""
    part: Segment = -beta * cost, cost, np.zeros_like(cost)
    while len(part[0]) > 1:
        joined = _joined(_every_other(part, 0), _every_other(part, 1))
        last = len(part[0]) - len(part[0]) % 2
        part = tuple(np.concatenate([x, y[last:]]) for x, y in zip(joined, part, strict=True))  # type: ignore[assignment]
    log, mean, variance = (np.diagonal(x[0]) for x in part)
    value, first, second = _mixture(log, mean, variance, 0)
    return float(value), -float(first), float(second)


def _every_other(part: Segment, start: int) -> Segment:
    stop = len(part[0]) - len(part[0]) % 2
    log, mean, variance = (x[start:stop:2] for x in part)
    return log, mean, variance


def _joined(left: Segment, right: Segment) -> Segment:
    """Segments one after the other, summed over the state c between them."""
    log, mean, variance = (x[:, :, :, None] + y[:, None, :, :] for x, y in zip(left, right, strict=True))
    return _mixture(log, mean, variance, 2)


def _mixture(log: np.ndarray, mean: np.ndarray, variance: np.ndarray, axis: int) -> Segment:
    """Logarithm of the summed weights, and mean and variance of the energy in their mixture."""
    top = log.max(axis, keepdims=True)
    weight = np.exp(log - top)
    total = weight.sum(axis, keepdims=True)
    weight /= total
    centre = (weight * mean).sum(axis, keepdims=True)
    spread = (weight * (variance + (mean - centre) ** 2)).sum(axis)
    return (top + np.log(total)).squeeze(axis), centre.squeeze(axis), spread
