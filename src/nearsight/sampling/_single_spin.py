"""Updates of one site at a time, for any classical model on any lattice."""

from __future__ import annotations

import math

import numpy as np

from nearsight.sampling._streams import TRIED, below, boltzmann, kernel, uniform


@kernel
def sweep_metropolis(states, index, strength, interaction, onsite, beta, streams, sweeps):
    """As many attempts as there are sites, at sites drawn at random, in every chain ``(chain, site)``.

    An attempt is skipped with probability 1 - ``TRIED``: without energies every attempt is accepted, and the number of
    changes after so many of them would have one parity for ever.
    """
    chains, sites = states.shape
    q, slots = interaction.shape[0], index.shape[1]
    for chain in range(chains):
        spins, rng, inverse = states[chain], streams[chain], beta[chain]
        for _ in range(sweeps * sites):
            i = below(rng, sites)
            a = spins[i]
            b = a + 1 + below(rng, q - 1)
            if b >= q:
                b -= q
            cost = onsite[i, b] - onsite[i, a]
            for k in range(slots):
                neighbour = spins[index[i, k]]
                cost += strength[i, k] * (interaction[a, neighbour] - interaction[b, neighbour])
            if uniform(rng) < TRIED * math.exp(-inverse * max(cost, 0.0)):
                spins[i] = b


@kernel
def sweep_heat_bath(states, index, strength, interaction, onsite, beta, streams, sweeps):
    """Every site in turn takes a state drawn from the Boltzmann distribution in the surroundings it has."""
    chains, sites = states.shape
    q, slots = interaction.shape[0], index.shape[1]
    energy = np.empty(q)
    for chain in range(chains):
        spins, rng, inverse = states[chain], streams[chain], beta[chain]
        for _ in range(sweeps):
            for i in range(sites):
                for a in range(q):
                    energy[a] = onsite[i, a]
                for k in range(slots):
                    neighbour = spins[index[i, k]]
                    for a in range(q):
                        energy[a] -= strength[i, k] * interaction[neighbour, a]
                spins[i] = boltzmann(energy, inverse, rng)


@kernel
def measure(states, first, second, strength, interaction, onsite):
    """Energy of every chain ``(chain,)`` and how many sites are in which state ``(chain, state)``."""
    chains, sites = states.shape
    energy, count = np.zeros(chains), np.zeros((chains, interaction.shape[0]), np.int64)
    for chain in range(chains):
        spins = states[chain]
        total = 0.0
        for i in range(sites):
            count[chain, spins[i]] += 1
            total += onsite[i, spins[i]]
        for bond in range(len(first)):
            total -= strength[bond] * interaction[spins[first[bond]], spins[second[bond]]]
        energy[chain] = total
    return energy, count
