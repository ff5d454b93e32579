"""What can be set."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from nearsight.studies.magnets import config as magnets
from nearsight.studies.magnets.config import MagnetConfig, NotNegative
from nearsight.studies.options import Count, Positive
from nearsight.studies.settings import Section

Length = Annotated[int, Field(ge=12, multiple_of=12)]
"""Multiples of the magnetic cell of 12 sites: skyrmions at Q = π/3 fit on no other torus."""


class Model(Section):
    """Parameters of :func:`nearsight.hamiltonians.skyrmion_magnet`, with J_σ = J/2."""

    t1: float = 1.0
    t3: float = -0.85
    J: Positive = 1.0
    B: NotNegative = 0.005
    """Field along z on the moments, exact and never learned."""
    mu: float = -3.5


class GroundStates(Section):
    """Textures of one magnetic cell, relaxed with the electrons of a much larger lattice, against the field."""

    cell: Length = 12
    mesh: Count = 3
    """Twists per axis while textures relax: electrons as on ``mesh`` · ``cell`` sites."""
    fine_mesh: Count = 6
    """The same for the energies of what they relax to, which differ by 10⁻⁴ between phases: those of a mesh of 3 are
    wrong by up to 5 · 10⁻⁵, textures by nothing that counts."""
    fields: tuple[NotNegative, ...] = (0.0, 0.005, 0.01)
    """Rising; every texture is relaxed in one field after the other."""
    steps: Count = 120
    """Of damped dynamics in each field."""
    dt: Positive = 8.0
    spread: NotNegative = 0.02
    """Width of the perturbation at the start, without which a texture could rest on a saddle point."""


class Trajectories(Section):
    """Exact dynamics of which snapshots are kept; times in units of ħ/t."""

    perturbed: Annotated[int, Field(ge=3)] = 6
    random: Annotated[int, Field(ge=3)] = 8
    """Trajectories that start from perturbed lattices of skyrmions, and from random spins."""
    duration: Positive = 1000.0
    snapshots: Annotated[int, Field(ge=2)] = 51
    """Of each trajectory, evenly spaced in time."""


class Dynamics(magnets.Dynamics):
    """The equation of motion, and what it starts from."""

    dt: Positive = 4.0
    """Torques are weak, 0.01 t, so that a step turns spins by a few degrees at most."""
    damping: NotNegative = 0.2
    spread: tuple[NotNegative, NotNegative] = (0.05, 0.3)
    """Perturbed lattices: every amplitude, magnetisation and phase of the ansatz differs from site to site by a normal
    number of a width drawn from here. At 0.3 a third of the charge is lost at first; exact dynamics brings it back."""


class Equivariant(magnets.Equivariant):
    """A convolutional network of spins, exactly equivariant under SO(3) and D6."""

    radii: tuple[Positive, ...] = (13.1, 2.1, 1.1)
    """Cutoff of each layer; the receptive field is their sum. The first is wide because the interaction that electrons
    carry falls off slowly, and what lies far adds up at the wave vector Q: with 9.1 the peaks of random spins grow 5 %
    too slowly, with 13.1 as they should, though both have the same mean square error. The price is a fifth."""


class Comparison(magnets.Comparison):
    """Quenches from random spins that compare learned with exact dynamics."""

    length: Length = 36
    quenches: Annotated[int, Field(ge=8)] = 12


class Large(Section):
    """What no exact solver can follow, with learned fields alone."""

    restored_length: Length = 96
    restored_duration: Positive = 5000.0
    """Of a perturbed lattice of skyrmions; five times as long as the training data in the thesis."""
    quench_length: Annotated[int, Field(ge=12, multiple_of=6)] = 150
    quench_duration: Positive = 4000.0
    replicas: Annotated[int, Field(ge=3)] = 3
    records: Annotated[int, Field(ge=6)] = 16
    growth: tuple[Positive, Positive] = (100.0, 1500.0)
    """M(t) is fitted by a power of time between these times."""


class Config(MagnetConfig):
    """Everything that decides the numbers of a run."""

    length: Length = 36
    """Lattice of the exact trajectories that are learned. On 24 × 24 sites the levels of the electrons are so few that
    skyrmions of charge 2 lie below those of charge 1 in the field 0.005, and a student learns that."""
    model: Model = Model()
    electron_kT: Positive = 0.02
    """Temperature of the electrons in the dynamics; between 0.01 and 0.02 torques differ by 1 %."""
    solver_tol: Positive = 1e-6
    """Largest error of the density matrix."""
    ground: GroundStates = GroundStates()
    trajectories: Trajectories = Trajectories()
    dynamics: Dynamics = Dynamics()
    equivariant: Equivariant = Equivariant()
    comparison: Comparison = Comparison()
    large: Large = Large()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if not self.ground.fields or list(self.ground.fields) != sorted(set(self.ground.fields)):
            raise ValueError(f"ground.fields must be different fields in rising order, got {self.ground.fields}")
        if self.length % self.ground.cell:
            raise ValueError(
                f"ground.cell = {self.ground.cell} must divide length = {self.length}, on which textures are repeated"
            )
        if not self.large.growth[0] < self.large.growth[1]:
            raise ValueError(f"large.growth is (first, last) time, got {self.large.growth}")
        if not self.dynamics.spread[0] <= self.dynamics.spread[1]:
            raise ValueError(f"dynamics.spread is (low, high), got {self.dynamics.spread}")
        return self
