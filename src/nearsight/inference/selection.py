"""Which couplings the observations support: a test of all together, and a validation of models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats

from nearsight._validation import generator, number
from nearsight.inference._blocks import Blocks, long_run
from nearsight.inference._environments import Environments
from nearsight.inference._moments import observed_moments
from nearsight.inference.couplings import LearnedCouplings, Method, checked_observations, learn_couplings
from nearsight.inference.observations import Observations
from nearsight.inference.pseudolikelihood import pseudolikelihood
from nearsight.inference.terms import Term, Terms


class ValidatedModel(NamedTuple):
    """A model on observations it did not learn from: ``gain`` in log pseudo-likelihood per snapshot over the selected
    model, in nats, and its standard error."""

    terms: Terms
    gain: float
    error: float


@dataclass(frozen=True, eq=False)
class SelectedCouplings:
    """What the observations say about many possible couplings. Printed, it says it in words.

    Attributes
    ----------
    learned: the supported couplings alone, learned from all observations.
    full: all couplings together, learned from the training part; the tests are theirs.
    p_values: of every coupling of ``full``, corrected for their number (Holm) ``(term,)``.
    rest: p-value of the hypothesis that all couplings that were not selected are zero together.
    validation: the models proposed, judged on the validation part.
    level: probability to select any coupling that is zero.

    :func:`select_couplings` returns them.
    """

    learned: LearnedCouplings
    full: LearnedCouplings
    p_values: np.ndarray
    rest: float
    validation: tuple[ValidatedModel, ...]
    level: float

    @property
    def supported(self) -> np.ndarray:
        """True for the couplings of ``full`` that are selected ``(term,)``."""
        return self.p_values <= self.level

    def __repr__(self) -> str:
        kept = [name for name, yes in zip(self.full.terms.names, self.supported, strict=True) if yes]
        lines = [
            f"{len(kept)} of {len(self.p_values)} couplings are supported (none of them wrongly, with probability "
            f"{1 - self.level:.0%}): {', '.join(kept[:12])}{', …' if len(kept) > 12 else ''}.",
        ]
        if len(kept) < len(self.p_values):
            verdict = "may all be zero" if self.rest > self.level else "are not all zero, though none stands out"
            lines.append(f"The others {verdict} (joint test: p = {self.rest:.2g}).")
        for model in self.validation:
            names = ", ".join(model.terms.names[:6]) + (", …" if len(model.terms) > 6 else "")
            lines.append(
                f"  {names}: validation {model.gain:+.3g} ± {model.error:.2g} nats a snapshot over the selected model"
            )
        return "\n".join([*lines, repr(self.learned)])


def select_couplings(
    observations: Observations,
    candidates: Terms | Sequence[Terms],
    *,
    rng: torch.Generator,
    method: Method = "pseudo-likelihood",
    level: float = 0.05,
    validation: float = 0.1,
) -> SelectedCouplings:
    r"""Say which of many possible couplings the observations support: how far they reach, two or four spins at a time.

    All terms of all candidates are learned together from a training part. A coupling is selected if it differs from
    zero at a level corrected for the number of couplings (Holm's step-down: with n of them sorted by their p-values,
    :math:`p_{(k)} \leq \alpha / (n + 1 - k)` for all up to it): the probability that any coupling is selected that is
    zero is at most ``level``. Whether the rest may be zero *together*, which many weak couplings fail although none of
    them stands out, is the test of Wald, :math:`J^T \Sigma^{-1} J` against Hotelling's distribution.

    The candidates, and all terms, are then compared with the selected model on the validation part
    (:meth:`Observations.split`), by the mean of :math:`\sum_i \ln P(a_i \mid a_{\setminus i})`, with the error of the
    difference. Finally the selected couplings are learned once more from all observations; their intervals do not know
    that they were selected, which matters for those just beyond the threshold.

    Parameters
    ----------
    candidates: one set of terms, or several models to be compared.
    rng: draws the validation part.
    method: how couplings are learned, as in :func:`learn_couplings`; mean-field methods are biased and refused.
    level: probability of a false selection.
    validation: share of the observations that is kept for validation.

    Raises
    ------
    ValueError: where :func:`learn_couplings` raises it, and if no coupling is supported.

    References
    ----------
    S. Holm, Scand. J. Stat. 6, 65 (1979); H. Hotelling, Ann. Math. Stat. 2, 360 (1931).
    """
    models = [candidates] if isinstance(candidates, Terms) else list(candidates) if np.iterable(candidates) else []
    if not models or not all(isinstance(model, Terms) for model in models):
        raise TypeError("candidates are Terms, or several in a list; Terms.pairs(lattice, 3) makes some.")
    if method in ("mean-field", "tap", "bethe"):
        raise ValueError(f"{method} is biased, and its couplings no test; take 'pseudo-likelihood' or 'likelihood'.")
    generator(rng)
    level = number(level, "level", above=0, below=1)
    everything = _union(models)
    checked_observations(observations, everything)
    training, unseen = observations.split(validation, rng=rng, gap=_gap(observations, everything))
    full = learn_couplings(training, everything, method=method)
    if np.isinf(full.error).any():
        raise ValueError("A coupling that observations bound from one side alone cannot be tested: observe more.")
    p_values = _holm(full.p_values())
    selected = p_values <= level
    if not selected.any():
        raise ValueError(
            f"None of {len(everything)} couplings differs from zero at the level {level:g}: the observations look "
            f"free, or are too few (worth {full.effective:.0f} independent ones)."
        )
    rest = _wald(full, ~selected)
    chosen = everything.take(selected)
    others = [model for model in models if set(model.names) != set(chosen.names)]
    if len(models) > 1 and all(len(model) < len(everything) for model in models):
        others.append(everything)
    judged = _validated(training, unseen, everything, [chosen, *others], method)
    return SelectedCouplings(
        learn_couplings(observations, chosen, method=method), full, p_values, rest, tuple(judged), level
    )


def _union(models: Sequence[Terms]) -> Terms:
    known: dict[str, Term] = {}
    for model in models:
        for term in model.terms:
            same = known.setdefault(term.name, term)
            if same.clusters.shape != term.clusters.shape or (same.clusters != term.clusters).any():
                raise ValueError(f"Two candidates have different terms of one name, {term.name}.")
    for model in models[1:]:
        if not model.lattice.coincides(models[0].lattice) or model.n_states != models[0].n_states:
            raise ValueError("Candidates live on one lattice and have one number of states.")
    return Terms(models[0].lattice, known.values(), models[0].n_states)


def _gap(observations: Observations, terms: Terms) -> int:
    """Rows left out between training and validation parts of a single chain: six autocorrelation times."""
    if observations.n_chains > 1:
        return 0
    return math.ceil(3 * len(observations) / observed_moments(Blocks(observations), terms).effective)


def _holm(p: np.ndarray) -> np.ndarray:
    """p-values such that those <= level are the selection at that level."""
    order = np.argsort(p)
    corrected = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    result = np.empty(len(p))
    result[order] = corrected
    return result


def _wald(learned: LearnedCouplings, which: np.ndarray) -> float:
    """p-value of the hypothesis that some couplings are zero together."""
    k = int(which.sum())
    if not k:
        return 1.0
    freedom = float(np.median(learned.freedom[which]))
    covariance = learned.covariance[np.ix_(which, which)]
    if freedom < 2 * k + 2:  # too few blocks for a covariance matrix: the smallest p-value, k times
        return float(min(1.0, k * learned.p_values()[which].min()))
    t2 = float(learned.value[which] @ np.linalg.solve(covariance, learned.value[which]))
    return float(stats.f.sf(t2 * (freedom - k + 1) / (freedom * k), k, freedom - k + 1))


def _validated(
    training: Observations, unseen: Observations, everything: Terms, models: Sequence[Terms], method: Method
) -> list[ValidatedModel]:
    """Gains over the first model, of the others, on observations that none has seen."""
    unit = 1.0 if training.kT is None else training.kT
    place = {name: k for k, name in enumerate(everything.names)}
    thetas = np.zeros((len(models), len(everything)))
    for theta, model in zip(thetas, models, strict=True):
        theta[[place[name] for name in model.names]] = learn_couplings(training, model, method=method).value / unit
    blocks = Blocks(unseen)
    sums = np.zeros((len(blocks), len(models)))
    for records in Environments(blocks, everything):
        values = np.stack([pseudolikelihood(records, theta[records.terms]).objective for theta in thetas], axis=-1)
        records.add_to_blocks(sums, values)
    gains = (sums[:, :1] - sums) / len(unseen)
    size = np.diff(blocks.edges)[:, None] / len(unseen)
    mean = gains.sum(0)
    error = np.sqrt(np.diag(long_run(gains - size * mean, blocks.chain).covariance))
    return [ValidatedModel(m, float(g), float(e)) for m, g, e in zip(models[1:], mean[1:], error[1:], strict=True)]
