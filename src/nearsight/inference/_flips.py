"""Changes of single sites of any classical model, one attempt at a time: what they cost, in tables or added up."""

from __future__ import annotations

import math

import numba
import numpy as np
import torch

from nearsight.hamiltonians import ClassicalModel
from nearsight.hamiltonians.classical_model import Tiles
from nearsight.sampling._streams import below, kernel, uniform

_LARGEST = 2**20
"""Entries of the largest table; models with more neighbours or states have their costs added up at every attempt."""

Sums = tuple[np.ndarray, ...]
"""Bonds (sites at their ends, strengths, g), u, and tiles (which hold a site, its powers in their codes, their table):
what :func:`change_cost` adds up."""


def cost_table(model: ClassicalModel) -> tuple[np.ndarray, np.ndarray]:
    r"""What a change of a site costs in every surroundings: ``(kind, pattern · q(q-1))``, and the kind of every site.

    A pattern holds the states of the neighbours as digits in base q, the first the highest; the entry of a change from
    a to a + 1 + o modulo q is (pattern q + a)(q - 1) + o. Sites with equal bonds and fields are of one kind. The table
    has no column if it would be too large, or if the model has tiles.
    """
    strength, onsite, g, q = model.neighbours.strength, model.onsite, model.interaction, model.n_states
    rows, kind = np.unique(np.concatenate([strength, onsite], axis=1), axis=0, return_inverse=True)
    slots = strength.shape[1]
    if model.tiles is not None or len(rows) * float(q) ** (slots + 1) * (q - 1) > _LARGEST:
        return np.zeros((len(rows), 0)), kind.reshape(-1)
    digits = np.indices((q,) * slots).reshape(slots, -1)
    old, new = np.divmod(np.arange(q * (q - 1)), q - 1)
    new = (old + 1 + new) % q
    difference = g[old][:, digits] - g[new][:, digits]  # (change, slot, pattern)
    cost = np.einsum("ks,csp->kpc", rows[:, :slots], difference) + (
        rows[:, None, slots + new] - rows[:, None, slots + old]
    )
    return np.ascontiguousarray(cost.reshape(len(rows), -1)), kind.reshape(-1)


def cost_sums(model: ClassicalModel) -> Sums:
    """The arrays of :func:`change_cost`."""
    bonds = (model.neighbours.index.astype(np.int32), model.neighbours.strength, model.interaction, model.onsite)
    if model.tiles is None:
        none = np.zeros((model.lattice.n_sites, 0), np.int64)
        return (*bonds, none, none, np.zeros(0))
    return (*bonds, *model.tiles.around, model.tiles.table)


def tile_codes(tiles: Tiles | None, spins: np.ndarray) -> np.ndarray:
    """The code of every tile ``(tile,)``; none without tiles."""
    return np.zeros(0, np.int64) if tiles is None else tiles.codes(torch.from_numpy(spins)).numpy()


@numba.njit(inline="always")
def change_cost(spins, codes, i, b, sums):
    """The energy that a change of site i to state b costs."""
    index, strength, interaction, onsite, tile, power, table = sums
    a = spins[i]
    cost = onsite[i, b] - onsite[i, a]
    for k in range(index.shape[1]):
        c = spins[index[i, k]]
        cost += strength[i, k] * (interaction[a, c] - interaction[b, c])
    for k in range(tile.shape[1]):
        code = codes[tile[i, k]]
        cost += table[code + (b - a) * power[i, k]] - table[code]
    return cost


@numba.njit(inline="always")
def change(spins, codes, i, b, sums):
    """Give site i the state b, in all the tiles that hold it."""
    tile, power = sums[4], sums[5]
    for k in range(tile.shape[1]):
        codes[tile[i, k]] += (b - spins[i]) * power[i, k]
    spins[i] = b


@numba.njit(inline="always")
def pattern_of(spins, index, i, q):
    """The states of the neighbours of site i as one number."""
    pattern = 0
    for k in range(index.shape[1]):
        pattern = pattern * q + spins[index[i, k]]
    return pattern


@kernel
def observe_table(rows, spins, index, kind, odds, q, period, rng):
    """Rows of one chain, each after ``period`` attempts at random sites that succeed with the ``odds`` of a table."""
    sites, packed = len(spins), np.zeros(rows.shape[1], np.uint8)
    for i in range(sites):
        if q == 2:
            packed[i >> 3] |= np.uint8(spins[i] << (i & 7))
        else:
            packed[i] = spins[i]
    for n in range(len(rows)):
        for _ in range(period):
            i = below(rng, sites)
            a = spins[i]
            offset = 0 if q == 2 else below(rng, q - 1)
            key = (pattern_of(spins, index, i, q) * q + a) * (q - 1) + offset
            if uniform(rng) < odds[kind[i], key]:
                if q == 2:
                    spins[i] = 1 - a
                    packed[i >> 3] ^= np.uint8(1 << (i & 7))
                else:
                    b = (a + 1 + offset) % q
                    spins[i] = b
                    packed[i] = b
        rows[n] = packed


@kernel
def observe_sums(rows, spins, codes, sums, q, beta, tried, period, rng):
    """The same with the cost of every attempt added up over the bonds and tiles of its site."""
    sites = len(spins)
    for n in range(len(rows)):
        for _ in range(period):
            i = below(rng, sites)
            b = (spins[i] + 1 + below(rng, q - 1)) % q
            if uniform(rng) < tried * math.exp(-beta * max(change_cost(spins, codes, i, b, sums), 0.0)):
                change(spins, codes, i, b, sums)
        for i in range(sites):
            if q == 2:
                if i & 7 == 0:
                    rows[n, i >> 3] = 0
                rows[n, i >> 3] |= np.uint8(spins[i] << (i & 7))
            else:
                rows[n, i] = spins[i]
