"""What can be examined: the electrons, exact and learned, on test trajectories."""

from __future__ import annotations

from nearsight.forcefields import ClassicalForceField
from nearsight.studies.holstein.config import Config
from nearsight.studies.holstein.physics import holstein, quenched, teacher
from nearsight.studies.holstein.train import student
from nearsight.studies.locality import Subject
from nearsight.studies.run import Run
from nearsight.studies.snapshots import split


def subject(run: Run, config: Config) -> Subject:
    """The electrons of a finished run, at fixed μ and, if the quenches hold it, at fixed number."""
    train, _, data = split(run, config.fit, config.seed)
    electrons, *_ = student(run, config, config.length).parts
    return Subject(
        exact=teacher(config, config.length).electrons,
        student=electrons,  # type: ignore[arg-type]
        data=data,
        force=data.force - ClassicalForceField(holstein(config, config.length))(data.field).force,
        held=None if config.filling is None else quenched(config, config.length).electrons,
        more=train.field,
    )
