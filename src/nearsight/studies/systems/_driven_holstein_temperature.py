"""How the velocity of the front depends on the temperature: exact and learned pulses at one voltage, v(kT)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

import nearsight as ns
from nearsight import analysis
from nearsight.studies import snapshots
from nearsight.studies.checks import Below, Check, Sigma
from nearsight.studies.ensembles import mean_check
from nearsight.studies.observables import NotMeasuredError
from nearsight.studies.run import Run
from nearsight.studies.systems._driven_holstein_bars import (
    Config,
    bar,
    front,
    loaded,
    pulse_of,
    snapshots_of,
    velocity,
)


def measure_temperatures(run: Run, c: Config) -> xr.Dataset:
    """Fronts, their velocities ``(source, kT, replica)``, and errors of the density; kT without entries if none is
    compared."""
    kinds, kT = ("exact", "learned"), list(c.compared("exact"))
    label = ("kT", kT, {"long_name": "kT", "units": "t"})
    if not kT:
        return xr.Dataset(coords={"kT": label})
    sources = []
    for kind in kinds:
        found = [pulse_of(run, task)[["columns", "Phi", "current"]] for task in c.compared(kind).values()]
        sources.append(xr.concat(found, dim="kT", combine_attrs="drop_conflicts"))
    joined = xr.concat(sources, dim="source", join="inner").assign_coords(source=list(kinds), kT=label)
    # Heat lowers the order: half of it is another number at every temperature.
    joined["xi"] = xr.concat([front(joined["columns"].sel(kT=x), c) for x in kT], "kT")
    joined["velocity"] = velocity(joined.xi, c, c.length, c.drive.on)
    joined["time"].attrs["scale"] = "linear"
    # Not what decides the fronts, and large.
    joined = joined.drop_vars("columns")
    joined["rms"] = ("kT", _errors(run, c), {"long_name": "rms error of the density", "units": "1"})
    return joined


def _errors(run: Run, c: Config) -> list[float]:
    """Of the learned density along the exact pulses."""
    whole, found = loaded(run.path, c, bar(c.length, c.width)), []
    for task in c.compared("exact").values():
        arrays = snapshots_of(run, c, [task], heated=whole.components > 2)
        learned = snapshots.forces(whole, torch.from_numpy(arrays["field"]))[..., 0].numpy()
        found.append(float(np.sqrt(np.square(learned - arrays["force"][..., 0]).mean())) / c.model.g)
    return found


def slope(v: xr.DataArray) -> tuple[float, float]:
    r"""dv/dkT, the least-squares line through the mean velocities ``(kT, replica)``, and its error over replicas.

    With weights w that are linear in kT, Σ w_k v_k; pulses of different temperatures are independent, so that the
    variances of the means add as w_k².
    """
    x = v.kT.values - v.kT.values.mean()
    w = x / (x**2).sum()
    found = analysis.mean_and_error(v.transpose("kT", "replica"))
    return float(w @ found["mean"].values), float(np.sqrt(w**2 @ found["error"].values ** 2))


def judge_temperatures(c: Config, measured: xr.Dataset) -> Sequence[Check]:
    """Velocities and densities at temperatures that no training has seen, and whether heat drives the front."""
    others = [kT for kT in measured.kT.values.tolist() if kT not in c.learned_kT]
    if not measured.sizes["kT"]:
        return []
    V, v = c.temperatures.voltage, measured.velocity
    found = [
        Check(
            f"density error at kT = {kT:g} t, eV = {V:g} t, rms", float(measured.rms.sel(kT=kT)),
            criterion=Below(c.accuracy),
        )
        for kT in others
    ]  # fmt: skip
    for kT in measured.kT.values.tolist():
        here = v.sel(kT=kT)
        found.append(
            mean_check(
                f"velocity at kT = {kT:g} t, eV = {V:g} t", here.sel(source="learned"),
                exact=here.sel(source="exact"), criterion=Sigma(4.0) if kT in others else None,
            )
        )  # fmt: skip
    if measured.sizes["kT"] > 1:
        (exact, exact_error), (value, error) = (slope(v.sel(source=s)) for s in ("exact", "learned"))
        found.append(
            Check(
                f"slope of the velocity with kT at eV = {V:g} t", value, error, unit="a/ħ", exact=exact,
                exact_error=exact_error, criterion=Sigma(4.0),
                note=f"a line through {measured.sizes['kT']} temperatures; the thesis (2024, ch. 6) has a positive one",
            )
        )  # fmt: skip
    return found


def _recorded(run: Run) -> bool:
    """Whether there is anything to tell; runs of earlier versions measured no other temperature."""
    try:
        return bool(run.observable("temperatures").sizes["kT"])
    except NotMeasuredError:
        return False


def note_on_temperatures(run: Run, c: Config) -> list[str]:
    """What was learned, and what was asked."""
    if not _recorded(run):
        return []
    seen, asked = (", ".join(f"{kT:g}" for kT in x) for x in (c.learned_kT, c.compared("exact")))
    return [
        f"Electrons and noise have one temperature, {c.kT:g} t where no other is named. The network has learned kT = "
        f"{seen} t, those besides {c.kT:g} at few voltages; velocities against temperature are those at {asked} t and "
        f"eV = {c.temperatures.voltage:g} t, and between {c.learned_kT[0]:g} and {c.learned_kT[-1]:g} t alone."
    ]


def draw_temperatures(run: Run, c: Config) -> Any:
    """v(kT)."""
    return ns.plots.compare(run.observable("temperatures").velocity, x="kT", points=True) if _recorded(run) else {}
