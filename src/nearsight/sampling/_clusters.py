"""Cluster updates of Ising and Potts models: Swendsen-Wang and Wolff, by the bonds of Fortuin and Kasteleyn.

A bond between equal states is kept with probability 1 - exp(-Δ/kT), Δ its energy if the states differed. The clusters
of kept bonds then take new states at random, all of them or one: no cluster costs anything to turn.

References
----------
R. H. Swendsen, J.-S. Wang, Phys. Rev. Lett. 58, 86 (1987); U. Wolff, Phys. Rev. Lett. 62, 361 (1989);
C. M. Fortuin, P. W. Kasteleyn, Physica 57, 536 (1972).
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numba
import numpy as np

from nearsight.hamiltonians import ClassicalModel
from nearsight.sampling._streams import TRIED, U64, below, kernel, next64, uniform


def cluster_costs(model: ClassicalModel) -> tuple[np.ndarray, np.ndarray]:
    """Δ of every bond of ``model.pairs`` and the sites to reverse ``(site,)`` that make every bond favour equal states.

    Raises ``ValueError`` for a model that has no such form, and says what to use instead.
    """
    cure = 'use sampler="metropolis" or "heat-bath", or parallel tempering where these are slow.'
    if model.tiles is not None:
        raise ValueError(f"Clusters are made of bonds, and {model!r} is a table of many sites: {cure}")
    if np.ptp(model.onsite, axis=1).max() > 0:
        raise ValueError(f"Cluster updates need states of equal standing, but sites of {model!r} prefer some: {cure}")
    g, q = model.interaction, model.n_states
    gain = g[0, 0] - g[0, 1]
    if not np.allclose(g, g[0, 1] + gain * np.eye(q), rtol=0, atol=1e-12):
        raise ValueError(
            f"Cluster updates need bonds that tell equal states from different ones alone, unlike {model!r}: {cure}"
        )
    cost = gain * model.pairs.strength
    flip = alignment(model)
    if flip is None:
        raise ValueError(f"Clusters do not turn freely in {model!r}, whose bonds are frustrated: {cure}")
    return np.abs(cost), flip


_ALIGNED: WeakKeyDictionary[ClassicalModel, np.ndarray | None] = WeakKeyDictionary()
"""What :func:`alignment` found of the models that are in use: samplers of one model are often made by the dozen."""


def alignment(model: ClassicalModel) -> np.ndarray | None:
    """The sites to reverse ``(site,)`` so that every bond favours equal states, whatever the fields; None if no set
    does (frustration, or antiferromagnetic bonds of more than two states)."""
    if model not in _ALIGNED:
        _ALIGNED[model] = _alignment(model)
    return _ALIGNED[model]


def _alignment(model: ClassicalModel) -> np.ndarray | None:
    g = model.interaction
    cost = (g[0, 0] - g[0, 1]) * model.pairs.strength
    if not (cost < 0).any():
        return np.zeros(model.lattice.n_sites, np.int8)
    return _gauge(model, cost) if model.n_states == 2 else None


def _gauge(model: ClassicalModel, cost: np.ndarray) -> np.ndarray | None:
    """Sites to reverse so that no bond is negative: a sublattice of a bipartite antiferromagnet; None if frustrated."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    n = model.lattice.n_sites
    bonded = cost != 0
    i, j = model.pairs.i[bonded], model.pairs.j[bonded]
    negative = cost[bonded] < 0
    graph = coo_array((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(n, n)).tocsr()
    ends = zip(np.r_[i, j].tolist(), np.r_[j, i].tolist(), strict=True)
    sign = dict(zip(ends, np.r_[negative, negative].tolist(), strict=True))
    flip = np.zeros(n, np.int8)
    _, label = connected_components(graph, directed=False)
    for root in np.unique(label, return_index=True)[1]:
        order, before = breadth_first_order(graph, root, directed=False)
        for site in order[1:].tolist():
            flip[site] = flip[before[site]] ^ sign[site, int(before[site])]
    return flip if ((flip[i] ^ flip[j]).astype(bool) == negative).all() else None


def keep_odds(cost: np.ndarray, kT: float) -> np.ndarray:
    """1 - exp(-Δ/kT) as whole multiples of 2^-64, to be compared with 64 random bits."""
    return np.minimum(-np.expm1(-cost / kT) * 2.0**64, 2.0**64 - 2048).astype(U64)


@numba.njit(nogil=True)
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel
def sweep_swendsen_wang(spins, first, second, odds, q, rng, sweeps):
    """Every cluster of one lattice ``(site,)`` takes a state of its own. Bonds are best sorted by their first site."""
    sites = len(spins)
    parent = np.empty(sites, np.int32)
    for _ in range(sweeps):
        for i in range(sites):
            parent[i] = i
        for bond in range(len(first)):
            i, j = first[bond], second[bond]
            if spins[i] == spins[j] and next64(rng) < odds[bond]:
                i, j = _root(parent, i), _root(parent, j)
                # The smaller index becomes the root, so that a pass in order meets every root before its members.
                if i < j:
                    parent[j] = i
                else:
                    parent[i] = j
        for i in range(sites):
            if parent[i] == i:
                spins[i] = below(rng, q)
            else:
                parent[i] = parent[parent[i]]
                spins[i] = spins[parent[i]]


@kernel
def step_wolff(spins, index, odds, q, rng, steps):
    """Grow one cluster from a random site and give it another state, ``steps`` times; returns the sites turned.

    A step is skipped with probability 1 - ``TRIED``: clusters of one site each would turn in even numbers for ever.
    """
    sites, slots = index.shape
    waiting = np.empty(sites, np.int32)
    turned = 0
    for _ in range(steps):
        if uniform(rng) >= TRIED:
            continue
        seed = below(rng, sites)
        old = spins[seed]
        new = old + 1 + below(rng, q - 1)
        if new >= q:
            new -= q
        # A site is turned when it joins: turned sites are no longer equal to the old state and never join twice.
        spins[seed] = new
        waiting[0], length = seed, 1
        turned += 1
        while length > 0:
            length -= 1
            i = waiting[length]
            for k in range(slots):
                j = index[i, k]
                if spins[j] == old and next64(rng) < odds[i, k]:
                    spins[j] = new
                    waiting[length] = j
                    length += 1
                    turned += 1
    return turned
