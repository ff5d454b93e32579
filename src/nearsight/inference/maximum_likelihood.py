"""Maximum likelihood: couplings at which the model has the means that were observed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from nearsight.inference._blocks import Blocks, LongRun, long_run
from nearsight.inference._chains import Chains, ModelMoments
from nearsight.inference._conditional import RUNAWAY, Estimate, bounded, solve_named
from nearsight.inference._moments import Moments
from nearsight.inference.terms import Terms
from nearsight.sampling._kac_ward import bond_moments

_ENUMERATED = 2**18
"""Systems with at most so many states are summed exactly."""
_PLANAR = 1200
"""Bonds of planar and toroidal lattices at most whose moments are exact: some seconds per step."""
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

    Means of the model are exact where there are at most 2^18 states, and for bonds of neighbours on planar and toroidal
    lattices with up to 1200 of them (Pfaffians, :func:`~nearsight.sampling.planar_thermodynamics`). Otherwise they are
    those of heat-bath chains that start from observed states. There the scores z of the pseudo-likelihood, with mean
    exactly zero, serve as control variates: what is left of the variance of φ is the part in which likelihood and
    pseudo-likelihood differ, a few per cent at high temperature. Chains run until Monte Carlo adds 10 % to the variance
    of the couplings.

    References
    ----------
    D. Ackley, G. Hinton, T. Sejnowski, Cogn. Sci. 9, 147 (1985); H. C. Nguyen, R. Zecchina, J. Berg, Adv. Phys. 66,
    197 (2017).
    """
    exact = _exact(terms)
    if exact is not None:
        try:
            theta, model, error = _settled(blocks, terms, observed, start, exact, exact=True)
        except ArithmeticError:  # too cold for Pfaffians
            pass
        else:
            return Estimate(theta, bounded(error, model.covariance * observed.effective))
    chains = Chains(blocks, terms, seed)
    theta, model, error = _settled(blocks, terms, observed, start, chains.moments, exact=False)
    model = chains.moments(theta, np.diag(_error(blocks, observed, model, chains=False).covariance), samples)
    theta = theta + solve_named(model.covariance, observed.mean - model.mean, terms.names)
    error = _error(blocks, observed, model)
    return Estimate(theta, bounded(error, model.covariance * observed.effective))


def _settled(
    blocks: Blocks,
    terms: Terms,
    observed: Moments,
    theta: np.ndarray,
    moments: Callable[[np.ndarray], ModelMoments],
    *,
    exact: bool,
) -> tuple[np.ndarray, ModelMoments, LongRun]:
    """θ after steps of Newton's method: to rounding, or until they are within the noise of the moments."""
    # A coupling beyond would be contradicted once in fifty such sets of observations: it is not followed further.
    most = min(RUNAWAY, 0.5 * np.log(observed.effective) + 2)
    theta = np.clip(theta, -most, most)
    for _ in range(_ROUNDS):
        model = moments(theta)
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
        if exact:
            if away * observed.effective < 1e-8:
                return theta, model, _error(blocks, observed, model)
            continue
        error = _error(blocks, observed, model)
        if away < 0.5 and (step**2 <= 9 * np.diag(error.covariance)).all():
            return theta, model, error
    raise RuntimeError(
        f"Maximum likelihood did not settle in {_ROUNDS} rounds: the observations may not be in equilibrium, or "
        "their model far from these terms; compare with method='pseudo-likelihood'."
    )


def _error(blocks: Blocks, observed: Moments, model: ModelMoments, chains: bool = True) -> LongRun:
    """Covariance of the couplings: that of the influence of every block on them, and that of the Monte Carlo means."""
    inverse = np.linalg.inv(model.covariance)
    error = long_run(observed.sums @ inverse / blocks.edges[-1], blocks.chain)
    added = inverse @ model.error @ inverse if chains else 0.0
    return LongRun(error.covariance + added, error.freedom)


def _exact(terms: Terms) -> Callable[[np.ndarray], ModelMoments] | None:
    """Exact moments as a function of θ, where something exact is fast enough."""
    if terms.n_states**terms.lattice.n_sites <= _ENUMERATED:
        return lambda theta: _enumerated(terms, theta)
    term_of_bond = _bonds_of(terms)
    return None if term_of_bond is None else lambda theta: _by_pfaffians(terms, term_of_bond, theta)


def _bonds_of(terms: Terms) -> np.ndarray | None:
    """Which term each of ``lattice.bonds(1)`` belongs to (-1: none), if all terms are such bonds, in two dimensions."""
    lattice = terms.lattice
    if lattice.dim != 2 or lattice.disordered or any(term.kind != "ising" for term in terms.terms):
        return None
    bonds = lattice.bonds(1)
    if len(bonds) > _PLANAR:
        return None
    place = {pair: k for k, pair in enumerate(map(frozenset, zip(bonds.i.tolist(), bonds.j.tolist(), strict=True)))}
    if len(place) < len(bonds):  # two bonds between the same sites
        return None
    term_of_bond = np.full(len(bonds), -1)
    for k, term in enumerate(terms.terms):
        found = [place.get(frozenset(pair), -1) for pair in term.clusters.tolist()]
        if -1 in found or (term_of_bond[found] >= 0).any():
            return None
        term_of_bond[found] = k
    return term_of_bond


def _by_pfaffians(terms: Terms, term_of_bond: np.ndarray, theta: np.ndarray) -> ModelMoments:
    """Exact moments of bonds of neighbours on a planar or toroidal lattice."""
    moments = bond_moments(terms.lattice, np.append(theta, 0.0)[term_of_bond])
    member = term_of_bond == np.arange(len(terms))[:, None]
    covariance = member @ moments.covariance @ member.T
    return ModelMoments(member @ moments.mean, covariance, np.zeros_like(covariance))


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
