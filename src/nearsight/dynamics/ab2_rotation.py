"""Spins by one force call a step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from nearsight.dynamics._spin_steps import ab2, tables_of, take_step
from nearsight.dynamics.landau_lifshitz import LandauLifshitz, _cayley_rotate, _thermal_noise, effective_rotation_rate
from nearsight.dynamics.scheme import State, _forces
from nearsight.forcefields import ForceField


@dataclass(frozen=True)
class AB2Rotation(LandauLifshitz):
    r"""Rotations extrapolated from two steps (Adams-Bashforth), for the equation of :class:`LandauLifshitz`.

    .. math:: \mathbf S_{n+1} = \mathbf S_n + dt\, \tfrac12 (\mathbf S_n + \mathbf S_{n+1}) \times
              \big(\tfrac32 \mathbf A_n - \tfrac12 \mathbf A_{n-1} + \boldsymbol\eta\big)

    ===  ========================================
    A    H - α S × H, with H the force field at S
    α    ``damping``
    kT   ``kT``, in the variance of η
    dt   ``dt``
    ===  ========================================

    Second order and exact lengths at a single call of the force field, always at unit spins: the scheme for exact
    electrons, whose field costs everything and whose torques are weak (with ``tangent=True``). Unstable beyond
    dt |A| ≈ 0.4: where relaxation is to be fast rather than accurate take :class:`SemiImplicit`.

    A_{n-1} travels in ``State.history``. The first step uses A_0 alone, an error of dt² once.

    Noise is of first order. A spin in a field B has the magnetisation of a bath at kT (1 - α kT dt), which is larger by
    α dt B (1/x² - 1/sinh² x) with x = B/kT, twice as much as with :class:`SemiImplicit`; at B = 2 kT, where it should
    be 0.537, by 0.174 α dt B + (0.15 - 0.3 α²) (dt B)². Where damping is weak the second term, that of precession, is
    the larger one: take a shorter step than with other schemes where fluctuations are to be measured.

    Examples
    --------
    >>> import math
    >>> import nearsight as ns
    >>> lattice = ns.lattices.chain(4)
    >>> in_field = ns.forcefields.ClassicalForceField(ns.hamiltonians.Heisenberg(lattice, J=0.0, B=1.0))
    >>> scheme, spins = ns.dynamics.AB2Rotation(dt=0.1, kT=0.0, damping=0.5), ns.fields.ferromagnet(lattice, (1, 0, 0))
    >>> run = ns.dynamics.simulate(in_field, scheme, spins, steps=20, record=None, rng=None)
    >>> bool(abs(run.final.field[0, 2] - math.tanh(0.5 * 2.0)) < 5e-3)  # S_z = tanh(α B t)
    True
    """

    largest_angle: ClassVar[float] = 0.4

    def _first(self, state: State, rng: torch.Generator | None) -> State:
        state = super()._first(state, rng)
        return replace(state, history=effective_rotation_rate(self, state.field, state.forces.force))

    def step(self, state: State, forcefield: ForceField, rng: torch.Generator | None) -> State:
        assert state.history is not None
        noise = _thermal_noise(self, state.field, rng)
        if (tables := tables_of(forcefield, state.field)) is not None:
            return take_step(ab2, self, tables, state, noise, state.history)
        now = effective_rotation_rate(self, state.field, state.forces.force)
        rate = 1.5 * now - 0.5 * state.history + noise
        field = _cayley_rotate(state.field, self.dt * rate)
        return State(field, None, _forces(forcefield, field), state.time + self.dt, state.step + 1, history=now)
