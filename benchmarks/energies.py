"""Every road from configurations to an energy, with the same observations and the same processor time.

python benchmarks/energies.py [--beta 0.25] [--count 1e7] [--seconds 120]

8 × 8 Ising spins under single-spin Metropolis dynamics, observed every 10 attempts: the protocol of Sprague et al.
(2021). Networks are trained for about ``--seconds`` of processor time each, with a learning rate that ends at zero;
hidden spins begin where the logistic model ended, tiles with their labels, in half of the time. RMSE: over all 63
energies of the torus, the constant that of random configurations; ``one``: of ln P as it is, ``mean``: averaged over
translations by four sites and the point group. CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.table import Table

from nearsight.hamiltonians import Ising
from nearsight.inference import (
    AutoregressiveEnergy,
    LikelihoodOptions,
    Terms,
    cross_entropy,
    distil,
    energy_errors,
    fit_likelihood,
    learn_couplings,
    observe,
    reference_set,
)
from nearsight.lattices import Lattice, square
from nearsight.networks import (
    EDNN,
    AttentionAutoregression,
    AutoregressiveModel,
    GRUAutoregression,
    HiddenSpinAutoregression,
    LogisticAutoregression,
    Symmetrised,
    lattice_operations,
)
from nearsight.sampling import ising_torus
from nearsight.training import TrainerOptions

Options = TypeVar("Options", bound=TrainerOptions)
NETWORKS: dict[str, tuple[Callable[[Lattice], AutoregressiveModel], LikelihoodOptions]] = {
    "logistic": (LogisticAutoregression, LikelihoodOptions()),
    "GRU of 64, snake": (
        lambda lattice: GRUAutoregression(lattice, order="snake"),
        LikelihoodOptions(batch_size=512, learning_rate=3e-3),
    ),
    "GRU of 64, spiral": (
        lambda lattice: GRUAutoregression(lattice, order="spiral"),
        LikelihoodOptions(batch_size=512, learning_rate=3e-3),
    ),
    "attention of 32": (AttentionAutoregression, LikelihoodOptions(batch_size=512, learning_rate=3e-3)),
}
PROBED = (4, 16)
"""Steps of the short fits."""


def main(beta: float, count: int, seconds: float) -> None:
    torch.set_num_threads(1)
    true, kT = Ising(square(8)), 1 / beta
    seen = observe(true, kT, count, seed=1)
    parts = seen.split(0.05, rng=torch.Generator().manual_seed(1))
    reference = reference_set(true, per_level=100, seed=2)
    entropy = float(ising_torus(8, 8, kT).entropy)
    print(f"{seen}, {parts[1]} for validation; S/N = {entropy:.6f}", flush=True)
    table = Table("road", "parameters", "CPU s", "(-ln P - S)/N", "RMSE, one", "RMSE, mean", title=f"β = {beta:g}")

    def add(name: str, parameters: int, spent: float, excess: str, one: Any, mean: Any = None) -> None:
        errors = ["" if e is None else f"{energy_errors(e, reference).rmse:.3f}" for e in (one, mean)]
        row = (name, f"{parameters}", f"{spent:.0f}", excess, *errors)
        print(*row, sep=" | ", flush=True)
        table.add_row(*row)

    def network(name: str, model: AutoregressiveModel, options: LikelihoodOptions, budget: float) -> Any:
        def trial(few: LikelihoodOptions) -> None:
            fit_likelihood(copy.deepcopy(model), parts, options=few, progress=False)

        options = within(options, trial, budget)
        start = time.process_time()
        fit_likelihood(model, parts, options=options, progress=False)
        spent, excess = time.process_time() - start, cross_entropy(model, parts[1])
        mean = AutoregressiveEnergy(Symmetrised(model, lattice_operations(seen.lattice, step=4)), kT=kT)
        shown = f"{excess.value - entropy:.1e} ± {excess.error:.0e}"
        add(name, sum(p.numel() for p in model.parameters()), spent, shown, AutoregressiveEnergy(model, kT=kT), mean)
        return mean

    models = {name: make(seen.lattice) for name, (make, _) in NETWORKS.items()}
    for name, (_, options) in NETWORKS.items():
        network(name, models[name], options, seconds)
    hidden = HiddenSpinAutoregression(seen.lattice, hidden=4).start_from(models["logistic"])  # type: ignore[arg-type]
    best = network("4 hidden spins, from the logistic", hidden, LikelihoodOptions(), seconds / 2)
    rng = torch.Generator().manual_seed(3)
    states = true.random_states(rng, 200_000)
    with torch.no_grad():  # graphs of all labels would be kept until the last
        labels = torch.cat([best(part) for part in states.split(4096)]).double()
    start = time.process_time()
    tiles = distil(labels, seen.lattice, states, rng=rng)
    add("its tiles, least squares", tiles.parameters, time.process_time() - start, "", tiles.model.energy)

    def ednn(options: TrainerOptions) -> Any:
        narrow = EDNN(seen.lattice, widths=(32, 64))
        return distil(labels, seen.lattice, states, network=narrow, options=options, progress=False, rng=rng)

    rates = within(TrainerOptions(batch_size=1024, learning_rate=3e-3), ednn, seconds / 2)
    start, found = time.process_time(), ednn(rates)
    add("its tiles, EDNN of (32, 64)", found.parameters, time.process_time() - start, "", found.model.energy)
    pairs = Terms.pairs(seen.lattice, 4)
    for method in ("pseudo-likelihood", "interaction-screening", "likelihood"):
        start = time.process_time()
        learned = learn_couplings(seen, pairs, method=method)
        add(f"pairs of four shells, {method}", len(pairs), time.process_time() - start, "", learned.energy)
    Console(width=120).print(table)


def within(options: Options, fit: Callable[[Options], Any], budget: float) -> Options:
    """The options with as many steps as the time allows, from two short fits that differ in their steps alone."""
    fit(options.shortened(PROBED[0]))  # what is loaded and compiled once
    spent = []
    for steps in PROBED:
        start = time.process_time()
        fit(options.shortened(steps))
        spent.append(time.process_time() - start)
    step = (spent[1] - spent[0]) / (PROBED[1] - PROBED[0])
    return options.model_copy(update={"steps": max(100, int(budget / step))})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beta", type=float, default=0.25)
    parser.add_argument("--count", type=float, default=1e7)
    parser.add_argument("--seconds", type=float, default=120.0)
    arguments = parser.parse_args()
    main(arguments.beta, int(arguments.count), arguments.seconds)
