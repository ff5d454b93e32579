"""Quenches of one ensemble of initial fields, by the exact and by the learned force field."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight.dynamics import At, Scheme, simulate
from nearsight.forcefields import ForceField
from nearsight.parallel import resumable, threads
from nearsight.studies.run import Run

CHUNK = 4
"""Replicas of one task. A killed ensemble loses at most what its tasks have done since their last checkpoint."""


def log_steps(duration: float, dt: float, records: int) -> tuple[int, ...]:
    """Step 0 and up to ``records`` more, evenly spaced in the logarithm of time, the last at ``duration``."""
    last = max(1, round(duration / dt))
    return (0, *sorted({round(step) for step in np.geomspace(1, last, records)}))


@dataclass(frozen=True, eq=False)
class Quenches:
    """An ensemble of initial fields ``(replica, site, component)``, the scheme that moves them and the recorded steps.

    Each of its methods quenches the whole ensemble by one force field and returns fields and forces
    ``(record, replica, site, component)``. What is done is kept in ``comparison`` of the run folder, where a resumed
    run finds it.
    """

    run: Run
    scheme: Scheme
    steps: tuple[int, ...]
    field: Tensor

    def exact(self, forcefield: ForceField) -> xr.Dataset:
        """The exact quenches, spread over processes of one thread each."""
        tasks = self._chunks("exact")
        start = time.perf_counter()
        forcefield(self.field[:CHUNK])
        seconds = (time.perf_counter() - start) * len(tasks) * self.steps[-1]
        shared = (forcefield, self.scheme, self.steps)
        parts = resumable(quench, tasks, shared=shared, seconds=seconds, title="exact quenches")
        return xr.concat(parts, dim="replica")

    def twins(self, forcefield: ForceField) -> xr.Dataset:
        """The exact quenches once more, noise and all, with learned forces."""
        parts = [quench(forcefield, self.scheme, self.steps, *task) for task in self._chunks("twins")]
        return xr.concat(parts, dim="replica")

    def learned(self, forcefield: ForceField) -> xr.Dataset:
        """The same initial fields with the learned force field and noise of their own, all at once."""
        field = self.field.to(next(forcefield.parameters()).dtype)
        path = self.run.path / "comparison" / "learned"
        return quench(forcefield, self.scheme, self.steps, field, path, self.run.seed("learned noise"))

    def _chunks(self, name: str) -> list[tuple]:
        """Fields, paths and seeds of the tasks, which are the same for every force field but for the paths."""
        folder = (self.run.path / "comparison" / name).absolute()  # a worker may be elsewhere
        return [
            (field, folder / f"{k:03d}", self.run.seed("exact noise", k))
            for k, field in enumerate(self.field.split(CHUNK))
        ]


def quench(
    forcefield: ForceField | None,
    scheme: Scheme,
    steps: tuple[int, ...],
    field: Tensor,
    path: Path,
    seed: int,
    kept: tuple[str, ...] = ("field", "force"),
) -> xr.Dataset:
    """One task: run it, go on with it, or read what is there. ``kept`` is recorded at the given steps."""
    with threads(1):
        trajectory = simulate(
            forcefield,
            scheme,
            field,
            steps=steps[-1],
            record=At(steps, fields=kept),
            rng=torch.Generator().manual_seed(seed),
            path=path,
            resume=True,
        )
        return trajectory.data[list(kept)].load()


def fields_and_forces(trajectory: xr.Dataset) -> tuple[Tensor, Tensor]:
    """Fields and forces of :class:`Quenches` as tensors ``(replica, record, site, component)``."""
    field, force = (
        torch.from_numpy(trajectory[name].transpose("replica", "record", "site", "component").values)
        for name in ("field", "force")
    )
    return field, force


def in_time(records: list[xr.Dataset], units: str) -> xr.Dataset:
    """Measurements with a coordinate ``time`` each, joined along it."""
    joined = xr.concat(records, dim="time")
    joined["time"].attrs = {"long_name": "time", "units": units}
    return joined
