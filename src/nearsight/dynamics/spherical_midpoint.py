"""Spins by the spherical midpoint rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nearsight._validation import integer
from nearsight.dynamics.landau_lifshitz import LandauLifshitz, _cayley_rotate, _thermal_noise, effective_rotation_rate
from nearsight.dynamics.scheme import State, _checked, _forces
from nearsight.forcefields import ForceField


@dataclass(frozen=True)
class SphericalMidpoint(LandauLifshitz):
    r"""The spherical midpoint rule for the equation of :class:`LandauLifshitz`: symplectic, for undamped motion.

    .. math:: \frac{\mathbf S' - \mathbf S}{dt} = \mathbf m \times \mathbf A(\mathbf m), \qquad
              \mathbf m = \frac{\mathbf S + \mathbf S'}{|\mathbf S + \mathbf S'|}

    ===  ============================================
    A    H - α m × H + η, with H the force field at m
    α    ``damping``
    kT   ``kT``, in the variance of η
    dt   ``dt``
    ===  ============================================

    At α = 0 it keeps the symplectic form of the spheres, their lengths and the total spin of an isotropic model, and it
    runs backwards; the energy oscillates by O(dt²) but does not drift. All force calls are made at unit spins.
    Thermal averages of a spin in a field are of second order, where those of the other schemes are of first.

    The equation is solved by iteration, each of which turns the spins and so keeps their lengths, until none moves by
    more than ``tolerance``: 5 to 15 force calls a step. Replicas stop on their own. An iteration that does not settle
    raises ``ArithmeticError``: it contracts for dt times the largest stiffness below 2.

    Parameters
    ----------
    dt, kT, damping: those of :class:`LandauLifshitz`.
    tolerance: largest change of a spin component in the last iteration; in single precision no less than 1e-6.
    iterations: most of them in one step.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(4)
    >>> magnet = ns.forcefields.ClassicalForceField(ns.hamiltonians.Heisenberg(lattice))
    >>> scheme = ns.dynamics.SphericalMidpoint(dt=0.1, kT=0.0, damping=0.0)
    >>> spins = ns.fields.random_spins(lattice, torch.Generator().manual_seed(1))
    >>> run = ns.dynamics.simulate(magnet, scheme, spins, steps=20, record=None, rng=None)
    >>> bool((run.final.field.sum(0) - spins.sum(0)).abs().max() < 1e-9)  # the total spin stays
    True

    References
    ----------
    R. I. McLachlan, K. Modin, O. Verdier, Phys. Rev. E 89, 061301 (2014).
    """

    tolerance: float = 1e-12
    iterations: int = 100

    force_calls: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _checked(self, above=("tolerance",))
        object.__setattr__(self, "iterations", integer(self.iterations, "iterations", least=1))

    def step(self, state: State, forcefield: ForceField, rng: torch.Generator | None) -> State:
        S, noise = state.field, _thermal_noise(self, state.field, rng)
        tolerance = max(self.tolerance, 8 * torch.finfo(S.dtype).eps)
        field = _cayley_rotate(S, self.dt * (effective_rotation_rate(self, S, state.forces.force) + noise))
        change = torch.zeros(())
        moving = torch.ones((*S.shape[:-2], 1, 1), dtype=torch.bool, device=S.device)
        for _ in range(self.iterations):
            new = self._iterate(S, field, noise, forcefield)
            change = (new - field).abs().amax((-2, -1), keepdim=True)
            field = torch.where(moving, new, field)
            moving = moving & (change > tolerance)
            if not bool(moving.any()):
                return State(field, None, _forces(forcefield, field), state.time + self.dt, state.step + 1)
        raise ArithmeticError(
            f"The midpoint of step {state.step + 1} was not found in {self.iterations} iterations, spins still move by "
            f"{float(change.max()):.1e}: take a smaller dt (now {self.dt:g}) or a larger tolerance."
        )

    def _iterate(self, S: Tensor, end: Tensor, noise: Tensor | float, forcefield: ForceField) -> Tensor:
        # S' - S = dt m × A is the rotation rule S' - S = dt (S + S')/2 × A/c with c = |S + S'|/2.
        m = S + end
        double = m.norm(dim=-1, keepdim=True)
        m = m / double
        return _cayley_rotate(
            S, 2 * self.dt / double * (effective_rotation_rate(self, m, _forces(forcefield, m).force) + noise)
        )
