"""Langevin dynamics without inertia, by the plain first-order step of most papers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from nearsight.dynamics.scheme import State, _checked, _forces, _normal, _Overdamped
from nearsight.forcefields import ForceField


@dataclass(frozen=True)
class EulerMaruyama(_Overdamped):
    r"""Overdamped Langevin dynamics by the Euler-Maruyama step.

    .. math:: Q_{n+1} = Q_n + \frac{dt}{\lambda} F(Q_n) + \sqrt{\frac{2 kT\, dt}{\lambda}}\; R_n

    Equation, symbols and parameters are those of :class:`Brownian`, which costs the same and should be preferred: here
    equilibrium averages are off by O(dt), and the variance of a harmonic mode of stiffness k is too large by
    1/(1 - k dt/2λ). It is kept to repeat published runs step by step.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice, rng = ns.lattices.chain(40000), torch.Generator().manual_seed(1)
    >>> springs = ns.forcefields.ClassicalForceField(ns.hamiltonians.Holstein(lattice, k=1.0, kappa=0.0))
    >>> scheme, field = ns.dynamics.EulerMaruyama(dt=1.0, kT=0.1), torch.zeros(40000, 1)
    >>> run = ns.dynamics.simulate(springs, scheme, field, steps=5, record=None, rng=rng)
    >>> round(float(run.final.field.var()), 2)  # kT/k · 1/(1 - k dt/2λ): twice too large
    0.2
    """

    dt: float
    kT: float
    damping: float = 1.0

    def __post_init__(self) -> None:
        _checked(self, above=("dt", "damping"), least=("kT",))

    def step(self, state: State, forcefield: ForceField, rng: torch.Generator | None) -> State:
        field = state.field + (self.dt / self.damping) * state.forces.force
        if self.kT > 0:
            field += math.sqrt(2 * self.kT * self.dt / self.damping) * _normal(field, rng)
        time = state.time + self.dt
        return State(field, None, _forces(forcefield, field, time), time, state.step + 1)
