"""Template of the studies that learn from observations what made them, and ask it what nobody observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import Field

from nearsight.hamiltonians import ClassicalModel
from nearsight.inference import LearnedCouplings, Observations, SelectedCouplings, Terms, examine, observe
from nearsight.parallel import resumable
from nearsight.studies import observables
from nearsight.studies.checks import Below, Check, PValue
from nearsight.studies.options import Count
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.study import MeasuredStudy, Stage


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


class Watched(Section):
    """How a model is watched."""

    observations: Annotated[int, Field(ge=1000)] = 1_000_000
    """Of each condition."""
    chains: Annotated[int, Field(ge=2)] = 32
    period: Count = 10
    """Attempts to change a site from one observation to the next."""


def watch(run: Run, c: Watched, model: ClassicalModel, kT: float, *name: str) -> None:
    """Observations of a model, in the file of this name; what they are worth is told in the log."""
    seed = run.seed("seen", *name)
    seen = observe(model, kT, c.observations, chains=c.chains, period=c.period, seed=seed)
    seen.save(_observed(run.path, *name))
    run.log("note", text=str(examine(seen)))


def observed(path: Path, *name: str) -> Observations:
    """The observations of this name of a run."""
    return Observations.load(_observed(path, *name))


def _observed(path: Path, *name: str) -> Path:
    return path / "observations" / f"{name[0] if name else 'seen'}.safetensors"


def selection(found: SelectedCouplings) -> xr.Dataset:
    """All couplings that were looked for ``(term,)``, and those that are supported, learned alone ``(kept,)``."""
    full, learned = found.full, found.learned
    data = {
        "value": ("term", full.value, {"long_name": "coupling", "units": "J"}),
        "error": ("term", full.error, {"long_name": "standard error", "units": "J"}),
        "p_value": ("term", found.p_values),
        "chosen": ("term", found.supported.astype(np.int8)),
        "rest": ((), found.rest, {"long_name": "p-value of no others"}),
        "effective": ((), learned.effective),
        "final": ("kept", learned.value, {"units": "J"}),
        "covariance": (("kept", "also_kept"), learned.covariance),
        "freedom": ("kept", learned.freedom),
    }
    return xr.Dataset(data, {"term": list(full.terms.names)}, {"method": learned.method})


def selected(found: xr.Dataset, candidates: Terms, c: Watched, kT: float) -> LearnedCouplings:
    """The supported couplings of a :func:`selection`."""
    return LearnedCouplings(
        candidates.take(found.chosen.values.astype(bool)), found.final.values, found.covariance.values,
        found.freedom.values, found.attrs["method"], kT, c.observations, float(found.effective),
    )  # fmt: skip


def no_others(here: xr.Dataset, where: str) -> list[Check]:
    """Whether the first coupling is the only one."""
    others = int(here.chosen.sum()) - int(here.chosen.sel(term="J1"))
    return [
        Check(f"couplings supported besides J {where}", others, exact=0.0, criterion=Below(0.0)),
        Check(f"all other couplings are zero {where}, p-value", float(here.rest), criterion=PValue(0.001)),
    ]


@dataclass(frozen=True, kw_only=True)
class InferenceStudy(MeasuredStudy):
    """Observations, what is learned from them, what that says of other conditions, and whether it is so.

    observe: ``(run, config)`` leaves the folder ``observations``.
    learn, transfer: what is learned; and what it says where nothing was observed.
    """

    observe: Callable[[Run, Any], None]
    learn: Work
    transfer: Work

    def usual_stages(self) -> Sequence[Stage]:
        learned, said = ("learn", *self.learn.outputs), ("transfer", *self.transfer.outputs)
        return (
            Stage("observe", self.observe, outputs=("observations",)),
            self.learn.stage("learn", ("observations",)),
            self.transfer.stage("transfer", learned),
            self.validation(("observations", *learned, *said)),
        )
