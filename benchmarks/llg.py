"""One step of Landau-Lifshitz dynamics with learned and with exact fields, every ratio measured inside this one run.

python benchmarks/llg.py [--side 48] [--sides 24 48 100 200] [--threads 1] [--rounds 5] [--networks-only]

The triangular s-d magnet of skyrmions (t₁ = 1, t₃ = -0.85, J_σ = 1/2, μ = -3.5, kT = 0.02), random spins, which are
the hardest. Steps are those of AB2Rotation, one field each. Exact fields: poles at two accuracies, and the kernel
polynomial method as published, with random vectors and the gradient of the estimated potential (K. Barros, Y. Kato,
Phys. Rev. B 88, 235101) and with coloured vectors, which come near enough to be used; beside them stands how wrong
their field normal to the spins is, measured against poles at 1e-9 and, for KPM, as stated by the solver itself.
Learned fields have fresh weights: time does not depend on them.

All candidates take turns, round after round, and the fastest of their steps counts, in processor time, so that other
users of the machine disturb all alike. The last table is the time a site over the size of the lattice, and how much of
the machine a step uses: its floating-point operations over those of a large matrix product.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from support.timing import best, in_turn
from torch import Tensor

from nearsight.descriptors import SpinInvariants
from nearsight.dynamics import AB2Rotation
from nearsight.fields import random_spins, spin, tangent
from nearsight.forcefields import ExactForceField, ForceField, LearnedForceField
from nearsight.hamiltonians import skyrmion_magnet
from nearsight.lattices import Lattice, triangular
from nearsight.networks import MLP, SpinCNN, TorqueResNet
from nearsight.solvers import Chebyshev, Poles, coloured_vectors, lattice_colours, random_vectors
from nearsight.solvers.kpm.probing import ProbeSet
from nearsight.solvers.solver import Solver

KT, MU = 0.02, -3.5
TARGET = 100.0
SCHEME = AB2Rotation(dt=0.01, kT=0.0, damping=0.2, tangent=True)
"""Fresh weights make fields of order 1, a hundred times those of the electrons: hence the short step."""
console = Console(width=120)


def learned(lattice: Lattice) -> dict[str, ForceField]:
    """The models of the study ``skyrmion``, and the equivariant one with an energy."""
    law, radii = spin(), (13.1, 2.1, 1.1)
    return {
        "SpinCNN, force": LearnedForceField(SpinCNN(lattice, law, channels=4, radii=radii, head="force")),
        "SpinCNN, energy": LearnedForceField(SpinCNN(lattice, law, channels=4, radii=radii)),
        "TorqueResNet": LearnedForceField(TorqueResNet(lattice, law, channels=(16, 16))),
        "SpinInvariants, energy": LearnedForceField(SpinInvariants(lattice, law, 3.0, bond_cutoff=1.0), MLP((64, 32))),
    }


def exact(lattice: Lattice) -> dict[str, ForceField]:
    """Electrons by a few resolvents, and by Chebyshev moments of random vectors."""

    def electrons(solver: Solver) -> ForceField:
        return ExactForceField(skyrmion_magnet(lattice, B=0.0), solver).electrons

    def kpm(probes: ProbeSet) -> ForceField:
        rng = torch.Generator().manual_seed(3)
        return electrons(
            Chebyshev(mu=MU, kT=KT, moments=256, probes=probes, estimator="gradient", dtype=torch.float32, rng=rng)
        )

    return {
        **{f"poles, tol {tol:g}": electrons(Poles(mu=MU, kT=KT, tol=tol)) for tol in (1e-4, 1e-6)},
        **{f"KPM, {vectors} random vectors": kpm(random_vectors(vectors)) for vectors in (64, 256)},
        "KPM, 12 × 12 colours": kpm(coloured_vectors(colours=lattice_colours(lattice, 12, orbitals=2))),
    }


def steps(forcefield: ForceField, field: Tensor) -> Callable[[], object]:
    """A step of the spins from one state, the same at every call."""
    state = SCHEME.start(field, forcefield, None)
    return lambda: SCHEME.step(state, forcefield, None)


def errors(solvers: dict[str, ForceField], lattice: Lattice, field: Tensor) -> dict[str, tuple[float, str]]:
    """How wrong exact fields normal to the spins are, relative to them, and what the solver itself says of ρ."""
    reference = ExactForceField(skyrmion_magnet(lattice, B=0.0), Poles(mu=MU, kT=KT, tol=1e-9)).electrons
    truth = tangent(reference(field).force, field)
    found = {}
    for name, electrons in solvers.items():
        off = tangent(electrons(field).force, field) - truth
        answer = electrons.electrons(field)  # type: ignore[operator]
        found[name] = float(off.norm() / truth.norm()), f"{float(answer.error.max()):.1e}"
    return found


def ratios(side: int, rounds: int) -> None:
    lattice = triangular(side)
    field = random_spins(lattice, torch.Generator().manual_seed(2))
    models, solvers = learned(lattice), exact(lattice)
    # Learned fields see spins in their own precision; positions and torques of a step are float64 for all.
    everything = {name: steps(f.eval(), field) for name, f in (models | solvers).items()}
    seconds = in_turn(everything, rounds, 0.2)
    wrong = errors(solvers, lattice, field)
    compared = ["SpinCNN, force", "SpinCNN, energy", "TorqueResNet"]
    table = Table("field", "ms per step", "µs per site", "error of H⊥", "stated, of ρ", *compared)
    for name, value in seconds.items():
        relative, stated = wrong.get(name, (None, ""))
        table.add_row(
            name,
            f"{1e3 * value:.3g}",
            f"{1e6 * value / lattice.n_sites:.3g}",
            "" if relative is None else f"{100 * relative:.2g} %",
            stated,
            *(f"{value / seconds[model]:.3g}" if name in solvers else "" for model in compared),
        )
    console.print(
        f"one step on {side} × {side} sites, kT = {KT}; the last columns are ratios to models, aim {TARGET:g}"
    )
    console.print(table)


def flatness(sides: list[int], rounds: int) -> None:
    names = list(learned(triangular(12)))
    table = Table("sites", *names, title="µs per site and step")
    smallest = dict.fromkeys(names, float("inf"))
    largest = dict.fromkeys(names, 0.0)
    for side in sides:
        lattice = triangular(side)
        field = random_spins(lattice, torch.Generator().manual_seed(2))
        seconds = in_turn({name: steps(f.eval(), field) for name, f in learned(lattice).items()}, rounds, 0.2)
        each = {name: value / lattice.n_sites for name, value in seconds.items()}
        for name, value in each.items():
            smallest[name], largest[name] = min(smallest[name], value), max(largest[name], value)
        table.add_row(f"{side} × {side}", *(f"{1e6 * each[name]:.3g}" for name in names))
    table.add_row("largest / smallest", *(f"{largest[name] / smallest[name]:.3g}" for name in names))
    console.print(table)
    machine(smallest)


def machine(seconds: dict[str, float]) -> None:
    """What the fastest step of every network uses of the arithmetic and of the memory of this machine."""
    a, x = torch.randn(1024, 1024), torch.randn(2**24)
    y = torch.empty_like(x)
    peak = 2 * 1024**3 / best(lambda: a @ a, clock=time.process_time)
    copy = 2 * x.nbytes / best(lambda: y.copy_(x), clock=time.process_time)
    console.print(f"float32 matrix product {peak / 1e9:.0f} GFLOP/s, copy {copy / 1e9:.1f} GB/s (read and written)")
    table = Table("network", "kFLOP per site", "of the matrix product", "bytes that copy in the time of a site")
    for name, forcefield in learned(triangular(12)).items():
        if not isinstance(forcefield, LearnedForceField) or forcefield.conservative:
            continue
        flops = forcefield.eval().model.flops_per_site
        table.add_row(
            name, f"{flops / 1e3:.0f}", f"{flops / seconds[name] / peak:.2f}", f"{seconds[name] * copy / 1e3:.0f} kB"
        )
    console.print(table)


def main(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    if not options.networks_only:
        ratios(options.side, options.rounds)
    flatness(options.sides, options.rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("--sides", type=int, nargs="*", default=[24, 48, 100, 200])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks-only", action="store_true")
    main(parser.parse_args())
