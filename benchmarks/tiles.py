"""Nanoseconds a flip of tile models: a plain loop, this library's kernels, and its look-ups alone, one after the other.

Tiles of 4 × 4 Ising spins at stride 2 with a learned-like table (couplings and noise), at the critical temperature.
Times are CPU seconds of this process: python benchmarks/tiles.py
"""

from __future__ import annotations

import time

import numba
import numpy as np
from rich.console import Console
from rich.table import Table
from support.timing import best

from nearsight.hamiltonians import TileModel
from nearsight.lattices import square
from nearsight.sampling import HeatBath, Metropolis, critical_temperature

ATTEMPTS = 2_000_000


@numba.njit
def plain(spins: np.ndarray, codes: np.ndarray, table: np.ndarray, beta: float, attempts: int) -> None:
    """What one writes first: a random site, the four tiles around it, eight look-ups, one exponential."""
    length = spins.shape[0]
    half = length // 2
    for _ in range(attempts):
        x, y = np.random.randint(length), np.random.randint(length)  # noqa: NPY002
        cost = 0.0
        for i in range(2):
            for j in range(2):
                a, b = (x // 2 - i) % half, (y // 2 - j) % half
                bit = 1 << (4 * (x % 2 + 2 * i) + y % 2 + 2 * j)
                cost += table[codes[a, b] ^ bit] - table[codes[a, b]]
        if cost <= 0 or np.random.random() < np.exp(-beta * cost):  # noqa: NPY002
            spins[x, y] ^= 1
            for i in range(2):
                for j in range(2):
                    codes[(x // 2 - i) % half, (y // 2 - j) % half] ^= 1 << (4 * (x % 2 + 2 * i) + y % 2 + 2 * j)


@numba.njit
def look_ups(codes: np.ndarray, table: np.ndarray, bits: int) -> int:
    """Pairs of look-ups at the codes that occur, in the order of memory, and nothing else; four pairs are a flip's."""
    total = 0
    for bit in range(bits):
        flip = np.uint32(1 << (bit % 16))
        for k in range(len(codes)):
            c = codes[k]
            total += table[np.uint32(c ^ flip)] - table[np.uint32(c)]
    return total


def main() -> None:
    console, kT = Console(width=120), critical_temperature("square")
    result = Table("lattice", "kernel", "ns a flip", "times the plain loop", title="Tiles of 4 × 4 spins, kT_c")
    for length in (24, 128):
        ising = TileModel.from_couplings(square(length), {((0, 0), (0, 1)): 1.0})
        noise = 0.01 * np.random.default_rng(0).standard_normal(ising.table.size)
        model, n = ising.replaced(table=ising.table + noise), length**2
        chain = Metropolis(model, kT, chains=4, start="ordered")
        chain.sweep(200)
        assert model.tiles is not None
        codes = model.tiles.codes(chain.states).numpy()
        spins = chain.states[0].numpy().reshape(length, length)
        grid = codes[0].reshape(length // 2, -1).copy()
        cost = best(lambda: plain(spins, grid, model.table, 1 / kT, ATTEMPTS), 1.0, clock=time.process_time)  # noqa: B023
        reference = cost / ATTEMPTS * 1e9
        size = f"{length} × {length}"
        result.add_row(size, "plain loop", f"{reference:.1f}", "1")
        for kind, chains in ((Metropolis, 1), (Metropolis, 32), (HeatBath, 1), (HeatBath, 32)):
            sampler = kind(model, kT, chains=chains, start="ordered")
            sampler.sweep(200 // chains + 20)
            sweeps = max(1, ATTEMPTS // (n * chains))
            each = best(lambda: sampler.sweep(sweeps), 1.0, clock=time.process_time) / (sweeps * n * chains) * 1e9  # noqa: B023
            result.add_row(size, f"{kind.name}, {chains} chains", f"{each:.1f}", f"{reference / each:.1f}")
        flat = codes.reshape(-1).astype(np.uint32)
        whole = np.rint(model.table * 2**20).astype(np.int32)
        bits = max(16, 4 * ATTEMPTS // len(flat))
        bound = best(lambda: look_ups(flat, whole, bits), 1.0, clock=time.process_time) / (bits * len(flat)) * 4e9  # noqa: B023
        result.add_row(size, "eight look-ups alone", f"{bound:.1f}", f"{reference / bound:.1f}")
    console.print(result)


if __name__ == "__main__":
    main()
