"""The equation of motion of unit spins, and what every way of integrating it shares."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import boolean
from nearsight.dynamics._noise import fill_normals
from nearsight.dynamics.run.guard import _rounded_down
from nearsight.dynamics.scheme import Scheme, State, _checked, _normal, _required
from nearsight.fields.field_type import Values
from nearsight.forcefields import ForceField

UNIT = 1e-5
"""Largest deviation of a spin from length 1 at the start, enough for a field stored in single precision."""


@dataclass(frozen=True)
class LandauLifshitz(Scheme):
    r"""Damped, thermal precession of unit spins in the effective field H_i = -∂E/∂S_i,

    .. math:: \dot{\mathbf S}_i = \mathbf S_i \times (\mathbf H_i + \boldsymbol\eta_i)
              - \alpha\, \mathbf S_i \times (\mathbf S_i \times \mathbf H_i), \qquad
              \langle \eta_i^a(t)\, \eta_j^b(t') \rangle = 2 \alpha\, kT\, \delta_{ij}\, \delta_{ab}\, \delta(t - t').

    ===  ============================
    H    the force field at S
    α    ``damping``
    kT   ``kT``, in the variance of η
    dt   ``dt``, the step of a scheme
    ===  ============================

    The gyromagnetic ratio is 1: time is in units of ħ/t if H is in units of t (of 1/γJS in papers that keep γ). The
    force field hands over H; its component along S_i does nothing, so a force field may leave it out. Without noise the
    energy falls as dE/dt = -α Σ |S × H|². Gilbert's form, with S × dS/dt in the damping, is this equation with time in
    units of (1 + α²).

    The noise acts in the precession alone. It then makes a spin diffuse on the sphere with the constant αkT, while the
    damping drags it along αH; these balance in exp(-E/kT) exactly if the variance is 2αkT. Noise that enters the
    damping as well, as in part of the literature, would be stronger by 1 + α² and has to be divided by it. Products are
    of Stratonovich's kind, as the length of a spin demands.

    Members differ in how a step is made: :class:`SemiImplicit` (the default choice), :class:`SphericalMidpoint` (the
    energy of undamped motion), :class:`AB2Rotation` (one force call a step), :class:`DepondtMertens` and
    :class:`HeunSpins` (for comparison). All of them keep |S_i| = 1 to rounding.

    Parameters
    ----------
    dt: time step.
    kT: temperature of the bath in the units of the energy; 0 leaves the noise out.
    damping: α ≥ 0, dimensionless; 0 leaves precession alone, and then no noise at any kT.
    tangent: turn spins by the part of H normal to them, leaving out the part along them. The equation is the same, its
        steps are not. Electrons give a spin a field along itself that is 4 (weak coupling) to 45 times (J = 6t) its
        torque and does nothing but limit dt: with True errors of a step are 4 to 400 times smaller there, and the
        steps of exact fields and of learned torques are alike. Exchange between neighbours is better kept whole: a
        spin then precesses about its neighbours, and undamped energies drift ten times less.

    References
    ----------
    W. F. Brown, Phys. Rev. 130, 1677 (1963); J. L. García-Palacios, F. J. Lázaro, Phys. Rev. B 58, 14937 (1998).
    """

    dt: float
    kT: float
    damping: float
    tangent: bool = False

    moves: ClassVar[tuple[Values, ...] | None] = ("unit",)
    largest_angle: ClassVar[float] = 1.0
    """dt |A| in radians beyond which a step means nothing or is unstable; a start beyond it warns."""
    largest_kick: ClassVar[float] = 1.0
    """The same for the angle (rms) by which the bath turns a spin in one step."""

    def __post_init__(self) -> None:
        _checked(self, above=("dt",), least=("kT", "damping"))
        object.__setattr__(self, "tangent", boolean(self.tangent, "tangent"))

    def drift(self, field: Tensor, force: Tensor) -> Tensor:
        return torch.linalg.cross(field, effective_rotation_rate(self, field, force))

    def displaced(self, field: Tensor, by: Tensor) -> Tensor:
        moved = field + by - (by * field).sum(-1, keepdim=True) * field
        return moved / moved.norm(dim=-1, keepdim=True)

    def longest_step(self, rates: np.ndarray, state: State) -> float:
        if self.dt * self._fastest(state) > self.largest_angle:
            return math.inf  # the start has warned, with a shorter step
        # In a ferromagnet the fastest magnon has twice the rate at which a spin turns about its field, and it is there
        # that the largest angles were measured.
        fastest = np.abs(rates).max(initial=0.0)
        return float(2 * self.largest_angle / fastest) if fastest > 0 else math.inf

    def _fastest(self, state: State) -> float:
        return float(effective_rotation_rate(self, state.field, state.forces.force).norm(dim=-1).max())

    def _check(self, field: Tensor, forcefield: ForceField | None) -> None:
        if forcefield is None:
            raise TypeError(f"{type(self).__name__} moves spins by forces: pass a force field.")
        if forcefield.components != 3:
            raise ValueError(
                f"{type(self).__name__} turns spins of three components, but {forcefield!r} acts on fields of "
                f"{forcefield.components}."
            )
        super()._check(field, forcefield)
        _check_spins(field)

    def _first(self, state: State, rng: torch.Generator | None) -> State:
        """The first state, of whose forces a step that is too long is warned about."""
        if not state.field.numel():
            return state
        rate = effective_rotation_rate(self, state.field, state.forces.force)
        angle = self.dt * self._fastest(state)
        if angle > self.largest_angle:
            needed = self.dt * float(torch.linalg.cross(state.field, rate).norm(dim=-1).max())
            cure = f"take dt <= {_rounded_down(self.largest_angle * self.dt / angle):.2g}"
            if needed < 0.5 * angle:
                cure += f", or tangent=True: the torques alone turn them by {needed:.2g} rad"
            warnings.warn(
                f"The first step of dt = {self.dt:g} turns spins by {angle:.2g} rad about their fields, too much for "
                f"{type(self).__name__}; {cure}.",
                stacklevel=3,
            )
        kicked = 2 * math.sqrt(self.damping * self.kT * self.dt)  # two components across the spin, each of 2αkT dt
        if kicked > self.largest_kick:
            warnings.warn(
                f"The bath of kT = {self.kT:g} turns spins by {kicked:.2g} rad (rms) in one step of dt = {self.dt:g}, "
                f"too much for {type(self).__name__}; take dt <= "
                f"{_rounded_down(self.largest_kick**2 / (4 * self.damping * self.kT)):.2g}.",
                stacklevel=3,
            )
        return state


def effective_rotation_rate(scheme: LandauLifshitz, field: Tensor, force: Tensor) -> Tensor:
    """A = H - α S × H, the rate at which precession and damping turn the spins: dS/dt = S × A."""
    if scheme.tangent:
        # Divided by |S|², because midpoints lie inside of the sphere.
        along = (force * field).sum(-1, keepdim=True) / field.square().sum(-1, keepdim=True)
        force = force - along * field
    return force - scheme.damping * torch.linalg.cross(field, force) if scheme.damping else force


def _thermal_noise(scheme: LandauLifshitz, like: Tensor, rng: torch.Generator | None) -> Tensor | float:
    """η of one step, constant during it: its variance is 2αkT/dt.

    A generator on the processor gives the key of the step, and every number follows from key and site; a CUDA generator
    draws all of them.
    """
    spread = math.sqrt(2 * scheme.damping * scheme.kT / scheme.dt)
    if not spread > 0:
        return 0.0
    if _required(rng).device.type != "cpu":
        return spread * _normal(like, rng)
    key = int(torch.randint(2**62, (), generator=rng))
    noise = torch.empty(like.shape, dtype=like.dtype)
    fill_normals(key, spread, noise.view(-1).numpy())
    return noise.to(like.device)


def _cayley_rotate(field: Tensor, angle: Tensor) -> Tensor:
    r"""The solution S' of S' = S + (S + S')/2 × w with w = ``angle``: a rotation about w, by Cayley's formula.

    It turns by 2 arctan(|w|/2) and equals the rotation by |w| up to third order. Solved with u = w/2, r = S + S × u:
    S' = (r + (r·u) u + r × u)/(1 + u²).
    """
    u = 0.5 * angle
    r = field + torch.linalg.cross(field, u)
    new = (r + (r * u).sum(-1, keepdim=True) * u + torch.linalg.cross(r, u)) / (1 + u.square().sum(-1, keepdim=True))
    # The map keeps lengths; one step of Newton's method keeps the rounding from adding up over millions of steps.
    return new * (1.5 - 0.5 * new.square().sum(-1, keepdim=True))


def _check_spins(field: Tensor) -> None:
    """Refuse a field that does not hold unit vectors, naming the first site that does not."""
    length = field.norm(dim=-1)
    wrong = ~((length - 1).abs() <= UNIT)
    if bool(wrong.any()):
        where = tuple(torch.nonzero(wrong)[0].tolist())
        cure = (
            "a spin without direction cannot precess, give it one"
            if float(length[where]) < UNIT
            else "divide by field.norm(dim=-1, keepdim=True)"
        )
        raise ValueError(
            f"Spins are unit vectors, but {int(wrong.sum())} sites differ, the first at {where} with length "
            f"{float(length[where]):.6g}; {cure}."
        )
