"""The accuracy that no function of a block exceeds, from the exact probabilities of blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from nearsight.analysis import Verdict
from nearsight.sampling import ExactBlocks
from nearsight.studies import parallel
from nearsight.studies.ising_blocks.accuracy import near_transition, places
from nearsight.studies.ising_blocks.config import Config
from nearsight.studies.ising_blocks.physics import TC, phase, snapshots, spins
from nearsight.studies.ising_blocks.train import Task, trained
from nearsight.studies.run import Run

SHORT = 0.005
"""A network is at the bound if it is right this much less often, as share of all blocks."""
SECONDS = 15.0
"""Of one side, about."""


def measure(run: Run, config: Config) -> xr.Dataset:
    """Share of right blocks near the transition, exact and learned, on the same blocks.

    The best guess from a block at one of the temperatures that are averaged over is the phase with the larger mean of
    P(block | T) over its temperatures there. It does not need training, and nothing that sees the block alone is right
    more often on average; a sample may differ from the average by its error.
    """
    kT = snapshots(run, "testing").temperatures
    kT = kT[np.abs(kT - TC) <= config.near]
    sides = [side for side in config.sides if side in config.bounded]
    tasks = [(run.path, config, side, kT) for side in sides]
    found = parallel.run(shares, tasks, seconds=SECONDS * len(sides), title="exact bound")
    dims = ("side", "front", "temperature", "snapshot")
    return xr.Dataset(
        {"block": (dims, np.stack(found), {"long_name": "share of the blocks whose phase is right"})},
        coords={
            "front": ["exact", *config.compared],
            "side": sides,
            "temperature": ("temperature", kT, {"units": "J"}),
        },
    )


def shares(path: Path, config: Config, side: int, kT: np.ndarray) -> np.ndarray:
    """Share of right blocks of one side ``(front, temperature, snapshot)``, the exact guess first."""
    run = Run(path)
    data, store = snapshots(run, "testing"), spins(run, config, "testing")
    rows = np.flatnonzero(np.isin(data.kT, kT))
    corners = places(run, config, side)[: config.bound_blocks]
    everywhere = np.broadcast_to(corners, (len(rows), *corners.shape))
    blocks = store.blocks(rows[:, None], everywhere, side)
    odds = log_odds(blocks.reshape(-1, side, side), kT).reshape(len(rows), -1)
    guesses = [odds > 0]
    for front in config.compared:
        guesses.append(trained(run, Task("phase", front, side)).of_blocks(store, rows[:, None], everywhere) > 0.5)
    right = np.stack(guesses) == (phase(data.kT[rows]) > 0.5)[:, None]
    return right.mean(-1).reshape(len(guesses), len(kT), -1)


def log_odds(blocks: np.ndarray, kT: np.ndarray) -> np.ndarray:
    """ln of P(block | above) / P(block | below) ``(block,)``, of temperatures that are equally likely on a side."""
    logarithm = ExactBlocks(blocks.shape[1]).log_probability(blocks, kT)
    above, below = (logarithm[:, side] for side in (kT > TC, kT < TC))
    mean = [np.logaddexp.reduce(part, axis=1) - np.log(part.shape[1]) for part in (above, below)]
    return mean[0] - mean[1]


def verdicts(config: Config, bound: xr.Dataset) -> list[Verdict]:
    """How far every front end stays below the bound."""
    near = near_transition(config, bound)
    sides = ", ".join(str(int(s)) for s in bound.side)
    listed = ", ".join(f"{float(v):.4f}" for v in near.sel(front="exact").mean("snapshot"))
    found = [
        Verdict(
            f"accuracy of blocks within {config.near:g} of Tc, no function of a block can have more",
            exact=listed,
            learned="",
            note=f"l = {sides}; from exact probabilities of blocks",
        )
    ]
    for front in config.compared:
        short = near.sel(front="exact") - near.sel(front=front)
        n = short.sizes["snapshot"]
        mean, error = short.mean("snapshot"), short.std("snapshot", ddof=1) / np.sqrt(n)
        total = float(mean.mean())
        each = "; ".join(
            f"l = {int(s)}: {float(mean.sel(side=s)):.4f} ± {float(error.sel(side=s)):.4f}" for s in bound.side
        )
        judged = front == "network"
        found.append(
            Verdict(
                f"accuracy within {config.near:g} of Tc, exact bound less {front}, mean over l",
                learned=f"{total:.4f} ± {float(short.mean('side').std('snapshot', ddof=1) / np.sqrt(n)):.4f}",
                target=f"< {SHORT:g}" if judged else None,
                passed=total < SHORT if judged else None,
                note=each,
            )
        )
    return found
