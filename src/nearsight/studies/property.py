"""Template of the studies that learn a property of whole configurations from samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xarray as xr

from nearsight.parallel import resumable
from nearsight.studies.checks import Check
from nearsight.studies.run import Run
from nearsight.studies.study import Stage, Study


@dataclass(frozen=True, kw_only=True)
class PropertyStudy(Study):
    """Samples, a fit for every model, and what the models tell of samples that no fit has seen.

    data, seen: what ``generate`` leaves, and those files among it that fits read.
    generate: ``(run, config)``.
    models: ``config -> {name: task}`` of all fits, the longest first.
    fit: ``(folder of the run, config, seed, task)`` makes one model, goes on with it, or finds it made, in
        ``models/name``; called in a process of its own.
    seconds: ``(config, task)``: a guess of the time of a fit on one core.
    measures: ``(run, config) -> xr.Dataset`` by the name under which it is recorded, in their order.
    judge: ``(run, config, {name: measured}) -> checks``.
    """

    data: tuple[str, ...]
    seen: tuple[str, ...]
    generate: Callable[[Run, Any], None]
    models: Callable[[Any], Mapping[str, Any]]
    fit: Callable[..., None]
    seconds: Callable[..., float]
    measures: Mapping[str, Callable[[Run, Any], xr.Dataset]]
    judge: Callable[[Run, Any, Mapping[str, xr.Dataset]], Sequence[Check]]

    def __post_init__(self) -> None:
        if self.stages:  # a copy under another name
            return
        observables = tuple(f"observables.nc:{name}" for name in self.measures)
        stages = (
            Stage("generate", self.generate, outputs=self.data),
            Stage("train", self.train, outputs=("models",), inputs=self.seen),
            Stage(
                "validate",
                self.validate,
                outputs=(*observables, "checks.json:validate"),
                inputs=(*self.data, "models"),
            ),
        )
        object.__setattr__(self, "stages", stages)

    def train(self, run: Run, config: Any) -> None:
        """All models, one process for every core."""
        models = self.models(config)
        tasks = [(run.path, config, run.seed("weights", name), task) for name, task in models.items()]
        total = sum(self.seconds(config, task) for task in models.values())
        run.log("note", text=f"{len(models)} models, about {total:.0f} CPU seconds")
        resumable(self.fit, tasks, seconds=total, title="models")

    def validate(self, run: Run, config: Any) -> None:
        """Measure on samples that no fit has seen, and judge."""
        measured = {}
        for name, measure in self.measures.items():
            measured[name] = measure(run, config)
            run.record(name, measured[name])
        run.record_checks("validate", list(self.judge(run, config, measured)))
