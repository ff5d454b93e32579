"""Exact trajectories, and the snapshots of them that are learned."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nearsight.dynamics import At, Scheme, simulate
from nearsight.forcefields import ExactForceField
from nearsight.parallel import threads
from nearsight.studies import parallel
from nearsight.studies.run import Run
from nearsight.training import KINDS, DataSet

STARTS = {"random": "relaxing", "perturbed": "near_equilibrium"}
"""What kind of snapshots the trajectories of each start give, so that a split takes its share of both."""


def generate(
    run: Run,
    teacher: ExactForceField,
    scheme: Scheme,
    starts: Mapping[str, Tensor],
    steps: tuple[int, ...],
    *,
    cost: float,
) -> None:
    """All trajectories in parallel, each kept where a resumed run finds it, then their snapshots in ``data.zarr``.

    ``starts`` are initial spins ``(trajectory, site, 3)`` by the names of ``STARTS``; ``cost`` is a guess of the
    seconds of one exact field. Data that are there already are kept.
    """
    data = run.path / "data.zarr"
    if not data.exists():
        number = " + ".join(str(len(fields)) for fields in starts.values())
        run.log("note", text=f"{number} trajectories with {teacher}")
        compute(run, teacher, scheme, starts, steps, data, cost=cost)
    shutil.rmtree(run.path / "ensembles", ignore_errors=True)
    run.log("note", text=f"{DataSet.open(data)}")


def compute(
    run: Run,
    teacher: ExactForceField,
    scheme: Scheme,
    starts: Mapping[str, Tensor],
    steps: tuple[int, ...],
    path: Path,
    *,
    cost: float,
) -> None:
    """The data set at ``path``, in one step: a killed run finds all or nothing."""
    folder = run.path / "ensembles"
    tasks = [
        (teacher, scheme, spins, steps, folder / f"{name}-{k:03d}", run.seed("data", "noise", name, k))
        for name, fields in starts.items()
        for k, spins in enumerate(fields)
    ]
    parts = parallel.run(trajectory, tasks, seconds=cost * len(tasks) * steps[-1], title="exact trajectories")
    kinds = [KINDS.index(STARTS[name]) for name, fields in starts.items() for _ in fields]
    counts = [len(part[0]) for part in parts]
    field, force, energy, time = (torch.cat([part[i] for part in parts]) for i in range(4))
    made = folder / "data.zarr"
    shutil.rmtree(made, ignore_errors=True)
    DataSet.from_arrays(
        made,
        lattice=teacher.lattice,
        field=field,
        force=force,
        energy=energy,
        trajectory=np.repeat(np.arange(len(parts)), counts),
        kind=np.repeat(kinds, counts),
        time=time,
        components=3,
    )
    made.rename(path)
    shutil.rmtree(folder)


def trajectory(
    teacher: ExactForceField, scheme: Scheme, spins: Tensor, steps: tuple[int, ...], path: Path, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Spins and the electrons' H ``(snapshot, site, 3)``, their energy and times ``(snapshot,)`` of one trajectory."""
    with threads(1):
        data = simulate(
            teacher,
            scheme,
            spins,
            steps=steps[-1],
            record=At(steps, fields=("field", "force", "energy")),
            rng=torch.Generator().manual_seed(seed),
            path=path,
            resume=True,
        ).data.load()
    field, force, energy = (torch.from_numpy(data[name].values) for name in ("field", "force", "energy"))
    known = teacher.classical(field)
    assert known.energy is not None
    return field, force - known.force, energy - known.energy, torch.from_numpy(data.time.values)
