"""Couplings learned by every method: speed, and error against the bound of Cramér and Rao.

python benchmarks/couplings.py glass [--side 8] [--count 1e6] [--methods likelihood ...]
python benchmarks/couplings.py ising [--beta 0.4407] [--count 5.12e7]

glass: Edwards-Anderson, Gaussian couplings, βJ = 0.4407, one coupling for every bond, nearly independent observations
(20 sweeps apart). The bound is the inverse of the covariance of the s_i s_j, exact by Pfaffians.
ising: 8 × 8 spins observed every 10 attempts; the root mean square error of the learned energy over all levels, for one
coupling, for one of every displacement (33), and for what selection leaves of these and the four-spin term.
CPU seconds of one process and thread.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from nearsight.hamiltonians import EdwardsAnderson, Ising
from nearsight.inference import (
    LearnedCouplings,
    Terms,
    energy_errors,
    learn_couplings,
    observe,
    reference_set,
    select_couplings,
)
from nearsight.lattices import square
from nearsight.sampling._kac_ward import bond_moments

METHODS = ("pseudo-likelihood", "interaction-screening", "likelihood", "mean-field", "tap", "bethe")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", choices=("glass", "ising"))
    parser.add_argument("--side", type=int, default=8)
    parser.add_argument("--beta", type=float, default=0.4407)
    parser.add_argument("--count", type=float, default=None)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.system == "glass":
        glass(options.side, options.beta, int(options.count or 1e6), options.methods)
    else:
        ising(options.beta, int(options.count or 5.12e7))


def glass(side: int, beta: float, count: int, methods: list[str]) -> None:
    lattice = square(side)
    sample, kT, terms = EdwardsAnderson(lattice, seed=3), 1 / beta, Terms.pairs(lattice, by="bond")
    seen = observe(sample, kT, count, period=20 * side**2, chains=100, seed=1)
    fisher = bond_moments(lattice, sample.couplings / kT).covariance
    bound = kT * np.sqrt(np.mean(np.diag(np.linalg.inv(fisher))) / count)
    table = Table("method", "CPU s", "correlation", "rms error", "over the bound", "stated over the bound", "in 95 %")
    print(f"{seen}; bound of Cramér and Rao {bound:.6f}", flush=True)
    for method in methods:
        start = time.process_time()
        learned = learn_couplings(seen, terms, method=method)  # type: ignore[arg-type]
        seconds = time.process_time() - start
        error = np.sqrt(np.mean((learned.value - sample.couplings) ** 2))
        low, high = learned.interval()
        inside = np.mean((low <= sample.couplings) & (sample.couplings <= high))
        row = (
            f"{seconds:.1f}",
            f"{np.corrcoef(learned.value, sample.couplings)[0, 1]:.6f}",
            f"{error:.5f}",
            f"{error / bound:.3f}",
            f"{np.sqrt(np.mean(learned.error**2)) / bound:.3f}",
            f"{inside:.3f}",
        )
        print(method, *row, flush=True)
        table.add_row(method, *row)
    Console().print(table)


def ising(beta: float, count: int) -> None:
    model = Ising(square(8))
    start = time.process_time()
    seen = observe(model, 1 / beta, count, seed=1)
    print(f"{seen}, made in {time.process_time() - start:.1f} CPU s", flush=True)
    reference = reference_set(model, seed=2)
    pairs = Terms.pairs(model.lattice, by="displacement")
    table = Table("terms", "method", "CPU s", "J ± error", "RMSE over all levels, J")

    def add(name: str, method: str, seconds: float, learned: LearnedCouplings) -> None:
        near = ", ".join(f"{v:.5f} ± {e:.5f}" for v, e in zip(learned.value[:2], learned.error[:2], strict=False))
        row = (name, method, f"{seconds:.1f}", near, f"{energy_errors(learned.energy, reference).rmse:.4f}")
        print(*row, f"worth {learned.effective:.3g}", flush=True)
        table.add_row(*row)

    for name, terms, method in (
        ("nearest neighbours", Terms.pairs(model.lattice), "likelihood"),
        ("nearest neighbours", Terms.pairs(model.lattice), "pseudo-likelihood"),
        ("all displacements", pairs, "likelihood"),
    ):
        start = time.process_time()
        learned = learn_couplings(seen, terms, method=method)  # type: ignore[arg-type]
        add(name, method, time.process_time() - start, learned)
    start = time.process_time()
    everything = pairs + Terms.plaquettes(model.lattice)
    found = select_couplings(seen, everything, method="likelihood", rng=torch.Generator().manual_seed(1))
    add(f"selected: {', '.join(found.learned.terms.names)}", "likelihood", time.process_time() - start, found.learned)
    print(found)
    Console().print(table)


if __name__ == "__main__":
    main()
