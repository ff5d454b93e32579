"""One network for all g and kT of a box, beside networks for one g and kT each, of the same data and the same effort.

Holstein, g from 1 to 2 and kT from 0.05 to 0.2: python benchmarks/families.py [steps] [folder]. Data are kept in the
folder; 12 × 12 sites, 622 snapshots each, errors of the density on trajectories of other seeds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import nearsight as ns
from nearsight.training import FitOptions, Recipe, evaluate, fit, generate

BOX = {"g": (1.0, 2.0), "kT": (0.05, 0.2)}
POINTS = {"centre": (1.5, 0.125)} | {f"g = {g:g}, kT = {kT:g}": (g, kT) for g in BOX["g"] for kT in BOX["kT"]}
LATTICE = ns.lattices.square(12)
EXACT = ns.ExactForceField(ns.hamiltonians.Holstein(LATTICE, k=1.5, kappa=0.18), ns.solvers.Dense(mu=0.0, kT=0.1))
DESCENT = {"dt": 0.1, "snapshots": 8}
RECIPE = Recipe(
    random={"trajectories": 30, "snapshots": 4, "amplitude": (0.2, 2.0)},
    thermal={"trajectories": 30, "kT": BOX["kT"], "amplitude": (0.3, 0.8), "mass": 1.0, "burn_in": 0, "every": 8}
    | {"dt": 0.2, "snapshots": 8},
    relaxing={"trajectories": 24, "steps": 80} | DESCENT,
    near_equilibrium={"trajectories": 14, "wavevector": (0.5, 0.5), "amplitude": (1.0, 2.5), "shake": (0.02, 0.5)}
    | {"steps": 60, "dt": 0.1, "snapshots": 5},
)


def network() -> ns.networks.GroupCNN:
    rng = torch.Generator().manual_seed(3)
    return ns.networks.GroupCNN(LATTICE, ns.fields.scalar(), channels=6, parity="odd", head="force", rng=rng)


def main(steps: int, folder: Path) -> None:
    options = FitOptions(steps=steps, learning_rate=1e-2, weight_decay=0.1, validate_every=max(1, steps // 20), test=0)
    family = ns.forcefields.LearnedFamily(network(), EXACT, BOX)
    data = generate(EXACT, RECIPE, folder / "family.zarr", seed=1, parameters=BOX, workers=0)
    start = time.process_time()
    fit(family + EXACT.classical, data, options=options)
    seconds = time.process_time() - start
    ns.forcefields.save(family, folder / "model")
    title = f"rms error of the density, {steps} steps"
    table = Table("", "family", "its own network", "ratio", "largest errors", title=title)
    for name, (g, kT) in POINTS.items():
        exact = EXACT.with_parameters(g=g, kT=kT)
        own = generate(exact, RECIPE, folder / f"{g:g} {kT:g}.zarr", seed=2, workers=0)
        test = generate(exact, RECIPE.scaled(0.3), folder / f"{g:g} {kT:g} test.zarr", seed=3, workers=0)
        start = time.process_time()
        single = fit(ns.LearnedForceField(network()) + exact.classical, own, options=options).parts[0]
        alone = time.process_time() - start
        both = (family.with_parameters(g=g, kT=kT), single)
        found = [evaluate(x + exact.classical, test)["force"] for x in both]
        errors, largest = ([x[key] / g for x in found] for key in ("rmse", "max"))
        columns = [f"{errors[0]:.4f}", f"{errors[1]:.4f}", f"{errors[0] / errors[1]:.2f}"]
        table.add_row(name, *columns, f"{largest[0]:.3f}, {largest[1]:.3f}")
        Console(width=120).print(table)
    print(f"processor time of a fit: {seconds:.0f} s for the family, {alone:.0f} s for one")


if __name__ == "__main__":
    numbers = sys.argv[1:]
    main(int(numbers[0]) if numbers else 2000, Path(numbers[1] if len(numbers) > 1 else "families"))
