"""Spins by two rotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from nearsight.dynamics.landau_lifshitz import LandauLifshitz, _cayley_rotate, _thermal_noise, effective_rotation_rate
from nearsight.dynamics.scheme import State, _forces
from nearsight.forcefields import ForceField


@dataclass(frozen=True)
class DepondtMertens(LandauLifshitz):
    r"""Heun's scheme on the sphere for the equation of :class:`LandauLifshitz`.

    The spins are turned by A(S) to a predicted configuration Y, then from S again by the mean of A(S) and A(Y); A is
    H - α S × H + η with one η for both. Second order, lengths exact, two force calls a step. All calls are made at unit
    spins, which suits learned force fields that know no others, and thermal errors are those of
    :class:`SemiImplicit`; the price against it is a step half as long in damped relaxation.

    Examples
    --------
    >>> import math
    >>> import nearsight as ns
    >>> lattice = ns.lattices.chain(4)
    >>> in_field = ns.forcefields.ClassicalForceField(ns.hamiltonians.Heisenberg(lattice, J=0.0, B=1.0))
    >>> spins = ns.fields.ferromagnet(lattice, (1, 0, 0))
    >>> scheme = ns.dynamics.DepondtMertens(dt=math.pi / 50, kT=0.0, damping=0.0)
    >>> run = ns.dynamics.simulate(in_field, scheme, spins, steps=100, record=None, rng=None)
    >>> bool((run.final.field - spins).norm(dim=1).max() < 0.01)  # one Larmor period, 2π/B
    True

    References
    ----------
    P. Depondt, F. G. Mertens, J. Phys.: Condens. Matter 21, 336005 (2009).
    """

    force_calls: ClassVar[int | None] = 2

    def step(self, state: State, forcefield: ForceField, rng: torch.Generator | None) -> State:
        S, noise = state.field, _thermal_noise(self, state.field, rng)
        first = effective_rotation_rate(self, S, state.forces.force)
        predicted = _cayley_rotate(S, self.dt * (first + noise))
        second = effective_rotation_rate(self, predicted, _forces(forcefield, predicted).force)
        field = _cayley_rotate(S, self.dt * (0.5 * (first + second) + noise))
        return State(field, None, _forces(forcefield, field), state.time + self.dt, state.step + 1)
