"""Stage 2: a force field that has learned the electrons."""

from __future__ import annotations

from nearsight import training
from nearsight.forcefields import ClassicalForceField, ForceField
from nearsight.studies.jahn_teller import network
from nearsight.studies.jahn_teller.config import Config
from nearsight.studies.jahn_teller.physics import jahn_teller
from nearsight.studies.options import torch_device
from nearsight.studies.run import Run
from nearsight.studies.snapshots import split


def train(run: Run, config: Config) -> None:
    """Fit the electrons' part of the force, springs being exact (or the total force), and save it in ``model/``."""
    model = jahn_teller(config, config.length)
    parts = network.untrained(config, model.lattice, seed=run.seed("weights"))
    student = network.joined(list(parts))
    run.log("note", text=f"{student}")
    if config.network.learns == "electrons":
        student = student + ClassicalForceField(model)
    student = student.to(torch_device(config.device))
    data = split(run, config.fit, config.seed)
    training.fit(student, data, options=config.fit, path=run.path / "fit", resume=True)
    network.save(parts, run.path / "model")


def learned(run: Run, config: Config, length: int) -> ForceField:
    """The trained electrons at μ = 0."""
    return network.electrons(config, jahn_teller(config, length), run.path / "model")
