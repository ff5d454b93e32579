"""Stage 1: exact quenches on a small lattice, and what every possible hop of their snapshots costs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from nearsight.parallel import threads
from nearsight.studies import parallel
from nearsight.studies.falicov_kimball.config import Config
from nearsight.studies.falicov_kimball.physics import KEPT, exact, exact_seconds, scattered, scheme
from nearsight.studies.quenches import log_steps, quench
from nearsight.studies.run import Run
from nearsight.training import MoveData, Split

DATA = "data.safetensors"


def generate(run: Run, config: Config) -> None:
    """Quenches and labels, in parallel, into one file."""
    data, folder = run.path / DATA, run.path / "ensembles"
    if data.exists():
        shutil.rmtree(folder, ignore_errors=True)
        run.log("note", text=f"{MoveData.open(data)}")
        return
    wanted = config.trajectories
    energies = exact(config, config.length)
    run.log("note", text=f"{wanted.number} quenches with {energies}")
    starts = scattered(config, energies.lattice, wanted.number, run.rng("data", "start"))
    tasks = [
        (config, field, folder / f"{k:03d}", run.seed("data", "chance", k)) for k, field in enumerate(starts.split(1))
    ]
    seconds = wanted.number * exact_seconds(config.length, wanted.duration)
    parts = parallel.run(labelled, tasks, seconds=seconds, title="exact quenches")
    MoveData.from_arrays(
        hops=energies.hops,
        field=torch.cat([part[0] for part in parts]),
        difference=torch.cat([part[1] for part in parts]),
        trajectory=np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts]),
        time=np.concatenate([part[2] for part in parts]),
        attrs={"energies": energies.config()},
    ).save(data)
    shutil.rmtree(folder)
    run.log("note", text=f"{MoveData.open(data)}")


def labelled(
    config: Config, field: torch.Tensor, path: Path, seed: int
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """One quench: its snapshots ``(snapshot, site, 1)``, ΔF of all their moves ``(snapshot, move)``, their times."""
    wanted = config.trajectories
    energies = exact(config, config.length)
    steps = log_steps(wanted.duration, 1.0, wanted.snapshots - 1) if wanted.snapshots > 1 else (0,)
    trajectory = quench(None, scheme(config, energies), steps, field, path, seed, KEPT)
    snapshots = torch.from_numpy(trajectory.field.values[:, 0])
    with threads(1):
        return snapshots, energies.differences(snapshots), trajectory.time.values


def split(run: Run, config: Config) -> Split:
    """Training, validation and test quenches, always the same in one run."""
    fit = config.fit
    return MoveData.open(run.path / DATA).split(validation=fit.validation, test=fit.test, seed=config.seed)
