"""Spins by the semi-implicit midpoint rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from nearsight.dynamics._spin_steps import semi_implicit, tables_of, take_step
from nearsight.dynamics.landau_lifshitz import LandauLifshitz, _cayley_rotate, _thermal_noise, effective_rotation_rate
from nearsight.dynamics.scheme import State, _forces
from nearsight.forcefields import ForceField


@dataclass(frozen=True)
class SemiImplicit(LandauLifshitz):
    r"""The semi-implicit scheme B (SIB) for the equation of :class:`LandauLifshitz`, the default choice.

    .. math:: \mathbf Y &= \mathbf S + dt\, \tfrac12 (\mathbf S + \mathbf Y) \times \mathbf A(\mathbf S), \\
              \mathbf S' &= \mathbf S + dt\, \tfrac12 (\mathbf S + \mathbf S') \times
              \mathbf A\big(\tfrac12 (\mathbf S + \mathbf Y)\big), \\
              \mathbf A(\mathbf m) &= \mathbf H(\mathbf m) - \alpha\, \mathbf m \times \mathbf H(\mathbf m)
              + \boldsymbol\eta .

    Implicit in the spin alone, which is solved in closed form site by site; the same noise enters twice. It is of
    second order, keeps the length exactly, and relaxes damped spins at steps several times longer than explicit schemes
    can. The force field is called twice a step, once at midpoints, where |m| < 1: it must be defined there, as exact
    electrons and polynomials of the spins are. At α = 0 the energy drifts, by 0.02 J a spin in 1000 steps of
    dt |H| = 0.4 (:class:`SphericalMidpoint`: 3e-4).

    Noise is of first order. A spin in a field B has the magnetisation of a bath at kT (1 - ½ α kT dt): with x = B/kT,

    .. math:: \langle S_z \rangle = \coth x - \frac1x + \tfrac12\, \alpha\, dt\, B
              \left( \frac{1}{x^2} - \frac{1}{\sinh^2 x} \right) + O(dt^2),

    at B = 2 kT, where it is 0.537, larger by 0.087 α dt B - 0.09 (α dt B)².

    Examples
    --------
    >>> import math
    >>> import nearsight as ns
    >>> lattice = ns.lattices.chain(4)
    >>> in_field = ns.forcefields.ClassicalForceField(ns.hamiltonians.Heisenberg(lattice, J=0.0, B=1.0))
    >>> scheme, spins = ns.dynamics.SemiImplicit(dt=0.1, kT=0.0, damping=0.5), ns.fields.ferromagnet(lattice, (1, 0, 0))
    >>> run = ns.dynamics.simulate(in_field, scheme, spins, steps=20, record=None, rng=None)
    >>> round(float(run.final.field[0, 2]), 2), round(math.tanh(0.5 * 2.0), 2)  # S_z = tanh(α B t)
    (0.76, 0.76)

    References
    ----------
    J. H. Mentink, M. V. Tretyakov, A. Fasolino, M. I. Katsnelson, T. Rasing, J. Phys.: Condens. Matter 22, 176001
    (2010).
    """

    force_calls: ClassVar[int | None] = 2

    def step(self, state: State, forcefield: ForceField, rng: torch.Generator | None) -> State:
        S, noise = state.field, _thermal_noise(self, state.field, rng)
        if (tables := tables_of(forcefield, S)) is not None:
            return take_step(semi_implicit, self, tables, state, noise)
        predicted = _cayley_rotate(S, self.dt * (effective_rotation_rate(self, S, state.forces.force) + noise))
        middle = 0.5 * (S + predicted)
        field = _cayley_rotate(
            S, self.dt * (effective_rotation_rate(self, middle, _forces(forcefield, middle).force) + noise)
        )
        return State(field, None, _forces(forcefield, field), state.time + self.dt, state.step + 1)
