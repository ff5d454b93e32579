"""Stage 2: exact dynamics on a small lattice, from perturbed skyrmions and from random spins."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nearsight.dynamics import At, simulate
from nearsight.lattices import triangular
from nearsight.parallel import threads
from nearsight.studies import parallel
from nearsight.studies.run import Run
from nearsight.studies.skyrmion.config import Config
from nearsight.studies.skyrmion.physics import disordered, exact, perturbed_skyrmions, scheme, zeeman
from nearsight.training import KINDS, DataSet

STARTS = {"random": "relaxing", "perturbed": "near_equilibrium"}
"""What kind of snapshots the trajectories of each start give, so that a split takes its share of both."""
SECONDS = 0.25
"""One exact field of 24 × 24 sites on one core; blocks of the inversion grow as the cube of the length, their number
with it."""


def generate(run: Run, config: Config) -> None:
    """All trajectories in parallel, each kept where a resumed run finds it, then their snapshots in ``data.zarr``."""
    data = run.path / "data.zarr"
    if data.exists():
        run.log("note", text=f"{DataSet.open(data)}")
        return
    wanted = config.trajectories
    lattice = triangular(config.length)
    run.log("note", text=f"{wanted.random} + {wanted.perturbed} trajectories with {exact(config, config.length)}")
    starts = {
        "random": disordered(lattice, wanted.random, run.rng("data", "random")),
        "perturbed": perturbed_skyrmions(config, lattice, wanted.perturbed, run.rng("data", "perturbed")),
    }
    folder = run.path / "ensembles"
    tasks = [
        (config, spins, folder / f"{name}-{k:03d}", run.seed("data", "noise", name, k))
        for name, fields in starts.items()
        for k, spins in enumerate(fields)
    ]
    seconds = SECONDS * len(tasks) * steps(config)[-1] * (config.length / 24) ** 4
    parts = parallel.run(trajectory, tasks, seconds=seconds, title="exact trajectories")
    kinds = [KINDS.index(STARTS[name]) for name, fields in starts.items() for _ in fields]
    counts = [len(part[0]) for part in parts]
    field, force, energy, time = (torch.cat([part[i] for part in parts]) for i in range(4))
    made = folder / "data.zarr"
    shutil.rmtree(made, ignore_errors=True)
    DataSet.from_arrays(
        made,
        lattice=lattice,
        field=field,
        force=force,
        energy=energy,
        trajectory=np.repeat(np.arange(len(parts)), counts),
        kind=np.repeat(kinds, counts),
        time=time,
        components=3,
    )
    made.rename(data)  # in one step: a killed run finds all or nothing
    shutil.rmtree(folder)
    run.log("note", text=f"{DataSet.open(data)}")


def steps(config: Config) -> tuple[int, ...]:
    """The recorded steps of a trajectory, from the first to the last."""
    last = max(1, round(config.trajectories.duration / config.dynamics.dt))
    return tuple(sorted({round(step) for step in np.linspace(0, last, config.trajectories.snapshots)}))


def trajectory(config: Config, spins: Tensor, path: Path, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Spins and the electrons' H ``(snapshot, site, 3)``, their Ω and times ``(snapshot,)`` of one exact trajectory."""
    at = steps(config)
    teacher = exact(config, config.length)
    with threads(1):
        data = simulate(
            teacher,
            scheme(config),
            spins,
            steps=at[-1],
            record=At(at, fields=("field", "force", "energy")),
            rng=torch.Generator().manual_seed(seed),
            path=path,
            resume=True,
        ).data.load()
    field, force, energy = (torch.from_numpy(data[name].values) for name in ("field", "force", "energy"))
    known = zeeman(config, teacher.lattice)(field)
    assert known.energy is not None
    return field, force - known.force, energy - known.energy, torch.from_numpy(data.time.values)
