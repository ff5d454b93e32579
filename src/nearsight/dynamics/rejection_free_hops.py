"""Hops of particles as they happen, none of them rejected, each at the price of its neighbourhood."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance
from nearsight.dynamics._sum_tree import SumTree
from nearsight.dynamics.hop_monte_carlo import _WalkingScheme
from nearsight.dynamics.hop_rates import HopRates, _not_a_number
from nearsight.dynamics.scheme import _checked
from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice


@dataclass(frozen=True)
class RejectionFreeHops(_WalkingScheme):
    r"""Every hop at the time it happens (n-fold way), in steps of equal ``duration``.

    .. math:: \Delta t = -\frac{\ln u}{W}, \qquad W = \sum_m w_m, \qquad P(m) = w_m / W

    ===  ===============================
    w_m  ``rates``
    u    uniform on (0, 1), from ``rng``
    ===  ===============================

    The rates are those of :class:`HopRates`. A step ends when the clock has advanced by ``duration``; the hop that
    would come later is dropped, which is exact, because a waiting time that has not ended is as good as new. All
    replicas share the clock, as in :class:`HopMonteCarlo`, whose unit of time is the same at an attempt rate of 1.

    The rates lie in a sum tree. A walk that says which moves a hop has changed pays for those: one hop costs
    O(changed × log N) on N sites. A walk that cannot say so computes all rates after every hop. Which of the two
    schemes is faster is a question of acceptance: attempted hops are rejected most of the time in cold and frozen
    configurations, while here a rejected attempt costs nothing.

    Counted since the start, for records: "accepted" hops and the "energy_change" they add up to. Replica r sees a
    random stream of its own, whatever the number of replicas; every hop takes its waiting time and then its choice.

    Parameters
    ----------
    rates: the process.
    duration: time of one step, > 0.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> gas = ns.moves.LatticeGas(ns.lattices.square(8), J=1.0)
    >>> scheme = ns.dynamics.RejectionFreeHops(ns.dynamics.HopRates(gas, kT=0.5), duration=2.0)
    >>> field, rng = (torch.arange(64)[:, None] % 4 == 0).double(), torch.Generator().manual_seed(1)
    >>> run = ns.dynamics.simulate(None, scheme, field, steps=5, record=None, rng=rng)
    >>> change = gas.energy(run.final.field) - gas.energy(field)
    >>> run.final.time, torch.allclose(run.final.tally["energy_change"], change)  # five times 2; the hops add up
    (10.0, True)

    References
    ----------
    A. B. Bortz, M. H. Kalos, J. L. Lebowitz, J. Comput. Phys. 17, 10 (1975); J. L. Blue, I. Beichl, F. Sullivan,
    Phys. Rev. E 51, R867 (1995).
    """

    rates: HopRates
    duration: float = 1.0

    tallies: ClassVar = ("accepted", "energy_change")

    def __post_init__(self) -> None:
        instance(self.rates, HopRates, "rates")
        _checked(self, above=("duration",))

    @property
    def lattice(self) -> Lattice:
        return self.rates.lattice

    @property
    def _duration(self) -> float:
        return self.duration

    def _check(self, field: Tensor, forcefield: ForceField | None) -> None:
        self.rates.check(field)

    def _walk(self, field: Tensor, generator: np.random.Generator) -> tuple[Tensor, int, float]:
        """One replica a step later, the number of hops and the energy they cost."""
        walk = self.rates.energies.start_walk(field)
        difference = walk.differences()
        tree = SumTree(self._rates(difference))
        left, hops, energy = self.duration, 0, 0.0
        while tree.total != 0:
            if math.isnan(tree.total):
                raise _not_a_number(self.rates.energies)
            left -= generator.standard_exponential() / tree.total
            if left < 0:
                break
            move = tree.find(generator.random() * tree.total)
            hops, energy = hops + 1, energy + difference[move]
            changed = walk.accept(move)
            if changed is None:
                difference = walk.differences()
                tree = SumTree(self._rates(difference))
            else:
                difference[changed] = new = walk.differences_of(changed)
                tree.set(changed, self._rates(new))
        return walk.field, hops, energy

    def _rates(self, difference: np.ndarray) -> np.ndarray:
        return self.rates.of(torch.from_numpy(difference)).numpy()
