"""Maximum likelihood: couplings at which the model has the means that were observed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nearsight.inference._blocks import Blocks, LongRun, long_run
from nearsight.inference._chains import Chains, ModelMoments
from nearsight.inference._conditional import RUNAWAY, Estimate, bounded, solve_named
from nearsight.inference._moments import Moments
from nearsight.inference.terms import Terms

_ENUMERATED = 2**18
"""Systems with at most so many states are summed exactly."""
_ROUNDS = 60


def maximum_likelihood(
    blocks: Blocks, terms: Terms, observed: Moments, start: np.ndarray, seed: int, samples: int
) -> Estimate:
    r"""The θ = J/kT that maximise the likelihood: Boltzmann learning by Newton's method,

    .. math:: \langle \varphi \rangle_\theta = \bar\varphi, \qquad
              \theta \leftarrow \theta + C_\theta^{-1} (\bar\varphi - \langle \varphi \rangle_\theta), \qquad
              C_\theta = \operatorname{cov}_\theta \varphi .

    Covariance of the result: :math:`C^{-1} (V + V_{\rm MC}) C^{-1}` with V that of the observed mean. For n independent
    snapshots V = C/n, which is the bound of Cramér and Rao. Slowly changing snapshots are another matter: energies
    remember longer than the scores of single sites, and near a critical point pseudo-likelihood is then more precise.

    Means of the model are sums over all states where there are at most 2^18, and otherwise of heat-bath chains that
    start from observed states. There the scores z of the pseudo-likelihood, with mean exactly zero, serve as control
    variates: what is left of the variance of φ is the part in which likelihood and pseudo-likelihood differ, a few
    per cent at high temperature. Chains run until Monte Carlo adds 10 % to the variance of the couplings.

    References
    ----------
    D. Ackley, G. Hinton, T. Sejnowski, Cogn. Sci. 9, 147 (1985); H. C. Nguyen, R. Zecchina, J. Berg, Adv. Phys. 66,
    197 (2017).
    """
    sites = terms.lattice.n_sites
    exact = terms.n_states**sites <= _ENUMERATED
    chains = None if exact else Chains(blocks, terms, seed)
    # A coupling beyond would be contradicted once in fifty such sets of observations: it is not followed further.
    most = min(RUNAWAY, 0.5 * np.log(observed.effective) + 2)
    theta = np.clip(start, -most, most)
    for _ in range(_ROUNDS):
        model = _enumerated(terms, theta) if chains is None else chains.moments(theta)
        rise = observed.mean - model.mean
        free = (np.abs(theta) < most) | (rise * theta < 0)
        names = tuple(terms.names[k] for k in np.flatnonzero(free))
        step = np.zeros_like(theta)
        step[free] = solve_named(model.covariance[np.ix_(free, free)], rise[free], names)
        # Half of this is the divergence between the two models; beyond 1 the quadratic form is not trusted.
        away = float(step @ model.covariance @ step)
        there = np.clip(theta + step * min(1.0, 1 / np.sqrt(max(away, 1e-300))), -most, most)
        theta, step = there, there - theta
        away = float(step @ model.covariance @ step)
        error = _error(blocks, observed, model)
        if (
            away * observed.effective < 1e-8
            if exact
            else away < 0.5 and (step**2 <= 9 * np.diag(error.covariance)).all()
        ):
            break
    else:
        raise RuntimeError(
            f"Maximum likelihood did not settle in {_ROUNDS} rounds: the observations may not be in equilibrium, or "
            "their model far from these terms; compare with method='pseudo-likelihood'."
        )
    if chains is not None:
        model = chains.moments(theta, np.diag(_error(blocks, observed, model, chains=False).covariance), samples)
        theta = theta + solve_named(model.covariance, observed.mean - model.mean, terms.names)
        error = _error(blocks, observed, model)
    return Estimate(theta, bounded(error, model.covariance * observed.effective))


def _error(blocks: Blocks, observed: Moments, model: ModelMoments, chains: bool = True) -> LongRun:
    """Covariance of the couplings: that of the influence of every block on them, and that of the Monte Carlo means."""
    inverse = np.linalg.inv(model.covariance)
    error = long_run(observed.sums @ inverse / blocks.edges[-1], blocks.chain)
    added = inverse @ model.error @ inverse if chains else 0.0
    return LongRun(error.covariance + added, error.freedom)


def _enumerated(terms: Terms, theta: np.ndarray) -> ModelMoments:
    """Exact moments, a sum over all states."""
    phi = enumerated_statistics(terms)
    energy = phi @ theta
    weight = np.exp(energy - energy.max())
    weight /= weight.sum()
    mean = weight @ phi
    around = phi - mean
    covariance = (around * weight[:, None]).T @ around
    return ModelMoments(mean, covariance, np.zeros_like(covariance))


@lru_cache(maxsize=1)
def enumerated_statistics(terms: Terms) -> np.ndarray:
    """φ ``(state, term)`` of all states of a small system, the first site the slowest."""
    q, n = terms.n_states, terms.lattice.n_sites
    codes = np.arange(q**n)[:, None] // q ** np.arange(n - 1, -1, -1) % q
    return terms._statistics(codes.astype(np.int8))
