"""Stage 3: learned against exact, first on unseen snapshots, then in the dynamics."""

from __future__ import annotations

import torch

from nearsight.studies import speed
from nearsight.studies.holstein import dynamics, snapshots
from nearsight.studies.holstein.config import Config
from nearsight.studies.holstein.physics import hot, teacher
from nearsight.studies.holstein.train import student
from nearsight.studies.run import Run


def validate(run: Run, config: Config) -> None:
    """Errors on test trajectories, symmetry, the ordered state, speed, and an ensemble of quenches."""
    learned = student(run, config, config.length)
    snapshot, verdicts = snapshots.compare(run, config, learned)
    run.record("snapshots", snapshot)
    verdicts += snapshots.ordered_state(config, learned)
    exact = teacher(config, config.comparison.speed_length).electrons
    probe = hot(config, exact.lattice, 1, torch.Generator().manual_seed(0))
    verdicts.append(speed.compare(exact, learned.parts[0], probe))  # type: ignore[arg-type]
    curves, more = dynamics.compare(run, config, learned)
    run.record("curves", curves)
    run.judge("validate", verdicts + more)
