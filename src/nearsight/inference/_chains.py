"""Moments of a model from heat-bath chains that start where the observations are."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from nearsight.inference import _interactions
from nearsight.inference._blocks import Blocks
from nearsight.inference._environments import site_kinds
from nearsight.inference.terms import Terms
from nearsight.sampling._codes import chain_streams

CHAINS = 256
DISCARD = 20
"""Sweeps after every change of the couplings before anything is measured."""
SPACING = 2
"""Sweeps between measurements."""
GRAM = 2**16
"""Measurements of which covariances are taken, at least, and sixteen for every coupling."""
NOISE = 0.1
"""Variance that Monte Carlo may add to the couplings, relative to that of the observations."""
TOGETHER = 16
"""Measurements of all chains whose products are summed at once."""


@dataclass(frozen=True, eq=False)
class ModelMoments:
    """Mean of φ in the model, its covariance in one snapshot, and the covariance of the mean (zero if exact)."""

    mean: np.ndarray
    covariance: np.ndarray
    error: np.ndarray


class Chains:
    """Chains of the model with couplings that change little by little."""

    def __init__(self, blocks: Blocks, terms: Terms, seed: int) -> None:
        self.terms = terms
        observed = blocks.thinned(CHAINS)
        self.states = np.ascontiguousarray(np.resize(observed, (CHAINS, observed.shape[1])))
        self.streams = chain_streams((seed,), CHAINS)
        self.tables, at = terms._tables
        sites: list[tuple] = [()] * terms.lattice.n_sites
        for kind in site_kinds(terms):
            for members in kind.members:
                sites[members[0]] = (kind.terms[kind.local], kind.first, members[kind.position])
        sites = [s or (np.zeros(0, int), np.zeros(1, int), np.zeros(0, int)) for s in sites]
        self.start = np.concatenate([[0], np.cumsum([len(term) for term, _, _ in sites])])
        self.term = np.concatenate([term for term, _, _ in sites])
        length = np.concatenate([np.diff(first) for _, first, _ in sites])
        self.first = np.concatenate([[0], np.cumsum(length)])
        self.others = np.concatenate([others for _, _, others in sites]).astype(np.int64)
        self.at, self.size = at[self.term], length + 1.0

    def moments(self, theta: np.ndarray, variance: np.ndarray | None = None, samples: int = 0) -> ModelMoments:
        """Moments at couplings θ, from as many measurements as covariances take; or, with the ``variance`` of the
        couplings that the observations leave, from so many that the means add 10 % to it, ``samples`` at most."""
        k, terms = len(theta), self.terms
        gram = max(GRAM, 16 * k)
        scaled = self.tables * np.repeat(theta, [t.table.size for t in terms.terms])
        self._sweep(scaled, DISCARD)
        both = np.empty((TOGETHER, CHAINS, 2 * k))
        sums, products, number = np.zeros((CHAINS, 2 * k)), np.zeros((2 * k, 2 * k)), 0
        origin: np.ndarray | None = None
        while True:
            for measured in both:
                self._sweep(scaled, SPACING)
                measured[:] = np.concatenate(self._measure(scaled), axis=1)
            if origin is None:
                origin = both.mean((0, 1))
                origin[k:] = 0.0
            both -= origin
            sums += both.sum(0)
            number += TOGETHER * CHAINS
            if number <= gram:
                flat = both.reshape(-1, 2 * k)
                products += flat.T @ flat
                taken, mean = number, sums.sum(0) / number
                if number < gram:
                    continue
                covariance = products / taken - np.outer(mean, mean)
                # Least squares, so that a term whose score vanishes (a state that never occurs) does no harm.
                weights = np.linalg.lstsq(covariance[k:, k:], covariance[k:, :k], rcond=1e-10)[0]
                inverse = np.linalg.inv(covariance[:k, :k]) if variance is not None else None
            left = (sums[:, :k] - sums[:, k:] @ weights) / (number / CHAINS)
            around = left - left.mean(0)
            error = around.T @ around / (CHAINS * (CHAINS - 1))
            if variance is None or inverse is None:
                break
            added = float(np.mean(((around @ inverse) ** 2).sum(0) / (CHAINS * (CHAINS - 1)) / variance))
            if added <= NOISE:
                break
            if number >= samples:
                warnings.warn(
                    f"{number} samples of the model add {added:.0%} to the variance of the couplings (it is in their "
                    f"errors); raise samples= to {int(number * added / NOISE)} for {NOISE:.0%}.",
                    stacklevel=4,
                )
                break
        return ModelMoments(origin[:k] + left.mean(0), covariance[:k, :k], error)

    def _sweep(self, scaled: np.ndarray, number: int) -> None:
        _interactions.heat_bath(
            self.states, self.start, self.at, self.first, self.others, scaled, self.terms.n_states, self.streams, number
        )

    def _measure(self, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        phi, score = np.empty((2, CHAINS, len(self.terms)))
        _interactions.measure(
            self.states, self.start, self.at, self.first, self.others, self.term, self.size,
            self.tables, scaled, self.terms.n_states, phi, score,
        )  # fmt: skip
        return phi, score
