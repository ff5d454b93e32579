"""Stage 3: force fields that have learned what turns spins."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nearsight import forcefields, networks, training
from nearsight.descriptors import SpinInvariants
from nearsight.forcefields import ConvolutionalForceField, LearnedForceField, LocalForceField
from nearsight.lattices import Lattice, triangular
from nearsight.studies.options import torch_device
from nearsight.studies.run import Run
from nearsight.studies.skyrmion.config import Config, Student
from nearsight.studies.skyrmion.physics import magnet
from nearsight.studies.snapshots import split
from nearsight.training import FitOptions


def equivariant(config: Config, lattice: Lattice, rng: torch.Generator) -> LocalForceField:
    """Exact under rotations of the spins and of the lattice."""
    law = magnet(config, lattice.shape[0]).field_type
    return ConvolutionalForceField(lattice, networks.SpinCNN(lattice, law, **config.equivariant.model_dump(), rng=rng))


def resnet(config: Config, lattice: Lattice, rng: torch.Generator) -> LocalForceField:
    """Equivariant as far as it was taught to be."""
    law = magnet(config, lattice.shape[0]).field_type
    return ConvolutionalForceField(lattice, networks.TorqueResNet(lattice, law, **config.resnet.model_dump(), rng=rng))


def descriptor(config: Config, lattice: Lattice, rng: torch.Generator) -> LocalForceField:
    """A local energy of invariants: equivariant, and conservative."""
    law, c = magnet(config, lattice.shape[0]).field_type, config.descriptor
    invariants = SpinInvariants(lattice, law, c.cutoff, bond_cutoff=c.bond_cutoff)
    return LearnedForceField(invariants, networks.MLP(widths=c.widths, rng=rng))


BUILD: dict[Student, Callable[[Config, Lattice, torch.Generator], LocalForceField]] = {
    "equivariant": equivariant,
    "resnet": resnet,
    "descriptor": descriptor,
}


def options(config: Config, kind: Student) -> FitOptions:
    return config.resnet_fit if kind == "resnet" else config.fit


def train(run: Run, config: Config) -> None:
    """Fit every student to the part of H normal to the spins, and save it in ``model/``."""
    data = split(run, config.fit, config.seed)
    for kind in config.students:
        student = BUILD[kind](config, triangular(config.length), run.rng("weights", kind))
        run.log("note", text=f"{kind}: {student}")
        student = student.to(torch_device(config.device))
        training.fit(student, data, options=options(config, kind), path=run.path / "fit" / kind, resume=True)
        forcefields.save(student, run.path / "model" / kind)


def learned(run: Run, config: Config, length: int, kind: Student | None = None) -> LocalForceField:
    """A trained student, the first unless another is named: electrons without the field along z."""
    return forcefields.load(run.path / "model" / (kind or config.students[0])).on(triangular(length))
