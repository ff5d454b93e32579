"""What can be examined: what turns the spins, exact and learned, on test trajectories."""

from __future__ import annotations

from dataclasses import replace

from nearsight.studies.double_exchange.config import Config
from nearsight.studies.double_exchange.number import at_number
from nearsight.studies.double_exchange.physics import at_fixed_mu, exact, magnet
from nearsight.studies.locality import LocalityTarget
from nearsight.studies.magnets.locality import torques
from nearsight.studies.run import Run


def subject(run: Run, config: Config) -> LocalityTarget:
    """Electrons at the mean μ of the test trajectories, and at the fixed number that the student was shown."""
    number = exact(config, config.length).electrons
    found = torques(run, config, number, magnet(config, config.length).field_type)
    if config.half_filled:
        return found  # μ = 0 gives this number in every texture
    mu = float(at_number(config, config.length, found.data.field)[0].mean())
    return replace(found, exact=at_fixed_mu(config, config.length, mu).electrons, canonical=number)
