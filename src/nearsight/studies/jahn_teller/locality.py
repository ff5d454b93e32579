"""What can be examined: the electrons, exact and learned, on test trajectories."""

from __future__ import annotations

from nearsight.forcefields import ClassicalForceField
from nearsight.studies.jahn_teller.config import Config
from nearsight.studies.jahn_teller.physics import at_zero_mu, jahn_teller, quenched
from nearsight.studies.jahn_teller.train import learned
from nearsight.studies.locality import LocalityTarget
from nearsight.studies.run import Run
from nearsight.studies.snapshots import split


def subject(run: Run, config: Config) -> LocalityTarget:
    """The electrons of a finished run, at μ = 0 and at the fixed number of the first filling."""
    train, _, data = split(run, config.fit, config.seed)
    return LocalityTarget(
        exact=at_zero_mu(config, config.length).electrons,
        learned=learned(run, config, config.length),
        data=data,
        force=data.force - ClassicalForceField(jahn_teller(config, config.length))(data.field).force,
        canonical=quenched(config, config.length, config.fillings[0]).electrons,
        more=train.field,
    )
