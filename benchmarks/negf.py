"""Electrons out of equilibrium: closed form and recursion against sums over inverted matrices.

python benchmarks/negf.py [--length 40] [--width 30] [--voltage 2.5] [--lengths 40 80 120 200] [--tol 1e-6]
                          [--inversions 3] [--threads 1]

The bar of the thesis (ch. 6): Holstein, g = 1.5, Γ = 1.0 on both columns of leads, 0.001 elsewhere, kT = 0.1, eV = 2.5,
with a wall between a metal at the gate and a charge-density wave. First the cost of one force: a few inversions are
timed and count 4000 times, as a sum over 4000 energies takes them. Then what that sum is off by, made from the same
eigenvectors at no cost. Last, bars of several lengths by recursion. Times are those of the processor, of one run.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from support.timing import best
from torch import Tensor

from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
from nearsight.solvers import NEGF, Pattern, RecursiveNEGF, SparseMatrix, electrodes
from nearsight.solvers.negf._chain import ChainGreen
from nearsight.solvers.negf._fermi_integrals import fermi
from nearsight.solvers.negf.recursive import _chain

ENERGIES = 4000
ORDER = 2.34
"""Displacement of the charge-density wave."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=40)
    parser.add_argument("--width", type=int, default=30)
    parser.add_argument("--voltage", type=float, default=2.5)
    parser.add_argument("--kT", type=float, default=0.1)
    parser.add_argument("--lengths", type=int, nargs="*", default=[40, 80, 120, 200])
    parser.add_argument("--tol", type=float, default=1e-6)
    parser.add_argument("--inversions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    one_force(options)
    if options.lengths:
        long_bars(options)


def bar(length: int, width: int, *, metal: float = 0.3) -> tuple[Holstein, Tensor]:
    """Model and field: ordered but for a part at the gate; small disorder, so that no levels coincide by symmetry."""
    lattice = square(length, width, periodic=(False, True))
    rng = torch.Generator().manual_seed(1)
    cells = torch.from_numpy(lattice.cells)
    order = ORDER * (1 - 2 * (cells.sum(1) % 2)) * (cells[:, 0] >= metal * length)
    field = order + 0.1 * torch.randn(len(cells), generator=rng, dtype=torch.float64)
    return Holstein(lattice, g=1.5, k=1.005, kappa=0.18), field[:, None]


def timed(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def one_force(options: argparse.Namespace) -> None:
    model, field = bar(options.length, options.width)
    n, sites = model.orbitals, torch.arange(model.orbitals)
    reservoirs = electrodes(model.lattice, voltage=options.voltage, kT=options.kT)
    h, solver = model.matrix(field), NEGF(*reservoirs)
    contacts = solver._contacts(SparseMatrix.of(h))
    g = (0.1 * torch.eye(n) - h).to(torch.complex128) + 1j * torch.diag(contacts.total)
    inversion = min(timed(lambda: torch.linalg.inv(g)) for _ in range(options.inversions))
    force = timed(lambda: solver.solve(h, sites, sites))
    answer = solver.steady_state(h)
    table = Table("one force", "s of the processor", "error", title=f"{options.length} × {options.width}")
    table.add_row(
        f"{ENERGIES} inversions, of which {options.inversions} measured", f"{ENERGIES * inversion:.0f}", "below"
    )
    table.add_row("NEGF", f"{force:.2f}", f"{float(answer.error):.1e} (stated)")
    sparse = SparseMatrix(Pattern(*model.positions, n, model.cuts), model.elements(field))
    for tol in (options.tol, 1e-8):
        recursive = RecursiveNEGF(*reservoirs, tol=tol)
        start = time.process_time()
        found = recursive.solve(sparse, sites, sites)
        seconds = time.process_time() - start
        off = float((found.rho.real - answer.density).abs().max())
        table.add_row(f"RecursiveNEGF, tol {tol:g}", f"{seconds:.1f}", f"{off:.1e} ({float(found.error):.1e} stated)")
    Console(width=118).print(table)
    print(f"NEGF is {ENERGIES * inversion / force:.0f} times faster than the sum.")
    conserved = float(answer.currents.sum().abs() / answer.currents.abs().max())
    print(f"Currents from left, right, bath: {[f'{x:.6g}' for x in answer.currents]}, sum / largest {conserved:.1e}")
    riemann_sums(solver, h, answer.density, options.width)


def riemann_sums(solver: NEGF, h: Tensor, exact: Tensor, width: int) -> None:
    """Σ Δε G^<(ε)/2πi on equal steps, by the same eigenvectors: only the kernel of two levels is another."""
    contacts = solver._contacts(SparseMatrix.of(h))
    form = solver._form(h, contacts)
    table = Table("sum over energies", "largest error: bulk", "lead columns", "rms: bulk", "lead columns")
    for low, high, step in ((-6, 6, 0.003), (-30, 6, 0.003), (-30, 6, 0.001)):
        eps = torch.arange(low, high, step, dtype=torch.float64)
        density = torch.zeros_like(exact)
        for group in range(len(contacts.groups)):
            kernel = torch.zeros_like(h, dtype=torch.complex128)
            for part in eps.split(4000):
                f = fermi(part, *solver._filling(group)) * step / (2 * math.pi)
                resolvent = 1 / (part[:, None] - form.levels)
                kernel += (resolvent.mT * f) @ resolvent.conj()
            x = form.right @ (kernel * form.source(contacts.of_group(group)))
            density += (x * form.right.conj()).sum(-1).real
        off = (density - exact).abs()
        edge = torch.zeros(len(off), dtype=torch.bool)
        edge[:width] = edge[-width:] = True
        numbers = [
            off[~edge].max(),
            off[edge].max(),
            off[~edge].square().mean().sqrt(),
            off[edge].square().mean().sqrt(),
        ]
        table.add_row(f"[{low}, {high}], Δε = {step:g}", *(f"{float(x):.1e}" for x in numbers))
    Console(width=118).print(table)


def long_bars(options: argparse.Namespace) -> None:
    table = Table("length", "orbitals", "µs per energy and column", "one force, s", "s per column", "stated error")
    for length in options.lengths:
        model, field = bar(length, options.width)
        n, sites = model.orbitals, torch.arange(model.orbitals)
        reservoirs = electrodes(model.lattice, voltage=options.voltage, kT=options.kT)
        solver = RecursiveNEGF(*reservoirs, tol=options.tol)
        sparse = SparseMatrix(Pattern(*model.positions, n, model.cuts), model.elements(field))
        eps = torch.linspace(-2, 0, 64, dtype=torch.float64)
        start = time.process_time()
        found = solver.solve(sparse, sites, sites)
        seconds = time.process_time() - start
        each = spectrum_seconds(solver, sparse, eps)
        table.add_row(f"{length}", f"{n}", f"{1e6 * each / length:.0f}", f"{seconds:.1f}",
                      f"{seconds / length:.3f}", f"{float(found.error):.1e}")  # fmt: skip
    Console(width=118).print(table)


def spectrum_seconds(solver: RecursiveNEGF, matrix: SparseMatrix, eps: Tensor) -> float:
    """Of one energy."""
    contacts = solver._contacts(matrix)
    first = contacts.orbitals[solver._seed(contacts)]
    flat = SparseMatrix(matrix.pattern, matrix.values[None])
    green = ChainGreen(flat, contacts.total, _chain(matrix.pattern, first))
    replica = torch.zeros(len(eps), dtype=torch.long)
    return best(lambda: green.at(eps, replica, first), 1.0, clock=time.process_time) / len(eps)


if __name__ == "__main__":
    main()
