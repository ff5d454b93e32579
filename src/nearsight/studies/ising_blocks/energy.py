"""The energy of a whole snapshot from some of its blocks, and the snapshots against the exact solution."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import stats

from nearsight.analysis import Verdict
from nearsight.studies.ising_blocks.config import Config
from nearsight.studies.ising_blocks.physics import TC, exact_energy, snapshots, spins
from nearsight.studies.ising_blocks.train import Task, trained
from nearsight.studies.run import Run

SIGNIFICANCE = 0.001
"""Snapshots from the exact distribution fail once in a thousand runs."""


def fronts(config: Config) -> list[str]:
    """Those of which energies are learned: of (|m|, e) the second is the energy itself."""
    return [front for front in config.compared if front != "moments"]


def measure(run: Run, config: Config) -> xr.Dataset:
    """Learned energies of all test snapshots beside their own and the exact mean ones."""
    data, store = snapshots(run, "testing"), spins(run, config, "testing")
    kT = data.temperatures
    shape = (len(kT), -1)
    own = (data.energy / config.length**2).reshape(shape)
    names, sides = fronts(config), list(config.energy_sides)
    learned, error = np.empty((2, len(names), len(sides), *own.shape))
    for i, front in enumerate(names):
        for j, side in enumerate(sides):
            task = Task("energy", front, side)  # type: ignore[arg-type]
            blocks = min(config.tested, max(2, (config.length // side) ** 2))
            found = trained(run, task).predict(store, blocks, run.rng("energy", task.name))
            learned[i, j], error[i, j] = found.mean.reshape(shape), found.error.reshape(shape)
    dims = ("temperature", "snapshot")
    unit = {"units": "J"}
    return xr.Dataset(
        {
            "sampled": (dims, own, unit),
            "exact": ("temperature", exact_energy(config, kT), unit),
            "learned": (("front", "side", *dims), learned, unit),
            "error": (("front", "side", *dims), error, {"long_name": "standard error of the mean over blocks", **unit}),
        },
        coords={"front": names, "side": sides, "temperature": ("temperature", kT, unit)},
    )


def verdicts(energy: xr.Dataset) -> list[Verdict]:
    """Snapshots against Kaufman; then the error of the learned energies, and whether their own error bars tell it."""
    n = energy.sizes["snapshot"]
    error = energy.sampled.std("snapshot", ddof=1) / np.sqrt(n)
    # Student's t at every temperature, as a normal deviate, so that few snapshots do not look like failures.
    t = ((energy.sampled.mean("snapshot") - energy.exact) / error).values
    deviate = stats.norm.isf(stats.t.sf(np.abs(t), n - 1))
    p = float(stats.chi2.sf((deviate**2).sum(), len(deviate)))
    found = [
        Verdict(
            "energy of the snapshots against the exact torus",
            exact="Kaufman",
            learned=f"p = {p:.2g}",
            target=f"p > {SIGNIFICANCE:g}",
            passed=p > SIGNIFICANCE,
            note=f"{len(deviate)} temperatures, worst {np.abs(deviate).max():.1f} sigma",
        )
    ]
    deviation = energy.learned - energy.sampled
    for front in energy.front.values:
        bias = deviation.sel(front=front).mean("snapshot")
        for side in energy.side.values:
            b = bias.sel(side=side)
            low, high = (float(b[where].mean()) for where in (near(b, -1), near(b, 1)))
            rms = float(np.sqrt((deviation.sel(front=front, side=side) ** 2).mean()))
            bar = energy.error.sel(front=front, side=side)
            pull = deviation.sel(front=front, side=side) / bar.where(bar > 0)
            found.append(
                Verdict(
                    f"energy per site, {front}, l = {side}: error of a snapshot",
                    learned=f"rms {rms:.2g}",
                    note=f"mean error {low:+.2g} below and {high:+.2g} above the transition (within 0.5); in "
                    f"units of its own error bar {float(np.sqrt((pull**2).mean())):.2f}",
                )
            )
        first, last = (float(np.sqrt((bias.sel(side=s) ** 2).mean())) for s in energy.side.values[[0, -1]])
        found.append(
            Verdict(
                f"bias of the energy, {front}, rms over temperatures",
                learned=f"{first:.2g} at l = {energy.side.values[0]}, {last:.2g} at l = {energy.side.values[-1]}",
                paper="shrinks with l",
            )
        )
    return found


def near(values: xr.DataArray, sign: int) -> np.ndarray:
    """Temperatures within 0.5 of the transition, on one side."""
    x = sign * (values.temperature.values - TC)
    return (x > 0) & (x < 0.5)
