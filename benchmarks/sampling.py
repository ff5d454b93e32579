"""Updates a nanosecond of every sampler, and what a large set of independent configurations costs.

Times are CPU seconds of this process: python benchmarks/sampling.py [L]
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numba
import numpy as np
from rich.console import Console
from rich.table import Table
from support.timing import best

from nearsight.hamiltonians import Ising
from nearsight.lattices import square
from nearsight.sampling import HeatBath, Metropolis, Sampler, SwendsenWang, Wolff, critical_temperature, equilibrium
from nearsight.sampling.autocorrelation import autocorrelation_time
from nearsight.sampling.equilibrium import Plan, Unit, run_unit


@numba.njit
def plain(spins: np.ndarray, beta: float, sweeps: int) -> None:
    """What one writes first: site after site, boundaries by remainders, one exponential a spin."""
    length = spins.shape[0]
    for site in range(sweeps * length * length):
        x, y = site // length % length, site % length
        around = (
            spins[(x + 1) % length, y]
            + spins[(x - 1) % length, y]
            + spins[x, (y + 1) % length]
            + spins[x, (y - 1) % length]
        )
        cost = 2.0 * spins[x, y] * around
        if cost <= 0 or np.random.random() < np.exp(-beta * cost):  # noqa: NPY002
            spins[x, y] = -spins[x, y]


def rates(console: Console, length: int) -> None:
    model, n = Ising(square(length)), length**2
    spins = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (length, length))
    table = Table("sampler", "kT", "updates a ns", "times the plain loop", title=f"{length} × {length} Ising spins")
    for kT in (1.8, 2.6):
        start = "ordered" if kT < 2.2 else "random"
        reference = n * 2 / best(lambda: plain(spins, 1 / kT, 2), 1.0, clock=time.process_time) / 1e9  # noqa: B023
        table.add_row("plain loop", f"{kT}", f"{reference:.4f}", "1")
        cases: list[tuple[str, Sampler, int, int]] = [
            (f"{kind.name}, {code}", kind(model, kT, chains=chains, start=start, code=code), chains, sweeps)
            for kind in (Metropolis, HeatBath)
            for code, chains, sweeps in (("words", 64, 10), ("bytes", 1, 100), ("table", 1, 3))
        ]
        cases.append(("swendsen-wang", SwendsenWang(model, kT, start=start), 1, 10))
        for name, sampler, chains, sweeps in cases:
            sampler.sweep(20)
            rate = n * chains * sweeps / best(lambda: sampler.sweep(sweeps), 1.0, clock=time.process_time) / 1e9  # noqa: B023
            table.add_row(name, f"{kT}", f"{rate:.3f}", f"{rate / reference:.1f}")
    console.print(table)


def memory(console: Console, length: int) -> None:
    tc = critical_temperature("square")
    table = Table("sampler", "ms per sweep (cluster)", "τ of E", "τ of m²", "ms for 2τ", title=f"L = {length}, kT_c")
    for kind in (SwendsenWang, Wolff):
        sampler = kind(Ising(square(length)), tc, chains=2, start="ordered", seed=1)
        sampler.sweep(100)
        start = time.process_time()
        sampler.sweep(100)
        cost = (time.process_time() - start) / 200 * 1e3
        energy, order = (autocorrelation_time(x) for x in sampler.record(1000))
        slow = max(energy.tau, order.tau)
        table.add_row(
            kind.name,
            f"{cost:.2f}",
            f"{energy.tau:.1f}({energy.error:.1f})",
            f"{order.tau:.1f}({order.error:.1f})",
            f"{2 * slow * cost:.0f}",
        )
    console.print(table)


def data_set(console: Console, length: int, temperatures: int = 40, snapshots: int = 1250, sampled: int = 8) -> None:
    """The cost of ``snapshots`` at every temperature in [1.2, 3.6], from every fifth temperature.

    Metropolis's part is measured whole, that of Swendsen-Wang on 160 snapshots a temperature.
    """
    model, grid = Ising(square(length)), np.linspace(1.2, 3.6, temperatures)
    step, plan = temperatures // sampled, Plan(7, None, None, 2**17, True)

    def cost(unit: Unit, each: int) -> tuple[float, np.ndarray]:
        start = time.process_time()
        result = run_unit(model, replace(unit, snapshots=(each,) * unit.chains), plan)
        return time.process_time() - start, result["measured"][-2:].astype(int)

    table = Table("kT", "sampler", "interval", "discarded", "measured", f"CPU s for {snapshots}")
    total = 0.0
    for place in range(step // 2, temperatures, step):
        unit = equilibrium._units(model, [grid[place]], snapshots, "auto", None, "auto")[0]
        each = max(unit.snapshots)
        cost(unit, 1)
        if unit.chains == 64:
            seconds, (interval, discarded) = cost(unit, each)
            drawn = "all"
        else:
            few, (interval, discarded) = cost(unit, 10)
            more, _ = cost(unit, 40)
            seconds, drawn = more + (more - few) / 30 * (each - 40), f"{40 * unit.chains}"
        total += seconds * step
        table.add_row(f"{unit.kT:.3f}", unit.sampler, f"{interval}", f"{discarded}", drawn, f"{seconds:.1f}")
    console.print(table)
    console.print(
        f"{temperatures * snapshots} snapshots of {length} × {length}, from {sampled} temperatures: "
        f"{total:.0f} CPU s, {total / 120:.1f} minutes on two free cores"
    )


if __name__ == "__main__":
    width = int(sys.argv[1]) if len(sys.argv) > 1 else 320
    out = Console(width=120)
    rates(out, width)
    memory(out, width)
    data_set(out, width)
