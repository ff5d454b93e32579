"""Networks on a grid with about two thousand parameters: time a site, and how much of the machine they use.

Every ratio is measured inside this one run, each time next to a matrix product: python benchmarks/networks.py [threads]
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from support.timing import best

from nearsight.fields import displacement, scalar, spin
from nearsight.forcefields import LearnedForceField
from nearsight.lattices import cubic, square, triangular
from nearsight.networks import GroupCNN, LatticeNetwork, SpinCNN, SymmetrisedMLP

SQUARE, TRIANGULAR, CUBIC = square(64), triangular(64), cubic(12)

NETWORKS: dict[str, Callable[[], LatticeNetwork]] = {
    "GroupCNN, square": lambda: GroupCNN(SQUARE, scalar(), channels=5, radii=(1.5, 1.5)),
    "GroupCNN, triangular": lambda: GroupCNN(TRIANGULAR, scalar(), channels=5, radii=(1.1, 1.1)),
    "GroupCNN, vector": lambda: GroupCNN(TRIANGULAR, displacement(), channels=5, radii=(1.1, 1.1)),
    "GroupCNN, cubic": lambda: GroupCNN(CUBIC, scalar(), channels=2, radii=(1.1, 1.1)),
    "SymmetrisedMLP, square": lambda: SymmetrisedMLP(SQUARE, scalar(), cutoff=3.0, widths=(32, 32)),
    "SymmetrisedMLP, triangular": lambda: SymmetrisedMLP(TRIANGULAR, scalar(), cutoff=3.0, widths=(30, 30)),
    "SymmetrisedMLP, cubic": lambda: SymmetrisedMLP(CUBIC, scalar(), cutoff=2.0, widths=(30, 30)),
    "SpinCNN, square": lambda: SpinCNN(SQUARE, spin(), channels=4, radii=(1.5, 1.1)),
    "SpinCNN, triangular": lambda: SpinCNN(TRIANGULAR, spin(), channels=3, radii=(1.1, 1.1)),
    "SpinCNN, cubic": lambda: SpinCNN(CUBIC, spin(), channels=1, radii=(1.1, 1.1)),
}


def main(threads: int) -> None:
    torch.set_num_threads(threads)
    console = Console(width=120)
    a = torch.randn(1024, 1024)
    table = Table("network", "parameters", "kFLOP per site", "µs per site", "with force", "of the matrix product")
    first = 0.0
    for name, make in NETWORKS.items():
        net = make()
        forcefield = LearnedForceField(net).eval()
        sites = net.lattice.n_sites
        field = torch.randn(sites, net.components, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            peak = 2 * 1024**3 / best(lambda: a @ a, 1.0)
            forward = best(lambda: forcefield.local(field)) / sites  # noqa: B023
            both = best(lambda: forcefield(field)) / sites  # noqa: B023
        first = first or peak
        table.add_row(
            name,
            f"{sum(p.numel() for p in net.parameters())}",
            f"{net.flops_per_site / 1e3:.0f}",
            f"{1e6 * forward:.2f}",
            f"{1e6 * both:.2f}",
            f"{net.flops_per_site / forward / peak:.2f}",
        )
    console.print(f"{threads} thread(s); float32 matrix product {first / 1e9:.0f} GFLOP/s at the start")
    console.print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
