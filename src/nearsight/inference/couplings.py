"""Couplings with error bars, learned from configurations in equilibrium."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from nearsight._validation import choice, instance, integer, number
from nearsight.hamiltonians import BlumeCapel, ClassicalModel, EdwardsAnderson, Ising, Potts, TileModel
from nearsight.inference._blocks import Blocks
from nearsight.inference._conditional import Estimate, solve
from nearsight.inference._moments import observed_moments, refuse_few
from nearsight.inference.interaction_screening import interaction_screening
from nearsight.inference.maximum_likelihood import maximum_likelihood
from nearsight.inference.mean_field import mean_field
from nearsight.inference.observations import Observations
from nearsight.inference.pseudolikelihood import pseudolikelihood
from nearsight.inference.terms import Terms, translated_shapes
from nearsight.lattices import Lattice

Method = Literal["pseudo-likelihood", "interaction-screening", "likelihood", "mean-field", "tap", "bethe"]
_METHODS = ("pseudo-likelihood", "interaction-screening", "likelihood", "mean-field", "tap", "bethe")


@dataclass(frozen=True, eq=False)
class LearnedCouplings:
    r"""Couplings J of an energy :math:`E = -\sum_k J_k \varphi_k`, with their uncertainty.

    Printed, they are a table. :meth:`model` is the Hamiltonian they make; :meth:`interval` and :meth:`p_values` say
    what is known of each.

    Attributes
    ----------
    terms: what the couplings belong to.
    value: J ``(term,)``, in units of energy where the temperature of the observations is known, else J/kT.
    covariance: of the couplings ``(term, term)``, with the correlations within chains; infinite for a coupling that the
        observations bound from one side at most.
    freedom: degrees of freedom of each variance ``(term,)``: intervals are Student's.
    method: how they were learned.
    kT: temperature of the observations, or None.
    observations, effective: number of snapshots, and how many independent ones they are worth for these terms.

    :func:`learn_couplings` returns them.
    """

    terms: Terms
    value: np.ndarray
    covariance: np.ndarray
    freedom: np.ndarray
    method: str
    kT: float | None
    observations: int
    effective: float

    @property
    def error(self) -> np.ndarray:
        """Standard errors ``(term,)``."""
        return np.sqrt(np.diag(self.covariance))

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends of confidence intervals ``(term,)``, each right with the probability ``level``."""
        half = stats.t.ppf((1 + number(level, "level", above=0, below=1)) / 2, self.freedom) * self.error
        return self.value - half, self.value + half

    def p_values(self) -> np.ndarray:
        """Probability of a coupling at least as large if there were none, for each term alone ``(term,)``."""
        return 2 * stats.t.sf(np.abs(self.value) / self.error, self.freedom)

    def energy(self, states: Tensor) -> Tensor:
        """E ``(*batch,)``, float64, of states ``(*batch, site)``."""
        return -self.terms.statistics(states) @ torch.from_numpy(self.value)

    def model(self, lattice: Lattice | None = None) -> ClassicalModel:
        """The Hamiltonian with these couplings, on ``lattice`` if couplings do not belong to sites.

        :class:`~nearsight.hamiltonians.Ising` and :class:`~nearsight.hamiltonians.BlumeCapel` from pairs by shell and
        uniform fields, :class:`~nearsight.hamiltonians.Potts` from pairs by shell,
        :class:`~nearsight.hamiltonians.EdwardsAnderson` from all bonds of nearest neighbours, and a
        :class:`~nearsight.hamiltonians.TileModel` from other terms that
        all translates share, four-spin terms among them.
        """
        lattice = self.terms.lattice if lattice is None else instance(lattice, Lattice, "lattice")
        if not lattice.same_kind(self.terms.lattice):
            raise ValueError(f"These couplings were learned on {self.terms.lattice!r}; {lattice!r} is of another kind.")
        terms, kinds = self.terms.terms, {t.kind for t in self.terms.terms}
        bonds = self.terms.lattice.bonds(1)
        clusters = [t.clusters for t in terms]
        if kinds == {"ising"} and all(c.shape == (1, 2) for c in clusters):
            pairs = np.concatenate(clusters)
            if len(pairs) == len(bonds) and (pairs == np.stack([bonds.i, bonds.j], axis=-1)).all():
                if not lattice.coincides(self.terms.lattice):
                    raise ValueError(
                        f"Every bond of {self.terms.lattice!r} has its own coupling; {lattice!r} has others."
                    )
                return EdwardsAnderson(lattice, self.value)
        shells = {t.shell: float(J) for t, J in zip(terms, self.value, strict=True) if t.kind != "field"}
        uniform = all(t.name == f"J{t.shell}" if t.kind != "field" else t.name in ("h", "D") for t in terms)
        if uniform and shells:
            J = tuple(shells.get(k, 0.0) for k in range(1, max(shells) + 1))
            fields = {t.name: float(v) for t, v in zip(terms, self.value, strict=True) if t.kind == "field"}
            if kinds <= {"ising", "field"}:
                return Ising(lattice, J=J, **fields)
            if kinds <= {"blume-capel", "field"}:
                return BlumeCapel(lattice, J=J, **fields)
            if len(kinds) == 1:
                return Potts(lattice, self.terms.n_states, J=J, kind="clock" if kinds == {"clock"} else "standard")
        return self._tiles(lattice)

    def _tiles(self, lattice: Lattice) -> TileModel:
        """The couplings as a table over the smallest tiles that hold every cluster."""
        shapes = [translated_shapes(self.terms.lattice, term) for term in self.terms.terms]
        couplings: dict[tuple[tuple[int, ...], ...], Any] = {}
        extent = np.ones(lattice.dim, int)
        for term, found, J in zip(self.terms.terms, shapes, self.value, strict=True):
            if found is None:
                raise ValueError(
                    f"{self.terms!r} make no model of the library: couplings of sites do so as by='bond' of nearest "
                    "neighbours, others where all translates share them; energy(states) serves any terms."
                )
            for shape in found:
                gain = J if self.terms.n_states == 2 else J * term.table
                couplings[shape] = couplings.get(shape, 0.0) + gain
                extent = np.maximum(extent, np.max(shape, axis=0) + 1)
        return TileModel.from_couplings(
            lattice, couplings, shape=extent.tolist(), stride=(1,) * lattice.dim,
            n_states=self.terms.n_states, symmetrise=False,
        )  # fmt: skip

    def take(self, chosen: np.ndarray) -> LearnedCouplings:
        """Some of the couplings, as they were learned beside the others."""
        places = np.arange(len(self.terms))[np.asarray(chosen)]
        return LearnedCouplings(
            self.terms.take(places), self.value[places], self.covariance[np.ix_(places, places)],
            self.freedom[places], self.method, self.kT, self.observations, self.effective,
        )  # fmt: skip

    def __repr__(self) -> str:
        unit = "J/kT" if self.kT is None else f"J, kT = {self.kT:g}"
        head = (
            f"{len(self.terms)} couplings by {self.method} from {self.observations} observations worth "
            f"{self.effective:.3g} independent ones ({unit}):"
        )
        shown = range(len(self.terms)) if len(self.terms) <= 40 else range(20)
        width = max(len(self.terms.names[k]) for k in shown)
        rows = [f"  {self.terms.names[k]:{width}}  {self.value[k]: .6f} ± {self.error[k]:.6f}" for k in shown]
        return "\n".join([head, *rows, *(["  …"] if len(shown) < len(self.terms) else [])])


