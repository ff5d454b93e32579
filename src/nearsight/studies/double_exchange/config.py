"""What can be set."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from nearsight.studies.magnets import config as magnets
from nearsight.studies.magnets.config import MagnetConfig, NotNegative
from nearsight.studies.options import Count, Length, Positive
from nearsight.studies.settings import Section


class Model(Section):
    """Parameters of :func:`nearsight.hamiltonians.double_exchange`."""

    t: Positive = 1.0
    J: Positive = 6.0


class GroundStates(Section):
    """Energies of ordered textures against the density, at kT = 0, and the phases that coexist."""

    mesh: Annotated[int, Field(ge=4, multiple_of=2)] = 240
    """Wave vectors per axis: the electrons of an infinite lattice to 10⁻⁵ t per site."""
    waves: Annotated[int, Field(ge=2)] = 20
    """Wave numbers between 0 and π of spirals, and angles of canted antiferromagnets."""
    random_length: Length = 12
    random: Count = 4
    """Lattice and number of random textures, from which quenches start."""
    bubble_length: Length = 16
    """Lattice on which ferromagnetic bubbles trap holes in the antiferromagnet."""
    holes: Count = 6
    """Most holes of one bubble."""


class Trajectories(Section):
    """Exact dynamics of which snapshots are kept; times in units of ħ/t."""

    random: Annotated[int, Field(ge=3)] = 18
    perturbed: Annotated[int, Field(ge=3)] = 9
    """Trajectories that start from random spins, and from antiferromagnets with one ferromagnetic disc."""
    duration: Positive = 300.0
    snapshots: Annotated[int, Field(ge=2)] = 40
    """Of each trajectory, evenly spaced in the square root of time: spins freeze, and late snapshots are all alike."""


class Dynamics(magnets.Dynamics):
    """The equation of motion, and the discs it starts from."""

    dt: Positive = 1.0
    """Torques of random spins are 0.12 t (rms) and 0.3 t at most, so that a step turns spins by 0.3 rad at most. At
    t = 20 spins differ from those of a hundred times finer steps by 0.03 rad; 0.5 makes it 0.006."""
    radius: tuple[Positive, Positive] = (1.0, 3.0)
    """Of the discs, each drawn from here; their directions are random."""
    spread: NotNegative = 0.2
    """Width of the perturbation of every spin."""


class Comparison(magnets.Comparison):
    """Quenches from random spins that compare learned with exact dynamics."""

    length: Length = 12
    quenches: Annotated[int, Field(ge=8)] = 20
    duration: Positive = 300.0
    records: Annotated[int, Field(ge=2)] = 7
    speed_length: Length = 30


class Large(Section):
    """What no exact solver can follow, with learned fields alone."""

    length: Length = 64
    duration: Positive = 1000.0
    replicas: Annotated[int, Field(ge=3)] = 3
    records: Annotated[int, Field(ge=6)] = 16
    growth: tuple[Positive, Positive] = (30.0, 300.0)
    """L(t) is fitted by a power of time between these times."""


class Config(MagnetConfig):
    """Everything that decides the numbers of a run."""

    length: Length = 12
    """Lattice of the exact trajectories that are learned."""
    model: Model = Model()
    filling: Annotated[float, Field(gt=0, le=0.5)] = 35 / 72
    """Electrons per orbital; ½ is an antiferromagnet, a little less parts into two phases. Choose a whole number of
    holes, (1 - 2f) N, on all lattices with exact electrons: 4 on 12 × 12 sites; 27 on 30 × 30 at the 0.485 of Zhang and
    Chern."""
    electron_kT: Positive = 0.05
    """Temperature of the electrons, far below the gap of 12 t and the t that binds a hole."""
    ground: GroundStates = GroundStates()
    trajectories: Trajectories = Trajectories()
    dynamics: Dynamics = Dynamics()
    comparison: Comparison = Comparison()
    large: Large = Large()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        for name, (low, high) in (("large.growth", self.large.growth), ("dynamics.radius", self.dynamics.radius)):
            if not low < high:
                raise ValueError(f"{name} is (low, high), got {(low, high)}")
        return self

    @property
    def density(self) -> float:
        """Electrons per site."""
        return 2 * self.filling

    @property
    def half_filled(self) -> bool:
        return self.filling == 0.5
