"""Which snapshots a force field learns from."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from nearsight._validation import number
from nearsight.training.options import _Options


def _ordered(interval: tuple[float, float]) -> tuple[float, float]:
    if not interval[0] <= interval[1]:
        raise ValueError(f"an interval is (low, high), got {interval}; exchange the two")
    return interval


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Interval = Annotated[
    tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], Annotated[float, Field(ge=0, allow_inf_nan=False)]],
    AfterValidator(_ordered),
]
"""(low, high) of a number drawn uniformly for every trajectory or snapshot; equal ends fix it."""


class _Kind(_Options):
    trajectories: Count
    """How many; 0 leaves the kind out."""
    snapshots: Annotated[int, Field(ge=1)]
    """Snapshots of each trajectory."""


class Random(_Kind):
    """Gaussian fields: no dynamics, one exact solution each.

    Every snapshot draws its own rms ``amplitude``. A share ``correlated`` of them is smoothed to correlations
    ⟨Φ_i Φ_j⟩ ∝ exp(-r²/2ξ²) with ξ (``correlation``, in lattice constants) drawn anew each time; half of those are
    smoothed with alternating sign on bipartite lattices' neighbours, so that staggered patches occur as often as
    uniform ones.

    Examples
    --------
    >>> from nearsight.training import Random, Recipe
    >>> recipe = Recipe(random=Random(trajectories=40, snapshots=5, amplitude=(0.5, 2.0)))
    >>> recipe.plan().count("random"), recipe.random.snapshots * recipe.random.trajectories  # one exact solution each
    (40, 200)
    """

    amplitude: Interval = (0.1, 1.5)
    """Root mean square of the field."""
    correlated: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the snapshots that are smoothed."""
    correlation: Interval = (0.5, 3.0)
    """Correlation length of those, in lattice constants."""


class Thermal(_Kind):
    """Snapshots of Langevin trajectories (Brownian if ``mass`` is None) at a kT drawn for each trajectory.

    The trajectory starts from a Gaussian field of rms ``amplitude``, forgets it in ``burn_in`` steps, and is recorded
    every ``every`` steps. One exact solution a step.

    Examples
    --------
    >>> from nearsight.training import Thermal
    >>> thermal = Thermal(trajectories=20, snapshots=10, kT=(0.05, 0.05), burn_in=40, every=10)
    >>> thermal.steps  # of one trajectory: 40 to forget where it began, and nine times 10
    130
    """

    kT: Interval = (0.02, 0.2)
    """Temperature of the bath."""
    amplitude: Interval = (0.1, 1.0)
    """Root mean square of the initial field."""
    dt: Positive = 0.05
    """Time step."""
    damping: Positive = 0.3
    """Friction λ."""
    mass: Positive | None = None
    """Mass m; none: Brownian motion."""
    burn_in: Count = 40
    """Steps before the first snapshot."""
    every: Annotated[int, Field(ge=1)] = 10
    """Steps between two snapshots."""

    @property
    def steps(self) -> int:
        return self.burn_in + (self.snapshots - 1) * self.every


class Relaxing(_Kind):
    """Quenches: overdamped descent from a Gaussian field, recorded at logarithmically spaced steps.

    The first snapshot is the initial field, the last the one after ``steps`` steps; order grows by ever slower steps,
    so equal ratios of time are equally new. With kT > 0 noise keeps the trajectory from standing still. One exact
    solution a step.

    Examples
    --------
    >>> from nearsight.training import Relaxing
    >>> Relaxing(trajectories=1, snapshots=6, steps=100).record  # evenly spaced in the logarithm
    (0, 1, 3, 10, 32, 100)
    """

    amplitude: Interval = (0.05, 1.5)
    """Root mean square of the initial field."""
    kT: Interval = (0.0, 0.0)
    """Temperature of the bath."""
    dt: Positive = 0.05
    """Time step."""
    damping: Positive = 0.3
    """Friction λ."""
    steps: Annotated[int, Field(ge=1)] = 100
    """Steps until the last snapshot."""

    @model_validator(mode="after")
    def _enough_steps(self) -> Relaxing:
        if self.snapshots > self.steps + 1:
            raise ValueError(
                f"{self.steps} steps give at most {self.steps + 1} snapshots, not {self.snapshots}; raise steps"
            )
        return self

    @property
    def record(self) -> tuple[int, ...]:
        """The recorded steps: 0, then as evenly spaced in the logarithm as whole steps allow."""
        if self.snapshots == 1:
            return (self.steps,)
        target = np.geomspace(1, self.steps, self.snapshots - 1) if self.snapshots > 2 else np.array([self.steps])
        recorded = [0]
        for i, step in enumerate(np.rint(target).astype(int)):
            # Early targets round to the same step: move on by one, but leave room for those still to come.
            latest = self.steps - (len(target) - 1 - i)
            recorded.append(int(min(max(step, recorded[-1] + 1), latest)))
        return tuple(recorded)


