"""What every equation of motion takes and gives."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import instance, number
from nearsight.dynamics.run.guard import _check_finite
from nearsight.fields.field_type import Values
from nearsight.forcefields import ForceField, Forces
from nearsight.lattices import Lattice
from nearsight.storage import owned


@dataclass(frozen=True, eq=False)
class State:
    """A field on its way: all a scheme needs to go on.

    ``field`` is ``(*batch, site, component)``; ``velocity`` has the same shape, or is None in a first-order equation.
    ``_forces`` belong to ``field``: the force field has been called on exactly this configuration. ``time`` is one
    number where all replicas share the clock, a float64 tensor ``(*batch,)`` where each has its own (kinetic Monte
    Carlo). ``noise`` is the last random kick ``(*batch, site, component)``, kept by the schemes that use it twice;
    ``history`` what a multistep scheme keeps of the step before, in the same shape.
    ``tally`` holds what a scheme counts, float64 ``(*batch,)`` since the start, by name. In a run without a force field
    the force has no components, shape ``(*batch, site, 0)``.

    :meth:`Scheme.start` and :meth:`Scheme.step` return it, and :attr:`Trajectory.final` is one.
    """

    field: Tensor
    velocity: Tensor | None
    forces: Forces
    time: float | Tensor
    step: int
    noise: Tensor | None = None
    history: Tensor | None = None
    tally: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        # A state read from a checkpoint must lie in memory as one that was computed, or last bits differ after it.
        for name in ("field", "velocity", "noise", "history"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, owned(value))
        force, energy = self.forces
        object.__setattr__(self, "forces", Forces(owned(force), None if energy is None else owned(energy)))


class Scheme(Described, abc.ABC):
    """An equation of motion and the way it is integrated: state in, state out.

    A scheme calls the force field and does not know whether it is exact or learned. It never modifies the state it was
    given, keeps no memory between calls, and draws every random number from ``rng``, so a run can be cut anywhere and
    continued from the state and the generator. Replicas ``(*batch, site, component)`` move together, with independent
    noise.

    Members are frozen dataclasses: their parameters are their fields.
    """

    moves: ClassVar[tuple[Values, ...] | None] = None
    """The values of fields that the equation keeps in their range; None for discrete moves, which check the field."""
    force_calls: ClassVar[int | None] = 1
    """Calls of the force field in one step, which is the price of the step; None where their number varies."""

    timed: ClassVar[bool] = False
    """Whether forces may depend on time: the scheme asks for those at its own."""

    @property
    def lattice(self) -> Lattice | None:
        """Where the moves of the scheme live; None for a scheme that moves by the forces it is given."""
        return None

    @abc.abstractmethod
    def step(self, state: State, forcefield: ForceField, rng: torch.Generator | None) -> State:
        """The state one step later."""

    def start(
        self, field: Tensor, forcefield: ForceField, rng: torch.Generator | None, *, velocity: Tensor | None = None
    ) -> State:
        """The state at time 0 for a given field. First-order equations refuse a ``velocity``."""
        if velocity is not None:
            raise ValueError(
                f"{type(self).__name__} is of first order in time and has no velocity; take Langevin for inertia."
            )
        self._check(field, forcefield)
        field = field.detach().clone()
        return self._first(State(field, None, _forces(forcefield, field, 0.0), 0.0, 0), rng)

    def _check(self, field: Tensor, forcefield: ForceField | None) -> None:
        """Refuse forces on a kind of field whose values the scheme would not keep, or that it would not know when."""
        if forcefield is not None and instance(forcefield, ForceField, "forcefield").driven and not self.timed:
            raise ValueError(
                f"The forces depend on time, which {type(self).__name__} does not tell them: Brownian, EulerMaruyama, "
                "Langevin and TDGL do; forcefield.at_time(time) stands still."
            )
        if forcefield is None or self.moves is None:
            return
        kind = instance(forcefield, ForceField, "forcefield").field_type
        if kind is None or kind.values in self.moves:
            return
        spins = kind.values == "real" and set(kind.law) == {"trivial"}  # of any length, or without known symmetry
        if "unit" in self.moves and spins:
            return
        cure = {
            "real": "Langevin, Brownian or TDGL moves displacements",
            "unit": "SemiImplicit or another LandauLifshitz scheme turns unit vectors of three components",
            "0/1": "HopMonteCarlo or RejectionFreeHops moves occupations",
            "+-1": "KineticMonteCarlo(SpinFlips(...)) flips signs",
        }.get(kind.values, "sampling.sample draws such fields")
        raise ValueError(
            f"{type(self).__name__} keeps {' or '.join(self.moves)} values, but the field {kind.name} of "
            f"{forcefield!r} holds {kind.values} values; {cure}."
        )

    def _first(self, state: State, rng: torch.Generator | None) -> State:
        """The first state, with what else the scheme carries along."""
        return state

    def drift(self, field: Tensor, force: Tensor) -> Tensor:
        """dΦ/dt by the forces alone, in an equation of second order d²Φ/dt²: its derivative limits the step."""
        raise NotImplementedError

    def displaced(self, field: Tensor, by: Tensor) -> Tensor:
        """A nearby field that the scheme could move."""
        return field + by

    def longest_step(self, rates: np.ndarray, state: State) -> float:
        """The largest stable dt if the derivative of :meth:`drift` has these eigenvalues; infinite without a limit."""
        raise NotImplementedError


class _Overdamped(Scheme):
    """λ dΦ/dt = F: motion without inertia, by a step that is as stable as Euler's."""

    dt: float
    damping: float

    moves: ClassVar[tuple[Values, ...] | None] = ("real",)
    timed: ClassVar[bool] = True

    def drift(self, field: Tensor, force: Tensor) -> Tensor:
        return force / self.damping

    def longest_step(self, rates: np.ndarray, state: State) -> float:
        """The largest dt at which every mode is damped that the equation damps, |1 + dt μ| <= 1.

        For real rates -k/λ that is 2λ/k. Modes that grow by themselves set no limit.
        """
        damped = rates[rates.real < -1e-12 * np.abs(rates).max(initial=0.0)]
        return float((-2 * damped.real / np.abs(damped) ** 2).min(initial=math.inf))


