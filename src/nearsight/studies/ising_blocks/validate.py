"""Stage 3: energies and phases of unseen snapshots, and how they scale with the block."""

from __future__ import annotations

import dataclasses
import json

from nearsight.studies.ising_blocks import accuracy, bound, energy, scaling
from nearsight.studies.ising_blocks.config import Config
from nearsight.studies.run import Run


def validate(run: Run, config: Config) -> None:
    """Measure on the test snapshots and judge."""
    energies = energy.measure(run, config)
    run.record("energy", energies)
    phases = accuracy.measure(run, config)
    run.record("accuracy", phases)
    bounds = bound.measure(run, config)
    run.record("bound", bounds)
    windows = scaling.measure(run, config, phases)
    found = scaling.collapse(config, phases, windows, "network")
    run.record("scaling", windows.assign_attrs(collapse=json.dumps(dataclasses.asdict(found))))
    run.judge(
        "validate",
        [
            *energy.verdicts(energies),
            *accuracy.verdicts(run, config, phases),
            *bound.verdicts(config, bounds),
            *scaling.verdicts(config, windows, found),
        ],
    )
