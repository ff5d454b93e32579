"""What can be examined: what turns the spins, exact and learned, on test trajectories."""

from __future__ import annotations

from nearsight.studies.locality import LocalityTarget
from nearsight.studies.magnets.locality import torques
from nearsight.studies.run import Run
from nearsight.studies.skyrmion.config import Config
from nearsight.studies.skyrmion.physics import exact, magnet


def subject(run: Run, config: Config) -> LocalityTarget:
    """Electrons without the field along z, which no student learns."""
    return torques(run, config, exact(config, config.length).electrons, magnet(config, config.length).field_type)
