"""Learned against exact forces, and against the machine: every ratio is measured inside this one run.

python benchmarks/forces.py [threads]
"""

from __future__ import annotations

import sys

import torch
from rich.console import Console
from rich.table import Table
from support.timing import best

from nearsight.descriptors import Irreps
from nearsight.forcefields import ExactForceField, LearnedForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import square
from nearsight.networks import MLP, GroupCNN
from nearsight.solvers import Dense


def networks(side: int) -> dict[str, LearnedForceField]:
    """The network of the quick preset with both heads, and invariants with a small network."""
    lattice = square(side)
    law = Holstein(square(2)).field_type
    convolutions = {
        f"convolution, {head}": LearnedForceField(
            GroupCNN(lattice, law, channels=6, radii=(2.3, 1.5, 1.5), parity="odd", head=head)
        ).eval()
        for head in ("force", "energy")
    }
    return {**convolutions, "irreps r = 5, 64 - 64": LearnedForceField(Irreps(lattice, law), MLP((64, 64))).eval()}


def main(threads: int) -> None:
    torch.set_num_threads(threads)
    console = Console(width=110)
    a = torch.randn(2048, 2048)
    flops = 2 * 2048**3 / best(lambda: a @ a, 1.0)
    rng = torch.Generator().manual_seed(0)
    q = torch.randn(900, 1, generator=rng, dtype=torch.float64)
    forcefield = ExactForceField(Holstein(square(30)), Dense(mu=0.0, kT=0.1)).electrons
    exact = best(lambda: forcefield(q))
    console.print(
        f"{threads} thread(s); float32 matrix product {flops / 1e9:.0f} GFLOP/s; "
        f"exact force on 30 × 30: {1e3 * exact:.0f} ms"
    )
    table = Table("force field", "sites", "µs per site", "of the matrix product", "exact / learned")
    with torch.no_grad():
        for name in networks(4):
            for side in (30, 100, 300, 1000):
                if side == 1000 and "force" not in name:
                    continue  # the backward pass of a million sites at once wants more memory than a laptop has
                forcefield = networks(side)[name]
                field = torch.randn(side * side, 1, generator=rng)
                seconds = best(lambda: forcefield(field))  # noqa: B023
                work = forcefield.model.flops_per_site if name == "convolution, force" else None
                table.add_row(
                    name,
                    f"{side * side}",
                    f"{1e6 * seconds / side**2:.2f}",
                    f"{work * side**2 / seconds / flops:.2f}" if work else "",
                    f"{exact / seconds:.0f}" if side == 30 else "",
                )
    console.print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
