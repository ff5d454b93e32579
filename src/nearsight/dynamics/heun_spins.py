"""Spins by Heun's method and normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from nearsight.dynamics._spin_steps import heun, tables_of, take_step
from nearsight.dynamics.landau_lifshitz import LandauLifshitz, _thermal_noise, effective_rotation_rate
from nearsight.dynamics.scheme import State, _forces
from nearsight.forcefields import ForceField


@dataclass(frozen=True)
class HeunSpins(LandauLifshitz):
    r"""Heun's method for the equation of :class:`LandauLifshitz`, with spins normalised after every step.

    The scheme of many published codes, kept to compare with them. It is of second order at two force calls a step, but
    undamped motion gains energy thirty times faster than with :class:`SemiImplicit`, and damped motion is stable only
    up to dt |H| ≈ 0.4. A thermal spin in a field is as in a bath at kT (1 + ½ α kT dt), to first order.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(4)
    >>> magnet = ns.forcefields.ClassicalForceField(ns.hamiltonians.Heisenberg(lattice))
    >>> spins, drift = ns.fields.random_spins(lattice, torch.Generator().manual_seed(1)), []
    >>> for kind in (ns.dynamics.HeunSpins, ns.dynamics.SemiImplicit):
    ...     scheme = kind(dt=0.1, kT=0.0, damping=0.0)
    ...     run = ns.dynamics.simulate(magnet, scheme, spins, steps=100, record=None, rng=None)
    ...     drift.append(float(abs(run.final.forces.energy - magnet(spins).energy)))
    >>> drift[0] > 3 * drift[1]  # of the energy, which undamped motion conserves
    True
    """

    force_calls: ClassVar[int | None] = 2
    largest_angle: ClassVar[float] = 0.4

    def step(self, state: State, forcefield: ForceField, rng: torch.Generator | None) -> State:
        S, noise = state.field, _thermal_noise(self, state.field, rng)
        if (tables := tables_of(forcefield, S)) is not None:
            return take_step(heun, self, tables, state, noise)
        first = torch.linalg.cross(S, effective_rotation_rate(self, S, state.forces.force) + noise)
        predicted = S + self.dt * first
        second = torch.linalg.cross(
            predicted, effective_rotation_rate(self, predicted, _forces(forcefield, predicted).force) + noise
        )
        field = S + 0.5 * self.dt * (first + second)
        field = field / field.norm(dim=-1, keepdim=True)
        return State(field, None, _forces(forcefield, field), state.time + self.dt, state.step + 1)
