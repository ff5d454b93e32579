"""Steps of classical spins in compiled loops: nanoseconds a site, against autograd, a bare loop, memory, and Spirit.

python benchmarks/llg_steps.py [--sides 100 320] [--rounds 5]

The square-lattice Heisenberg magnet, J = 1, one core. All candidates take turns, round after round, and the fastest of
their steps counts, in processor time, so that other users of the machine disturb all alike. "As written" are the same
schemes with fields by autograd. The limit is a copy of what a step has to read and write, in memory of that size.
Spirit 2.2 takes part where it is installed (``benchmarks/peers/environment.sh``); its semi-implicit solver makes the
same step, in units of its own. ``benchmarks/peers/llg_steps.md`` keeps what came out.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from support.timing import in_turn

from nearsight.dynamics import AB2Rotation, HeunSpins, SemiImplicit
from nearsight.fields import random_spins
from nearsight.forcefields import ClassicalForceField
from nearsight.hamiltonians import Heisenberg
from nearsight.lattices import square

console = Console(width=120)


class Differentiated(Heisenberg):
    """Fields by autograd, and steps as the schemes are written."""

    spin_tables = None


def spirit(side: int, kT: float) -> Callable[[int], Any]:
    """So many steps of Spirit's semi-implicit solver on the same lattice."""
    from spirit import configuration, simulation, state

    text = f"""
        output_file_tag bench
        log_to_console 0
        log_to_file 0
        bravais_lattice sc
        n_basis_cells {side} {side} 1
        boundary_conditions 1 1 0
        hamiltonian heisenberg_neighbours
        external_field_magnitude 0
        n_shells_exchange 1
        jij 1.0
        n_shells_dmi 0
        llg_dt 1e-3
        llg_damping 0.1
        llg_temperature {kT}
        llg_n_iterations 100000000
        llg_n_iterations_log 100000000
        llg_force_convergence 1e-30
    """
    path = Path(tempfile.mkdtemp()) / "input.cfg"
    path.write_text("\n".join(line.strip() for line in text.splitlines()))
    p_state = state.setup(str(path), quiet=True)
    configuration.random(p_state)

    def run(steps: int) -> None:
        simulation.start(p_state, simulation.METHOD_LLG, simulation.SOLVER_SIB, n_iterations=steps)

    return run


def compare(side: int, rounds: int) -> None:
    lattice, calls, steps = square(side), {}, max(1, 200000 // side**2)
    field = random_spins(lattice, torch.Generator().manual_seed(1)).double()
    for kind, name in ((Heisenberg, "compiled"), (Differentiated, "as written")):
        physics = ClassicalForceField(kind(lattice))
        for kT in (0.0, 0.1):
            for scheme in (SemiImplicit, AB2Rotation, HeunSpins):
                rng = torch.Generator().manual_seed(2)
                made = scheme(0.02, kT=kT, damping=0.1)
                start = made.start(field, physics, rng)

                def run(made=made, start=start, physics=physics, rng=rng) -> None:  # type: ignore[no-untyped-def]
                    state = start
                    for _ in range(steps):
                        state = made.step(state, physics, rng)

                calls[f"{scheme.__name__}, kT = {kT:g}, {name}"] = run
    if importlib.util.find_spec("spirit"):
        for kT in (0.0, 1.0):
            peer = spirit(side, kT)
            calls[f"Spirit SIB, kT {'=' if kT == 0 else '>'} 0"] = lambda peer=peer: peer(steps)
    x = torch.randn(side**2, 9, dtype=torch.float64)  # S, H and the middle are read, and as much is written
    y = torch.empty_like(x)

    def copy() -> None:
        for _ in range(steps):
            y.copy_(x)

    calls["copy of three fields"] = copy
    seconds = in_turn(calls, rounds)
    each = {name: 1e9 * value / steps / side**2 for name, value in seconds.items()}
    table = Table(
        "step", "ns per site", "times the copy", "times as written", title=f"{side} × {side} Heisenberg spins"
    )
    for name, value in each.items():
        slow = each.get(name.replace("compiled", "as written"))
        gain = f"{slow / value:.1f}" if slow and "compiled" in name else ""
        table.add_row(name, f"{value:.1f}", f"{value / each['copy of three fields']:.1f}", gain)
    console.print(table)
    for name, value in each.items():
        if name.startswith("Spirit"):
            ours = each[f"SemiImplicit, kT = {'0' if '=' in name else '0.1'}, compiled"]
            console.print(f"{name}: {value / ours:.1f} times the compiled SemiImplicit")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="*", default=[100, 320])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for edge in options.sides:
        compare(edge, options.rounds)
