"""What can be set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nearsight.studies.options import Count, Length, Positive
from nearsight.studies.settings import Section
from nearsight.training import MoveFitOptions

Density = Annotated[float, Field(gt=0, lt=1)]


class Model(Section):
    """Parameters of :class:`nearsight.hamiltonians.FalicovKimball`."""

    t: float = 1.0
    U: Positive = 2.0


class Network(Section):
    """The energy whose differences are learned: one wide layer, then a network at every site."""

    radius: Positive = 4.0
    """Two sites of which an energy depends on both are at most twice this apart."""
    channels: Count = 16
    widths: tuple[Count, ...] = (16,)


class Trajectories(Section):
    """Exact quenches from random positions, of which snapshots are kept; times in attempts per f electron."""

    number: Annotated[int, Field(ge=4)] = 16
    duration: Positive = 60.0
    snapshots: Count = 12
    """Of each, evenly spaced in the logarithm of time, the random start among them."""


class Comparison(Section):
    """The quenches that compare learned with exact kinetic Monte Carlo."""

    length: Length = 20
    runs: Annotated[int, Field(ge=20)] = 24
    duration: Positive = 40.0
    records: Annotated[int, Field(ge=2)] = 8
    screened: Annotated[int, Field(ge=0)] = 4
    """Runs in which the student proposes and exact energies decide, to see how many of them that saves."""
    speed_length: Length = 30
    """Lattice on which one attempt is timed against four diagonalisations."""


class Large(Section):
    """The large quenches, with learned energies alone."""

    length: Length = 100
    replicas: Annotated[int, Field(ge=3)] = 3
    duration: Positive = 300.0
    records: Annotated[int, Field(ge=6)] = 20
    growth_from: Positive = 1.0
    """Growth exponents are fitted from this time on, while the lengths stay below an eighth of the lattice."""
    growth_until: Positive = 100.0
    speed_lengths: tuple[Length, ...] = (30, 100, 300)
    """Lattices on which attempts per second are measured."""


class Barrier(Section):
    """What a test f electron feels near frozen clusters: checkerboards in 9 blocks of a small lattice, exactly."""

    length: Annotated[int, Field(ge=12, multiple_of=6)] = 30
    configurations: Annotated[int, Field(ge=8)] = 50


class Config(Section):
    """Everything that decides the numbers of a run."""

    length: Length = 20
    """Lattice of the exact trajectories that are learned."""
    model: Model = Model()
    f_density: Density = 0.187
    """f electrons per site."""
    filling: Density = 0.55
    """c electrons per site: their number is fixed, as in the thesis."""
    kT: Positive = 0.05
    """Temperature of c electrons and of the hops."""
    energy: Literal["free", "internal"] = "free"
    """What a hop costs: the free energy of the c electrons, or their internal energy, at four times the work."""
    rule: Literal["metropolis", "glauber"] = "metropolis"
    trajectories: Trajectories = Trajectories()
    network: Network = Network()
    fit: MoveFitOptions = MoveFitOptions()
    comparison: Comparison = Comparison()
    large: Large = Large()
    barrier: Barrier = Barrier()
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _sizes(self) -> Config:
        for name, length in (("length", self.length), ("comparison.length", self.comparison.length)):
            if round(self.f_density * length**2) < 2:
                raise ValueError(f"{name}={length} holds fewer than two f electrons at f_density={self.f_density:g}")
        if not self.large.growth_from < self.large.growth_until:
            raise ValueError("large.growth_from must be less than large.growth_until")
        return self
