"""Stage 2: a force field that has learned the electrons."""

from __future__ import annotations

from nearsight import forcefields, training
from nearsight.forcefields import ClassicalForceField, ForceField, SumForceField
from nearsight.lattices import square
from nearsight.studies.holstein.config import Config
from nearsight.studies.holstein.network import untrained
from nearsight.studies.holstein.physics import holstein
from nearsight.studies.options import torch_device
from nearsight.studies.run import Run
from nearsight.studies.snapshots import split


def train(run: Run, config: Config) -> None:
    """Fit the electrons' part of the force, springs being exact, and save it in ``model/``."""
    model = holstein(config, config.length)
    electrons = untrained(config, model, seed=run.seed("weights"))
    run.log("note", text=f"{electrons}")
    student = (electrons + ClassicalForceField(model)).to(torch_device(config.device))
    data = split(run, config.fit, config.seed)
    training.fit(student, data, options=config.fit, path=run.path / "fit", resume=True)
    forcefields.save(electrons, run.path / "model")


def student(run: Run, config: Config, length: int) -> SumForceField:
    """The trained electrons with exact springs, on a lattice of any size."""
    electrons: ForceField = forcefields.load(run.path / "model").on(square(length))
    return electrons + ClassicalForceField(holstein(config, length))
