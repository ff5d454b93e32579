"""What can be examined of a magnet: what turns its spins, exact and learned, on test trajectories."""

from __future__ import annotations

from pathlib import Path

from nearsight import training
from nearsight.fields import FieldType
from nearsight.forcefields import ConvolutionalForceField, ForceField
from nearsight.networks import SpinCNN
from nearsight.studies.locality import LocalityTarget
from nearsight.studies.magnets.config import MagnetConfig
from nearsight.studies.magnets.students import learned
from nearsight.studies.run import Run
from nearsight.studies.snapshots import split


def torques(run: Run, config: MagnetConfig, electrons: ForceField, law: FieldType) -> LocalityTarget:
    """The part of the electrons' H normal to the spins, on the lattice of the data, and the student that moves them."""
    data = split(run, config.fit, config.seed)
    lattice = electrons.lattice

    def grow(cutoff: float, steps: int, folder: Path) -> ForceField:
        """The network of the study with all of its sight in the first layer; the others combine what it has seen."""
        shape = config.equivariant.model_dump() | {"radii": (cutoff, *(0.0 for _ in config.equivariant.radii[1:]))}
        network = SpinCNN(lattice, law, **shape, rng=run.rng("locality", "grow"))
        options = config.fit.model_copy(
            update={"steps": steps, "warmup": min(config.fit.warmup, steps // 4), "validate_every": max(1, steps // 4)}
        )
        student = ConvolutionalForceField(lattice, network)
        return training.fit(student, data, options=options, path=folder, resume=True, progress=False)

    return LocalityTarget(
        exact=electrons,
        learned=learned(run, config, lattice),
        data=data.test,
        force=data.test.force,
        spins=True,
        turn=True,
        quantity="torque of the electrons",
        more=data.train.field,
        grow=grow,
    )
