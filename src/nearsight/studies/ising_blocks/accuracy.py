"""How often blocks of a snapshot, and all of them together, tell the phase."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from nearsight.analysis import Verdict
from nearsight.fields import tiles
from nearsight.properties import PropertyModel
from nearsight.studies.ising_blocks.config import Config
from nearsight.studies.ising_blocks.physics import TC, phase, snapshots, spins
from nearsight.studies.ising_blocks.train import Task, trained
from nearsight.studies.run import Run

SYMMETRY = 1e-5
"""Allowed violation: rounding of single precision, a few layers deep."""
PROBED = 64


def measure(run: Run, config: Config) -> xr.Dataset:
    """Share of right blocks and rightness of the mean, ``(front, side, temperature, snapshot)``."""
    data, store = snapshots(run, "testing"), spins(run, config, "testing")
    kT = data.temperatures
    shape = (len(config.compared), len(config.sides), len(kT), len(data) // len(kT))
    block, whole, blocks = np.empty(shape), np.empty(shape), []
    label = phase(data.kT)
    for j, side in enumerate(config.sides):
        corners = places(run, config, side)
        blocks.append(len(corners))
        everywhere = np.broadcast_to(corners, (len(data), *corners.shape))
        for i, front in enumerate(config.compared):
            p = trained(run, Task("phase", front, side)).of_blocks(store, np.arange(len(data))[:, None], everywhere)
            block[i, j] = ((p > 0.5) == label[:, None]).mean(1).reshape(shape[2:])
            whole[i, j] = ((p.mean(1) > 0.5) == label).reshape(shape[2:])
    dims = ("front", "side", "temperature", "snapshot")
    return xr.Dataset(
        {
            "block": (dims, block, {"long_name": "share of the blocks whose phase is right"}),
            "whole": (dims, whole, {"long_name": "whether the mean over the blocks gives the right phase"}),
            "blocks": ("side", blocks, {"long_name": "blocks of a snapshot"}),
        },
        coords={
            "front": list(config.compared),
            "side": list(config.sides),
            "temperature": ("temperature", kT, {"units": "J"}),
        },
    )


def places(run: Run, config: Config, side: int) -> np.ndarray:
    """Corners of the blocks of every test snapshot, in an order of no meaning: the first few stand for all."""
    corners = tiles(config.length, side)
    return corners[torch.randperm(len(corners), generator=run.rng("tiles", side)).numpy()[: config.tested]]


def symmetry(model: PropertyModel, blocks: torch.Tensor) -> float:
    """Largest change of p over the 16 operations of D4 × Z2."""
    with torch.no_grad():
        p = model(blocks)
        turned = [torch.rot90(b, k, (1, 2)) for b in (blocks, blocks.transpose(1, 2)) for k in range(4)]
        return max(float((model(sign * image) - p).abs().max()) for image in turned for sign in (1, -1))


def near_transition(config: Config, accuracy: xr.Dataset) -> xr.DataArray:
    """Accuracy of blocks averaged over |T - Tc| ≤ ``near`` ``(front, side, snapshot)``; both phases count the same."""
    x = accuracy.temperature.values - TC
    means = [
        accuracy.block.isel(temperature=(sign * x > 0) & (np.abs(x) <= config.near)).mean("temperature")
        for sign in (-1, 1)
    ]
    return 0.5 * (means[0] + means[1])


def verdicts(run: Run, config: Config, accuracy: xr.Dataset) -> list[Verdict]:
    """The fronts compared at equal l, on the same blocks; the symmetry of the network."""
    near = near_transition(config, accuracy)
    found = []
    summary = {
        str(f): ", ".join(f"{float(v):.3f}" for v in near.sel(front=f).mean("snapshot")) for f in near.front.values
    }
    sides = ", ".join(map(str, config.sides))
    for front, values in summary.items():
        found.append(
            Verdict(f"accuracy of blocks within {config.near:g} of Tc, {front}", learned=values, note=f"l = {sides}")
        )
    for other in config.compared:
        if other == "network":
            continue
        gain = near.sel(front="network") - near.sel(front=other)
        n = gain.sizes["snapshot"]
        mean, error = gain.mean("snapshot"), gain.std("snapshot", ddof=1) / np.sqrt(n)
        all_sides = gain.mean("side")
        total, sigma = float(all_sides.mean()), float(all_sides.std(ddof=1) / np.sqrt(n))
        each = "; ".join(
            f"l = {int(s)}: {float(mean.sel(side=s)):+.4f} ± {float(error.sel(side=s)):.4f}" for s in gain.side
        )
        judged = other == "irreps"
        found.append(
            Verdict(
                f"accuracy within {config.near:g} of Tc, network less {other}, mean over l",
                learned=f"{total:+.4f} ± {sigma:.4f}",
                target="> 0 by 2 sigma" if judged else None,
                passed=total > 2 * sigma if judged else None,
                note=each,
            )
        )
    store = spins(run, config, "testing")
    side = config.sides[-1]
    corners = torch.randint(config.length, (PROBED, 2), generator=run.rng("symmetry")).numpy()
    probe = torch.from_numpy(store.blocks(np.linspace(0, len(store) - 1, PROBED).astype(int), corners, side))
    worst = symmetry(trained(run, Task("phase", "network", side)), probe)
    found.append(
        Verdict(
            f"symmetry of the network, l = {side}, worst of 16 operations of D4 × Z2",
            exact=0.0,
            learned=worst,
            target=f"< {SYMMETRY:g}",
            passed=worst < SYMMETRY,
        )
    )
    return found
