"""Quenches of one ensemble of initial fields by the exact and by the learned force field, and whether they agree."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight import analysis
from nearsight.dynamics import At, Scheme, State, Trajectory, simulate
from nearsight.forcefields import ForceField
from nearsight.parallel import threads
from nearsight.storage import rounded
from nearsight.studies import parallel
from nearsight.studies.checks import Check, PValue
from nearsight.studies.run import Run

CHUNK = 4
"""Replicas of one task. A killed ensemble loses at most what its tasks have done since their last checkpoint."""
SIGNIFICANCE = 0.01
"""Two ensembles of equal law are called different once in a hundred runs."""

Measure = Callable[[State], xr.Dataset]


def log_steps(duration: float, dt: float, records: int) -> tuple[int, ...]:
    """Step 0 and up to ``records`` more, evenly spaced in the logarithm of time, the last at ``duration``."""
    last = max(1, round(duration / dt))
    return (0, *sorted({round(step) for step in np.geomspace(1, last, records)}))


@dataclass(frozen=True, eq=False)
class Ensembles:
    """An ensemble of initial fields ``(replica, site, component)``, the scheme that moves them, the recorded steps.

    Each of its methods quenches the whole ensemble by one force field and returns what ``measure`` finds
    ``(replica, time, ...)``. What is done is kept in ``comparison`` of the run folder, fields included, where a resumed
    run finds it.
    """

    run: Run
    scheme: Scheme
    steps: tuple[int, ...]
    field: Tensor
    measure: Measure

    def exact(self, forcefield: ForceField) -> xr.Dataset:
        """The exact quenches, spread over processes of one thread each."""
        tasks = self._chunks(forcefield, "exact")
        start = time.perf_counter()
        forcefield(self.field[:CHUNK])
        seconds = (time.perf_counter() - start) * len(tasks) * self.steps[-1]
        return xr.concat(parallel.run(quench, tasks, seconds=seconds, title="exact quenches"), dim="replica")

    def matched_noise(self, forcefield: ForceField) -> xr.Dataset:
        """The exact quenches once more, noise and all, with learned forces."""
        return xr.concat([quench(*task) for task in self._chunks(forcefield, "twins")], dim="replica")

    def learned(self, forcefield: ForceField) -> xr.Dataset:
        """The same initial fields with the learned force field and noise of their own, all at once."""
        field = self.field.to(next(forcefield.parameters()).dtype)
        path, seed = self.run.path / "comparison" / "learned", self.run.seed("learned noise")
        return quench(forcefield, self.scheme, self.steps, field, path, seed, self.measure)

    def _chunks(self, forcefield: ForceField, name: str) -> list[tuple]:
        """Tasks of :func:`quench` that differ from those of another force field in nothing but the force."""
        folder = self.run.path / "comparison" / name
        return [
            (forcefield, self.scheme, self.steps, part, folder / f"{k:03d}", self.run.seed("exact noise", k), self.measure)
            for k, part in enumerate(self.field.split(CHUNK))
        ]


def quench(
    forcefield: ForceField | None,
    scheme: Scheme,
    steps: tuple[int, ...],
    field: Tensor,
    path: Path,
    seed: int,
    measure: Measure,
) -> xr.Dataset:
    """One task: run it, go on with it, or read what is there; what ``measure`` finds at the given steps."""
    with threads(1):
        trajectory = simulate(
            forcefield,
            scheme,
            field,
            steps=steps[-1],
            record=At(steps, fields=("field",), measure=measure),
            rng=torch.Generator().manual_seed(seed),
            path=path,
            resume=True,
        )
        return labelled(trajectory, measure).drop_vars("field").load()


def labelled(trajectory: Trajectory, measure: Measure) -> xr.Dataset:
    """A trajectory along ``time``, with the coordinates and attributes of what ``measure`` found in its last state."""
    with torch.no_grad():
        found = measure(trajectory.final)
    data = trajectory.data.swap_dims(record="time").drop_vars("step")
    for name, array in found.data_vars.items():
        data[name] = data[name].assign_attrs(array.attrs).transpose(*array.dims[:1], "time", *array.dims[1:])
    return data.assign_coords({name: coordinate.variable for name, coordinate in found.coords.items()})


def same_mean(label: str, values: xr.DataArray, log: bool = False) -> list[Check]:
    """Whether both ensembles have the same mean curve, and what they end at.

    Paired: replica i of both starts from the same field, so that smaller differences are seen. The values at the last
    time stand beside the p-value, because a test that sees nothing says nothing about how much it could have missed.
    """
    tested = np.log(values) if log else values
    result = analysis.compare_curves(tested.sel(source="exact"), tested.sel(source="learned"), paired=True)
    found = Check(
        f"{label}: same mean curve, p-value",
        value=result.p_value,
        criterion=PValue(SIGNIFICANCE),
        note=f"{values.sizes['replica']} pairs of quenches, Hotelling T² on {result.modes} modes that carry "
        f"{100 * result.explained:.0f} % of the variance",
    )
    end = values.isel(time=-1)
    if set(end.dims) != {"source", "replica"}:  # a curve at every time, not one number
        return [found]
    return [found, at_end(label, end.sel(source="learned"), exact=end.sel(source="exact"))]


def at_end(label: str, values: xr.DataArray, *, exact: xr.DataArray | None = None, note: str = "") -> Check:
    """Mean and standard error over replicas of values at one time, beside those of exact quenches."""
    learned = analysis.mean_and_error(values)
    beside = {}
    if exact is not None:
        summary = analysis.mean_and_error(exact)
        beside = {"exact": float(summary["mean"]), "exact_error": float(summary["error"])}
    return Check(
        f"{label} at the end",
        value=float(learned["mean"]),
        error=float(learned["error"]),
        unit=unit(values),
        note=f"t = {rounded(values.time)}{note}",
        **beside,
    )


def unit(values: xr.DataArray) -> str:
    units = str(values.attrs.get("units", ""))
    return "" if units == "1" else units


def matched_noise_bias(length: xr.DataArray) -> Check:
    """How far the mean length strays if the noise is that of the exact quenches: what is random in both drops out."""
    ratio: xr.DataArray = np.log(length.sel(source="twin") / length.sel(source="exact"))  # type: ignore[assignment]
    summary = 100 * analysis.mean_and_error(ratio)
    worst = summary.isel(time=int(np.abs(summary["mean"].values).argmax()))
    end = summary.isel(time=-1)
    return Check(
        "domain size under the same noise, learned over exact minus 1",
        value=float(end["mean"]),
        error=float(end["error"]),
        unit="%",
        note=f"mean of ln L at t = {rounded(end.time)}; at most {float(worst['mean']):.2g} ± "
        f"{float(worst['error']):.1g} %, at t = {rounded(worst.time)}",
    )
