"""Energy differences of discrete moves: the seam for fields that hop instead of flowing."""

from __future__ import annotations

import abc
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described
from nearsight.lattices import Lattice
from nearsight.moves.hops import Hops


class Attempts(NamedTuple):
    """What became of a sequence of attempted moves, ``(attempt,)`` each.

    ``difference`` is ΔE of the attempted move, infinite where the target was occupied or missing.

    :meth:`Walk.attempt` returns them.
    """

    accepted: np.ndarray
    difference: np.ndarray


class MoveEnergies(Described, abc.ABC):
    """Energy differences of the hops of an occupation field, exact or learned, same call.

    The counterpart of a force field for particles on a lattice: kinetic Monte Carlo asks what a move costs and does not
    know who answers. "Energy" is whatever the stationary weights exp(-E/kT) are made of; with electrons in the
    background it is their free energy.
    """

    hops: Hops

    @property
    def lattice(self) -> Lattice:
        """Where the particles live."""
        return self.hops.lattice

    @abc.abstractmethod
    def differences(self, field: Tensor) -> Tensor:
        """Energy after minus energy before every move, float64 ``(*batch, move)``; infinite for impossible moves."""

    def start_walk(self, field: Tensor) -> Walk:
        """One replica ``(site, 1)`` on its way, with whatever makes the next difference cheap."""
        return Walk(self, field)


class Walk:
    """One replica of particles that move one at a time; here every difference is taken from the whole field.

    A walk started from a field is a function of that field and of the moves made since, nothing else, so a run that
    starts a new walk at each of its checkpoints ends with the same bits when it is resumed.

    ``positions`` ``(particle,)`` holds the site of every particle, at first in ascending order; a particle keeps its
    number when it moves.

    :meth:`MoveEnergies.start_walk` returns it.
    """

    def __init__(self, energies: MoveEnergies, field: Tensor) -> None:
        energies.hops.check(field)
        if field.ndim != 2:
            raise ValueError(f"A walk is of one replica (site, 1), got {tuple(field.shape)}.")
        self.energies, self.hops = energies, energies.hops
        self.occupied = (field[:, 0] > 0.5).cpu().numpy().astype(np.int8)
        self.positions = np.flatnonzero(self.occupied)

    @property
    def field(self) -> Tensor:
        """The present occupations, float64 ``(site, 1)``."""
        return torch.from_numpy(self.occupied.astype(np.float64))[:, None]

    def possible(self, move: int) -> bool:
        """Whether there is a particle on the site of the move and none on its target."""
        site, direction = divmod(move, self.hops.directions)
        target = self.hops.targets[site, direction]
        return bool(self.occupied[site]) and target >= 0 and not self.occupied[target]

    def difference(self, move: int) -> float:
        """ΔE of one possible move from the present field."""
        return float(self.differences()[move])

    def differences(self) -> np.ndarray:
        """ΔE of every move from the present field, float64 ``(move,)``; infinite where impossible."""
        return self.energies.differences(self.field).numpy()

    def differences_of(self, moves: np.ndarray) -> np.ndarray:
        """ΔE of some moves ``(move,)`` from the present field, float64; infinite where impossible."""
        return np.array([self.difference(int(m)) if self.possible(int(m)) else np.inf for m in moves])

    def accept(self, move: int) -> np.ndarray | None:
        """Make a possible move. Returns the moves whose ΔE may have changed, None for all of them."""
        site, direction = divmod(move, self.hops.directions)
        target = self.hops.targets[site, direction]
        self.occupied[site], self.occupied[target] = 0, 1
        self.positions[self.positions == site] = target
        return None

    def attempt(self, particle: np.ndarray, direction: np.ndarray, threshold: np.ndarray) -> Attempts:
        """Attempt moves one after the other: particle and direction ``(attempt,)``, accepted if ΔE ≤ threshold.

        A rule of acceptance is a distribution of thresholds: -kT ln u for Metropolis, kT ln(1/u - 1) for Glauber, with
        u uniform on (0, 1).
        """
        accepted = np.zeros(len(particle), dtype=bool)
        difference = np.full(len(particle), np.inf)
        for k, (p, d) in enumerate(zip(particle, direction, strict=True)):
            move = int(self.positions[p]) * self.hops.directions + int(d)
            if not self.possible(move):
                continue
            difference[k] = self.difference(move)
            if difference[k] <= threshold[k]:
                self.accept(move)
                accepted[k] = True
        return Attempts(accepted, difference)
