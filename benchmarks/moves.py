"""Exact free-energy changes of hopping f electrons: what they cost against diagonalisation, and how exact they are.

python benchmarks/moves.py [--side 30] [--attempts 2000] [--relax 10000] [--rank 128] [--threads 1]

Falicov-Kimball model on a square lattice at U = 2, kT = 0.05, 18.7 % f electrons, fixed filling 0.55 of electrons. A
rejection-based step needs the energies of four hops, that is four spectra, if it diagonalises; a walk is quenched from
a random start by Metropolis attempts and timed at first and after ``--relax`` further attempts, at the acceptance found
there. Times are processor times of one run: only their ratios mean something elsewhere.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from support.timing import best

from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import square
from nearsight.moves import Attempts, DiagonalisingWalk, ExactMoves, Walk

KT, U, DENSITY, FILLING = 0.05, 2.0, 0.187, 0.55
console = Console(width=118)


def metropolis(walk: Walk, attempts: int, rng: torch.Generator) -> tuple[Attempts, float]:
    """Attempts, and their seconds."""
    particle = torch.randint(len(walk.positions), (attempts,), generator=rng).numpy()
    direction = torch.randint(walk.hops.directions, (attempts,), generator=rng).numpy()
    threshold = -KT * torch.rand(attempts, generator=rng, dtype=torch.float64).log().numpy()
    start = time.process_time()
    made = walk.attempt(particle, direction, threshold)
    return made, time.process_time() - start


def walks(energies: ExactMoves, field: torch.Tensor, options: argparse.Namespace, spectrum: float) -> None:
    rng = torch.Generator().manual_seed(1)
    metropolis(energies.start_walk(field), 8, rng)  # compiles
    walk = energies.start_walk(field)
    table = Table("walk", "possible", "accepted", "ms per attempt", "4 spectra, ms", "ratio", "spectra", "drift of F")
    for name, before in (("from a random start", 0), ("relaxed", options.relax)):
        if before:
            metropolis(walk, before, rng)
        spectra = walk.diagonalisations
        made, seconds = metropolis(walk, options.attempts, rng)
        step = seconds / options.attempts
        table.add_row(
            name,
            f"{np.isfinite(made.difference).mean():.0%}",
            f"{made.accepted.mean():.1%}",
            f"{1e3 * step:.2f}",
            f"{4e3 * spectrum:.0f}",
            f"{4 * spectrum / step:.0f}",
            f"{walk.diagonalisations - spectra}",
            f"{walk.drift.potential:.0e}",
        )
    console.print(table)
    possible = [m for m in range(len(walk.hops)) if walk.possible(m)][:: max(1, len(walk.hops) // 400)]
    start = time.process_time()
    for move in possible:
        walk.difference(move)
    asked = (time.process_time() - start) / len(possible)
    accepted, seconds = 0, 0.0
    while accepted < 100:
        move = int(torch.randint(len(walk.hops), (1,), generator=rng))
        if walk.possible(move):
            start = time.process_time()
            walk.accept(move)
            seconds += time.process_time() - start
            accepted += 1
    console.print(f"relaxed: a difference {1e3 * asked:.2f} ms, an accepted move {1e3 * seconds / accepted:.2f} ms")


def labels(energies: ExactMoves, field: torch.Tensor, spectrum: float, seconds: float) -> None:
    together = best(lambda: energies.differences(field), seconds, clock=time.process_time)
    count = int(torch.isfinite(energies.differences(field)).sum())
    console.print(
        f"all {count} hops together {1e3 * together:.0f} ms, {1e3 * together / count:.2f} ms each; "
        f"one spectrum each {count * spectrum:.1f} s: ratio {count * spectrum / together:.0f}"
    )


def accuracy(model: FalicovKimball, field: torch.Tensor, samples: int) -> None:
    table = Table("ensemble", "tolerance", "largest error", "largest |ΔF|", title=f"{samples} hops of {model!r}")
    referee = ExactMoves(model, kT=KT, filling=FILLING)
    canonical = referee.ensembles(field)
    possible = torch.nonzero(torch.isfinite(canonical.canonical))[:, 0]
    moves = possible[:: max(1, len(possible) // samples)][:samples]
    exact = torch.tensor([DiagonalisingWalk(referee, field).difference(int(m)) for m in moves], dtype=torch.float64)
    size = f"{float(exact.abs().max()):.2f}"

    def row(name: str, tolerance: str, costs: torch.Tensor, reference: torch.Tensor = exact) -> None:
        table.add_row(name, tolerance, f"{float((costs[moves] - reference).abs().max()):.1e}", size)

    for tolerance in (1e-6, 1e-9):
        energies = ExactMoves(model, kT=KT, filling=FILLING, tolerance=tolerance)
        row("fixed number", f"{tolerance:g}", energies.differences(field))
    mu = energies.start_walk(field).mu
    for tolerance in (1e-6, 1e-9):
        grand = ExactMoves(model, kT=KT, mu=mu, tolerance=tolerance)
        walk = DiagonalisingWalk(grand, field)
        reference = torch.tensor([walk.difference(int(m)) for m in moves], dtype=torch.float64)
        row("fixed mu", f"{tolerance:g}", grand.differences(field), reference)
    row("fixed number, second order in ΔN", "", canonical.second_order)
    row("fixed mu, taken for fixed number", "", canonical.grand)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=30)
    parser.add_argument("--attempts", type=int, default=2000, help="timed")
    parser.add_argument("--relax", type=int, default=10_000, help="attempts between the two timings")
    parser.add_argument("--rank", type=int, default=128)
    parser.add_argument("--samples", type=int, default=40, help="hops compared with diagonalisation")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = FalicovKimball(square(options.side), U=U)
    energies = ExactMoves(model, kT=KT, filling=FILLING, rank=options.rank)
    sites = model.lattice.n_sites
    rng = torch.Generator().manual_seed(0)
    field = (torch.rand(sites, 1, generator=rng).argsort(0) < round(DENSITY * sites)).double()
    matrix = model.matrix(field)
    spectrum = best(lambda: torch.linalg.eigvalsh(matrix), 1.0, clock=time.process_time)
    walks(energies, field, options, spectrum)
    labels(energies, field, spectrum, 2.0)
    for lattice in (model.lattice, square(8)):
        there = model.on(lattice)
        small = field if lattice is model.lattice else (torch.rand(64, 1, generator=rng).argsort(0) < 12).double()
        accuracy(there, small, options.samples)


if __name__ == "__main__":
    main()
