"""The two sublattices of a bipartite lattice."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, dijkstra

from nearsight.lattices import Lattice


@lru_cache(maxsize=16)
def sublattice_sign(lattice: Lattice) -> np.ndarray:
    """±1 on every site such that nearest neighbours differ; +1 on site 0 (on the first site of every separate piece).

    Refused for a lattice with odd rings: triangular, kagome, or a torus with an odd number of cells around.
    """
    bonds, n = lattice.bonds(1), lattice.n_sites
    graph = coo_array((np.ones(2 * len(bonds)), (np.r_[bonds.i, bonds.j], np.r_[bonds.j, bonds.i])), (n, n)).tocsr()
    pieces = np.unique(connected_components(graph, directed=False)[1], return_index=True)[1]
    steps = dijkstra(graph, directed=False, indices=pieces, unweighted=True, min_only=True)
    colour = 1.0 - 2.0 * (steps % 2)
    if np.any(colour[bonds.i] == colour[bonds.j]):
        raise ValueError(
            f"{lattice!r} has rings of an odd number of neighbours and no two sublattices. Use an even number of "
            f"cells, or give the wave vector of the order."
        )
    colour.setflags(write=False)
    return colour
