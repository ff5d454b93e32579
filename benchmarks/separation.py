"""What each set of invariants tells apart: all 2²⁰ occupations of the 20 nearest sites of the square lattice.

python benchmarks/separation.py [cutoff]
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nearsight.descriptors import MODES, Irreps, count_distinct, inequivalent_occupations
from nearsight.fields import ising, scalar
from nearsight.lattices import site_group, square

CHUNK = 16_384


def printed_sets(values: Tensor, cutoff: float) -> Iterator[tuple[str, Tensor]]:
    """The sets as the papers print them: lengths, and directions relative to the outermost orbit of eight sites.

    Mode "phase" differs in its reference doublet: a wedge mixes both copies of E of the orbit, where the papers take
    one of them, which vanishes more often.
    """
    descriptor = Irreps(square(4), scalar(), cutoff, mode="power", include_centre=False)
    variables = descriptor.contraction.variables
    f = values[..., 0] @ torch.as_tensor(variables.basis).T
    copies = [(irrep, f[:, variables.rows[label]]) for irrep, label in variables.copies if irrep != "A1"]
    outermost = variables.copies[-6:]
    references = {irrep: unit(f[:, variables.rows[label]]) for irrep, label in reversed(outermost)}
    power = descriptor.of_neighbourhoods(values)
    phases = torch.stack([(unit(v) * references[irrep]).sum(1) for irrep, v in copies], dim=1)
    yield "power + phases η, one orbit as reference", torch.cat([power, phases], dim=1)
    a2, b1, b2, (x, y) = *(references[name][:, 0] for name in ("A2", "B1", "B2")), references["E"].T
    triples = torch.stack([a2 * b1 * b2, b1 * (x * x - y * y), b2 * x * y], dim=1)
    yield "power + phases η + bispectrum of references", torch.cat([power, phases, triples], dim=1)


def unit(v: Tensor) -> Tensor:
    length = v.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-9, v / length.clamp_min(1e-9), 0.0)


def sets(values: Tensor, cutoff: float, *, even: bool) -> Iterator[tuple[str, Tensor]]:
    """Name and features ``(occupation, feature)`` of every mode that accepts the field."""
    for mode in MODES:
        try:
            descriptor = Irreps(square(4), ising() if even else scalar(), cutoff, mode=mode, include_centre=False)
        except ValueError:  # odd products, squares of ±1
            continue
        yield mode, torch.cat([descriptor.of_neighbourhoods(part) for part in values.split(CHUNK)])


def main(cutoff: float) -> None:
    console = Console(width=100)
    lattice = square(4)
    neighbourhood, group = lattice.neighbourhood(cutoff), site_group(lattice)
    console.print(Irreps(lattice, scalar(), cutoff, include_centre=False).orbit_table())
    for even in (False, True):
        occupations = torch.as_tensor(inequivalent_occupations(neighbourhood, group, flip=even))[..., None]
        values = 2 * occupations - 1 if even else occupations
        law = f"signs ±1 up to a common one, {group.name} × Z2" if even else f"occupations 0/1, {group.name}"
        console.print(f"\n{law}: {len(values)} inequivalent ones of {occupations.shape[1]} sites")
        table = Table()
        for head in ("invariants", "features", "told apart", "fraction", "seconds"):
            table.add_column(head, justify="left" if head == "invariants" else "right")
        printed = printed_sets(values, cutoff) if not even and abs(cutoff**2 - 5) < 1e-6 else ()
        start = time.perf_counter()
        for name, features in itertools.chain(printed, sets(values, cutoff, even=even)):
            distinct = count_distinct(features)
            seconds, start = time.perf_counter() - start, time.perf_counter()
            fraction = distinct / len(values)
            table.add_row(name, f"{features.shape[1]}", f"{distinct}", f"{100 * fraction:.3f} %", f"{seconds:.1f}")
        console.print(table)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5**0.5)
