"""What can be examined: the electrons, exact and learned, on test trajectories."""

from __future__ import annotations

from nearsight.forcefields import ClassicalForceField
from nearsight.studies.jahn_teller.config import Config
from nearsight.studies.jahn_teller.physics import at_zero_mu, jahn_teller, quenched
from nearsight.studies.jahn_teller.train import learned
from nearsight.studies.locality import Subject
from nearsight.studies.run import Run
from nearsight.studies.snapshots import split


def subject(run: Run, config: Config) -> Subject:
    """The electrons of a finished run, at μ = 0 and at the fixed number of the first filling."""
    train, _, data = split(run, config.fit, config.seed)
    return Subject(
        exact=at_zero_mu(config, config.length).electrons,
        student=learned(run, config, config.length),
        data=data,
        force=data.force - ClassicalForceField(jahn_teller(config, config.length))(data.field).force,
        held=quenched(config, config.length, config.fillings[0]).electrons,
        more=train.field,
    )
