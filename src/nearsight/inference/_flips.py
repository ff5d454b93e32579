"""Metropolis's rule one attempt at a time, for any classical model with bonds: what it accepts, in tables."""

from __future__ import annotations

import math

import numba
import numpy as np

from nearsight.hamiltonians import ClassicalModel
from nearsight.sampling._streams import below, kernel, uniform

_LARGEST = 2**20
"""Entries of the largest table; models with more neighbours or states have their costs added up at every attempt."""


def cost_table(model: ClassicalModel) -> tuple[np.ndarray, np.ndarray]:
    r"""What a change of a site costs in every surroundings: ``(kind, pattern · q(q-1))``, and the kind of every site.

    A pattern holds the states of the neighbours as digits in base q, the first the highest; the entry of a change from
    a to a + 1 + o modulo q is (pattern q + a)(q - 1) + o. Sites with equal bonds and fields are of one kind. The table
    has no column if it would be too large.
    """
    if model.tiles is not None:
        raise ValueError(
            f"Single attempts are made with the energies of bonds and sites alone; sample(model, kT, ...) draws "
            f"configurations of {model!r}, and Observations.from_snapshots takes them."
        )
    strength, onsite, g, q = model.neighbours.strength, model.onsite, model.interaction, model.n_states
    rows, kind = np.unique(np.concatenate([strength, onsite], axis=1), axis=0, return_inverse=True)
    slots = strength.shape[1]
    if len(rows) * float(q) ** (slots + 1) * (q - 1) > _LARGEST:
        return np.zeros((len(rows), 0)), kind.reshape(-1)
    digits = np.indices((q,) * slots).reshape(slots, -1)
    old, new = np.divmod(np.arange(q * (q - 1)), q - 1)
    new = (old + 1 + new) % q
    difference = g[old][:, digits] - g[new][:, digits]  # (change, slot, pattern)
    cost = np.einsum("ks,csp->kpc", rows[:, :slots], difference) + (
        rows[:, None, slots + new] - rows[:, None, slots + old]
    )
    return np.ascontiguousarray(cost.reshape(len(rows), -1)), kind.reshape(-1)


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
def observe_sums(rows, spins, index, strength, interaction, onsite, beta, tried, period, rng):
    """The same with the cost of every attempt added up over the bonds of its site."""
    sites, q = len(spins), interaction.shape[0]
    for n in range(len(rows)):
        for _ in range(period):
            i = below(rng, sites)
            a = spins[i]
            b = (a + 1 + below(rng, q - 1)) % q
            cost = onsite[i, b] - onsite[i, a]
            for k in range(index.shape[1]):
                c = spins[index[i, k]]
                cost += strength[i, k] * (interaction[a, c] - interaction[b, c])
            if uniform(rng) < tried * math.exp(-beta * max(cost, 0.0)):
                spins[i] = b
        for i in range(sites):
            if q == 2:
                if i & 7 == 0:
                    rows[n, i >> 3] = 0
                rows[n, i >> 3] |= np.uint8(spins[i] << (i & 7))
            else:
                rows[n, i] = spins[i]
