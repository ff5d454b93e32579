"""Stage 1: exact snapshots at fixed number, and what they teach about electrons at μ = 0."""

from __future__ import annotations

import shutil

import numpy as np
import torch
from torch import Tensor

from nearsight import training
from nearsight.parallel import threads
from nearsight.solvers import Dense
from nearsight.studies import parallel
from nearsight.studies.jahn_teller.config import Config
from nearsight.studies.jahn_teller.physics import at_zero_mu, quenched
from nearsight.studies.run import Run
from nearsight.training import DataSet

BATCH = 16
"""Snapshots of one task."""


def generate(run: Run, config: Config) -> None:
    """Exact quenches at every filling, in parallel, then their snapshots at μ = 0, into ``data.zarr``."""
    data, folder = run.path / "data.zarr", run.path / "ensembles"
    if data.exists():
        shutil.rmtree(folder, ignore_errors=True)
        run.log("note", text=f"{DataSet.open(data)}")
        return
    run.log("note", text=f"{config.recipe} at every filling of {config.fillings}")
    ensembles = []
    for k, filling in enumerate(config.fillings):
        exact = quenched(config, config.length, filling)
        run.log("note", text=f"{exact}")
        ensembles.append(
            training.generate(exact, config.recipe, folder / f"{k}.zarr", seed=run.seed("data", k), resume=True)
        )
    arrays = at_mu_zero(run, config, ensembles)
    made = folder / "data.zarr"
    shutil.rmtree(made, ignore_errors=True)
    lattice = quenched(config, config.length, config.fillings[0]).lattice
    DataSet.from_arrays(made, lattice=lattice, components=3, **arrays)  # type: ignore[arg-type]
    made.rename(data)  # in one step: a killed run finds all or nothing
    shutil.rmtree(folder)
    run.log("note", text=f"{DataSet.open(data)}")


def at_mu_zero(run: Run, config: Config, ensembles: list[DataSet]) -> dict[str, Tensor | np.ndarray]:
    """The snapshots of all fillings, each in the gauge μ = 0 and once more with a random uniform shift of Q¹.

    A copy belongs to the trajectory of its original: no split can put them on different sides.
    """
    rng = run.rng("shift")
    arrays: dict[str, list] = {name: [] for name in ("field", "force", "energy", "trajectory", "kind", "time")}
    first = 0
    for filling, ensemble in zip(config.fillings, ensembles, strict=True):
        shift = config.shift * (2 * torch.rand(len(ensemble), generator=rng, dtype=torch.float64) - 1)
        tasks = [
            (config, filling, field, offset)
            for field, offset in zip(ensemble.field.split(BATCH), shift.split(BATCH), strict=True)
        ]
        # Three diagonalisations a snapshot, 15 ms each for a complex matrix of 300 rows.
        seconds = 0.045 * len(ensemble) * (config.length / 12) ** 6
        for parts in parallel.run(moved, tasks, seconds=seconds, title=f"snapshots of f = {filling:g} at μ = 0"):
            for name, part in zip(("field", "force", "energy"), parts, strict=True):
                arrays[name].append(part.flatten(0, 1))
        for name, labels in (
            ("trajectory", ensemble.trajectory + first),
            ("kind", ensemble.kind),
            ("time", ensemble.time),
        ):
            arrays[name].append(np.repeat(labels, 2))
        first += int(ensemble.trajectory.max()) + 1
    return {name: torch.cat(a) if isinstance(a[0], Tensor) else np.concatenate(a) for name, a in arrays.items()}


def moved(config: Config, filling: float, field: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fields ``(snapshot, copy, site, 3)`` of one filling with the exact total forces and energies at μ = 0.

    Only λQ¹ + μ enters the matrix: the first copy is the field plus μ/λ, so that its electrons are those at the
    filling; the second has ``shift`` on top.
    """
    exact = at_zero_mu(config, config.length)
    model = exact.model
    with threads(1):
        electrons = Dense(filling=filling, kT=config.electron_kT).solve(model.matrix(field), model.rows, model.columns)
        uniform = torch.stack([electrons.mu / config.model.lam, electrons.mu / config.model.lam + shift], dim=1)
        both = field[:, None].repeat(1, 2, 1, 1)
        both[..., 0] += uniform[..., None]
        force, energy = exact(both)
    assert energy is not None
    return both, force, energy
