"""The change of one site: what it costs against a new evaluation of all sites.

python benchmarks/local_updates.py [--cutoffs 7 10] [--sides 32 64 128] [--threads 1] [--seconds 0.3]

Square lattice, Ising field, lifted irreps, float32. ``delta`` gives the features of the sites that one flip touches,
149 within 7 and 317 within 10; in a batch of 64 proposals on one field, as kinetic Monte Carlo draws from, the fixed
cost is shared. With a network, the energies of these sites are the difference of the flip. All times are of one run.
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.table import Table
from support.timing import best

from nearsight.descriptors import Irreps
from nearsight.fields import ising
from nearsight.forcefields import LearnedForceField
from nearsight.lattices import square
from nearsight.networks import MLP

PROPOSALS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutoffs", type=float, nargs="+", default=[7.0, 10.0])
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each number")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = Table("cutoff", "L", "whole lattice, µs", "one flip, µs", "ratio", f"flip of {PROPOSALS}, µs", "ratio")
    table.add_column("with a 64 - 64 network: whole, flip, ratio")
    for cutoff in options.cutoffs:
        small = LearnedForceField(Irreps(square(4), ising(), cutoff), MLP((64, 64))).eval()
        for side in options.sides:
            forcefield = small.on(square(side))
            descriptor, network = forcefield.model.descriptor, forcefield.model.network
            rng = torch.Generator().manual_seed(side)
            field = ising().random(side * side, 1, rng).float()
            sites = torch.randint(side * side, (PROPOSALS,), generator=rng)
            change = -2 * field[sites]

            def whole(descriptor=descriptor, field=field):
                return descriptor(field)

            def flip(descriptor=descriptor, field=field, sites=sites, change=change):
                return descriptor.delta(field, sites[0], change[0])

            def flips(descriptor=descriptor, field=field, sites=sites, change=change):
                return descriptor.delta(field, sites, change)

            with torch.no_grad():
                exact = descriptor(field.index_add(0, sites[:1], change[:1]))
                centres, features = flip()
                torch.testing.assert_close(features, exact[centres], rtol=1e-4, atol=1e-4)
                times = [1e6 * best(call, options.seconds) for call in (whole, flip, flips)]
                whole_network = 1e6 * best(lambda w=whole, n=network: n(w()), options.seconds)
                flip_network = 1e6 * best(lambda f=flip, n=network: n(f()[1]), options.seconds)
            one, batched = times[1], times[2] / PROPOSALS
            table.add_row(
                f"{cutoff:g}",
                f"{side}",
                f"{times[0]:.0f}",
                f"{one:.0f}",
                f"{times[0] / one:.1f}",
                f"{batched:.0f}",
                f"{times[0] / batched:.1f}",
                f"{whole_network:.0f}, {flip_network:.0f}, {whole_network / flip_network:.1f}",
            )
    Console(width=118).print(table)


if __name__ == "__main__":
    main()
