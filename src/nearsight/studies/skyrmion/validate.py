"""Stage 4: learned against exact, first on unseen snapshots, then in the dynamics."""

from __future__ import annotations

import torch

from nearsight.lattices import triangular
from nearsight.studies import speed
from nearsight.studies.run import Run
from nearsight.studies.skyrmion import dynamics, snapshots
from nearsight.studies.skyrmion.config import Config
from nearsight.studies.skyrmion.physics import disordered, exact
from nearsight.studies.skyrmion.train import learned


def validate(run: Run, config: Config) -> None:
    """Errors of the torques, symmetry, how far they see, what they cost, and two ensembles of quenches."""
    snapshot, verdicts = snapshots.compare(run, config)
    run.record("snapshots", snapshot)
    response, more = snapshots.receptive_field(run, config)
    run.record("response", response)
    length = config.comparison.speed_length
    spins = disordered(triangular(length), 1, torch.Generator().manual_seed(0))
    cost = speed.compare(exact(config, length).electrons, learned(run, config, length), spins)
    curves, same = dynamics.compare(run, config)
    run.record("curves", curves)
    run.judge("validate", [*verdicts, *more, cost, *same])
