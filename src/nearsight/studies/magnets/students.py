"""Force fields that have learned what turns spins."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nearsight import forcefields, networks, training
from nearsight.descriptors import SpinInvariants
from nearsight.fields import FieldType
from nearsight.forcefields import ConvolutionalForceField, LearnedForceField, LocalForceField
from nearsight.lattices import Lattice
from nearsight.studies.magnets.config import MagnetConfig, Student
from nearsight.studies.options import torch_device
from nearsight.studies.run import Run
from nearsight.studies.snapshots import split
from nearsight.training import FitOptions


def equivariant(config: MagnetConfig, lattice: Lattice, law: FieldType, rng: torch.Generator) -> LocalForceField:
    """Exact under rotations of the spins and of the lattice."""
    return ConvolutionalForceField(lattice, networks.SpinCNN(lattice, law, **config.equivariant.model_dump(), rng=rng))


def resnet(config: MagnetConfig, lattice: Lattice, law: FieldType, rng: torch.Generator) -> LocalForceField:
    """Equivariant as far as it was taught to be."""
    return ConvolutionalForceField(lattice, networks.TorqueResNet(lattice, law, **config.resnet.model_dump(), rng=rng))


def descriptor(config: MagnetConfig, lattice: Lattice, law: FieldType, rng: torch.Generator) -> LocalForceField:
    """A local energy of invariants: equivariant, and conservative."""
    c = config.descriptor
    invariants = SpinInvariants(lattice, law, c.cutoff, bond_cutoff=c.bond_cutoff)
    return LearnedForceField(invariants, networks.MLP(widths=c.widths, rng=rng))


BUILD: dict[Student, Callable[[MagnetConfig, Lattice, FieldType, torch.Generator], LocalForceField]] = {
    "equivariant": equivariant,
    "resnet": resnet,
    "descriptor": descriptor,
}


def options(config: MagnetConfig, kind: Student) -> FitOptions:
    return config.resnet_fit if kind == "resnet" else config.fit


def train(run: Run, config: MagnetConfig, lattice: Lattice, law: FieldType) -> None:
    """Fit every student to the part of H normal to the spins, and save it in ``model/``."""
    data = split(run, config.fit, config.seed)
    for kind in config.students:
        student = BUILD[kind](config, lattice, law, run.rng("weights", kind))
        run.log("note", text=f"{kind}: {student}")
        student = student.to(torch_device(config.device))
        training.fit(student, data, options=options(config, kind), path=run.path / "fit" / kind, resume=True)
        forcefields.save(student, run.path / "model" / kind)


def learned(run: Run, config: MagnetConfig, lattice: Lattice, kind: Student | None = None) -> LocalForceField:
    """A trained student, the first unless another is named: the electrons alone."""
    return forcefields.load(run.path / "model" / (kind or config.students[0])).on(lattice)
