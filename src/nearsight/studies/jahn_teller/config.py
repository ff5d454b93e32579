"""What can be set."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from nearsight.studies.options import Count, Device, Length, Positive
from nearsight.studies.settings import Section
from nearsight.training import FitOptions, Recipe

Filling = Annotated[float, Field(gt=0, lt=1)]
"""Electrons per orbital: a site of two orbitals holds 2f of them."""


class Model(Section):
    """Parameters of :class:`nearsight.hamiltonians.JahnTeller`; λ²/(Kt) = 1.35 as in the thesis."""

    t: float = 1.0
    lam: Positive = 1.25
    K: Positive = 1.1574
    beta: Positive = 2.0


class Network(Section):
    """A convolutional network that commutes with D4 and learns what electrons do at μ = 0."""

    learns: Literal["electrons", "total"] = "electrons"
    """The electrons' force, to which exact springs are added, or the total force, as in the thesis."""
    head: Literal["energy", "force"] = "force"
    """The force itself, three times faster, or a local energy whose gradient is the force."""
    hybrid: bool = False
    """A network of its own for the force on the breathing mode, always direct, as in the thesis."""
    channels: Count = 8
    """Features per operation of D4 in every layer."""
    radii: tuple[Positive, ...] = (2.3, 1.5, 1.5, 1.5)
    """Cutoff of each layer; the receptive field is their sum."""
    scales: tuple[Positive, ...] = (1.0, 3.0)
    """The first layer sees Q and tanh(sQ) for each s."""


class Quench(Section):
    """Langevin dynamics from a random field, the same for teacher and student; times in units of τ0 = √(mass/K)."""

    amplitude: Positive = 0.3
    """Standard deviation of every mode of the initial field; the ordered state has |Qˣ| = 0.41."""
    kT: Annotated[float, Field(ge=0)] = 0.01
    """Temperature of the bath of the modes."""
    dt: Positive = 0.05
    damping: Annotated[float, Field(ge=0)] = 0.25
    """Rate at which velocities decay, in units of 1/τ0."""
    mass: Positive = 1.0


class Comparison(Section):
    """The quenches that compare learned with exact dynamics."""

    length: Length = 14
    filling: Filling = 0.49
    quenches: Annotated[int, Field(ge=20)] = 24
    duration: Positive = 15.0
    """In units of τ0: the fast stage of the growth, until L is a tenth of the lattice, 2πL most of it; later the torus
    decides, not the force field."""
    records: Annotated[int, Field(ge=2)] = 8
    speed_length: Length = 30
    """Lattice on which one exact and one learned force are timed."""


class Large(Section):
    """The large quenches, with the learned force field alone, at every filling of ``fillings``."""

    length: Length = 64
    replicas: Annotated[int, Field(ge=3)] = 3
    """Independent quenches side by side; error bars need three."""
    duration: Positive = 100.0
    records: Annotated[int, Field(ge=6)] = 24
    fit: tuple[Positive, Positive] = (3.0, 15.0)
    """The Allen-Cahn law is fitted to times in this interval, before the growth freezes in the thesis."""
    guard: Annotated[float, Field(ge=1)] = 1.5
    """The run stops if a field leaves the range of the training data widened by this factor."""


class Config(Section):
    """Everything that decides the numbers of a run."""

    length: Length = 12
    model: Model = Model()
    fillings: tuple[Filling, ...] = (0.5, 0.49)
    """Fillings at which data are made and large lattices are quenched. One student serves them all: it learns electrons
    at μ = 0 on fields whose uniform breathing has been shifted by μ/λ, which is the same."""
    twist: float = 0.5 * math.pi
    """Phase that exact electrons pick up across each boundary. 0, periodic boundaries, puts electrons of a length 4m on
    the nested Fermi surface of the undistorted lattice and those of 4m + 2 beside it: on 12 × 12 sites every density is
    off by 0.02 (rms). π/2 is half way, and as good as a far larger lattice; the symmetry of the square is broken by
    0.0015. At 0 matrices are real, and solved in half the time."""
    electron_kT: Positive = 0.05
    """Temperature of the electrons. The gap of the ordered state is 0.88 t, so that much colder electrons behave alike
    there; in disorder their response reaches as far as t/kT allows, and what reaches far cannot be learned locally."""
    shift: Annotated[float, Field(ge=0)] = 0.25
    """Every snapshot is used twice: as it is, and with Q¹ shifted uniformly by up to this much in either direction, so
    that the student knows how its density depends on μ, which holds the number of electrons fixed in the quenches."""
    recipe: Recipe = Recipe()
    """For every filling."""
    network: Network = Network()
    fit: FitOptions = FitOptions()
    quench: Quench = Quench()
    comparison: Comparison = Comparison()
    large: Large = Large()
    device: Device = "cpu"
    """Where the network is trained and the large lattice is quenched. Exact solutions stay on the CPU."""
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _distinct(self) -> Config:
        if not self.fillings or len(set(self.fillings)) < len(self.fillings):
            raise ValueError(f"fillings must be one or more different numbers, got {self.fillings}")
        if not self.large.fit[0] < self.large.fit[1]:
            raise ValueError(f"large.fit is (first, last) time, got {self.large.fit}")
        return self
