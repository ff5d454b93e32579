"""What can be set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nearsight.studies.options import Count, Length, Positive
from nearsight.studies.settings import Section
from nearsight.training import PropertyFitOptions

FrontName = Literal["network", "irreps", "moments"]
Side = Annotated[int, Field(ge=3)]


class Temperatures(Section):
    """Temperatures in units of J, the transition being at 2.269: an even grid, and a denser one around the transition.

    The dense grid is symmetric about the transition and never on it, so that neither phase is favoured there.
    """

    low: Positive = 1.2
    high: Positive = 3.6
    number: Annotated[int, Field(ge=2)] = 40
    """Points of the even grid; the paper's has 40, spaced 0.0615."""
    nearest: Positive = 0.01
    farthest: Positive = 0.3
    near: Annotated[int, Field(ge=0)] = 10
    """Points of the dense grid on either side, at distances from ``nearest`` to ``farthest`` in geometric steps."""

    @model_validator(mode="after")
    def _ordered(self) -> Temperatures:
        if not self.low < 2.269 < self.high:
            raise ValueError(
                f"low={self.low:g} and high={self.high:g} must lie on either side of the transition, 2.269"
            )
        if self.nearest >= self.farthest:
            raise ValueError(f"nearest={self.nearest:g} must be less than farthest={self.farthest:g}")
        return self


class Data(Section):
    """Snapshots of one purpose."""

    temperatures: Temperatures = Temperatures()
    snapshots: Annotated[int, Field(ge=2)] = 32
    """At every temperature."""


class Front(Section):
    """One way to look at a block, and the network on what is seen."""

    widths: tuple[Count, ...] = (32, 16)
    optimizer: Literal["soap", "adamw"] = "adamw"
    learning_rate: Positive = 3e-3
    steps: Count = 400


class Network(Front):
    """The convolutional network on the raw block."""

    widths: tuple[Count, ...] = (64, 32, 16)
    optimizer: Literal["soap", "adamw"] = "soap"
    learning_rate: Positive = 5e-3
    steps: Count = 300
    channels: Count = 2


class Fronts(Section):
    """What is compared: the network on raw blocks, the paper's invariants of irreps, and (|m|, e)."""

    network: Network = Network()
    irreps: Front = Front(widths=(256, 128, 64, 32, 16), learning_rate=1e-3)
    """Five reducing layers, as in the paper; its first layer, which does not reduce, is left out."""
    moments: Front = Front(widths=(16, 16), learning_rate=1e-2)


class Config(Section):
    """Everything that decides the numbers of a run."""

    length: Length = 128
    """L of all snapshots."""
    training: Data = Data()
    testing: Data = Data(temperatures=Temperatures(number=16, nearest=0.005, farthest=0.8, near=18), snapshots=16)
    """Other temperatures, closer to each other near the transition than in the paper, whose grid cannot resolve the
    windows of blocks of 32 and more."""
    sides: Annotated[tuple[Side, ...], Field(min_length=3)] = (4, 8, 16, 32)
    """l of the blocks that tell the phase."""
    energy_sides: Annotated[tuple[Side, ...], Field(min_length=2)] = (8, 16)
    """l of the blocks that tell the energy."""
    fronts: Fronts = Fronts()
    compared: Annotated[tuple[FrontName, ...], Field(min_length=1)] = ("network", "irreps", "moments")
    fit: PropertyFitOptions = PropertyFitOptions()
    """What all fits share; steps, rates and optimisers are set with each front. Energies are fitted with its loss, the
    paper's of the mean over blocks: it leaves a mean free of the bias that the best guess of every block has."""
    phase_loss: Literal["average", "block"] = "block"
    """Phases are judged block by block. With "average", the paper's loss, one step learns less of single blocks: the
    mean over many knows the phase whatever each of them says."""
    sampled: Annotated[int, Field(ge=64)] = 4096
    """Spins of a snapshot that one training step sees, in blocks."""
    most: Count = 32
    """Blocks of a snapshot in one training step, at most."""
    tested: Count = 256
    """Blocks of a test snapshot, at most; they never overlap."""
    bounded: tuple[Side, ...] = (4, 8, 16, 32)
    """Sides of which the exact bound is computed, where they are among ``sides``; 64 takes a CPU hour."""
    bound_blocks: Count = 64
    """Blocks of a test snapshot that measure the bound, at most."""
    scaling_from: Side = 8
    """Exponents are fitted to blocks of this side and larger: windows of smaller ones, 0.8 J wide for l = 4, reach
    beyond the temperatures at which the correlation length follows its power law."""
    near: Positive = 0.15
    """Accuracies near the transition are averaged over |T - Tc| up to this."""
    samples: Annotated[int, Field(ge=20)] = 200
    """Resamplings of the snapshots behind every error bar."""
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _fitting(self) -> Config:
        for name in ("sides", "energy_sides"):
            sides = getattr(self, name)
            if list(sides) != sorted(set(sides)):
                raise ValueError(f"{name}={sides} must be different and in ascending order")
            if 2 * sides[-1] > self.length:
                raise ValueError(
                    f"blocks of {sides[-1]} need a lattice of {2 * sides[-1]} or more, not {self.length}: a block that "
                    f"sees most of the lattice tells of its boundary"
                )
        if sum(side >= self.scaling_from for side in self.sides) < 3:
            raise ValueError(
                f"sides={self.sides} hold fewer than three from scaling_from={self.scaling_from} on, "
                f"too few for exponents"
            )
        if "network" not in self.compared:
            raise ValueError("compared must hold the network, of which the exponents are measured")
        return self
