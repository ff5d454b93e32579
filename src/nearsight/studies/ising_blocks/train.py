"""Stage 2: a model for every property, block size and front end."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from nearsight.descriptors import BlockIrreps, BlockMoments
from nearsight.fields import SpinStore
from nearsight.networks import MLP, BlockCNN
from nearsight.properties import PropertyModel
from nearsight.studies import parallel
from nearsight.studies.ising_blocks.config import Config, FrontName, Network
from nearsight.studies.ising_blocks.physics import phase, snapshots
from nearsight.studies.run import Run
from nearsight.training import PropertyFitOptions, fit_property

PASSES = {"network": 1.3e-6, "irreps": 1.2e-7, "moments": 6e-9}
"""CPU seconds that one spin of one block costs in training, about: longer work goes to several processes."""


class Task(NamedTuple):
    """One fit."""

    target: str
    front: FrontName
    side: int

    @property
    def name(self) -> str:
        return f"{self.target}-{self.front}-{self.side}"


def tasks(config: Config) -> list[Task]:
    """All fits of a run, the longest first, so that no core is left with one at the end."""
    energy = [Task("energy", f, side) for f in config.compared if f != "moments" for side in config.energy_sides]
    phases = [Task("phase", f, side) for f in config.compared for side in config.sides]
    return sorted([*energy, *phases], key=lambda task: -seconds(config, task))


def seconds(config: Config, task: Task) -> float:
    """A guess of the time of a fit."""
    options = fit_options(config, task)
    return PASSES[task.front] * options.steps * options.batch_size * options.blocks * task.side**2


def fit_options(config: Config, task: Task) -> PropertyFitOptions:
    """The options of one fit; as many blocks of a snapshot as hold the spins that a step is to see."""
    front = getattr(config.fronts, task.front)
    blocks = min(config.most, max(2, config.sampled // task.side**2))
    own = {"steps": front.steps, "optimizer": front.optimizer, "learning_rate": front.learning_rate, "blocks": blocks}
    loss = config.phase_loss if task.target == "phase" else config.fit.loss
    return config.fit.model_copy(update={**own, "loss": loss})


def untrained(config: Config, task: Task, seed: int) -> PropertyModel:
    """A model with its initial weights."""
    rng = torch.Generator().manual_seed(seed)
    settings = getattr(config.fronts, task.front)
    front: BlockCNN | BlockIrreps | BlockMoments
    if isinstance(settings, Network):
        front = BlockCNN(task.side, channels=settings.channels, rng=rng)
    else:
        front = BlockIrreps(task.side) if task.front == "irreps" else BlockMoments(task.side)
    kind = "value" if task.target == "energy" else "probability"
    return PropertyModel(front, MLP(settings.widths, rng=rng), kind=kind)  # type: ignore[arg-type]


def fit(path: Path, config: Config, task: Task, seed: int, labels: np.ndarray) -> None:
    """Fit and save one model; what an interrupted fit left is gone on with."""
    store = SpinStore.open(path / "training.npy", config.length)
    folder = path / "fit" / task.name
    student = untrained(config, task, seed)
    options = fit_options(config, task)
    fit_property(student, store, labels, options=options, path=folder, resume=True, progress=False)
    student.save(path / "models" / task.name)


def train(run: Run, config: Config) -> None:
    """All models, one process for every core."""
    data = snapshots(run, "training")
    labels = {"phase": phase(data.kT), "energy": data.energy / config.length**2}
    todo = tasks(config)
    arguments = [(run.path, config, task, run.seed("weights", task.name), labels[task.target]) for task in todo]
    total = sum(seconds(config, task) for task in todo)
    run.log("note", text=f"{len(todo)} models, about {total:.0f} CPU seconds")
    parallel.run(fit, arguments, seconds=total, title="models")


def trained(run: Run, task: Task) -> PropertyModel:
    """The model of a finished fit."""
    return PropertyModel.load(run.path / "models" / task.name)
