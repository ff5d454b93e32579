"""Graphs in two colours."""

from __future__ import annotations

import numpy as np


def two_colours(i: np.ndarray, j: np.ndarray, size: int) -> np.ndarray | None:
    """±1 on every node ``(size,)`` such that the ends i, j of all edges differ, +1 on the first node of every separate
    piece; None where a ring of odd length forbids it."""
    # Not at the head: solvers know this module, and scipy.sparse would slow down every start.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components, dijkstra

    graph = coo_array((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), (size, size)).tocsr()
    pieces = np.unique(connected_components(graph, directed=False)[1], return_index=True)[1]
    steps = dijkstra(graph, directed=False, indices=pieces, unweighted=True, min_only=True)
    colour = 1.0 - 2.0 * (steps % 2)
    return None if np.any(colour[i] == colour[j]) else colour
