"""Hops with a learned energy: attempts per second against size and window, and against other ways to ask.

python benchmarks/learned_moves.py [--sides 30 150 300] [--radii 4 5 6] [--channels 16] [--attempts 4000] [--threads 1]

Square lattice, 0.187 particles a site at random, single precision, one core. Costs do not depend on the weights, so
that none are fits. "all accepted" is the worst phase of a quench, in which every possible attempt moves a particle
and nothing that was known stays known; "half" accepts every second one by lot; "none" asks each move once and then
remembers. "whole" is what one ΔE costs as the difference of two energies of the lattice. Times are those of the
process, in which the work of others does not count.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from support.timing import best

from nearsight.fields import occupation
from nearsight.forcefields import LearnedForceField
from nearsight.lattices import square
from nearsight.moves import LearnedMoves
from nearsight.networks import EmbeddedNetwork

FILLING = 0.187


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[30, 150, 300])
    parser.add_argument("--radii", type=float, nargs="+", default=[4.0, 5.0, 6.0])
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--attempts", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = Table("radius", "sites seen", "L", "all accepted, 1/s", "half, 1/s", "none, 1/s", "one ΔE, µs", "whole, µs")
    for radius in options.radii:
        network = EmbeddedNetwork(square(12), occupation(), radius=radius, channels=options.channels)
        for side in options.sides:
            moves = LearnedMoves(LearnedForceField(network)).eval()
            rng = np.random.default_rng(side)
            field = torch.from_numpy((rng.random((side**2, 1)) < FILLING).astype(float))
            walk = moves.start_walk(field)
            particles = rng.integers(len(walk.positions), size=options.attempts)
            tries = particles, rng.integers(4, size=options.attempts)
            walk.attempt(tries[0][:1], tries[1][:1], np.zeros(1))  # compiles
            rates = []
            for fraction in (1.0, 0.5, 0.0):
                threshold = np.where(rng.random(options.attempts) < fraction, np.inf, -np.inf)
                walk = moves.start_walk(field)
                start = time.process_time()
                walk.attempt(*tries, threshold)
                rates.append(options.attempts / (time.process_time() - start))
            walk = moves.start_walk(field)
            start = time.process_time()
            known = int(np.isfinite(walk.differences()).sum())
            single = (time.process_time() - start) / known
            whole = 2 * best(lambda m=moves, f=field: m.energy(f), 0.3, clock=time.process_time)
            table.add_row(
                f"{radius:g}",
                f"{len(square(3).neighbourhood(radius))}",
                f"{side}",
                *(f"{rate:.0f}" for rate in rates),
                f"{1e6 * single:.1f}",
                f"{1e6 * whole:.0f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
