"""Ways of taking a neighbourhood apart into irreps, on the CPU, against each other and against the matrix product.

python benchmarks/layouts.py [--cutoff 7] [--sides 16 48 128 256] [--threads 1] [--seconds 0.5]

All ways compute the same coefficients, those of the square lattice in float32, which the script checks first. Times are
microseconds per site, forward and forward with the gradient; ratios between the columns of one run are what to read.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from support.timing import best
from torch import Tensor

from nearsight.descriptors import Irreps
from nearsight.fields import scalar
from nearsight.lattices import square

Way = Callable[[Tensor], Tensor]


def dense(descriptor: Irreps) -> tuple[Tensor, np.ndarray]:
    """All coefficients as one matrix ``(row, neighbour)``, and the offsets of the neighbours ``(neighbour, 2)``."""
    rows = []
    for block in descriptor.blocks:
        for members, basis in zip(block.members, block.basis, strict=True):
            matrix = np.zeros((len(basis), len(descriptor.neighbourhood)))
            matrix[:, members] = basis
            rows.append(matrix)
    return torch.as_tensor(np.concatenate(rows)).float(), descriptor.neighbourhood.cells


def ways(descriptor: Irreps) -> dict[str, Way]:
    """Name to a map from the field ``(site,)`` to coefficients ``(row, site)``."""
    lattice = descriptor.lattice
    length, _ = lattice.shape
    stencil = descriptor.tables(torch.zeros(1))
    matrix, cells = dense(descriptor)
    reach = int(cells.max())
    kernel = torch.zeros(len(matrix), 1, 2 * reach + 1, 2 * reach + 1)
    kernel[:, 0, cells[:, 0] + reach, cells[:, 1] + reach] = matrix
    table = torch.as_tensor(lattice.neighbour_table(descriptor.neighbourhood)).T.contiguous()
    response = torch.zeros(len(matrix), length, length)
    for column, (x, y) in zip(matrix.T, -cells, strict=True):
        response[:, x % length, y % length] += column
    spectrum = torch.fft.rfft2(response)

    def convolution(field: Tensor) -> Tensor:
        padded = F.pad(field.view(1, 1, length, length), (reach,) * 4, mode="circular")
        return F.conv2d(padded, kernel).flatten(2)[0]

    def fourier(field: Tensor) -> Tensor:
        transformed = torch.fft.rfft2(field.view(length, length)) * spectrum
        return torch.fft.irfft2(transformed, s=(length, length)).flatten(1)

    found: dict[str, Way] = {
        "slices + small products": lambda field: stencil.sliced(field.view(1, length, length, 1, 1)),
        "FFT": fourier,
    }
    if length > 2 * reach:
        found["conv2d"] = convolution
    if length <= 128:
        found["index table + small products"] = lambda field: stencil.read(field.view(1, length, length, 1, 1))
        found["gather + dense product"] = lambda field: matrix @ field[table]
    return found


def with_gradient(way: Way, field: Tensor) -> Callable[[], object]:
    def call() -> Tensor:
        leaf = field.clone().requires_grad_()
        result = way(leaf)
        return torch.autograd.grad(result, leaf, torch.ones_like(result))[0]

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutoff", type=float, default=7.0)
    parser.add_argument("--sides", type=int, nargs="+", default=[16, 48, 128, 256])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.5, help="for each number")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    console = Console(width=118)
    small = Irreps(square(4), scalar(), options.cutoff)
    a = torch.randn(2048, 2048)
    flops = 2 * 2048**3 / best(lambda: a @ a, options.seconds)
    n = len(small.neighbourhood)
    bound = 1e6 * sum(2 * b.basis.size for b in small.blocks) / flops
    console.print(
        f"{options.threads} thread(s), {n} neighbours; a product of 2048 × 2048 float32 matrices runs at "
        f"{flops / 1e9:.0f} GFLOP/s.\nAt that speed the small products of a site take {bound:.3f} µs, the dense one "
        f"{1e6 * 2 * n * n / flops:.3f} µs."
    )
    names = [*ways(small.on(square(32)))]
    table = Table("µs per site, forward / with gradient", *(f"L = {side}" for side in options.sides))
    rows: dict[str, list[str]] = {name: [] for name in [*names, "chosen: coefficients", "chosen: all features"]}
    for side in options.sides:
        descriptor = small.on(square(side))
        field = torch.randn(side * side, generator=torch.Generator().manual_seed(side))
        found = ways(descriptor)
        reference = found["slices + small products"](field)
        for way in found.values():
            torch.testing.assert_close(way(field), reference, rtol=1e-4, atol=1e-4)
        stencil = descriptor.tables(field)
        found["chosen: coefficients"] = lambda x, s=stencil, n=side: s(x.view(1, n, n, 1, 1))
        found["chosen: all features"] = lambda x, d=descriptor: d(x[:, None])
        for name, cells in rows.items():
            if name not in found:
                cells.append("")
                continue
            with torch.no_grad():
                forward = best(lambda way=found[name], x=field: way(x), options.seconds)
            both = best(with_gradient(found[name], field), options.seconds)
            cells.append(f"{1e6 * forward / side**2:.3f} / {1e6 * both / side**2:.3f}")
    for name, cells in rows.items():
        table.add_row(name, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
