"""The report of the skyrmion study, from what its run folder holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from nearsight import report
from nearsight.analysis import charge_density
from nearsight.lattices import Lattice, triangular
from nearsight.report import magnets, study
from nearsight.report.style import Picture
from nearsight.studies import Run
from nearsight.studies.magnets.snapshots import ANGLE
from nearsight.studies.skyrmion.config import Config
from nearsight.studies.skyrmion.dynamics import path
from nearsight.studies.skyrmion.physics import CELL_SITES

TIME = "ħ/t"
PANELS, ZONES = 6, 4
CLOSE_UP = 24
"""Cells along an edge of the close-ups in which arrows are seen, at the last two times."""


def build(run: Run, config: Config) -> None:
    """Write ``figures/`` and ``report.html``."""
    title = "Skyrmions of an itinerant magnet: learned torques, crystals and quenches"
    fits = {f"training_{kind}": partial(training, kind=kind) for kind in config.students}
    study.write(run, config, study="skyrmion", title=title, figures=FIGURES | fits, notes=notes(config))


def notes(config: Config) -> list[str]:
    c, large = config.comparison, config.large
    return [
        f"Energies of textures are those of {config.ground.cell} × {config.ground.cell} sites with the electrons of "
        f"{config.ground.fine_mesh} × {config.ground.fine_mesh} such tori; phases differ by 10⁻⁴ t per "
        "site and less, which a coarse mesh only just resolves.",
        f"Exact and learned quenches were compared on {c.length} × {c.length} sites up to t = {c.duration:g}; the "
        f"lattices of {large.restored_length} × {large.restored_length} and {large.quench_length} × "
        f"{large.quench_length} sites rest on the learned torques alone.",
        "The coupling is J/2 to the Pauli matrices and the hopping enters with a minus sign: with the signs and the "
        "coupling as printed in the thesis this filling has no skyrmions, and torques are larger.",
        "A large p-value means that no difference was seen with this number of quenches, not that there is none: the "
        "error bars in the figures say how large a difference could have hidden.",
    ]


# --- ground states ----------------------------------------------------------------------------------------------------


def phases(run: Run, config: Config) -> Picture:
    data = run.observable("ground_states")
    return magnets.phases(data.omega, reference="helix", charge=data.n_sk)


def textures(run: Run, config: Config) -> Picture:
    """Relaxed textures in the field nearest to that of the dynamics, the ferromagnet apart."""
    data = run.observable("ground_states").sel(field=config.model.B, method="nearest")
    shown = [str(t) for t in data.texture.values if t != "ferromagnet"]
    lattice = triangular(config.ground.cell)
    figure = report.spin_map(data.spins.sel(texture=shown).values, lattice, arrows=True)
    figure.caption = f"Relaxed at B = {float(data.field):g}, from left to right: {'; '.join(shown)}. {figure.caption}"
    return figure


# --- learned against exact --------------------------------------------------------------------------------------------


def torques(run: Run, config: Config) -> Picture:
    data = run.observable("snapshots")
    learned = {str(s): data.learned_force.sel(student=s).values for s in data.student.values}
    return magnets.torque_errors(data.exact_force.values, learned, paper=ANGLE)


def parity(run: Run, config: Config) -> Picture:
    data = run.observable("snapshots")
    figure = report.parity(
        data.exact_force.values, data.learned_force.isel(student=0).values, quantity=r"H_\perp", unit="t"
    )
    figure.caption += f" Student: {data.student.values[0]}."
    return figure


def errors_by_start(run: Run, config: Config) -> Picture:
    data = run.observable("snapshots")
    error = (data.learned_force - data.exact_force).transpose("student", ...)
    groups = {
        f"{student},\n{start}": error.sel(student=student).values[(data.start == start).values]
        for student in data.student.values
        for start in np.unique(data.start.values)
    }
    return report.error_by_group(groups, rng=run.rng("report"), quantity=r"H_\perp", unit="t", group="start")


def equivariance(run: Run, config: Config) -> Picture:
    """Violation of the symmetry beside the error of the prediction, student by student."""
    data = run.observable("snapshots")
    error = (data.learned_force - data.exact_force).transpose("student", ...)
    groups = {}
    for student in data.student.values:
        groups[f"{student},\nerror"] = error.sel(student=student).values
        groups[f"{student},\nviolation"] = data.equivariance.sel(student=student).values
    figure = report.error_by_group(groups, rng=run.rng("report"), quantity=r"H_\perp", unit="t", group="")
    figure.caption = (
        "Error of the prediction, and violation of the symmetry under SO(3) × D6, H(gRΦ) - gRH(Φ), root mean square."
    )
    return figure


def receptive(run: Run, config: Config) -> Picture:
    data = run.observable("response")
    return magnets.receptive_fields(data.share, data.response, triangular(config.length))


def paths(run: Run, config: Config) -> Picture:
    S = run.observable("curves").S
    lattice = triangular(config.comparison.length)
    times = list(study.spread(S.time.values[1:], PANELS))
    by_source = {source: S.sel(source=source) for source in ("exact", "learned")}
    return report.path_profile(by_source, path(lattice), times=times, time_unit=TIME)


def zones(run: Run, config: Config) -> Picture:
    zone = run.observable("curves").zone.isel(time=-1)
    lattice = triangular(config.comparison.length)
    figure = report.zone_map({source: zone.sel(source=source) for source in ("exact", "learned")}, lattice, decades=3)
    figure.caption += f" Mean over {config.comparison.quenches} quenches at t = {float(zone.time):g} {TIME}."
    return figure


def comparison(run: Run, config: Config) -> Picture:
    curves = run.observable("curves")
    panels = {"peaks $M(t)$": curves.M, "length $L(t)$ [a]": curves.L}
    figure = magnets.order_in_time(
        {label: {s: data.sel(source=s) for s in ("exact", "learned")} for label, data in panels.items()},
        logarithmic=list(panels),
        time_unit=TIME,
    )
    figure.caption = f"Exact and learned quenches from the same random spins. {figure.caption}"
    return figure


# --- large lattices ---------------------------------------------------------------------------------------------------


def maps(run: Run, config: Config, *, name: str, window: int | None = None) -> Picture:
    data = run.observable(name)
    lattice = _lattice(config, name)
    part = None if window is None else min(window, lattice.shape[0])
    if window is not None:
        data = data.isel(shown=slice(-2, None))
    return report.spin_map(
        data.spins.values,
        lattice,
        times=list(data.shown.values),
        window=part,
        arrows=window is not None,
        time_unit=TIME,
    )


def restored(run: Run, config: Config) -> Picture:
    data = run.observable("restored")
    cells = config.large.restored_length**2 / CELL_SITES
    charge = "skyrmions $|Q|$"
    figure = magnets.order_in_time(
        {charge: {"learned": abs(data.Q)}, "peaks $M(t)$": {"learned": data.M}},
        mark=config.trajectories.duration,
        levels={charge: cells},
        time_unit=TIME,
    )
    figure.caption = (
        f"A perturbed lattice of skyrmions under learned torques. {figure.caption} Dashed: one skyrmion for every "
        f"magnetic cell; dotted: the end of the trajectories that were learned."
    )
    return figure


def quench(run: Run, config: Config) -> Picture:
    data = run.observable("quench")
    figure = magnets.order_in_time(
        {
            "peaks $M(t)$": {"learned": data.M},
            "length $L(t)$ [a]": {"learned": data.L},
            "cores": {"charge > 0": data.positive, "charge < 0": data.negative, "no charge": data.trivial},
        },
        logarithmic=("peaks $M(t)$", "length $L(t)$ [a]"),
        mark=config.trajectories.duration,
        time_unit=TIME,
    )
    figure.caption = f"Random spins under learned torques. {figure.caption} Dotted: the end of the training data."
    return figure


def quench_zones(run: Run, config: Config) -> Picture:
    zone = run.observable("quench").zone
    times = study.spread(zone.time.values[1:], ZONES)
    by_time = {f"t = {t:g}": zone.sel(time=t) for t in times}
    return report.zone_map(by_time, _lattice(config, "quench"), decades=3)


def charge(run: Run, config: Config) -> Picture:
    data = run.observable("quench").isel(shown=-1)
    lattice = _lattice(config, "quench")
    figure = report.charge_map(charge_density(data.spins.values, lattice), lattice, limit=0.15)
    figure.caption += f" The first quench at t = {float(data.shown):g} {TIME}."
    return figure


def training(run: Run, config: Config, *, kind: str) -> Picture:
    return report.training_curves(run.path / "fit" / kind / "log.csv", x="step")


def _lattice(config: Config, name: str) -> Lattice:
    length = {"restored": config.large.restored_length, "quench": config.large.quench_length}[name]
    return triangular(length)


FIGURES: dict[str, Callable[[Run, Config], Picture]] = {
    "phases": phases,
    "textures": textures,
    "structure_factor": paths,
    "zones": zones,
    "comparison": comparison,
    "restored": restored,
    "restored_maps": partial(maps, name="restored"),
    "quench": quench,
    "quench_maps": partial(maps, name="quench"),
    "quench_close_up": partial(maps, name="quench", window=CLOSE_UP),
    "quench_zones": quench_zones,
    "charge": charge,
    "torques": torques,
    "parity": parity,
    "errors_by_start": errors_by_start,
    "equivariance": equivariance,
    "receptive_field": receptive,
    "symmetry": study.symmetry,
}
