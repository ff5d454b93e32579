"""The report of the study of blocks of Ising spins, from what its run folder holds."""

from __future__ import annotations

import json

import xarray as xr

from nearsight import plots
from nearsight.analysis import Collapse
from nearsight.plots import scaling
from nearsight.plots.style import Picture
from nearsight.studies import Run, report
from nearsight.studies.ising_blocks import accuracy as measured
from nearsight.studies.ising_blocks import scaling as fitted
from nearsight.studies.ising_blocks.config import Config
from nearsight.studies.ising_blocks.physics import TC


def build(run: Run, config: Config) -> None:
    """Write ``figures/`` and ``report.html``."""
    title = "Ising model: intensive properties from blocks"
    report.write(run, config, study="ising_blocks", title=title, figures=FIGURES, notes=notes(config))


def notes(config: Config) -> list[str]:
    return [
        "The exact bound is that of a lattice without end, wired far from the block. Where the correlation length "
        f"exceeds L = {config.length}, blocks of the periodic lattice are a little different.",
        "Accuracies are shares of single blocks. The mean over the blocks of a snapshot knows the phase much closer to "
        "the transition, where the size of the lattice decides more than that of the block.",
        f"Windows of the largest blocks span few temperatures and {config.testing.snapshots} snapshots each; within a "
        f"correlation length of L = {config.length} of the transition the label itself is a matter of convention.",
        "Error bars are over test snapshots. What other weights and other training snapshots change is not in them.",
    ]


def energy(run: Run, config: Config) -> Picture:
    return scaling.energy_bias(run.observable("energy").sel(front="network"), critical=TC)


def energy_irreps(run: Run, config: Config) -> Picture:
    picture = scaling.energy_bias(run.observable("energy").sel(front="irreps"), critical=TC)
    picture.caption = "The same from the invariants of the paper. " + picture.caption
    return picture


def parity(run: Run, config: Config) -> Picture:
    data = run.observable("energy").sel(front="network").isel(side=-1)
    return plots.parity(data.sampled.values, data.learned.values, quantity="e", unit="J")


def accuracy(run: Run, config: Config) -> Picture:
    data = run.observable("accuracy").sel(front="network")
    return scaling.accuracy_curves(data.block, data.whole, critical=TC, thresholds=fitted.THRESHOLDS)


def comparison(run: Run, config: Config) -> Picture:
    learned = measured.near_transition(config, run.observable("accuracy"))
    bound = measured.near_transition(config, run.observable("bound"))
    return scaling.front_comparison(learned, bound, reach=config.near)


def windows(run: Run, config: Config) -> Picture:
    data = run.observable("scaling")
    chosen: dict[str, xr.Dataset] = {}
    laws = {}
    for front in data.front.values:
        for threshold in fitted.THRESHOLDS if front == "network" else fitted.THRESHOLDS[:1]:
            name = f"{front}, {100 * threshold:.0f} %"
            chosen[name] = data[["window", "window_samples"]].sel(kind="block", front=front, threshold=threshold)
            laws[name] = fitted.law(config, data, front, threshold)
    return scaling.window_scaling(chosen, laws)


def collapse(run: Run, config: Config) -> Picture:
    data = run.observable("scaling")
    found = Collapse(**json.loads(data.attrs["collapse"]))
    sides, x, y, error, _ = fitted.curves(config, run.observable("accuracy"), data, "network")
    return scaling.collapsed(sides, x, y, error, found)


FIGURES: dict[str, report.Draw] = {
    "accuracy": accuracy,
    "windows": windows,
    "collapse": collapse,
    "comparison": comparison,
    "energy": energy,
    "energy_irreps": energy_irreps,
    "parity": parity,
}
