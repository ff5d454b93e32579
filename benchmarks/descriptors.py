"""Descriptors and networks: microseconds per site, and accuracy at equal size and at equal training time.

python benchmarks/descriptors.py [--full] [--threads 1] [--folder benchmarks/output] [--figure pareto.png]

The quick run takes two to three minutes and trains every model for 2.5 seconds; ``--full`` takes about 25 minutes.
Times are those of one run on one machine: only their ratios mean something elsewhere.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from support.data import Task, tasks
from support.members import Build, descriptors, models, parameters, sized
from support.timing import best, passes

from nearsight.descriptors import ACSF, SpinACE, SpinInvariants
from nearsight.fields import scalar, spin
from nearsight.forcefields import LearnedForceField
from nearsight.lattices import Lattice, square, triangular
from nearsight.networks import GroupCNN, SpinCNN, SymmetrisedMLP
from nearsight.plots._axes import light_grid
from nearsight.plots.style import CYCLE, PAGE, Picture, picture, styled
from nearsight.training import FitOptions, Split, evaluate, fit

console = Console(width=118)


@dataclass(frozen=True)
class Effort:
    """How long a run may take."""

    sides: tuple[int, ...] = (48, 128)
    snapshots: float = 0.1
    target: int = 6000
    seconds: float = 2.5
    steps: int | None = None


QUICK = Effort()
FULL = Effort(snapshots=0.4, seconds=15.0, steps=400)
SLOW = ("bispectrum", "eigenvalues")
"""Thousands of features, and a matrix to diagonalise, for every site: timed on the small lattice, not trained."""


# --- speed --------------------------------------------------------------------------------------------------------


def speed_of_scalars(lattice: Lattice, cutoff: float = 5.0) -> dict[str, tuple[object, int]]:
    """What acts on a scalar field: name to (function, number of outputs a site)."""
    law = scalar()
    found: dict[str, tuple[object, int]] = {}
    for name, make in descriptors(lattice, law, cutoff).items():
        if name not in SLOW or lattice.n_sites <= 48**2:
            descriptor = make()
            found[name] = (descriptor, descriptor.features)
    for head in ("energy", "force"):
        for network in (
            GroupCNN(lattice, law, channels=6, head=head),
            SymmetrisedMLP(lattice, law, cutoff=3.0, widths=(32, 32), head=head),
        ):
            found[f"{type(network).__name__}, {head}"] = (LearnedForceField(network).eval().local, 1)
    return found


def speed_of_spins(lattice: Lattice) -> dict[str, tuple[object, int]]:
    """What acts on spins."""
    law = spin()
    found: dict[str, tuple[object, int]] = {}
    for name, descriptor in (
        ("bonds and chiralities, lifted", SpinInvariants(lattice, law, 3.0, bond_cutoff=1.0)),
        ("cluster expansion of spins", SpinACE(lattice, law, 3.0)),
        ("symmetry functions", ACSF(lattice, law, 3.0)),
    ):
        found[name] = (descriptor, descriptor.features)
    for head in ("energy", "force"):
        network = SpinCNN(lattice, law, channels=4, head=head)
        outputs = 1 if head == "energy" else 3
        found[f"SpinCNN, {head}"] = (LearnedForceField(network).eval().local, outputs)
    return found


def speed(effort: Effort) -> None:
    """Print microseconds per site, forward and with the gradient by the field, in single precision."""
    for title, members, lattice, components in (
        ("scalar field, square lattice, 81 sites within r = 5", speed_of_scalars, square, 1),
        ("unit spins, triangular lattice, r = 3", speed_of_spins, triangular, 3),
    ):
        table = Table(title=title, title_justify="left")
        table.add_column("")
        table.add_column("outputs", justify="right")
        for side in effort.sides:
            table.add_column(f"{side}²: forward", justify="right")
            table.add_column("with gradient", justify="right")
        rows: dict[str, list[str]] = {}
        for side in effort.sides:
            field = torch.randn(side * side, components, generator=torch.Generator().manual_seed(0))
            for name, (function, outputs) in members(lattice(side)).items():
                times = passes(function, field)  # type: ignore[arg-type]
                rows.setdefault(name, [str(outputs)]).extend(f"{t:.2f}" for t in times)
        for name, row in rows.items():
            table.add_row(name, *row)
        console.print(table)


# --- accuracy -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """One model on one set of data; errors are rms errors of the force over the rms force."""

    model: str
    features: int | None
    parameters: int
    cost: float
    at_steps: float | None
    at_time: float
    steps: int


def options(steps: int) -> FitOptions:
    return FitOptions(steps=steps, warmup=min(100, steps // 5), average=0.97, validate_every=max(10, steps // 10))


def trained(task: Task, build: Build, effort: Effort, split: Split, steps: int) -> tuple[float, float]:
    """Relative error on the test snapshots after ``steps``, and the seconds of the fit.

    A fit runs on one thread, so that its CPU time is what an idle machine would need.
    """
    learned = sized(build, effort.target)
    start = time.process_time()
    fit(learned + task.exact.classical, split, options=options(steps), progress=False)
    seconds = time.process_time() - start
    # Judged by the electrons' force alone: the springs are exact on both sides and would dilute the error.
    springs = task.exact.classical(split.test.field).force
    error = evaluate(learned + task.exact.classical, split.test)["force"]["rmse"]
    return error / float((split.test.force - springs).square().mean().sqrt()), seconds


def cost_of_a_force(forcefield: LearnedForceField, side: int = 48) -> float:
    """Microseconds per site of one force."""
    large = forcefield.on(forcefield.lattice.resized(side)).eval()
    field = torch.randn(side * side, large.components, generator=torch.Generator().manual_seed(0))
    return 1e6 * best(lambda: large(field), 0.2) / side**2


def accuracy(task: Task, effort: Effort, folder: Path) -> list[Result]:
    """Train every model on the exact electrons of a task and print a table."""
    split = task.split(folder, effort.snapshots)
    console.print(
        f"{task.model!r}, kT = {task.kT}: {len(split.train)} snapshots to learn from, {len(split.test)} for the error"
    )
    results = []
    builds = models(task.model.lattice, task.model.field_type, 4.0, exclude=SLOW)
    trained(task, builds["lifted"], effort, split, 2)  # what is imported and built once is nobody's training time
    for name, build in builds.items():
        probe = sized(build, effort.target)
        cost = cost_of_a_force(probe)
        _, seconds = trained(task, build, effort, split, 20)
        steps = max(20, round(20 * effort.seconds / seconds))
        at_steps = trained(task, build, effort, split, effort.steps)[0] if effort.steps else None
        at_time = trained(task, build, effort, split, steps)[0]
        features = probe.descriptor.features if isinstance(probe, LearnedForceField) else None
        results.append(Result(name, features, parameters(probe), cost, at_steps, at_time, steps))
    table = Table(title=f"{task.name}: rms error of the electrons' force, relative", title_justify="left")
    table.add_column("")
    after = [f"after {effort.steps} steps"] if effort.steps else []
    for column in (
        "features",
        "parameters",
        "µs per site",
        *after,
        f"after {effort.seconds:g} s",
        "steps in that time",
    ):
        table.add_column(column, justify="right")
    for r in results:
        errors = [f"{error:.3f}" for error in (r.at_steps, r.at_time) if error is not None]
        table.add_row(r.model, str(r.features or ""), str(r.parameters), f"{r.cost:.1f}", *errors, str(r.steps))
    console.print(table)
    return results


@styled
def pareto(results: dict[str, list[Result]]) -> Picture:
    """Error against cost; the staircase joins the models that no other beats in both."""
    drawing = picture(PAGE, 2.8)
    axes = drawing.subplots(1, len(results), sharey=True)
    for ax, (title, rows) in zip(axes, results.items(), strict=True):
        front = [r for r in rows if not any(o.cost <= r.cost and o.at_time < r.at_time for o in rows)]
        front.sort(key=lambda r: r.cost)
        ax.step([r.cost for r in front], [r.at_time for r in front], where="post", color="0.75", linewidth=0.8)
        for k, r in enumerate(rows):
            ax.plot(r.cost, r.at_time, "osD^v<>pPX*"[k % 11], color=CYCLE[k % len(CYCLE)], markersize=5, label=r.model)
        ax.set(xscale="log", yscale="log", xlabel="µs per site and force", title=title)
        light_grid(ax)
    axes[0].set_ylabel("relative error of the force")
    drawing.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=6.5)
    return drawing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "output")
    parser.add_argument("--figure", type=Path, default=None)
    arguments = parser.parse_args()
    effort = FULL if arguments.full else QUICK
    torch.set_num_threads(arguments.threads)
    speed(effort)
    results = {task.name: accuracy(task, effort, arguments.folder) for task in tasks(arguments.full)}
    path = arguments.figure or arguments.folder / "pareto.png"
    path.write_bytes(pareto(results).png())
    console.print(f"error against cost: {path}")


if __name__ == "__main__":
    main()
