"""Stage 3: learned against exact, first on unseen snapshots, then in the dynamics."""

from __future__ import annotations

from nearsight.studies.holstein import dynamics, snapshots, speed
from nearsight.studies.holstein.config import Config
from nearsight.studies.holstein.train import student
from nearsight.studies.run import Run


def validate(run: Run, config: Config) -> None:
    """Errors on test trajectories, symmetry, the ordered state, speed, and an ensemble of quenches."""
    learned = student(run, config, config.length)
    snapshot, verdicts = snapshots.compare(run, config, learned)
    run.record("snapshots", snapshot)
    verdicts += snapshots.ordered_state(config, learned)
    verdicts += speed.compare(config, learned)
    curves, more = dynamics.compare(run, config, learned)
    run.record("curves", curves)
    run.judge("validate", verdicts + more)
