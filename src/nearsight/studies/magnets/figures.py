"""Figures that the reports of all studies of magnets have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from nearsight import plots
from nearsight.analysis import Path
from nearsight.lattices import Lattice
from nearsight.plots import magnets
from nearsight.plots.style import Picture
from nearsight.studies import Run, report
from nearsight.studies.magnets.config import MagnetConfig
from nearsight.studies.magnets.snapshots import ANGLE

TIME = "ħ/t"
PANELS, ZONES = 6, 4
SOURCES = ("exact", "learned")

Draw = Callable[[Run, MagnetConfig], Picture]


def of_students(config: MagnetConfig, lattice: Callable[[int], Lattice]) -> Mapping[str, Draw]:
    """What students know of torques, student by student, and how they came to know it."""
    fits = {f"training_{kind}": partial(training, kind=kind) for kind in config.students}
    return {
        "torques": torques,
        "parity": parity,
        "errors_by_start": errors_by_start,
        "equivariance": equivariance,
        "growth": growth,
        "receptive_field": partial(receptive, lattice=lattice),
        "symmetry": report.symmetry,
        **fits,
    }


def torques(run: Run, config: MagnetConfig) -> Picture:
    data = run.observable("snapshots")
    learned = {str(s): data.learned_force.sel(student=s).values for s in data.student.values}
    return magnets.torque_errors(data.exact_force.values, learned, paper=ANGLE)


def parity(run: Run, config: MagnetConfig) -> Picture:
    data = run.observable("snapshots")
    figure = plots.parity(
        data.exact_force.values, data.learned_force.isel(student=0).values, quantity=r"H_\perp", unit="t"
    )
    figure.caption += f" Student: {data.student.values[0]}."
    return figure


def errors_by_start(run: Run, config: MagnetConfig) -> Picture:
    data = run.observable("snapshots")
    error = (data.learned_force - data.exact_force).transpose("student", ...)
    groups = {
        f"{student},\n{start}": error.sel(student=student).values[(data.start == start).values]
        for student in data.student.values
        for start in np.unique(data.start.values)
    }
    return plots.error_by_group(groups, rng=run.rng("report"), quantity=r"H_\perp", unit="t", group="start")


def growth(run: Run, config: MagnetConfig) -> Picture:
    """How fast the peaks of unseen quenches grow by exact and by learned torques on the same spins."""
    data = run.observable("snapshots")
    data = data.isel(snapshot=data.start.values == "random")
    data = data.rename(trajectory="replica").drop_vars("start")
    curves = data[["exact_growth", "learned_growth"]].set_index(snapshot=("replica", "time")).unstack("snapshot")
    learned = {str(s): curves.learned_growth.sel(student=s) for s in data.student.values}
    sources = {"exact": curves.exact_growth, **learned}
    figure = magnets.order_in_time({r"growth of the peaks $\Gamma$ [t]": sources}, time_unit=TIME)
    figure.caption = (
        "d ln M / dt = 2αΓ by damping, for the height M of the peaks of S(q), on exact quenches from random spins that "
        f"no training has seen. {figure.caption}"
    )
    return figure


def equivariance(run: Run, config: MagnetConfig) -> Picture:
    """Violation of the symmetry beside the error of the prediction, student by student."""
    data = run.observable("snapshots")
    error = (data.learned_force - data.exact_force).transpose("student", ...)
    groups = {}
    for student in data.student.values:
        groups[f"{student},\nerror"] = error.sel(student=student).values
        groups[f"{student},\nviolation"] = data.equivariance.sel(student=student).values
    figure = plots.error_by_group(groups, rng=run.rng("report"), quantity=r"H_\perp", unit="t", group="")
    figure.caption = (
        "Error of the prediction, and violation of the symmetry under rotations of all spins and operations of the "
        "lattice, H(gRΦ) - gRH(Φ), root mean square."
    )
    return figure


def receptive(run: Run, config: MagnetConfig, *, lattice: Callable[[int], Lattice]) -> Picture:
    data = run.observable("response")
    return magnets.receptive_fields(data.share, data.response, lattice(config.length))


def paths(
    run: Run, config: MagnetConfig, *, path: Callable[[Lattice], Path], lattice: Callable[[int], Lattice]
) -> Picture:
    """S(q, t) along a path through the zone, exact and learned."""
    S = run.observable("curves").S
    times = list(report.evenly_spaced(S.time.values[1:], PANELS))
    by_source = {source: S.sel(source=source) for source in SOURCES}
    return plots.path_profile(by_source, path(lattice(config.comparison.length)), times=times, time_unit=TIME)


def zones(run: Run, config: MagnetConfig, *, lattice: Callable[[int], Lattice]) -> Picture:
    """S(q) over the zone at the last time, exact and learned."""
    zone = run.observable("curves").zone.isel(time=-1)
    maps = {source: zone.sel(source=source) for source in SOURCES}
    figure = plots.zone_map(maps, lattice(config.comparison.length), decades=4)
    figure.caption += f" Mean over {config.comparison.quenches} quenches at t = {float(zone.time):g} {TIME}."
    return figure


def quench_zones(run: Run, config: MagnetConfig, *, lattice: Lattice) -> Picture:
    """S(q) over the zone of a large quench, at several times."""
    zone = run.observable("quench").zone
    times = report.evenly_spaced(zone.time.values[1:], ZONES)
    return plots.zone_map({f"t = {t:g}": zone.sel(time=t) for t in times}, lattice, decades=4)


def training(run: Run, config: MagnetConfig, *, kind: str) -> Picture:
    return plots.training_curves(run.path / "fit" / kind / "log.csv", x="step")
