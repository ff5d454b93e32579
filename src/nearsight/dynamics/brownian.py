"""Langevin dynamics without inertia, to second order in the step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from nearsight.dynamics.scheme import State, _checked, _forces, _normal, _Overdamped
from nearsight.forcefields import ForceField


@dataclass(frozen=True)
class Brownian(_Overdamped):
    r"""Overdamped Langevin dynamics by the method of Leimkuhler and Matthews.

    .. math:: \lambda \dot Q = F(Q) + \eta(t), \qquad
              \langle \eta_i(t)\, \eta_j(t') \rangle = 2 \lambda\, kT\, \delta_{ij}\, \delta(t - t')

    .. math:: Q_{n+1} = Q_n + \frac{dt}{\lambda} F(Q_n) + \sqrt{\frac{2 kT\, dt}{\lambda}}\; \frac{R_n + R_{n+1}}{2}

    ===  ====================
    F    the force field at Q
    λ    ``damping``
    kT   ``kT``
    dt   ``dt``
    ===  ====================

    Every random kick R is used twice, in two successive steps: this is BAOAB (:class:`Langevin`) in the limit of large
    friction. Equilibrium averages then converge as dt² and are exact for a harmonic field, where :class:`EulerMaruyama`
    is wrong by O(dt), for the same single call of the force field. The approach to equilibrium is of weak order 1 in
    both, with an error that here decays exponentially in time.

    Parameters
    ----------
    dt: time step. Stable for dt < 2 λ/k with k the largest stiffness.
    kT: temperature in units of t; at 0 the scheme is Euler's method for the deterministic relaxation.
    damping: λ > 0, force per velocity; it only sets the unit of time.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice, rng = ns.lattices.chain(40000), torch.Generator().manual_seed(1)
    >>> springs = ns.forcefields.ClassicalForceField(ns.hamiltonians.Holstein(lattice, k=1.0, kappa=0.0))
    >>> scheme, field = ns.dynamics.Brownian(dt=1.0, kT=0.1), torch.zeros(40000, 1)
    >>> run = ns.dynamics.simulate(springs, scheme, field, steps=5, record=None, rng=rng)
    >>> round(float(run.final.field.var()), 2)  # kT/k at any step, however long
    0.1

    References
    ----------
    B. Leimkuhler, C. Matthews, Appl. Math. Res. Express 2013, 34;
    B. Leimkuhler, C. Matthews, M. V. Tretyakov, Proc. R. Soc. A 470, 20140120 (2014).
    """

    dt: float
    kT: float
    damping: float = 1.0

    def __post_init__(self) -> None:
        _checked(self, above=("dt", "damping"), least=("kT",))

    def _first(self, state: State, rng: torch.Generator | None) -> State:
        return replace(state, noise=_normal(state.field, rng)) if self.kT > 0 else state

    def step(self, state: State, forcefield: ForceField, rng: torch.Generator | None) -> State:
        field = state.field + (self.dt / self.damping) * state.forces.force
        noise = None
        if self.kT > 0:
            assert state.noise is not None
            noise = _normal(field, rng)
            field += math.sqrt(0.5 * self.kT * self.dt / self.damping) * (state.noise + noise)
        time = state.time + self.dt
        return State(field, None, _forces(forcefield, field, time), time, state.step + 1, noise)
