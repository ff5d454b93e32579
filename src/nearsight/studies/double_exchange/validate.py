"""Stage 4: learned against exact, first on unseen snapshots, then in the dynamics."""

from __future__ import annotations

import numpy as np
import torch

from nearsight.analysis.order import CHECKERBOARD
from nearsight.lattices import square
from nearsight.studies import speed
from nearsight.studies.double_exchange import dynamics
from nearsight.studies.double_exchange.config import Config
from nearsight.studies.double_exchange.number import drift
from nearsight.studies.double_exchange.physics import at_fixed_mu, disordered, exact, magnet
from nearsight.studies.double_exchange.train import learned
from nearsight.studies.magnets import snapshots
from nearsight.studies.magnets.response import receptive_field
from nearsight.studies.magnets.snapshots import Published
from nearsight.studies.run import Run

PAPER = Published(0.035, "all of H, which is 50 times as long as what turns spins")
"""Theory of descriptors, sec. VI, with irreps; a torque of zero would have less."""


def validate(run: Run, config: Config) -> None:
    """Errors of the torques, symmetry, what locality costs, how far fields reach, their price, and two ensembles."""
    law = magnet(config, config.length).field_type
    snapshot, verdicts = snapshots.compare(run, config, law, PAPER, peaks=np.array([CHECKERBOARD]))
    run.record("snapshots", snapshot)
    number, non_local = drift(run, config)
    run.record("number", number)
    # At fixed number a turn of one spin moves μ for all: how far torques reach is asked at fixed μ.
    mu = float(number.mu.mean())
    response, more = receptive_field(run, config, at_fixed_mu(config, config.length, mu).electrons)
    run.record("response", response)
    length = config.comparison.speed_length
    spins = disordered(square(length), 1, torch.Generator().manual_seed(0))
    cost = speed.compare(exact(config, length).electrons, learned(run, config, length), spins)
    curves, same = dynamics.compare(run, config)
    run.record("curves", curves)
    densities, parted = dynamics.densities(config, curves)
    run.record("densities", densities)
    run.judge("validate", [*verdicts, *non_local, *more, cost, *same, *parted])
