"""The kernel polynomial method on the triangular magnet: speed, truncation, noise and scaling, all in this one run.

python benchmarks/chebyshev.py [--threads 1] [--side 48] [--kT 0.02] [--coupling 0.5] [--seconds 0.5]

t₁ = 1, t₃ = -0.85, J_σ = ½ (``--coupling``), μ = -3.5, random spins. Four tables:

1. products of the matrix with 64 vectors: time of one product with one vector, and the rate at which vectors are read
   and written against that of a plain copy of them. Three passes are counted, two vectors read and one written.
2. truncation: root mean square error of H_⊥, the field perpendicular to the spins, by unit vectors, against H_⊥ itself,
   and the bound that the solver states for elements of ρ.
3. noise: the same error for coloured and random vectors, both estimators, with a random number for every orbital or one
   for both spins of a site, and what they state: an error bar for ρ (at 95 %) against the error of ρ. The referee is
   the pole expansion.
4. cost against the number of sites for 64 random vectors.

Times are those of the processor, which the work of others on the same core does not lengthen.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import scipy.sparse
import torch
from rich.console import Console
from rich.table import Table
from support.timing import best
from torch import Tensor

from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import SDModel, skyrmion_magnet
from nearsight.lattices import triangular
from nearsight.solvers import (
    Chebyshev,
    Dense,
    NumbaProducts,
    Pattern,
    Poles,
    ProbeSet,
    SparseMatrix,
    TorchProducts,
    coloured_vectors,
    lattice_colours,
    random_vectors,
)
from nearsight.solvers.products import Rows

MU = -3.5
COLUMNS = 64
console = Console(width=110)


def magnet(side: int, coupling: float = 0.5) -> tuple[SDModel, Tensor]:
    rng = torch.Generator().manual_seed(side)
    model = skyrmion_magnet(triangular(side), J=2 * coupling)
    return model, model.field_type.random(side * side, 3, rng)


def sparse(model: SDModel, spins: Tensor) -> SparseMatrix:
    return SparseMatrix(Pattern(*model.positions, model.orbitals), model.elements(spins))


def torque_field(model: SDModel, spins: Tensor, rho: Tensor) -> Tensor:
    """H_⊥ ``(site, 3)`` from ρ at the positions of the coupling: the derivative of Re Σ ρ*_ab h_ab."""
    leaf = spins.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((model.coupling(leaf) * rho.conj()).real.sum(), leaf)
    return -gradient + (gradient * spins).sum(-1, keepdim=True) * spins


def rms(x: Tensor) -> float:
    return float(x.abs().square().mean().sqrt())


def products(seconds: float) -> None:
    table = Table("L", "product", "ms per vector", "vectors, GB/s", "copy, GB/s", "of the copy")
    for side in (48, 200):
        model, spins = magnet(side)
        matrix = Rows.of(sparse(model, spins))
        form, n = matrix.structure, matrix.size
        csr = scipy.sparse.csr_matrix((matrix.values[0].to(torch.complex64).numpy(), form.col, form.crow), shape=(n, n))
        columns = np.random.default_rng(0).normal(size=(2, n, COLUMNS)).astype(np.float32)
        columns = columns[0] + 1j * columns[1]
        for name, backend in (("compiled, float32", NumbaProducts), ("torch CSR, complex64", TorchProducts)):
            work = backend(matrix.rescaled(np.zeros(1), np.full(1, 12.0)), torch.float32, False)
            current, previous = work.vectors(columns), work.vectors(columns)
            time_ = best(lambda: work.step(current, previous), seconds, clock=time.process_time)  # noqa: B023
            # Of ones: pages of zeros that nobody has written yet are all the same page.
            source, target = np.ones((2, n, 2 * COLUMNS), np.float32)
            copy = 2 * source.nbytes / best(lambda: np.copyto(target, source), seconds, clock=time.process_time)  # noqa: B023
            rate = 3 * source.nbytes / time_
            table.add_row(
                f"{side}",
                name,
                f"{1e3 * time_ / COLUMNS:.4f}",
                f"{1e-9 * rate:.1f}",
                f"{1e-9 * copy:.1f}",
                f"{rate / copy:.2f}",
            )
        time_ = best(lambda: csr @ columns, seconds, clock=time.process_time)  # noqa: B023
        table.add_row(f"{side}", "scipy CSR, complex64", f"{1e3 * time_ / COLUMNS:.4f}", "", "", "")
    console.print(table)


def truncation(side: int, coupling: float) -> None:
    model, spins = magnet(side, coupling)
    h = model.matrix(spins)
    moments = (128, 256, 512, 1024)
    table = Table(
        f"{side} × {side}, unit vectors", *(f"M = {m}" for m in moments), title="error of H_⊥ / H_⊥ (bound for ρ)"
    )
    for kT in (0.01, 0.02, 0.05, 0.0):
        exact = torque_field(model, spins, Dense(mu=MU, kT=kT).solve(h, model.rows, model.columns).rho)
        row = []
        for m in moments:
            try:
                solver = Chebyshev(mu=MU, kT=kT, moments=m, kernel=None if kT else "jackson", dtype=torch.float32)
                answer = solver.solve(h, model.rows, model.columns)
            except ValueError:
                row.append("refused")
                continue
            error = rms(torque_field(model, spins, answer.rho) - exact) / rms(exact)
            row.append(f"{error:.1e} ({float(answer.error):.0e})")
        table.add_row(f"kT = {kT:g}" if kT else "kT = 0, Jackson", *row)
    console.print(table)


def noise(side: int, coupling: float, kT: float, moments: int) -> None:
    model, spins = magnet(side, coupling)
    h = sparse(model, spins)
    start = time.process_time()
    exact = Poles(mu=MU, kT=kT, tol=1e-8).solve(h, model.rows, model.columns).rho
    poles = time.process_time() - start
    field = torque_field(model, spins, exact)
    kinds: dict[tuple[str, str], ProbeSet] = {}
    for orbitals, each in ((1, "orbital"), (2, "site")):
        kinds["256 random vectors", each] = random_vectors(256, orbitals=orbitals)
        for period in [p for p in (6, 8, 12, 16) if side % p == 0]:
            colours = lattice_colours(model.lattice, period, 2)
            kinds[f"colours {period} × {period}", each] = coloured_vectors(colours=colours, orbitals=orbitals)
    table = Table(
        f"{side} × {side}, kT = {kT:g}",
        "a number per",
        "vectors",
        "estimator",
        "error of H_⊥ / H_⊥",
        "error of ρ",
        "stated",
        "seconds",
        title=f"M = {moments}; two sets of every colour; rms H_⊥ = {rms(field):.4f}; poles to 1e-8 in {poles:.1f} s",
    )
    rng = torch.Generator().manual_seed(1)
    for names, probes in kinds.items():
        for estimator in ("direct", "gradient"):
            solver = Chebyshev(
                mu=MU, kT=kT, moments=moments, probes=probes, estimator=estimator, dtype=torch.float32, rng=rng
            )
            start = time.process_time()
            answer = solver.solve(h, model.rows, model.columns)
            seconds = time.process_time() - start
            error = rms(torque_field(model, spins, answer.rho) - field) / rms(field)
            table.add_row(
                *names,
                f"{answer.probes}",
                estimator,
                f"{100 * error:.1f} %",
                f"{rms(answer.rho - exact):.2e}",
                f"{float(answer.error):.2e}",
                f"{seconds:.2f}",
            )
    console.print(table)


def scaling(moments: int) -> None:
    table = Table("L", "sites", "seconds", "µs per site", title=f"64 random vectors, gradient, M = {moments}, float32")
    for side in (24, 48, 96, 200):
        model, spins = magnet(side)
        rng = torch.Generator().manual_seed(1)
        solver = Chebyshev(mu=MU, kT=0.1, moments=moments, probes=random_vectors(64), dtype=torch.float32, rng=rng)
        electrons = ExactForceField(model, solver).electrons
        electrons(spins)  # the pattern is taken apart once
        start = time.process_time()
        electrons(spins)
        seconds = time.process_time() - start
        table.add_row(f"{side}", f"{side * side}", f"{seconds:.2f}", f"{1e6 * seconds / side**2:.0f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", type=int, default=48, help="of the table of noise")
    parser.add_argument("--kT", type=float, default=0.02)
    parser.add_argument("--coupling", type=float, default=0.5, help="J_σ of the tables of truncation and noise")
    parser.add_argument("--moments", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each time of a product")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    products(options.seconds)
    truncation(24, options.coupling)
    noise(options.side, options.coupling, options.kT, options.moments)
    scaling(64)


if __name__ == "__main__":
    main()
