"""Discrete events in continuous time, none of them rejected."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nearsight._validation import instance
from nearsight.dynamics.rate_model import RateModel
from nearsight.dynamics.scheme import Scheme, State, _forces, _required
from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice


@dataclass(frozen=True)
class KineticMonteCarlo(Scheme):
    r"""Rejection-free kinetic Monte Carlo (n-fold way, Gillespie's direct method).

    .. math:: \Delta t = -\frac{\ln u}{W}, \qquad W = \sum_m w_m, \qquad P(m) = w_m / W

    ===  ===============================
    w_m  ``rates``
    u    uniform on (0, 1), from ``rng``
    ===  ===============================

    Every step is one event in every replica. Replicas have clocks of their own: ``State.time`` is ``(*batch,)``, and a
    field entered at time t_n lasts until t_{n+1}, so an average over time weighs record n by t_{n+1} - t_n. A replica
    without a possible move stays as it is, and its clock shows infinity.

    The events come from the ``rates`` alone. A force field passed to the run is called once a step and only reports
    force and energy: give the one that the rates were built with, or None to save the call.

    One event costs one full set of rates. :class:`RejectionFreeHops` makes many hops a step at the price of their
    neighbourhoods.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> ising = ns.forcefields.ClassicalForceField(ns.hamiltonians.Ising(ns.lattices.square(4)))
    >>> scheme = ns.dynamics.KineticMonteCarlo(ns.dynamics.SpinFlips(ising, kT=0.0))
    >>> field, rng = torch.ones(16, 1).double(), torch.Generator().manual_seed(1)
    >>> field[5] = -1.0
    >>> run = ns.dynamics.simulate(None, scheme, field, steps=1, record=None, rng=rng)
    >>> float(run.final.field.sum())  # at zero temperature the only event is that the wrong spin turns
    16.0

    References
    ----------
    A. B. Bortz, M. H. Kalos, J. L. Lebowitz, J. Comput. Phys. 17, 10 (1975); D. T. Gillespie, ibid. 22, 403 (1976).
    """

    rates: RateModel

    def __post_init__(self) -> None:
        instance(self.rates, RateModel, "rates")

    @property
    def lattice(self) -> Lattice:
        return self.rates.lattice

    def _check(self, field: Tensor, forcefield: ForceField | None) -> None:
        self.rates.check(field)

    def _first(self, state: State, rng: torch.Generator | None) -> State:
        clocks = torch.zeros(state.field.shape[:-2], dtype=torch.float64, device=state.field.device)
        return replace(state, time=clocks)

    def step(self, state: State, forcefield: ForceField | None, rng: torch.Generator | None) -> State:
        rates = self.rates.rates(state.field)
        cumulative = rates.cumsum(-1)
        total = cumulative[..., -1]
        moving = total > 0
        # Rounding may lift u W to W itself, where no move ends.
        mark = torch.minimum(_uniform(total, rng) * total, torch.nextafter(total, torch.zeros_like(total)))
        move = torch.searchsorted(cumulative, mark[..., None], right=True)[..., 0]
        # Where nothing can move the search runs off the end; the move picked there is discarded below.
        moved = self.rates.apply(state.field, move.clamp(max=self.rates.moves - 1))
        field = torch.where(moving[..., None, None], moved, state.field)
        waiting = torch.where(moving, -torch.log1p(-_uniform(total, rng)) / total, torch.inf)
        return State(field, None, _forces(forcefield, field), state.time + waiting, state.step + 1)


def _uniform(like: Tensor, rng: torch.Generator | None) -> Tensor:
    rng = _required(rng)
    return torch.rand(like.shape, generator=rng, dtype=torch.float64, device=rng.device).to(like.device)