def _forces(forcefield: ForceField | None, field: Tensor, time: float | Tensor | None = None) -> Forces:
    """Forces without a graph: a force field that differentiates an energy switches gradients on for itself.

    Where nobody computes any, the force has no components. What depends on time has no energy at any time, also where
    it happens to be in equilibrium. A field that is no longer finite is an
    :class:`~nearsight.dynamics.OutOfRangeError` of the run, not a bad argument.
    """
    if forcefield is None:
        return Forces(field[..., :0], None)
    if forcefield.driven and time is not None:
        return Forces(_forces(forcefield.at_time(float(time)), field).force, None)
    with torch.no_grad():
        try:
            force, energy = forcefield(field)
        except ValueError:
            _check_finite(field, None)
            raise
    return Forces(force.detach(), None if energy is None else energy.detach())


def _normal(like: Tensor, rng: torch.Generator | None) -> Tensor:
    """Independent standard normal numbers of the shape, precision and device of ``like``.

    They are drawn on the device of the generator: with a CPU generator a run on a GPU sees the same noise as one on a
    CPU, with a CUDA generator no noise crosses the bus.
    """
    rng = _required(rng)
    return torch.randn(like.shape, generator=rng, dtype=like.dtype, device=rng.device).to(like.device)


def _required(rng: torch.Generator | None) -> torch.Generator:
    if rng is None:
        raise TypeError("This scheme draws random numbers: pass rng=torch.Generator().manual_seed(...).")
    return rng


def _checked(scheme: object, *, above: Sequence[str] = (), least: Sequence[str] = ()) -> None:
    """Parameters of a frozen dataclass as plain finite numbers: > 0 where named in ``above``, >= 0 in ``least``."""
    for name in above:
        object.__setattr__(scheme, name, number(getattr(scheme, name), name, above=0))
    for name in least:
        object.__setattr__(scheme, name, number(getattr(scheme, name), name, least=0))