def learn_couplings(
    observations: Observations,
    terms: Terms,
    *,
    method: Method = "pseudo-likelihood",
    samples: int = 2**24,
    seed: int = 0,
) -> LearnedCouplings:
    r"""The couplings of an energy whose Boltzmann distribution the observations come from, each with its error.

    Methods, in the order of what they cost:

    - "mean-field", "tap", "bethe": one inversion of the matrix of correlations of Ising spins
      (:func:`~nearsight.inference.mean_field.mean_field`). Biased where couplings are strong; for comparison.
    - "pseudo-likelihood" (:func:`~nearsight.inference.pseudolikelihood.pseudolikelihood`): consistent for every model;
      small surroundings are counted in one pass over the observations.
    - "interaction-screening"
      (:func:`~nearsight.inference.interaction_screening.interaction_screening`): consistent, safe for few data at low
      temperature, less precise elsewhere.
    - "likelihood" (:func:`~nearsight.inference.maximum_likelihood.maximum_likelihood`): the smallest errors there can
      be for independent observations. Moments of the model are exact up to 2^18 states, and for bonds of neighbours on
      lattices in two dimensions (a glass of 16 × 16 spins takes seconds); otherwise they come from Monte Carlo. Means
      over the observations are all it needs: with few couplings it is also the fastest for very many observations.

    Error bars hold for correlated chains, whose memory is measured from about 1024 blocks; with few blocks they have
    few degrees of freedom, and :meth:`LearnedCouplings.interval` is wide accordingly. Where chains are shorter than
    their memory, and few, errors are too small.

    Parameters
    ----------
    observations: configurations in equilibrium at one temperature. Sites not seen are left out together with what
        depends on them (pseudo-likelihood and interaction screening only).
    terms: the interactions that the energy may have.
    samples: Monte Carlo samples of the model at most ("likelihood").
    seed: names the random numbers of the Monte Carlo chains.

    Raises
    ------
    ValueError: for frozen sites, fewer effective samples than couplings, and couplings of which the observations
        determine only a combination, each by name.

    Example
    -------
    >>> import torch, nearsight as ns
    >>> lattice = ns.lattices.square(4)
    >>> rng = torch.Generator().manual_seed(1)
    >>> free = torch.randint(2, (2000, 16), generator=rng)
    >>> seen = ns.inference.Observations(lattice, free, kT=2.0, chain=torch.arange(2000).numpy())
    >>> learned = ns.inference.learn_couplings(seen, ns.inference.Terms.pairs(lattice, 2))
    >>> bool((abs(learned.value) < 4 * learned.error).all())
    True
    >>> learned.model()
    Ising(square, 4 × 4 sites, periodic; J=(...))
    """
    checked_observations(observations, terms)
    blocks = Blocks(observations)
    choice(method, "method", _METHODS)
    samples, seed = integer(samples, "samples", least=1), integer(seed, "seed", least=0)
    if observations.missing is not None and method not in _METHODS[:2]:
        raise ValueError(f"{method} needs sites that all were seen; take method='pseudo-likelihood'.")
    observed = observed_moments(blocks, terms)
    refuse_few(observed.effective, len(observations), terms)
    estimate: Estimate
    if method in ("mean-field", "tap", "bethe"):
        estimate = mean_field(blocks, terms, method)
    elif method == "interaction-screening":
        estimate = solve(blocks, terms, interaction_screening)
    elif method == "pseudo-likelihood":
        estimate = solve(blocks, terms, pseudolikelihood)
    else:
        few = observations.take(slice(None, None, max(1, len(observations) // _START)))
        start = solve(Blocks(few), terms, pseudolikelihood).theta
        estimate = maximum_likelihood(blocks, terms, observed, start, seed, samples)
    loose = np.isinf(np.diag(estimate.error.covariance))
    if loose.any():
        names = [name for name, yes in zip(terms.names, loose, strict=True) if yes]
        warnings.warn(
            f"These observations bound {', '.join(names[:6])}{', …' if len(names) > 6 else ''} from one side at most: "
            "what they favour nearly always happened. Their errors are infinite; those of the others hold. Observe "
            "more, or at a higher temperature.",
            stacklevel=2,
        )
    unit = 1.0 if observations.kT is None else observations.kT
    return LearnedCouplings(
        terms, unit * estimate.theta, unit**2 * estimate.error.covariance, estimate.error.freedom,
        method, observations.kT, len(observations), observed.effective,
    )  # fmt: skip


_START = 100_000
"""Observations from which the pseudo-likelihood finds where maximum likelihood begins."""


def checked_observations(observations: Observations, terms: Terms) -> None:
    """Refuse terms that are not those of the observations."""
    instance(observations, Observations, "observations", "Observations(lattice, states) makes them.")
    instance(terms, Terms, "terms", "Terms.pairs(lattice) makes some.")
    if not observations.lattice.coincides(terms.lattice):
        raise ValueError(f"The terms live on {terms.lattice!r}, the observations on {observations.lattice!r}.")
    if observations.n_states != terms.n_states:
        raise ValueError(
            f"The terms are for {terms.n_states} states, the observations have {observations.n_states}; pass n_states= "
            "to the terms."
        )
