"""Template of the studies that learn a property of whole configurations from blocks of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from nearsight.fields import SpinStore
from nearsight.parallel import resumable
from nearsight.properties import PropertyModel
from nearsight.sampling import Snapshots
from nearsight.studies.run import Run
from nearsight.studies.study import MeasuredStudy, Stage
from nearsight.training import PropertyFitOptions, fit_property


class Task(NamedTuple):
    """One fit: the property, what is seen of a block, and the side of the blocks."""

    target: str
    features: str
    side: int

    @property
    def name(self) -> str:
        return f"{self.target}-{self.features}-{self.side}"


@dataclass(frozen=True, kw_only=True)
class PropertyStudy(MeasuredStudy):
    """Samples, a fit for every model, and what the models tell of samples that no fit has seen.

    data, seen: what ``generate`` leaves, and those files among it that fits read.
    generate: ``(run, config)``.
    tasks: ``config -> `` all fits, the longest first.
    build: ``(config, task, rng) -> `` the model of a fit with its initial weights.
    options: ``(config, task) -> `` how it is fitted.
    labels: ``(config, target, snapshots) -> `` what it should say of every snapshot.
    seconds: ``(config, task)``: a guess of the time of a fit on one core.
    """

    data: tuple[str, ...] = ("training.zarr", "training.npy", "testing.zarr", "testing.npy")
    seen: tuple[str, ...] = ("training.zarr", "training.npy")
    generate: Callable[[Run, Any], None]
    tasks: Callable[[Any], Sequence[Task]]
    build: Callable[[Any, Task, torch.Generator], PropertyModel]
    options: Callable[[Any, Task], PropertyFitOptions]
    labels: Callable[[Any, str, Snapshots], np.ndarray]
    seconds: Callable[[Any, Task], float]

    def usual_stages(self) -> Sequence[Stage]:
        return (
            Stage("generate", self.generate, outputs=self.data),
            Stage("train", self.train, outputs=("models",), inputs=self.seen),
            self.validation((*self.data, "models")),
        )

    def train(self, run: Run, config: Any) -> None:
        """All models, one process for every core."""
        tasks = self.tasks(config)
        total = sum(self.seconds(config, task) for task in tasks)
        run.log("note", text=f"{len(tasks)} models, about {total:.0f} CPU seconds")
        work = [(run.seed("weights", task.name), task) for task in tasks]
        shared = (run.path, config, self.build, self.options, self.labels)
        resumable(_fit, work, shared=shared, seconds=total, title="models")


def opened(path: Path, part: str, length: int) -> tuple[Snapshots, SpinStore]:
    """Temperatures and energies of a set of snapshots; and the spins, mapped from disk, of which blocks are cut."""
    return Snapshots.open(path / f"{part}.zarr"), SpinStore.open(path / f"{part}.npy", length)


def load_model(path: Path, *task: Any) -> PropertyModel:
    """The model of a finished fit."""
    return PropertyModel.load(path / "models" / Task(*task).name)


def _fit(path: Path, config: Any, build: Any, options: Any, labels: Any, seed: int, task: Task) -> None:
    """Fit and save one model; what an interrupted fit left is gone on with."""
    data, store = opened(path, "training", config.length)
    model, folder = build(config, task, torch.Generator().manual_seed(seed)), path / "fit" / task.name
    wanted, how = labels(config, task.target, data), options(config, task)
    fit_property(model, store, wanted, options=how, path=folder, resume=True, progress=False)
    model.save(path / "models" / task.name)
