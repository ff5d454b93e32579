"""Spins in motion: two ensembles that are compared, and large lattices that no exact solver can follow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight import analysis, dynamics
from nearsight.analysis import Verdict
from nearsight.dynamics import AB2Rotation, At
from nearsight.forcefields import ForceField
from nearsight.storage import rounded
from nearsight.studies.magnets.config import MagnetConfig
from nearsight.studies.options import torch_device
from nearsight.studies.quenches import Quenches, fields_and_forces, in_time, log_steps
from nearsight.studies.run import Run

MAPS = 4
"""Configurations of the first replica that are kept in full for the figures: the start, and later ones."""


def scheme(config: MagnetConfig) -> AB2Rotation:
    """One call of the electrons a step; the part of H along a spin, which does nothing, is left out."""
    d = config.dynamics
    return AB2Rotation(dt=d.dt, kT=d.kT, damping=d.damping, tangent=True)


def two_ensembles(
    run: Run,
    config: MagnetConfig,
    start: Tensor,
    exact: ForceField,
    learned: ForceField,
    observe: Callable[[Tensor], xr.Dataset],
) -> xr.Dataset:
    """Exact and learned quenches from the same spins ``(replica, site, 3)``, and what ``observe`` finds in them.

    Without a bath nothing but the start is random. What errors of the torque do to one configuration grows, as chaos
    has it; what they do to the ensemble is the question.
    """
    options = config.comparison
    steps = log_steps(options.duration, config.dynamics.dt, options.records)
    quenches = Quenches(run, scheme(config), steps, start)
    by_source = {}
    for source, trajectory in (("exact", quenches.exact(exact)), ("learned", quenches.learned(learned))):
        field, _ = fields_and_forces(trajectory)
        time = ("time", trajectory["time"].values, {"long_name": "time", "units": "ħ/t"})
        spins = (("replica", "time", "site", "component"), field.float().numpy())
        by_source[source] = observe(field).assign(spins=spins).assign_coords(time=time)
    return xr.concat(list(by_source.values()), dim=xr.Variable("source", list(by_source)))


def overlap(dataset: xr.Dataset) -> Verdict:
    """How long learned spins follow the exact ones site by site: mean of S_i(exact)·S_i(learned)."""
    both = dataset.spins
    along = (both.sel(source="exact") * both.sel(source="learned")).sum("component").mean("site")
    summary = analysis.mean_and_error(along)
    values = ", ".join(
        f"{float(mean):.3g} at t = {rounded(t)}"
        for t, mean in zip(dataset.time.values[1:], summary["mean"].values[1:], strict=True)
    )
    return Verdict(
        "overlap of learned with exact spins, site by site",
        exact=1.0,
        learned=f"{float(summary['mean'][-1]):.3g} ± {float(summary['error'][-1]):.1g}",
        note=values,
    )


def growth(run: Run, name: str, curve: xr.DataArray, window: tuple[float, float], paper: str | None = None) -> Verdict:
    """The exponent of a power of time between two times, if there are records enough."""
    first, last = window
    law = None
    if int(((curve.time >= first) & (curve.time <= last)).sum()) >= 3:
        law = analysis.growth_exponent(curve.transpose("replica", "time"), rng=run.rng("bootstrap"), window=window)
    return Verdict(
        name,
        learned=None if law is None else f"{law.exponent:.2g} ± {law.sigma:.1g}",
        paper=paper,
        note=f"between t = {first:g} and {last:g}",
    )


def follow(
    run: Run,
    config: MagnetConfig,
    name: str,
    forcefield: ForceField,
    start: Tensor,
    duration: float,
    records: int,
    observe: Callable[[Tensor], xr.Dataset],
) -> xr.Dataset:
    """Learned dynamics of a large lattice, kept in ``large/name``, and what ``observe`` finds in every record.

    Curves of all replicas ``(replica, time)``, and ``spins`` of the first at a few times ``(shown, site, component)``.
    One record is in memory at a time.
    """
    forcefield = forcefield.to(torch_device(config.device))
    parameter = next(forcefield.parameters())
    steps = log_steps(duration, config.dynamics.dt, records)
    run.log("note", text=f"{len(start)} × {name} on {forcefield.lattice!r}, t = {duration:g}")
    trajectory = dynamics.simulate(
        forcefield,
        scheme(config),
        start.to(parameter),
        steps=steps[-1],
        record=At(steps, fields=("field",)),
        rng=run.rng("large", "noise", name),
        path=run.path / "large" / name,
        resume=True,
        progress=True,
    ).data
    count = trajectory.sizes["record"]
    # Records are spaced by the logarithm of time, and spins stay disordered for the first half of them.
    shown = np.unique([0, *np.linspace(count // 2, count - 1, MAPS - 1).round().astype(int)])
    found, maps, times = [], [], []
    for k in range(count):
        record = trajectory.isel(record=k).load()
        times.append(float(record.time))
        found.append(observe(torch.from_numpy(record.field.values).double()).assign_coords(time=times[-1]))
        if k in shown:
            maps.append(record.field.values[0].astype(np.float32))
    curves = in_time(found, "ħ/t")
    curves["spins"] = (("shown", "site", "component"), np.stack(maps))
    return curves.assign_coords(shown=("shown", [times[k] for k in shown]))
