"""Deterministic relaxation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from nearsight.dynamics.scheme import State, _checked, _forces, _Overdamped
from nearsight.forcefields import ForceField


@dataclass(frozen=True)
class TDGL(_Overdamped):
    r"""Time-dependent Ginzburg-Landau relaxation of a non-conserved field, by Heun's method.

    .. math:: \lambda \dot Q = F(Q) = -\frac{\partial E}{\partial Q}, \qquad
              \dot E = -|F|^2 / \lambda \le 0

    ===  ====================
    F    the force field at Q
    λ    ``damping``
    dt   ``dt``
    ===  ====================

    The energy falls along the exact solution, and along this one for dt < 2λ/k with k the largest stiffness; beyond
    that the step is unstable. The error is O(dt²). One step calls the force field twice: once at the predictor, once
    at the new field. No random number is drawn; take :class:`Brownian` for the same equation at a temperature.

    Parameters
    ----------
    dt: time step.
    damping: λ > 0, force per velocity; it only sets the unit of time.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> springs = ns.forcefields.ClassicalForceField(ns.hamiltonians.Holstein(ns.lattices.chain(4), k=1.0, kappa=0.0))
    >>> run = ns.dynamics.simulate(springs, ns.dynamics.TDGL(dt=0.1), torch.ones(4, 1), steps=1, record=None, rng=None)
    >>> round(float(run.final.field[0, 0]), 4)  # 1 - k dt + (k dt)²/2, of exp(-k dt)
    0.905
    """

    dt: float
    damping: float = 1.0

    force_calls: ClassVar[int | None] = 2

    def __post_init__(self) -> None:
        _checked(self, above=("dt", "damping"))

    def step(self, state: State, forcefield: ForceField, rng: torch.Generator | None = None) -> State:
        h, time = self.dt / self.damping, state.time + self.dt
        force = state.forces.force
        predicted = _forces(forcefield, state.field + h * force, time).force
        field = state.field + 0.5 * h * (force + predicted)
        return State(field, None, _forces(forcefield, field, time), time, state.step + 1)
