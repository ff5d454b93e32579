"""Stage 3: learned against exact, first on unseen snapshots, then in the dynamics."""

from __future__ import annotations

import torch

from nearsight.forcefields import ExactForceField
from nearsight.solvers import Dense
from nearsight.studies import speed
from nearsight.studies.jahn_teller import dynamics, snapshots
from nearsight.studies.jahn_teller.config import Config
from nearsight.studies.jahn_teller.physics import hot, jahn_teller
from nearsight.studies.jahn_teller.train import learned
from nearsight.studies.run import Run


def validate(run: Run, config: Config) -> None:
    """Errors on test trajectories, symmetry, the ordered states, speed, and an ensemble of quenches."""
    electrons = learned(run, config, config.length)
    snapshot, verdicts = snapshots.compare(run, config, electrons)
    run.record("snapshots", snapshot)
    verdicts += snapshots.ordered_states(config, electrons)
    # The real matrices of periodic boundaries: the faster of the two.
    side = jahn_teller(config, config.comparison.speed_length, periodic=True)
    exact = ExactForceField(side, Dense(mu=0.0, kT=config.electron_kT)).electrons
    verdicts.append(speed.compare(exact, electrons, hot(config, exact.lattice, 1, torch.Generator().manual_seed(0))))
    curves, more = dynamics.compare(run, config, electrons)
    run.record("curves", curves)
    run.judge("validate", verdicts + more)
