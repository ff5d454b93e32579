"""Right data sets and slips in the order of their sites: what the checks of imported spins say of each.

python benchmarks/import_slips.py [--full]

The thresholds of ``training.spin_suspicions`` are learned from the full run (four minutes): no right data set may be
refused, and of the slips as many as possible. The quick run takes 20 s.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import torch
from rich.console import Console

from nearsight.fields import random_spins, tangent
from nearsight.forcefields import ExactForceField
from nearsight.hamiltonians import SDModel, skyrmion_magnet
from nearsight.lattices import cubic, honeycomb, kagome, square, triangular
from nearsight.solvers import Dense
from nearsight.training import DataSet, check_spins
from nearsight.training._neighbour_law import Pairs
from nearsight.training._site_orders import file_orders
from nearsight.training._spin_suspicions import suspicions

console = Console(width=118, markup=False)

LATTICES = (
    square(8, 18), triangular(12), honeycomb(6, 8), square(12, periodic=False), square(6), square(12), triangular(6, 9),
    kagome(6), cubic(6), square(10, 14, periodic=(True, False)), honeycomb(8, periodic=False),
)  # fmt: skip
ELECTRONS = (
    (6.0, 0.45, 0.05), (1.0, 0.3, 0.05), (6.0, 0.5, 0.05), (4.0, 0.3, 0.02), (0.5, 0.2, 0.01), (2.0, 0.5, 0.02),
    (1.0, 0.07, 0.05), (0.1, 0.4, 0.1),
)  # fmt: skip
"""J, filling and kT."""


def force_fields(full: bool) -> Iterator[ExactForceField]:
    for lattice in LATTICES if full else LATTICES[:4]:
        for J, filling, kT in ELECTRONS if full else ELECTRONS[:2]:
            if lattice.dim < 3 or J not in (1.0, 2.0):  # the rest takes too long
                yield ExactForceField(SDModel(lattice, J=J), Dense(filling=filling, kT=kT))
    yield ExactForceField(skyrmion_magnet(triangular(12), B=0.0), Dense(mu=-3.5, kT=0.02))


def relaxed(exact: ExactForceField, field: torch.Tensor, steps: int = 15) -> torch.Tensor:
    """Spins on their way to equilibrium, turned by 0.15 on average in every step."""
    for _ in range(steps):
        force = tangent(exact(field).force, field)
        field = field + 0.15 * force / force.norm(dim=-1).mean()
        field = field / field.norm(dim=-1, keepdim=True)
    return field


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    rng = torch.Generator().manual_seed(1)
    right = refused = slips = found = named = 0
    for exact in force_fields(parser.parse_args().full):
        lattice = exact.lattice
        for state in ("random", "relaxed"):
            field = random_spins(lattice, rng, 2)
            field = relaxed(exact, field) if state == "relaxed" else field
            force = exact(field).force

            def doubts(field: torch.Tensor, force: torch.Tensor, meaning: str = "field") -> list[str]:
                data = DataSet.from_arrays(lattice=lattice, field=field, force=force, components=3)  # noqa: B023
                return suspicions(check_spins(data), meaning=meaning)

            for meaning, labels in (("field", force), ("torque", tangent(force, field))):
                right += 1
                if words := doubts(field, labels, meaning):
                    refused += 1
                    console.print(f"refused: {state} {meaning} of {exact.model!r}: {words}")
            pairs = Pairs.of(lattice, 3.5).within(lattice.periodic)  # type: ignore[arg-type]
            for order in file_orders(lattice):
                if order.lattice is lattice and not pairs.unchanged_by(order.place):
                    words = doubts(field[:, order.place], force[:, order.place])
                    slips, found, named = slips + 1, found + bool(words), named + any(order.name in w for w in words)
    console.print(f"{right} right data sets, {refused} refused; {slips} slips, {found} refused, {named} by their name")


if __name__ == "__main__":
    main()
