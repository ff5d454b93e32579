"""Quenches, and whether two ensembles of them agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight import analysis
from nearsight.dynamics import At, Audit, Guard, State, Trajectory, simulate
from nearsight.parallel import resumable, threads
from nearsight.storage import rounded
from nearsight.studies.checks import Check, Criterion, PValue
from nearsight.studies.system import Engine, System

SIGNIFICANCE = 0.01
"""Two ensembles of equal law are called different once in a hundred runs."""

Measure = Callable[[State], xr.Dataset]


@dataclass(frozen=True, eq=False, kw_only=True)
class Quench:
    """Replicas ``field`` that move together, in a folder of their own where a resumed run finds them.

    ``measure`` is asked at the recorded steps, besides ``fields``.
    """

    system: System
    engine: Engine
    field: Tensor
    steps: tuple[int, ...]
    measure: Measure
    path: Path
    seed: int
    fields: tuple[str, ...] = ()
    guard: Guard | None = None
    audit: Audit | None = None
    progress: bool = False

    def run(self) -> xr.Dataset:
        """What is measured ``(replica, time, ...)``, with the coordinates and attributes that ``measure`` gives."""
        forcefield, scheme = self.system.moved_by(self.engine)
        measure = _asked_once(self.measure)
        trajectory = simulate(
            forcefield,
            scheme,
            self.field,
            steps=self.steps[-1],
            record=At(self.steps, fields=self.fields, measure=measure),
            rng=torch.Generator().manual_seed(self.seed),
            path=self.path,
            resume=True,
            guard=self.guard,
            audit=self.audit,
            progress=self.progress,
        )
        with torch.no_grad():
            found = measure(trajectory.final)
        data = trajectory.data.drop_vars(self.fields).swap_dims(record="time").drop_vars("step").load()
        for name, array in found.data_vars.items():
            first = array.dims[:1] if array.dims[:1] == ("replica",) else ()
            data[name] = data[name].assign_attrs(array.attrs).transpose(*first, "time", ...)
        when = (data.time / self.system.unit).assign_attrs(long_name="time", units=self.system.time, scale="log")
        return data.assign_coords({name: c.variable for name, c in found.coords.items()}).assign_coords(time=when)

    def seconds(self) -> float:
        """A guess of what it takes, from two steps."""
        forcefield, scheme = self.system.moved_by(self.engine)
        rng = torch.Generator().manual_seed(self.seed)
        state = scheme.step(scheme.start(self.field, forcefield, rng), forcefield, rng)  # compiled by now
        start = time.perf_counter()
        scheme.step(state, forcefield, rng)
        return (time.perf_counter() - start) * self.steps[-1]


def _asked_once(measure: Measure) -> Measure:
    """The same function, which remembers its last answer: the layout of records follows from the first state, and their
    labels from the last."""
    last: list[tuple[State, xr.Dataset]] = []

    def remembered(state: State) -> xr.Dataset:
        if not last or last[0][0] is not state:
            last[:] = [(state, measure(state))]
        return last[0][1]

    return remembered


def carried_out(quenches: Sequence[Quench], *, title: str) -> xr.Dataset:
    """All quenches, joined along "replica"; long ones are spread over processes of one thread each."""
    return xr.concat(carried_out_each(quenches, title=title), dim="replica", data_vars="all")


def carried_out_each(quenches: Sequence[Quench], *, title: str) -> list[xr.Dataset]:
    """The same one by one, of structures whose fields no common array holds."""
    with threads(1):
        seconds = quenches[0].seconds() * len(quenches) if len(quenches) > 1 else 0.0
    return list(resumable(_alone, [(quench,) for quench in quenches], seconds=seconds, title=title))


def _alone(quench: Quench) -> xr.Dataset:
    with threads(1):
        return quench.run()


def kept_fields(path: Path) -> xr.DataArray:
    """Fields ``(time, replica, site, component)`` of one engine's quenches in ``comparison/``, single precision."""
    folders = [path] if (path / "trajectory.zarr").exists() else sorted(path.iterdir())
    fields = [Trajectory.open(folder).data.field.astype(np.float32).load() for folder in folders]
    return xr.concat(fields, dim="replica").drop_vars(("step", "time")).rename(record="time")


def same_mean(label: str, values: xr.DataArray, log: bool = False) -> list[Check]:
    """Whether both ensembles have the same mean curve, and what they end at.

    Paired: replica i of both starts from the same field, so that smaller differences are seen. The values at the last
    time stand beside the p-value, because a test that sees nothing says nothing about how much it could have missed.
    """
    tested: xr.DataArray = np.log(values) if log else values  # type: ignore[assignment]
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
    return mean_check(f"{label} at the end", values, exact=exact, note=f"t = {rounded(values.time)}{note}")


def mean_check(
    name: str,
    values: xr.DataArray,
    dim: str = "replica",
    *,
    weights: xr.DataArray | None = None,
    exact: xr.DataArray | None = None,
    criterion: Criterion | None = None,
    note: str = "",
    missing: str = "",
) -> Check:
    """Mean and standard error over replicas, weighed by ``weights``, beside those of ``exact`` values.

    missing: what to say if fewer than two replicas have any weight.
    """
    units = str(values.attrs.get("units", ""))
    common: dict[str, Any] = {"unit": "" if units == "1" else units, "criterion": criterion}
    if weights is not None and int((weights > 0).sum()) < 2:
        return Check(name, value=None, note=missing, **common)
    unbounded = 0 if weights is not None else int((~np.isfinite(values)).sum())
    if unbounded:  # an ordered lattice has no walls, and no length
        return Check(name, value=None, note=f"none in {unbounded} of {values.size} replicas; {note}", **common)
    found = (
        analysis.mean_and_error(values, dim)
        if weights is None
        else analysis.weighted_mean_and_error(values, weights, dim)
    )
    if exact is not None:
        beside = analysis.mean_and_error(exact, dim)
        common |= {"exact": float(beside["mean"]), "exact_error": float(beside["error"])}
    return Check(name, float(found["mean"]), float(found["error"]), note=note, **common)


def matched_noise_bias(length: xr.DataArray) -> Check:
    """How far the mean length strays if the noise is that of the exact quenches: what is random in both drops out."""
    ratio: xr.DataArray = np.log(length.sel(source="twin") / length.sel(source="exact"))  # type: ignore[assignment]
    summary = 100 * analysis.mean_and_error(ratio)
    worst = summary.isel(time=int(np.abs(summary["mean"].values).argmax()))
    end = summary.isel(time=-1)
    return Check(
        "length under the same noise, learned over exact minus 1",
        value=float(end["mean"]),
        error=float(end["error"]),
        unit="%",
        note=f"mean of ln L at t = {rounded(end.time)}; at most {float(worst['mean']):.2g} ± "
        f"{float(worst['error']):.1g} %, at t = {rounded(worst.time)}",
    )
