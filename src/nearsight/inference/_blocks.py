"""Stretches of observations, and error bars from sums over them that remember how chains are correlated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nearsight.inference.observations import Observations
from nearsight.sampling.autocorrelation import WINDOW

BLOCKS = 1024
"""Into about so many blocks observations are divided."""
ROWS = 2**14
"""Snapshots that are unpacked at a time."""


class Blocks:
    """Observations in the order of their chains, divided into blocks of successive ones.

    A block is a stretch of one chain, or several whole chains where there are more than ``BLOCKS``; ``chain`` says
    which blocks follow each other in time: numbers ``(block,)``, equal within a chain.
    """

    def __init__(self, observations: Observations, blocks: int = BLOCKS) -> None:
        self.observations = observations
        chain = observations.chain
        turns = np.flatnonzero(chain[1:] != chain[:-1]) + 1
        starts = np.concatenate([[0], turns])
        self.order: np.ndarray | None = None
        if len(np.unique(chain[starts])) < len(starts):
            self.order = np.argsort(chain, kind="stable")
            ordered = chain[self.order]
            starts = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
        ends = np.concatenate([starts[1:], [len(chain)]])
        if len(starts) >= blocks:
            cuts = np.linspace(0, len(starts), blocks + 1).round().astype(int)
            self.edges = np.concatenate([starts[cuts[:-1]], [len(chain)]])
            self.chain = np.arange(blocks)
        else:
            length = len(chain) / blocks
            pieces = np.clip(((ends - starts) / length).round().astype(int), 1, ends - starts)
            edges = [
                np.linspace(a, b, n + 1).round().astype(int)[:-1] for a, b, n in zip(starts, ends, pieces, strict=True)
            ]
            self.edges = np.concatenate([*edges, [len(chain)]])
            self.chain = np.repeat(np.arange(len(starts)), pieces)

    def __len__(self) -> int:
        return len(self.chain)

    def rows(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """States ``(snapshot, site)``, int8, -1 where a site was not seen, and the block of every row, in batches."""
        for start in range(0, self.edges[-1], ROWS):
            stop = min(start + ROWS, self.edges[-1])
            block = np.searchsorted(self.edges, np.arange(start, stop), side="right") - 1
            yield self.states(slice(start, stop)), block

    def states(self, rows: slice) -> np.ndarray:
        """States of rows in the order of the blocks, -1 where a site was not seen."""
        index = rows if self.order is None else self.order[rows]
        states = self.observations.states(index).numpy()
        missing = self.observations.missing
        return states if missing is None else np.where(missing[index], np.int8(-1), states)

    def thinned(self, number: int) -> np.ndarray:
        """About so many states, evenly spaced over all observations."""
        total = int(self.edges[-1])
        index = np.unique(np.linspace(0, total - 1, min(number, total)).round().astype(int))
        index = index if self.order is None else self.order[index]
        states = self.observations.states(index).numpy()
        missing = self.observations.missing
        return states if missing is None else np.where(missing[index], np.int8(-1), states)


@dataclass(frozen=True, eq=False)
class LongRun:
    """Covariance of a sum over all blocks.

    ``covariance`` ``(k, k)``; ``freedom`` ``(k,)``, degrees of freedom of the variance, those of a χ² with the same
    relative noise.
    """

    covariance: np.ndarray
    freedom: np.ndarray


def long_run(sums: np.ndarray, chain: np.ndarray) -> LongRun:
    r"""Covariance of the total of block sums ``(block, k)`` that have mean zero, or are taken about it,

    .. math:: V_{kl} = \sqrt{f_k f_l} \sum_b g_{bk} g_{bl}, \qquad
              f_k = 1 + 2 \sum_{t=1}^{W} \frac{\sum_b g_{bk} g_{b+t,k}}{\sum_b g_{bk}^2},

    products within chains only, W the first lag that exceeds six autocorrelation times f/2. The sums are biased towards
    zero by the mean (one part in the number of blocks for every lag), which is corrected as in Wolff's method.

    References
    ----------
    U. Wolff, Comput. Phys. Commun. 156, 143 (2004).
    """
    g = sums - sums.mean(0)
    n = len(g)
    squares = (g * g).sum(0)
    starts = np.flatnonzero(np.diff(chain, prepend=chain[0] - 1))
    longest = int(np.diff(np.concatenate([starts, [n]])).max())
    variance = np.where(squares > 0, squares, 1.0)
    total = np.ones(g.shape[1])
    window = np.zeros(g.shape[1], int)
    open_ = np.ones(g.shape[1], bool)
    for t in range(1, max(min(longest, n // 4), 1)):
        inside = chain[t:] == chain[:-t]
        total = np.where(open_, total + 2 * (g[t:] * g[:-t])[inside].sum(0) / variance, total)
        window = np.where(open_, t, window)
        open_ &= t < WINDOW * total / 2
        if not open_.any():
            break
    lags = 2 * window + 1
    inflation = np.maximum(total, 0.25) * (1 + lags / n)
    freedom = np.maximum(n / lags - 1, 1.0)
    scale = np.sqrt(inflation * n / max(n - 1, 1))
    return LongRun(scale[:, None] * (g.T @ g) * scale, freedom)
