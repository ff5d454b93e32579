"""Choosing among many rates, of which few change."""

from __future__ import annotations

import numba
import numpy as np


class SumTree:
    """A binary tree over numbers ≥ 0 whose nodes hold the sum of what is below them.

    Changing one number and finding the one at which a running sum exceeds a mark both cost log₂ of their count. Nodes
    are always sums of their two children, never corrected by differences, so that rounding does not accumulate and the
    tree depends on the numbers alone, not on how they came to be.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.leaves = 1 << max(0, len(values) - 1).bit_length()
        self.nodes = np.zeros(2 * self.leaves)
        self.nodes[self.leaves : self.leaves + len(values)] = values
        _build(self.nodes)

    @property
    def total(self) -> float:
        return float(self.nodes[1])

    def set(self, index: np.ndarray, values: np.ndarray) -> None:
        """New values for the numbers ``index``."""
        _set(self.nodes, index, values)

    def find(self, mark: float) -> int:
        """The number in which the running sum passes ``mark``, 0 ≤ mark < total; never one that is 0."""
        return int(_find(self.nodes, mark))


@numba.njit(nogil=True, cache=True)
def _build(nodes):
    for k in range(len(nodes) // 2 - 1, 0, -1):
        nodes[k] = nodes[2 * k] + nodes[2 * k + 1]


@numba.njit(nogil=True, cache=True)
def _set(nodes, index, values):
    leaves = len(nodes) // 2
    for k in range(len(index)):
        node = leaves + index[k]
        if nodes[node] == values[k]:
            continue
        nodes[node] = values[k]
        node //= 2
        while node:
            nodes[node] = nodes[2 * node] + nodes[2 * node + 1]
            node //= 2


@numba.njit(nogil=True, cache=True)
def _find(nodes, mark):
    leaves = len(nodes) // 2
    node = 1
    while node < leaves:
        node *= 2
        # Rounding may leave a mark beyond a branch in which nothing is left.
        if mark >= nodes[node] and nodes[node + 1] > 0:
            mark -= nodes[node]
            node += 1
    return node - leaves
