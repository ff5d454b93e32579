"""What can be examined: what turns the spins, exact and learned, on test trajectories."""

from __future__ import annotations

from pathlib import Path

from nearsight import training
from nearsight.forcefields import ConvolutionalForceField, ForceField
from nearsight.lattices import triangular
from nearsight.networks import SpinCNN
from nearsight.studies.locality import Subject
from nearsight.studies.run import Run
from nearsight.studies.skyrmion.config import Config
from nearsight.studies.skyrmion.physics import exact, magnet
from nearsight.studies.skyrmion.train import learned
from nearsight.studies.snapshots import split


def subject(run: Run, config: Config) -> Subject:
    """The part of the electrons' H normal to the spins, and the student that moves them."""
    data = split(run, config.fit, config.seed)

    def grow(cutoff: float, steps: int, folder: Path) -> ForceField:
        """The network of the study with all of its sight in the first layer; the others combine what it has seen."""
        lattice = triangular(config.length)
        shape = config.equivariant.model_dump() | {"radii": (cutoff, *(0.0 for _ in config.equivariant.radii[1:]))}
        network = SpinCNN(lattice, magnet(config, config.length).field_type, **shape, rng=run.rng("locality", "grow"))
        options = config.fit.model_copy(
            update={"steps": steps, "warmup": min(config.fit.warmup, steps // 4), "validate_every": max(1, steps // 4)}
        )
        student = ConvolutionalForceField(lattice, network)
        return training.fit(student, data, options=options, path=folder, resume=True, progress=False)

    return Subject(
        exact=exact(config, config.length).electrons,
        student=learned(run, config, config.length),
        data=data.test,
        force=data.test.force,
        spins=True,
        quantity="torque of the electrons",
        more=data.train.field,
        grow=grow,
    )
