"""Stage 4: learned against exact, first on unseen snapshots, then in the dynamics."""

from __future__ import annotations

import torch

from nearsight import analysis
from nearsight.lattices import triangular
from nearsight.studies import speed
from nearsight.studies.magnets import snapshots
from nearsight.studies.magnets.response import receptive_field
from nearsight.studies.magnets.snapshots import Published
from nearsight.studies.run import Run
from nearsight.studies.skyrmion import dynamics
from nearsight.studies.skyrmion.config import Config
from nearsight.studies.skyrmion.physics import Q, disordered, exact, magnet
from nearsight.studies.skyrmion.train import learned

PAPER = Published(9.82e-7)
"""Thesis sec. 3.3.3, for fields twice as large (J_σ = J) on lattices of 48 × 48."""


def validate(run: Run, config: Config) -> None:
    """Errors of the torques, symmetry, how far they see, what they cost, and two ensembles of quenches."""
    model = magnet(config, config.length)
    peaks = analysis.star(Q, model.lattice)
    snapshot, verdicts = snapshots.compare(run, config, model.field_type, PAPER, peaks=peaks)
    run.record("snapshots", snapshot)
    response, more = receptive_field(run, config, exact(config, config.length).electrons)
    run.record("response", response)
    length = config.comparison.speed_length
    spins = disordered(triangular(length), 1, torch.Generator().manual_seed(0))
    cost = speed.compare(exact(config, length).electrons, learned(run, config, length), spins)
    curves, same = dynamics.compare(run, config)
    run.record("curves", curves)
    run.judge("validate", [*verdicts, *more, cost, *same])
