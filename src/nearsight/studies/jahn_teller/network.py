"""The student: learned electrons at μ = 0."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from nearsight import forcefields, networks
from nearsight.fields import FieldType
from nearsight.forcefields import ClassicalForceField, ConvolutionalForceField, ForceField, Forces
from nearsight.hamiltonians import JahnTeller
from nearsight.lattices import Lattice
from nearsight.studies.jahn_teller.config import Config

BREATHING, DOUBLET = (0,), (1, 2)


class OnModes(ForceField):
    """Another force field's force on some of the modes, and none on the others: half of a hybrid, without an energy."""

    def __init__(self, whole: ForceField, modes: tuple[int, ...]) -> None:
        super().__init__()
        self.whole, self.modes = whole, modes
        self.lattice, self.components = whole.lattice, whole.components

    @property
    def field_type(self) -> FieldType | None:
        return self.whole.field_type

    def __repr__(self) -> str:
        return f"modes {self.modes} of {self.whole!r}"

    def on(self, lattice: Lattice) -> Self:
        return type(self)(self.whole.on(lattice), self.modes)

    def evaluate(self, field: Tensor) -> Forces:
        force = self.whole.connected(field).force
        kept = torch.zeros(self.components, dtype=force.dtype, device=force.device)
        kept[list(self.modes)] = 1.0
        return Forces(force * kept, None)


def untrained(config: Config, lattice: Lattice, *, seed: int) -> list[ConvolutionalForceField]:
    """One network, or two for a hybrid: the doublet's and the breathing mode's.

    At μ = 0 particles and holes are symmetric: the force is odd in Q, of the electrons as of the springs.
    """
    law = JahnTeller(lattice).field_type
    rng = torch.Generator().manual_seed(seed)
    options = config.network

    def network(head: Literal["energy", "force"]) -> ConvolutionalForceField:
        return ConvolutionalForceField(
            lattice,
            networks.GroupCNN(
                lattice,
                law,
                channels=options.channels,
                radii=options.radii,
                scales=options.scales,
                parity="odd",
                head=head,
                rng=rng,
            ),
        )

    return [network(options.head), network("force")] if options.hybrid else [network(options.head)]


def joined(parts: list[ForceField]) -> ForceField:
    """The force field of one network, or of the two of a hybrid."""
    if len(parts) == 1:
        return parts[0]
    doublet, breathing = parts
    return OnModes(doublet, DOUBLET) + OnModes(breathing, BREATHING)


def save(parts: list[ConvolutionalForceField], path: Path) -> None:
    for part, name in zip(parts, names(len(parts) > 1), strict=True):
        forcefields.save(part, path / name)


def electrons(config: Config, model: JahnTeller, path: Path) -> ForceField:
    """The trained electrons on a lattice of any size."""
    parts: list[ForceField] = [forcefields.load(path / name) for name in names(config.network.hybrid)]
    learned = joined(parts).on(model.lattice)
    return learned if config.network.learns == "electrons" else learned + springs_taken_away(config, model.lattice)


def names(hybrid: bool) -> tuple[str, ...]:
    return ("doublet", "breathing") if hybrid else ("all_modes",)


def springs_taken_away(config: Config, lattice: Lattice) -> ClassicalForceField:
    """Springs of the opposite sign: total force plus these is what the electrons do."""
    return ClassicalForceField(JahnTeller(lattice, **config.model.model_dump() | {"K": -config.model.K}))
