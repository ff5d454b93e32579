"""Spin glasses: updates a nanosecond and the time to a ground state, next to the random numbers alone and to peers.

python benchmarks/glasses.py [--lengths 8 10] [--glasses 2] [--seeds 10] [--reads 100]

Cubic Edwards-Anderson glasses, one core; all candidates take turns and times are processor time of this process, so
that other users of the machine disturb all alike. The limit of a sampler is what its random numbers alone cost. Peers
(peapods, dwave-samplers, openjij) take part where they are installed: ``benchmarks/peers/environment.sh`` makes such an
environment, ``benchmarks/peers/glasses.md`` keeps what came out.

The time to a solution is that after which the ground state, the lowest energy that anyone found in this run, was seen
with 99 %: t ln(1 - 0.99) / ln(1 - p) for annealing runs of length t and success p, the best of a few lengths; for
tempering, where waiting times are exponential, the start of the chains and ln 100 times the mean search.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from rich.console import Console
from rich.table import Table
from support.timing import in_turn

from nearsight.hamiltonians import EdwardsAnderson
from nearsight.lattices import cubic
from nearsight.sampling import HeatBath, Metropolis, ParallelTempering, anneal, temperature_ladder
from nearsight.sampling._lanes import WIDTH, draw

HOT, COLD = 2.0, 0.3
"""Temperatures between which all annealing runs cool, in units of J."""
LENGTHS = {8: (500, 2000), 10: (2000, 8000)}
"""Sweeps of annealing runs."""
LADDERS = {8: (0.35, 1.6, 16), 10: (0.35, 1.6, 16)}
console = Console(width=120)


@numba.njit
def random_numbers(streams: np.ndarray, number: int) -> None:
    """31 bits for every chain, so many times."""
    draws = np.empty(WIDTH, np.int32)
    for first in range(0, streams.shape[1], WIDTH):
        for _ in range(number):
            draw(streams.ctypes.data + 4 * first, streams.strides[0], draws.ctypes.data)


def rates(length: int) -> None:
    sites, calls, work = length**3, {}, {}
    streams = np.random.default_rng(1).integers(2**32, size=(4, 64), dtype=np.uint32)
    calls["random numbers"], work["random numbers"] = lambda: random_numbers(streams, 20 * sites), 20 * sites * 64
    for distribution in ("+-J", "gaussian"):
        model = EdwardsAnderson(cubic(length), distribution=distribution, seed=1)
        for kind in (Metropolis, HeatBath):
            for code, chains, sweeps in (("lanes", 24, 40), ("lanes", 64, 20), ("table", 24, 1)):
                sampler, name = (
                    kind(model, 1.3, chains=chains, code=code),
                    f"{distribution}, {kind.name}, {chains} {code}",
                )
                calls[name] = lambda s=sampler, n=sweeps: s.sweep(n)
                work[name] = sites * chains * sweeps
    if importlib.util.find_spec("peapods"):
        peer = peapods(EdwardsAnderson(cubic(length), distribution="+-J", seed=1), np.full(24, 1.3))
        calls["+-J, peapods, 24"] = lambda: peer.sample(40, sweep_mode="metropolis", warmup_ratio=1.0, sequential=True)
        work["+-J, peapods, 24"] = sites * 24 * 40
    seconds = in_turn(calls)
    found = {name: work[name] / seconds[name] / 1e9 for name in calls}
    table = Table(
        "sampler", "updates per ns", "of the random numbers", "times the tables", title=f"{length}³ spins, kT = 1.3"
    )
    for name, rate in found.items():
        base = found.get(f"{name.split(',')[0]},{name.split(',')[-2]}, 24 table") if "lanes" in name else None
        table.add_row(
            name, f"{rate:.3f}", f"{rate / found['random numbers']:.2f}", f"{rate / base:.0f}" if base else ""
        )
    console.print(table)


def peapods(model: EdwardsAnderson, kT: np.ndarray) -> Any:
    """The same glass there: couplings to the next site along every axis, of the opposite sign."""
    import peapods as package

    shape, bonds = model.lattice.shape, model.lattice.bonds(1)
    couplings = np.zeros((*shape, 3), np.float32)
    for i, j, J in zip(model.lattice.cells[bonds.i], model.lattice.cells[bonds.j], model.couplings, strict=True):
        axis = int(np.flatnonzero(i != j)[0])
        first = i if (i[axis] + 1) % shape[axis] == j[axis] else j
        couplings[(*first, axis)] = J
    return package.Ising(shape, couplings, kT.astype(np.float32))


def tempering_sweeps(length: int, number: int = 24) -> None:
    model, ladder = EdwardsAnderson(cubic(length), distribution="+-J", seed=1), temperature_ladder(0.3, 2.0, number)
    ours = {kind: ParallelTempering(model, ladder, sampler=kind) for kind in ("metropolis", "heat-bath")}
    calls: dict[str, Callable[[], Any]] = {name: lambda p=p: p.sweep(100) for name, p in ours.items()}
    if importlib.util.find_spec("peapods"):
        peer = peapods(model, ladder)
        options = {"sweep_mode": "metropolis", "pt_interval": 1, "warmup_ratio": 1.0, "sequential": True}
        calls["peapods"] = lambda: peer.sample(100, **options)
    seconds = in_turn(calls)
    table = Table("sampler", "µs per sweep", "ratio", title=f"tempering, {length}³ spins at {number} temperatures")
    for name, value in seconds.items():
        table.add_row(name, f"{1e4 * value:.1f}", f"{value / seconds['metropolis']:.2f}")
    console.print(table)


def annealers(model: EdwardsAnderson, reads: int, sweeps: int) -> dict[str, Callable[[int], np.ndarray]]:
    """From a seed to the energies of so many runs ``(run,)``."""

    def ours(seed: int) -> np.ndarray:
        return anneal(model, (HOT, COLD), sweeps=sweeps, runs=reads, seed=seed).energies.numpy()

    found = {"nearsight, annealing": ours}
    bonds = model.lattice.bonds(1)
    J = {(int(i), int(j)): -float(c) for i, j, c in zip(bonds.i, bonds.j, model.couplings, strict=True)}
    if importlib.util.find_spec("dwave"):
        import dimod
        from dwave.samplers import SimulatedAnnealingSampler

        quadratic, dwave = dimod.BinaryQuadraticModel.from_ising({}, J), SimulatedAnnealingSampler()
        found["dwave-samplers"] = lambda seed: (
            dwave.sample(
                quadratic, num_reads=reads, num_sweeps=sweeps, beta_range=(1 / HOT, 1 / COLD), seed=seed
            ).record.energy
        )
    if importlib.util.find_spec("openjij"):
        import openjij

        jij, h = openjij.SASampler(), dict.fromkeys(range(model.lattice.n_sites), 0.0)
        # With a seed all its runs would be the same one.
        found["openjij"] = lambda _: (
            jij.sample_ising(
                h, J, num_reads=reads, num_sweeps=sweeps, beta_min=1 / HOT, beta_max=1 / COLD
            ).record.energy
        )
    return found


def solutions(length: int, glass: int, seeds: int, reads: int) -> None:
    model = EdwardsAnderson(cubic(length), distribution="+-J", seed=glass)
    ladder, most = temperature_ladder(*LADDERS[length]), 2 * 10**4 * (length // 8) ** 2
    goal = min(ParallelTempering(model, ladder, sampler="metropolis", seed=99 + s).search(most).energy for s in (0, 1))
    runs = []
    for sweeps in LENGTHS[length]:
        for name, call in annealers(model, reads, sweeps).items():
            if not runs:
                call(0)  # loads or compiles what it needs
            start = time.process_time()
            energies = call(1)
            runs.append((name, sweeps, (time.process_time() - start) / reads, energies))
    goal = min(goal, *(float(np.min(e)) for *_, e in runs))
    started, searched, missed = 0.0, 0.0, 0
    for seed in range(seeds):
        start = time.process_time()
        tempering = ParallelTempering(model, ladder, sampler="metropolis", seed=seed)
        middle = time.process_time()
        missed += tempering.search(10 * most, goal=goal).energy > goal
        started, searched = started + middle - start, searched + time.process_time() - middle
    total = started / seeds + math.log(100) * searched / max(seeds - missed, 1)
    table = Table("method", "sweeps", "ms per run", "success", "ms to the solution (99 %)", "ratio")
    table.title = f"±J glass {glass} of {length}³ spins, ground state {goal:g} J"
    mean = f"{1e3 * searched / seeds:.1f}"
    table.add_row("nearsight, tempering", "", mean, f"{seeds - missed}/{seeds}", f"{1e3 * total:.1f}", "1")
    for name, sweeps, seconds, energies in runs:
        p = float(np.mean(energies <= goal + 1e-9))
        needed = seconds * (1 if p == 1 else math.log(0.01) / math.log1p(-p)) if p else math.inf
        shown = f"{1e3 * needed:.0f}" if p else f"> {1e3 * seconds * reads * math.log(100) / 3:.0f}"
        table.add_row(
            name, f"{sweeps}", f"{1e3 * seconds:.2f}", f"{p:.3f}", shown, f"{needed / total:.1f}" if p else ""
        )
    console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="*", default=[8])
    parser.add_argument("--glasses", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--reads", type=int, default=100)
    parser.add_argument("--no-rates", action="store_true")
    options = parser.parse_args()
    if not options.no_rates:
        rates(8)
        tempering_sweeps(8)
    for edge in options.lengths:
        for sample in range(1, options.glasses + 1):
            solutions(edge, sample, options.seeds, options.reads)
