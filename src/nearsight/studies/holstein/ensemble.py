"""Quenches of one ensemble of initial fields, by the exact and by the learned force field."""

from __future__ import annotations

import time
from pathlib import Path

import torch
import xarray as xr
from torch import Tensor

from nearsight.dynamics import At, simulate
from nearsight.forcefields import ForceField
from nearsight.lattices import square
from nearsight.studies import parallel
from nearsight.studies.holstein.config import Config
from nearsight.studies.holstein.physics import hot, log_steps, quenched, scheme
from nearsight.studies.run import Run
from nearsight.training.workers import threads

CHUNK = 4
"""Replicas of one task. A killed ensemble loses at most what its tasks have done since their last checkpoint."""


def exact(run: Run, config: Config) -> xr.Dataset:
    """The exact quenches, spread over processes of one thread each."""
    forcefield = quenched(config, config.comparison.length)
    tasks = chunks(run, config, forcefield, "exact")
    start = time.perf_counter()
    forcefield(tasks[0][2])
    seconds = (time.perf_counter() - start) * len(tasks) * steps(config)[-1]
    parts = parallel.run(quench, tasks, seconds=seconds, title="exact quenches")
    return xr.concat(parts, dim="replica")


def twins(run: Run, config: Config, student: ForceField) -> xr.Dataset:
    """The exact quenches once more, noise and all, with learned forces."""
    return xr.concat([quench(*task) for task in chunks(run, config, student, "twins")], dim="replica")


def chunks(
    run: Run, config: Config, forcefield: ForceField, name: str
) -> list[tuple[ForceField, Config, Tensor, Path, int]]:
    """Tasks of :func:`quench` that differ from those of another force field in nothing but the force."""
    fields = initial(run, config).split(CHUNK)
    folder = run.path / "comparison" / name
    return [
        (forcefield, config, field, folder / f"{k:03d}", run.seed("exact noise", k)) for k, field in enumerate(fields)
    ]


def learned(run: Run, config: Config, student: ForceField) -> xr.Dataset:
    """The same initial fields with the learned force field and noise of their own, all at once."""
    field = initial(run, config).to(next(student.parameters()).dtype)
    return quench(student, config, field, run.path / "comparison" / "learned", run.seed("learned noise"))


def initial(run: Run, config: Config) -> Tensor:
    return hot(config, square(config.comparison.length), config.comparison.quenches, run.rng("initial fields"))


def steps(config: Config) -> tuple[int, ...]:
    comparison = config.comparison
    return log_steps(comparison.duration, config.quench.dt, comparison.records)


def quench(forcefield: ForceField, config: Config, field: Tensor, path: Path, seed: int) -> xr.Dataset:
    """One task: run it, go on with it, or read what is there."""
    with threads(1):
        trajectory = simulate(
            forcefield,
            scheme(config),
            field,
            steps=steps(config)[-1],
            record=At(steps(config), fields=("field", "force")),
            rng=torch.Generator().manual_seed(seed),
            path=path,
            resume=True,
        )
        return trajectory.data[["field", "force"]].load()
