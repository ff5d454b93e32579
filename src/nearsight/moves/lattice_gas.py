"""The lattice gas: pair energies of particles, exact and cheap."""

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance
from nearsight.hamiltonians import Ising
from nearsight.lattices import Lattice
from nearsight.moves.hops import Hops
from nearsight.moves.move_energies import Attempts, MoveEnergies, Walk


class LatticeGas(MoveEnergies):
    r"""Particles that attract or repel each other in pairs,

    .. math:: E = -\sum_k J_k \sum_{\langle ij \rangle_k} n_i n_j, \qquad n_i \in \{0, 1\},

    every bond once. J > 0 attracts: with nearest neighbours alone the gas is the Ising model at fixed magnetisation
    with the coupling J/4, and condenses. The classical counterpart of electrons that mediate the interaction: a fast
    model of its own, a screen for an expensive one (:class:`~nearsight.dynamics.HopMonteCarlo`), and the referee of
    what holds for all :class:`MoveEnergies`.

    An attempt of a walk takes some 30 ns; the energies of all moves cost a few passes over the lattice.

    Parameters
    ----------
    lattice: any, periodic or open.
    J: coupling of nearest neighbours, or a tuple with one coupling for every neighbour shell from the first.
    shell: neighbour shell of the hops.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> gas = ns.moves.LatticeGas(ns.lattices.square(4), J=1.0)
    >>> field = torch.zeros(16, 1).double()
    >>> field[[0, 1]] = 1.0  # two neighbours
    >>> cost = gas.differences(field)
    >>> float(gas.energy(field)), sorted(cost[cost.isfinite()].tolist())  # a bond of -J, and six hops that break it
    (-1.0, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    """

    def __init__(self, lattice: Lattice, *, J: float | tuple[float, ...] = 1.0, shell: int = 1) -> None:
        instance(lattice, Lattice, "lattice")
        # The bonds are those of spins with the same couplings.
        spins = Ising(lattice, J=J)
        self.J, self.hops = spins.J, Hops(lattice, shell)
        self.shell = self.hops.shell
        self.index, self.strength = spins.neighbours.index, spins.neighbours.strength
        """Neighbours and couplings of every site, ``(site, slot)``; couplings of 0 fill up."""
        joined = self.index[:, None, :] == self.hops.targets[:, :, None]
        self.between = (joined * self.strength[:, None, :]).sum(-1)
        """Coupling between the two ends of every move ``(site, direction)``."""

    def energy(self, field: Tensor) -> Tensor:
        """E ``(*batch,)``, float64, of fields ``(*batch, site, 1)``."""
        occupied = self.hops.check(field)[..., 0].double()
        return -0.5 * (occupied * self._attraction(occupied)).sum(-1)

    def differences(self, field: Tensor) -> Tensor:
        possible = self.hops.possible(self.hops.check(field))
        around = self._attraction(field[..., 0].double())
        targets = torch.from_numpy(self.hops.targets).to(field.device)
        # The target sees the particle itself, which is gone once it has arrived.
        delta = around[..., None] - around[..., targets] + torch.from_numpy(self.between).to(field.device)
        return torch.where(possible, delta.flatten(-2), torch.inf)

    def start_walk(self, field: Tensor) -> Walk:
        return _GasWalk(self, field)

    def _attraction(self, occupied: Tensor) -> Tensor:
        """Σ_j J_ij n_j ``(*batch, site)``."""
        index, strength = (torch.from_numpy(x).to(occupied.device) for x in (self.index, self.strength))
        return (occupied[..., index] * strength).sum(-1)


class _GasWalk(Walk):
    """A replica of the gas in compiled loops: no array is ever rebuilt."""

    def __init__(self, gas: LatticeGas, field: Tensor) -> None:
        super().__init__(gas, field)
        self.number = np.full(len(self.occupied), -1)
        self.number[self.positions] = np.arange(len(self.positions))
        self.pairs = (gas.hops.targets, gas.index, gas.strength, gas.between)

    def difference(self, move: int) -> float:
        return _one_difference(move, self.occupied, *self.pairs)

    def differences(self) -> np.ndarray:
        return self.differences_of(np.arange(len(self.hops)))

    def differences_of(self, moves: np.ndarray) -> np.ndarray:
        return _differences(moves, self.occupied, *self.pairs)

    def accept(self, move: int) -> np.ndarray:
        targets, index, _, _ = self.pairs
        return _accept(move, self.occupied, self.positions, self.number, targets, index, self.hops.reversed)

    def attempt(self, particle: np.ndarray, direction: np.ndarray, threshold: np.ndarray) -> Attempts:
        walk = (self.occupied, self.positions, self.number, *self.pairs)
        return Attempts(*_attempt(particle, direction, threshold, *walk))


@numba.njit(inline="always")
def _difference(site, d, occupied, targets, index, strength, between):
    """ΔE of one move, infinite if it is impossible."""
    target = targets[site, d]
    if occupied[site] == 0 or target < 0 or occupied[target] == 1:
        return np.inf
    delta = between[site, d]
    for k in range(index.shape[1]):
        delta += strength[site, k] * occupied[index[site, k]] - strength[target, k] * occupied[index[target, k]]
    return delta


@numba.njit(nogil=True, cache=True)
def _one_difference(move, occupied, targets, index, strength, between):
    site, d = divmod(move, targets.shape[1])
    return _difference(site, d, occupied, targets, index, strength, between)


@numba.njit(nogil=True, cache=True)
def _differences(moves, occupied, targets, index, strength, between):
    result = np.empty(len(moves))
    for k, move in enumerate(moves):
        site, d = divmod(move, targets.shape[1])
        result[k] = _difference(site, d, occupied, targets, index, strength, between)
    return result


@numba.njit(inline="always")
def _hop(site, target, occupied, positions, number):
    occupied[site], occupied[target] = 0, 1
    p = number[site]
    positions[p], number[target], number[site] = target, p, -1


@numba.njit(nogil=True, cache=True)
def _accept(move, occupied, positions, number, targets, index, reversed_):
    """Make the move; return every move from or to one of its ends or their neighbours, some of them twice."""
    site, d = divmod(move, targets.shape[1])
    target = targets[site, d]
    _hop(site, target, occupied, positions, number)
    changed = np.empty(4 * targets.shape[1] * (index.shape[1] + 1), np.int64)
    count = 0
    for end in (site, target):
        for k in range(-1, index.shape[1]):
            near = end if k < 0 else index[end, k]
            for direction in range(targets.shape[1]):
                away = near * targets.shape[1] + direction
                if reversed_[away] >= 0:
                    changed[count], changed[count + 1] = away, reversed_[away]
                    count += 2
    return changed[:count]


@numba.njit(nogil=True, cache=True)
def _attempt(particle, direction, threshold, occupied, positions, number, targets, index, strength, between):
    accepted, difference = np.zeros(len(particle), np.bool_), np.empty(len(particle))
    for k in range(len(particle)):
        site = positions[particle[k]]
        delta = _difference(site, direction[k], occupied, targets, index, strength, between)
        difference[k] = delta
        if delta <= threshold[k] and delta < np.inf:
            accepted[k] = True
            _hop(site, targets[site, direction[k]], occupied, positions, number)
    return accepted, difference
