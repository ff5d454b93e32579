"""Observations per CPU second that the likelihood of an autoregressive model trains on, and draws per second.

python benchmarks/autoregressive.py [--side 8] [--batch 4096] [--seconds 1]

Each row is measured next to its limit, in this one run: the products of matrices that its gradient cannot do without,
forward and for the weights, as bare calls on arrays of the same sizes. A step is reading the packed observations, loss,
gradient and the optimiser. Times are CPU seconds of this process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from support.timing import best

from nearsight.inference import LikelihoodOptions, Observations
from nearsight.inference.likelihood import _Likelihood
from nearsight.lattices import Lattice, square
from nearsight.networks import (
    AttentionAutoregression,
    AutoregressiveModel,
    GRUAutoregression,
    HiddenSpinAutoregression,
    LogisticAutoregression,
)
from nearsight.training import Trainer

MODELS: dict[str, tuple[Callable[[Lattice], AutoregressiveModel], Callable[[int], list[tuple[int, int, int]]]]] = {
    # Model, and of each product per N-site configuration: rows, outputs, inputs.
    "logistic": (LogisticAutoregression, lambda n: [(1, n, n)]),
    "hidden spins, 4": (HiddenSpinAutoregression, lambda n: [(1, 5 * n, n)]),
    "gru, 64": (GRUAutoregression, lambda n: [(n, 192, 64), (n, 192, 2)]),
    "attention, 32": (AttentionAutoregression, lambda n: [(n, 32, 32)] * 24),
}


def products(shapes: list[tuple[int, int, int]], batch: int, seconds: float, first: bool) -> float:
    """Seconds of the products of a step: outputs, gradients of the weights, and of the inputs but in a first layer."""
    total = 0.0
    for rows, outputs, inputs in dict.fromkeys(shapes):
        x, w = torch.randn(rows * batch, inputs), torch.randn(outputs, inputs)
        y = torch.randn(rows * batch, outputs)

        def step(x=x, w=w, y=y) -> None:
            _ = x @ w.T, y.T @ x
            if not first:
                _ = y @ w

        total += shapes.count((rows, outputs, inputs)) * best(step, seconds / 2, clock=time.process_time)
    return total


def main(side: int, batch: int, seconds: float) -> None:
    torch.set_num_threads(1)
    lattice, n = square(side), side * side
    rng = torch.Generator().manual_seed(1)
    packed = torch.randint(256, (2**17, -(-n // 8)), generator=rng, dtype=torch.uint8).numpy()
    seen = Observations.from_packed(lattice, packed, chain=np.arange(len(packed)) % 32)
    table = Table("model", "weights", "observations/s", "of the products", "drawn/s", title=f"{lattice!r}")
    for name, (make, shapes) in MODELS.items():
        model = make(lattice)
        size = batch if name in ("logistic", "hidden spins, 4") else batch // 8
        options = LikelihoodOptions(batch_size=size)
        trainer = Trainer(model, _Likelihood(model, seen, seen, options), options)
        step = best(trainer.advance, seconds, clock=time.process_time)
        limit = products(shapes(n), size, seconds, first=size == batch)
        model.eval()
        draw = best(lambda: model.sample(size, rng), seconds, clock=time.process_time)  # noqa: B023
        weights = sum(p.numel() for p in model.parameters())
        table.add_row(name, f"{weights}", f"{size / step:.3g}", f"{limit / step:.2f}", f"{size / draw:.3g}")
    Console(width=100).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    main(options.side, options.batch, options.seconds)
