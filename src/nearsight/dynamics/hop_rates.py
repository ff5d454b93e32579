"""Hops of particles as a process in continuous time."""

from __future__ import annotations

import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import instance, number
from nearsight.dynamics._acceptance import Acceptance
from nearsight.dynamics.rate_model import RateModel
from nearsight.moves import MoveEnergies


class HopRates(Described, RateModel):
    r"""Hops of particles to empty sites, with rates that obey detailed balance,

    .. math:: w_{i \to j} = \frac{\nu}{z} A(\Delta E_{i \to j}), \qquad
              A = \min(1, e^{-\Delta E / kT}) \text{ or } \frac{1}{1 + e^{\Delta E / kT}} .

    z is the number of directions, occupied targets have rate 0. At ν = 1 the unit of time is one attempt per particle,
    that of :class:`HopMonteCarlo`: every particle attempts a hop at the times of a Poisson process of rate 1, in one of
    the z directions at random, and the attempts that would be rejected are left out. The n particles together make one
    attempt per 1/n of the unit on average, so the law of the field at time t is that of the attempted process after a
    Poisson number of attempts with mean n t, and the two agree up to terms of relative order 1/n.

    Parameters
    ----------
    energies: what hops cost, exact or learned.
    kT: temperature ≥ 0 in the units of the energy; at 0 only hops with ΔE ≤ 0 happen.
    rule: "metropolis" or "glauber".
    attempt_rate: ν > 0, attempts per particle and unit of time.

    Examples
    --------
    >>> import math
    >>> import nearsight as ns
    >>> import torch
    >>> gas = ns.moves.LatticeGas(ns.lattices.square(4), J=1.0)
    >>> rates, pair = ns.dynamics.HopRates(gas, kT=0.5, rule="glauber"), torch.zeros(16, 1).double()
    >>> pair[[0, 1]] = 1.0  # two neighbours, which a hop parts
    >>> move = rates.rates(pair).nonzero()[0, 0]
    >>> back = rates.rates(rates.apply(pair, move))[gas.hops.reversed[move]]
    >>> torch.allclose(rates.rates(pair)[move] / back, torch.tensor(math.exp(-1 / 0.5)).double())  # detailed balance
    True
    """

    def __init__(
        self, energies: MoveEnergies, *, kT: float, rule: str = "metropolis", attempt_rate: float = 1.0
    ) -> None:
        instance(energies, MoveEnergies, "energies")
        self.acceptance = Acceptance(rule, kT)
        self.kT, self.rule = self.acceptance.kT, rule
        self.energies, self.attempt_rate = energies, number(attempt_rate, "attempt_rate", above=0)
        self.hops = energies.hops
        self.lattice, self.moves = energies.lattice, len(energies.hops)

    def check(self, field: Tensor) -> None:
        _check_particles(self.energies, field)

    def rates(self, field: Tensor) -> Tensor:
        rates = self.of(self.energies.differences(field))
        if bool(torch.isnan(rates).any()):
            raise _not_a_number(self.energies)
        return rates

    def of(self, differences: Tensor) -> Tensor:
        """Rates of moves that cost ``differences``, 0 where these are infinite."""
        return (self.attempt_rate / self.hops.directions) * self.acceptance.probability(differences.double())

    def apply(self, field: Tensor, move: Tensor) -> Tensor:
        """The field after one hop in every replica; an impossible one changes nothing."""
        possible = self.hops.possible(field).gather(-1, move[..., None])
        moved = self.hops.apply(field, torch.where(possible[..., 0], move, self._some))
        return torch.where(possible[..., None], moved, field)

    @property
    def _some(self) -> int:
        """The number of a move that has a target."""
        return int((self.hops.targets.reshape(-1) >= 0).argmax())


def _not_a_number(energies: MoveEnergies) -> ArithmeticError:
    return ArithmeticError(f"{energies!r} answers NaN for the energy of a hop.")


def _check_particles(energies: MoveEnergies, field: Tensor) -> None:
    """Refuse fields that are no occupations, and those in which nothing can ever happen."""
    count = energies.hops.check(field)[..., 0].sum(-1)
    sites = energies.lattice.n_sites
    for particles, name in ((0, "empty"), (sites, "full")):
        if bool((count == particles).any()):
            raise ValueError(
                f"{int((count == particles).sum())} of {count.numel()} replicas are {name}: hops need at least one "
                f"particle and one empty site among {sites}."
            )
