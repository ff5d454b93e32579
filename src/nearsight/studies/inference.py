"""Template of the studies that learn from observations what made them, and ask it what nobody observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from nearsight.parallel import resumable
from nearsight.studies import observables
from nearsight.studies.checks import Check
from nearsight.studies.run import Run
from nearsight.studies.study import Stage, Study


@dataclass(frozen=True, kw_only=True)
class Work:
    """Independent tasks, one stage of a study.

    tasks: ``config -> {name: task}``, the longest first, so that no core is left with one at the end.
    do: ``(folder of the run, config, seed, task) -> xr.Dataset``, called in a process of its own; it may also leave
        files in ``outputs``, and goes on with what a killed call has left there. The results are kept one by one.
    seconds: ``(config, task)``: a guess of its time on one core.
    outputs: of all tasks besides their results.
    """

    tasks: Callable[[Any], Mapping[str, Any]]
    do: Callable[..., xr.Dataset]
    seconds: Callable[..., float]
    outputs: tuple[str, ...] = ()

    def stage(self, name: str, inputs: tuple[str, ...]) -> Stage:
        """All tasks, one process for every core; their results are in the folder ``name``."""

        def carry_out(run: Run, config: Any) -> None:
            tasks = self.tasks(config)
            calls = [(run.path / name / f"{key}.nc", run.seed(name, key), task) for key, task in tasks.items()]
            total = sum(self.seconds(config, task) for task in tasks.values())
            run.log("note", text=f"{len(tasks)} tasks, about {total:.0f} CPU seconds")
            resumable(_kept, calls, shared=(self.do, run.path, config), seconds=total, title=name)

        return Stage(name, carry_out, outputs=(name, *self.outputs), inputs=inputs)


def _kept(do: Callable[..., xr.Dataset], path: Path, config: Any, file: Path, seed: int, task: Any) -> None:
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        observables.write(file, "result", do(path, config, seed, task))


def result(path: Path, stage: str, task: str) -> xr.Dataset:
    """What a task of a finished stage returned, by its name, in a run's folder."""
    return observables.read(path / stage / f"{task}.nc", "result")


@dataclass(frozen=True, kw_only=True)
class InferenceStudy(Study):
    """Observations, what is learned from them, what that says of other conditions, and whether it is so.

    observe: ``(run, config)`` leaves the folder ``observations``.
    learn, transfer: what is learned; and what it says where nothing was observed.
    measures: ``(run, config) -> xr.Dataset`` by the name under which it is recorded, in their order.
    judge: ``(run, config, {name: measured}) -> checks``.
    """

    observe: Callable[[Run, Any], None]
    learn: Work
    transfer: Work
    measures: Mapping[str, Callable[[Run, Any], xr.Dataset]]
    judge: Callable[[Run, Any, Mapping[str, xr.Dataset]], Sequence[Check]]

    def usual_stages(self) -> Sequence[Stage]:
        recorded = tuple(f"observables.nc:{name}" for name in self.measures)
        learned, said = ("learn", *self.learn.outputs), ("transfer", *self.transfer.outputs)
        judged, all_of_it = (*recorded, "checks.json:validate"), ("observations", *learned, *said)
        return (
            Stage("observe", self.observe, outputs=("observations",)),
            self.learn.stage("learn", ("observations",)),
            self.transfer.stage("transfer", learned),
            Stage("validate", self._validate, outputs=judged, inputs=all_of_it),
        )

    def _validate(self, run: Run, config: Any) -> None:
        measured = {}
        for name, measure in self.measures.items():
            measured[name] = measure(run, config)
            run.record(name, measured[name])
        run.record_checks("validate", list(self.judge(run, config, measured)))
