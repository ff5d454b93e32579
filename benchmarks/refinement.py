"""Exact forces that a Holstein force field needs: by a recipe on a small lattice, or where it fails in its own runs.

    python benchmarks/refinement.py [--rounds 8] [--sites 1000] [--recipes 0.06 0.1 0.3] [--random 1 4]

Judged by the exact solution of a whole lattice of 24 × 24 sites at five times of an exact quench that no training has
seen. Counted are exact forces on single sites; a solution of a lattice of N sites counts N.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

import nearsight as ns
from nearsight.forcefields.patches import EIGENPROBLEM
from nearsight.studies import get
from nearsight.training import FitOptions, Recipe, RefineOptions, fit, generate, refine

STUDY = get("holstein")
CONFIG = STUDY.configure("quick")
SMALL, RUN, JUDGED = (STUDY.system(CONFIG, length) for length in (16, 48, 24))
TIMES = (0, 10, 30, 60, 100)
"""Steps of 0.2/t of the exact quench at which forces are judged."""


def exact_quench() -> tuple[torch.Tensor, torch.Tensor]:
    field = JUDGED.initial_fields(1, torch.Generator().manual_seed(77))
    rng = torch.Generator().manual_seed(5)
    run = ns.dynamics.simulate(
        JUDGED.exact, JUDGED.scheme, field, steps=TIMES[-1], record=ns.dynamics.At(TIMES), rng=rng
    )
    return run.tensor("field")[:, 0], run.tensor("force")[:, 0]


def error(electrons: ns.LearnedForceField, judged: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Rms error of the density."""
    with torch.no_grad():
        force = (electrons.on(JUDGED.lattice) + JUDGED.exact.classical)(judged[0]).force
    return float((force - judged[1]).square().mean().sqrt()) / CONFIG.model.g


def learned(recipe: Recipe, steps: int, folder: Path) -> tuple[ns.LearnedForceField, ns.training.Split]:
    data = generate(SMALL.exact, recipe, folder / "data.zarr", seed=1, workers=1, progress=False)
    split = data.split(validation=0.15, test=0.0)
    electrons = SMALL.build_model(torch.Generator().manual_seed(0))
    options = FitOptions(steps=steps, learning_rate=1e-2, weight_decay=0.1)
    fit(electrons + SMALL.exact.classical, split, options=options, progress=False)
    return electrons, split


def random_fields(many: int) -> Recipe:
    none = {"trajectories": 0, "snapshots": 1}
    random = {"trajectories": 12 * many, "snapshots": 4, "amplitude": (0.2, 2.0)}
    return Recipe(random=random, thermal=none, relaxing=none, near_equilibrium=none)


def told(what: str, forces: int, nominal: float, rms: float, since: float) -> None:
    print(f"{what:28} {forces:9d} {nominal:9.2f} {rms:9.5f} {time.perf_counter() - since:7.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--recipes", type=float, nargs="*", default=[0.06, 0.1, 0.3])
    parser.add_argument("--random", type=int, nargs="*", default=[4], help="random fields, in multiples of 48")
    asked = parser.parse_args()
    judged, sites = exact_quench(), SMALL.lattice.n_sites
    print(f"{'':28} {'forces':>9} {'nominal s':>9} {'density':>9} {'seconds':>7}")
    one = EIGENPROBLEM * sites**3
    tried = {f"recipe × {part:g}": CONFIG.recipe.scaled(part) for part in asked.recipes}
    tried |= {f"{48 * many} random fields": random_fields(many) for many in asked.random}
    for name, recipe in tried.items():
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            electrons, _ = learned(recipe, 2000, Path(folder))
        told(name, recipe.solutions * sites, recipe.solutions * one, error(electrons, judged), begun)
    begun, recipe = time.perf_counter(), random_fields(1)
    with tempfile.TemporaryDirectory() as name:
        electrons, split = learned(recipe, 600, Path(name))
        paid, nominal = recipe.solutions * sites, recipe.solutions * one
        told("48 random fields, 600 steps", paid, nominal, error(electrons, judged), begun)
        options = RefineOptions(
            steps=100, times=4, sites=asked.sites, audited=200,
            fit=FitOptions(steps=1000, warmup=50, learning_rate=5e-3, weight_decay=0.1),
        )  # fmt: skip
        for number in range(1, asked.rounds + 1):
            found = refine(
                electrons + SMALL.exact.classical, SMALL.exact, split, lattice=RUN.lattice, scheme=RUN.scheme,
                field=lambda rng: RUN.initial_fields(1, rng), path=Path(name) / "refined", resume=True, progress=False,
                options=options.model_copy(update={"rounds": number}),
            )  # fmt: skip
            last = found.history.isel(round=-1)
            forces, seconds = paid + int(last.solutions), nominal + float(last.seconds)
            told(f"refined, round {number}", forces, seconds, error(electrons, judged), begun)


if __name__ == "__main__":
    main()
