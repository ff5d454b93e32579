"""Means of statistics over observations, and what must be true before anything is learned from them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nearsight.inference import _interactions
from nearsight.inference._blocks import Blocks, LongRun, long_run
from nearsight.inference.terms import Terms

SINGLE = 20_000
"""Snapshots from which the variance of a statistic in one snapshot is estimated."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean of φ ``(term,)``, the covariance of this mean, and how many independent snapshots it is worth."""

    mean: np.ndarray
    error: LongRun
    sums: np.ndarray
    effective: float


def observed_moments(blocks: Blocks, terms: Terms) -> Moments:
    """One pass over all observations: 64 snapshots an instruction for products of spins that all were seen."""
    sites, first, term, *_ = terms._clusters
    total, n = int(blocks.edges[-1]), len(blocks)
    sums = np.zeros((n, len(terms)))
    seen: np.ndarray = np.zeros((terms.n_states, terms.lattice.n_sites), np.int64)
    quick = terms.n_states == 2 and blocks.observations.missing is None
    quick = quick and all(t.kind in ("ising", "product", "field") for t in terms.terms)
    for states, block in blocks.rows():
        for a in range(terms.n_states):
            seen[a] += (states == a).sum(0)
        places = np.concatenate([[0], np.flatnonzero(np.diff(block)) + 1, [len(block)]])
        if not quick or len(places) > len(block) // 64:
            np.add.at(sums, block, terms._statistics(states))
            continue
        for start, stop in pairwise(places):
            words = _interactions.words_of_snapshots(states[start:stop])
            _interactions.sum_products(words, stop - start, sites, first, term, sums[block[start]])
    _refuse_frozen(seen, terms)
    size = np.diff(blocks.edges)
    mean = sums.sum(0) / total
    centred = sums - size[:, None] * mean
    error = long_run(centred, blocks.chain)
    single = terms._statistics(blocks.thinned(SINGLE)).var(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(single > 0, total * (total * single / np.diag(error.covariance)), np.nan)
    known = each[np.isfinite(each)]
    if not len(known):
        raise ValueError("No statistic of these terms ever changes: there is no coupling to learn.")
    covariance = error.covariance / total**2
    return Moments(mean, LongRun(covariance, error.freedom), centred, min(float(np.median(known)), total))


def _refuse_frozen(seen: np.ndarray, terms: Terms) -> None:
    """Refuse sites of the terms that never change, by name."""
    used = np.unique(terms._clusters[0])
    frozen = used[(seen[:, used] > 0).sum(0) < 2]
    if len(frozen):
        shown = ", ".join(map(str, frozen[:10])) + (", …" if len(frozen) > 10 else "")
        raise ValueError(
            f"Site{'s' * (len(frozen) > 1)} {shown} never change{'s' * (len(frozen) == 1)} in these observations, "
            "which then bound no coupling of theirs: observe for longer, or hotter, or leave out their terms."
        )


def refuse_few(effective: float, total: int, terms: Terms) -> None:
    """Refuse observations worth fewer independent snapshots than there are couplings, and say what would do."""
    if effective <= len(terms):
        needed = int(np.ceil(total / effective * (len(terms) + 1)))
        raise ValueError(
            f"{total} observations are worth {effective:.0f} independent ones, fewer than the {len(terms)} couplings "
            f"to learn: at this rate at least {needed} are needed, ten times as many for error bars of use. "
            "Observe more, or ask for fewer couplings."
        )
