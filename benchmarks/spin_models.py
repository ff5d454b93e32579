"""Learned fields of an itinerant magnet: how near they come in equal time of training, and what a force costs.

python benchmarks/spin_models.py [--seconds 120] [--runs 24] [--snapshots 10] [--side 12] [--models ...] [--threads 1]

The triangular s-d model of skyrmions (t₁ = 1, t₃ = -0.85, J_σ = 1/2, μ = -3.5, kT = 0.02) on a small torus. Half of the
runs quench random spins, half let a shaken skyrmion lattice relax; one snapshot every four units of time, split by run.
All models learn the field normal to the spins. Each trains for as many steps as fit into ``--seconds`` of processor
time by the cost of its first steps, so that the table does not depend on who else uses the machine. "broken symmetry"
is the rms change of the field, relative to the field, when spins and lattice are turned and the field is turned back.
The skyrmions need a side that is a multiple of 12.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from support.timing import best

from nearsight.descriptors import SpinInvariants
from nearsight.dynamics import AB2Rotation
from nearsight.fields import perturbed, random_spins, skyrmion_lattice, spin, tangent
from nearsight.forcefields import ExactForceField, LearnedForceField
from nearsight.hamiltonians import skyrmion_magnet
from nearsight.lattices import Lattice, triangular
from nearsight.networks import MLP, SpinCNN, TorqueResNet
from nearsight.solvers import Dense
from nearsight.training import KINDS, DataSet, FitOptions, Split, check_spins, evaluate, fit
from nearsight.training._augmentation import Augmentation

console = Console(width=132)
EQUIVARIANT = FitOptions(component="tangent", learning_rate=1e-2, energy_weight=0.0, average=0.98)
TAUGHT = EQUIVARIANT.model_copy(update={"augment": True, "optimizer": "adamw", "learning_rate": 2e-3})


def models(lattice: Lattice) -> dict[str, tuple[Callable[[], LearnedForceField], FitOptions]]:
    """Models that all see the couplings at distances 1, 2 and 2√3, and the options of their fits."""

    def cnn(network: type, *arguments: object, **options: object) -> Callable[[], LearnedForceField]:
        return lambda: LearnedForceField(network(lattice, spin(), *arguments, **options))

    def descriptor(**options: float) -> Callable[[], LearnedForceField]:
        return lambda: LearnedForceField(SpinInvariants(lattice, spin(), 4.0, **options), MLP((64, 64)))

    return {
        "invariants, energy": (descriptor(bond_cutoff=1.0, chirality_cutoff=1.0), EQUIVARIANT),
        "SpinCNN, energy": (cnn(SpinCNN, channels=4, radii=(2.0, 2.0)), EQUIVARIANT),
        "SpinCNN, direct": (cnn(SpinCNN, channels=4, radii=(4.0, 2.0), head="force"), EQUIVARIANT),
        "TorqueResNet": (cnn(TorqueResNet, channels=(16, 16, 16, 16)), TAUGHT),
        "TorqueResNet, relative": (
            cnn(TorqueResNet, channels=(16, 16, 16, 16)),
            TAUGHT.model_copy(update={"force_loss": "relative"}),
        ),
    }


def snapshots(side: int, runs: int, count: int, folder: Path) -> DataSet:
    """Runs of four units of time between snapshots, all moved together, with exact electrons."""
    path = folder / f"spins_{side}_{runs}_{count}.zarr"
    if path.exists():
        return DataSet.open(path)
    lattice, rng = triangular(side), torch.Generator().manual_seed(1)
    exact = ExactForceField(skyrmion_magnet(lattice, B=0.0), Dense(mu=-3.5, kT=0.02))
    quenched = random_spins(lattice, rng, runs // 2)
    texture = skyrmion_lattice(lattice, phase=0.3, magnetisation=0.2)
    spread = 0.1 + 0.4 * torch.rand(runs - runs // 2, generator=rng, dtype=torch.float64)
    shaken = [perturbed(texture, float(s), rng) for s in spread]
    scheme = AB2Rotation(dt=1.0, kT=0.0, damping=0.2, tangent=True)
    state = scheme.start(torch.cat([quenched, torch.stack(shaken)]), exact, rng)
    states = [state]
    for _ in range(count - 1):
        for _ in range(4):
            state = scheme.step(state, exact, rng)
        states.append(state)
    field = torch.stack([s.field for s in states], dim=1).flatten(0, 1)
    force, energy = exact(field)
    kind = [KINDS.index("relaxing")] * (runs // 2) + [KINDS.index("near_equilibrium")] * (runs - runs // 2)
    folder.mkdir(parents=True, exist_ok=True)
    return DataSet.from_arrays(
        path,
        lattice=lattice,
        field=field,
        force=force,
        energy=energy,
        trajectory=np.repeat(np.arange(runs), count),
        kind=np.repeat(kind, count),
        time=np.tile(4.0 * np.arange(count), runs),
        components=3,
    )


def train(make: Callable[[], LearnedForceField], options: FitOptions, split: Split, seconds: float) -> tuple:
    """A model, its steps and the processor time of its fit."""

    def run(steps: int) -> tuple[LearnedForceField, float]:
        start = time.process_time()
        chosen = {"steps": steps, "validate_every": max(1, steps // 20), "warmup": min(100, steps // 10)}
        learned = fit(make(), split, options=options.model_copy(update=chosen), progress=False)
        return learned, time.process_time() - start

    run(2)  # loads what is loaded once
    fixed, steps = run(2)[1], 20
    while (spent := run(steps)[1] - fixed) < 0.05 * seconds:
        steps *= 2
    steps = int(steps * (seconds - fixed) / spent)
    return (*run(steps), steps)


def broken(learned: LearnedForceField, data: DataSet) -> float:
    """How far a learned field is from turning with the spins."""
    rng, turn = torch.Generator().manual_seed(9), Augmentation(data.lattice, spin())
    double = copy.deepcopy(learned).double().eval()
    with torch.no_grad():
        field = data.field[:: max(1, len(data) // 8)]
        force = tangent(double(field).force, field)
        turned, expected = turn(field, force, rng)
        return float((tangent(double(turned).force, turned) - expected).norm() / force.norm())


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    data = snapshots(options.side, options.runs, options.snapshots, options.folder)
    split = data.split(validation=0.15, test=0.25)
    console.print(data, f"\nlinear law: {check_spins(split.test)['exchange']}")
    table = Table(
        "model", "parameters", "steps", "CPU s", "relative", "quench", "skyrmions", "10⁶ mse", "median", "90 %",
        "broken symmetry", "µs per site",
    )  # fmt: skip
    large = triangular(48)
    field = random_spins(large, torch.Generator().manual_seed(2)).float()
    for name, (make, chosen) in models(data.lattice).items():
        if options.models and not any(word in name for word in options.models):
            continue
        learned, seconds, steps = train(make, chosen, split, options.seconds)
        errors = evaluate(learned, split.test, component="tangent")
        force, kinds = errors["force"], errors["kinds"]
        there = learned.on(large)
        table.add_row(
            name,
            f"{sum(p.numel() for p in learned.parameters())}",
            f"{steps}",
            f"{seconds:.0f}",
            f"{force['relative']:.3f}",
            f"{kinds['relaxing']['force']['relative']:.3f}",
            f"{kinds['near_equilibrium']['force']['relative']:.3f}",
            f"{1e6 * force['mse']:.2f}",
            f"{force['angle']['median']:.1f}°",
            f"{force['angle']['q90']:.1f}°",
            f"{broken(learned, split.test):.1e}",
            f"{1e6 * best(lambda: there(field), 0.5, clock=time.process_time) / large.n_sites:.2f}",  # noqa: B023
        )
        console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--snapshots", type=int, default=10)
    parser.add_argument("--side", type=int, default=12)
    parser.add_argument("--models", nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "output")
    main(parser.parse_args())
