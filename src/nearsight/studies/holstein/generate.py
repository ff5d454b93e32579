"""Stage 1: exact snapshots."""

from __future__ import annotations

from nearsight import training
from nearsight.studies.holstein.config import Config
from nearsight.studies.holstein.physics import teacher
from nearsight.studies.run import Run


def generate(run: Run, config: Config) -> None:
    """Exact forces and energies of the recipe's snapshots, in parallel, into ``data.zarr``."""
    exact = teacher(config, config.length)
    run.log("note", text=f"{exact}")
    run.log("note", text=f"{config.recipe}")
    data = training.generate(exact, config.recipe, run.path / "data.zarr", seed=config.seed, resume=True)
    run.log("note", text=f"{data}")
