"""Fields of itinerant magnets: poles against exact diagonalisation, every ratio measured inside this one run.

python benchmarks/fields.py [--full] [--threads N]

--full adds 48 × 48 sites, whose 4608 orbitals take a minute and a half to diagonalise on one 2.5 GHz core.

On one thread, times are those of the processor: the work of others on the same core lengthens them little. On several
they are those of the clock.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from support.timing import best

from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import SDModel, double_exchange, skyrmion_magnet
from nearsight.lattices import square, triangular
from nearsight.solvers import Dense, Poles

KT = 0.02


def clock() -> Callable[[], float]:
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def row(name: str, model: SDModel, fixed: dict[str, float], tol: float, exact: tuple[float, torch.Tensor]) -> list[str]:
    """One line of the table: seconds, ratio to diagonalisation, and the error of the field across the spins."""
    seconds_dense, reference = exact
    rng = torch.Generator().manual_seed(0)
    spins = model.field_type.random(model.lattice.n_sites, 3, rng)
    electrons = ExactForceField(model, Poles(kT=KT, tol=tol, **fixed)).electrons  # type: ignore[arg-type]
    electrons(spins)  # finds the poles and the chain
    seconds = best(lambda: electrons(spins), clock=clock())
    answer = electrons.electrons(spins)
    off = electrons(spins).force - reference
    across = off - (off * spins).sum(-1, keepdim=True) * spins
    return [
        name,
        f"{model.lattice.shape[0]} × {model.lattice.shape[1]}",
        f"{tol:g}",
        f"{seconds_dense:.3f}",
        f"{seconds:.3f}",
        f"{seconds_dense / seconds:.1f}",
        f"{float(off.abs().max()):.1e}",
        f"{float(across.square().sum(-1).mean().sqrt()):.1e}",
        f"{float(answer.error.max()):.1e}",  # type: ignore[union-attr]
    ]


def diagonalised(model: SDModel, fixed: dict[str, float]) -> tuple[float, torch.Tensor]:
    """Seconds of one exact field, the faster of two below a thousand orbitals, and the field."""
    rng = torch.Generator().manual_seed(0)
    spins = model.field_type.random(model.lattice.n_sites, 3, rng)
    electrons = ExactForceField(model, Dense(kT=KT, **fixed)).electrons
    model.constant  # noqa: B018  # the hopping is built once and not part of a field
    now = clock()
    start = now()
    force = electrons(spins).force
    seconds = now() - start
    return (best(lambda: electrons(spins), clock=now) if model.orbitals < 1000 else seconds), force


def main(threads: int, full: bool) -> None:
    torch.set_num_threads(threads)
    load = os.getloadavg()
    table = Table(
        "model", "sites", "tol", "dense s", "poles s", "ratio", "max |dH|", "rms dH across", "stated error of rho"
    )
    for side in (12, 24, 48) if full else (12, 24):
        magnet, exchange = skyrmion_magnet(triangular(side)), double_exchange(square(side))
        cases: list[tuple[str, SDModel, dict[str, float]]] = [
            ("triangular, mu = -3.5", magnet, {"mu": -3.5}),
            ("triangular, filling 0.2", magnet, {"filling": 0.2}),
            ("square, J = 6, mu = 0", exchange, {"mu": 0.0}),
        ]
        for name, model, fixed in cases[: 1 if side == 48 else 3]:
            exact = diagonalised(model, fixed)
            for tol in (1e-4, 1e-5, 1e-6, 1e-9):
                table.add_row(*row(name, model, fixed, tol, exact))
    console = Console(width=130)
    console.print(f"{threads} thread(s), kT = {KT}, random spins; seconds of one field with its energy")
    before, after = (", ".join(f"{x:.1f}" for x in loads) for loads in (load, os.getloadavg()))
    console.print(f"load of the machine ({os.cpu_count()} cores) over 1, 5, 15 minutes: {before} before, {after} after")
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    main(arguments.threads, arguments.full)