class NearEquilibrium(_Kind):
    """A relaxed state, and the same state shaken.

    The field starts from a wave of ``wavevector`` (in reciprocal primitive vectors: (0.5, 0.5) is the checkerboard;
    None: from Gaussian noise) and descends for ``steps`` steps. The first snapshot is what it arrives at; the others
    add Gaussian noise of rms ``shake``, drawn for each. One exact solution a step, one a snapshot.

    Examples
    --------
    >>> from nearsight.training import NearEquilibrium, Recipe
    >>> none = dict(trajectories=0, snapshots=1)
    >>> checkerboard = NearEquilibrium(trajectories=3, snapshots=5, wavevector=(0.5, 0.5), steps=100)
    >>> recipe = Recipe(random=none, thermal=none, relaxing=none, near_equilibrium=checkerboard)
    >>> len(recipe), recipe.solutions  # three trajectories of 5 snapshots, and 100 + 5 exact solutions
    (15, 315)
    """

    wavevector: tuple[float, ...] | None = None
    """Of the initial wave, in reciprocal primitive vectors; none: noise."""
    amplitude: Interval = (0.5, 1.0)
    """Of the initial wave, or of the noise."""
    shake: Interval = (0.01, 0.3)
    """Root mean square of the noise that is added."""
    dt: Positive = 0.05
    """Time step."""
    damping: Positive = 0.3
    """Friction λ."""
    steps: Annotated[int, Field(ge=0)] = 100
    """Steps of the descent."""


class Recipe(_Options):
    """How many snapshots of which kind, and how each is made.

    A force field is asked for forces along its own trajectories: random fields far from equilibrium at first, ever more
    ordered ones later, thermal ones at the end. It learns from all of them. The parameters know nothing of the
    model: amplitudes are in units of the field, dt in units of time, kT of energy. Set a kind's ``trajectories`` to 0
    to leave it out; :meth:`scaled` keeps the proportions.

    Examples
    --------
    >>> from nearsight.training import Recipe
    >>> recipe = Recipe()
    >>> recipe.solutions, recipe.scaled(0.1).solutions  # what it costs, and a trial of a tenth of it
    (9970, 997)
    """

    random: Random = Random(trajectories=40, snapshots=5)
    thermal: Thermal = Thermal(trajectories=20, snapshots=10)
    relaxing: Relaxing = Relaxing(trajectories=50, snapshots=10)
    near_equilibrium: NearEquilibrium = NearEquilibrium(trajectories=20, snapshots=5)

    @model_validator(mode="after")
    def _not_empty(self) -> Recipe:
        if not self.plan():
            raise ValueError("the recipe makes no snapshot; give some kind at least one trajectory")
        return self

    def plan(self) -> list[str]:
        """The kind of every trajectory, by its number."""
        return [name for name in type(self).model_fields for _ in range(getattr(self, name).trajectories)]

    def __len__(self) -> int:
        """Number of snapshots."""
        return sum(kind.trajectories * kind.snapshots for kind in self._kinds().values())

    @property
    def solutions(self) -> int:
        """Number of exact solutions: what the data set costs."""
        r, t, q, n = self.random, self.thermal, self.relaxing, self.near_equilibrium
        return (
            r.trajectories * r.snapshots
            + t.trajectories * (t.steps + 1)
            + q.trajectories * (q.steps + 1)
            + n.trajectories * (n.steps + n.snapshots)
        )

    def scaled(self, factor: float) -> Recipe:
        """The same proportions with ``factor`` times the trajectories (every kind keeps at least one)."""
        factor = number(factor, "factor", above=0)
        return self.model_copy(
            update={
                name: kind.model_copy(update={"trajectories": max(1, round(kind.trajectories * factor))})
                for name, kind in self._kinds().items()
                if kind.trajectories
            }
        )

    def _kinds(self) -> dict[str, _Kind]:
        return {name: getattr(self, name) for name in type(self).model_fields}

    def __repr__(self) -> str:
        parts = ", ".join(
            f"{kind.trajectories} × {kind.snapshots} {name}"
            for name, kind in self._kinds().items()
            if kind.trajectories
        )
        return f"{len(self)} snapshots: {parts}; {self.solutions} exact solutions"

    __str__ = __repr__
