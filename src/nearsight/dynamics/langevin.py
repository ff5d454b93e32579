"""Langevin dynamics with inertia."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance
from nearsight.dynamics.scheme import Scheme, State, _checked, _forces, _normal
from nearsight.fields.field_type import Values
from nearsight.forcefields import ForceField


@dataclass(frozen=True)
class Langevin(Scheme):
    r"""Underdamped Langevin dynamics by the BAOAB splitting.

    .. math:: m \ddot Q + \lambda \dot Q = F(Q) + \eta(t), \qquad
              \langle \eta_i(t)\, \eta_j(t') \rangle = 2 \lambda\, kT\, \delta_{ij}\, \delta(t - t')

    ===  ====================
    F    the force field at Q
    m    ``mass``
    λ    ``damping``
    kT   ``kT``
    dt   ``dt``
    ===  ====================

    One step is half a kick (B), half a drift (A), the exact Ornstein-Uhlenbeck solution for friction and noise (O),
    half a drift, half a kick; the force field is called once. Averages of the field converge as dt², and are exact
    for a harmonic field at every stable dt; of all splittings of this cost it has the smallest error in the
    configuration. Velocities are the noisier half: at a step dt the kinetic temperature of a mode of frequency ω lies
    below kT by the factor 1 - (ω dt)²/4. At λ = 0 the scheme is velocity Verlet: time-reversible, symplectic, no
    drift of the energy.

    Parameters
    ----------
    dt: time step, in units of ħ/t if m, λ and the force field are in units of t. Stable for dt < 2/ω with ω the highest
        frequency; dt = 0.1/ω to 0.3/ω is a good start.
    kT: temperature of the bath in units of t; 0 leaves friction alone.
    damping: λ ≥ 0, force per velocity. The velocity decays at the rate λ/m.
    mass: m > 0, of every component. Take :class:`Brownian` for m = 0.

    Examples
    --------
    >>> import math
    >>> import nearsight as ns
    >>> import torch
    >>> springs = ns.forcefields.ClassicalForceField(ns.hamiltonians.Holstein(ns.lattices.chain(4), k=1.0, kappa=0.0))
    >>> scheme, field = ns.dynamics.Langevin(dt=2 * math.pi / 100, kT=0.0, damping=0.0), torch.ones(4, 1).double()
    >>> run = ns.dynamics.simulate(springs, scheme, field, steps=100, record=None, rng=None, velocity=0 * field)
    >>> round(float(run.final.field[0, 0]), 3)  # one period of an oscillator
    1.0

    References
    ----------
    B. Leimkuhler, C. Matthews, Appl. Math. Res. Express 2013, 34; J. Chem. Phys. 138, 174102 (2013).
    """

    dt: float
    kT: float
    damping: float
    mass: float = 1.0

    moves: ClassVar[tuple[Values, ...] | None] = ("real",)
    timed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _checked(self, above=("dt", "mass"), least=("kT", "damping"))

    def drift(self, field: Tensor, force: Tensor) -> Tensor:
        return force / self.mass

    def longest_step(self, rates: np.ndarray, state: State) -> float:
        # The eigenvalues are -ω².
        largest = (-rates.real).max(initial=0.0)
        return 2 / math.sqrt(largest) if largest > 0 else math.inf

    def start(
        self, field: Tensor, forcefield: ForceField, rng: torch.Generator | None, *, velocity: Tensor | None = None
    ) -> State:
        """The state at time 0. Without a ``velocity`` it is drawn from the Maxwell distribution at kT (0 at kT = 0)."""
        self._check(field, forcefield)
        field = field.detach().clone()
        if velocity is None:
            thermal = self.kT > 0
            velocity = math.sqrt(self.kT / self.mass) * _normal(field, rng) if thermal else torch.zeros_like(field)
        elif instance(velocity, Tensor, "velocity").shape != field.shape:
            raise ValueError(f"velocity has shape {tuple(velocity.shape)}, but the field {tuple(field.shape)}.")
        elif not bool(torch.isfinite(velocity).all()):
            raise ValueError("The velocity holds NaN or infinite values; leave it out to draw it from the bath.")
        else:
            velocity = velocity.detach().to(field, copy=True)
        return State(field, velocity, _forces(forcefield, field, 0.0), 0.0, 0)

    def step(self, state: State, forcefield: ForceField, rng: torch.Generator | None) -> State:
        assert state.velocity is not None
        half_kick = 0.5 * self.dt / self.mass
        decay = math.exp(-self.damping * self.dt / self.mass)
        # -expm1 keeps the fluctuation-dissipation balance where damping · dt is too small to be seen in 1 - decay².
        spread = math.sqrt(-math.expm1(-2 * self.damping * self.dt / self.mass) * self.kT / self.mass)

        velocity = state.velocity + half_kick * state.forces.force
        field = state.field + 0.5 * self.dt * velocity
        velocity *= decay
        if spread > 0:
            velocity += spread * _normal(velocity, rng)
        field += 0.5 * self.dt * velocity
        time = state.time + self.dt
        new = _forces(forcefield, field, time)
        velocity += half_kick * new.force
        return State(field, velocity, new, time, state.step + 1)
