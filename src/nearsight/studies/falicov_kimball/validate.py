"""Stage 3: learned against exact, first on unseen configurations, then in the dynamics."""

from __future__ import annotations

from nearsight.studies.falicov_kimball import dynamics, snapshots, speed
from nearsight.studies.falicov_kimball.config import Config
from nearsight.studies.falicov_kimball.train import learned
from nearsight.studies.run import Run


def validate(run: Run, config: Config) -> None:
    """Errors and symmetry of ΔF, speed, and two ensembles of quenches."""
    student = learned(run, config.length)
    snapshot, verdicts = snapshots.compare(run, config, student)
    run.record("snapshots", snapshot)
    verdicts += speed.compare(run, config, student)
    curves, more = dynamics.compare(run, config, student)
    run.record("curves", curves)
    run.judge("validate", verdicts + more)
