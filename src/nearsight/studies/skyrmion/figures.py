"""The report of the skyrmion study, from what its run folder holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from nearsight import plots
from nearsight.analysis import charge_density
from nearsight.lattices import Lattice, triangular
from nearsight.plots import magnets
from nearsight.plots.style import Picture
from nearsight.studies import Run, report
from nearsight.studies.magnets import figures as torques
from nearsight.studies.magnets.figures import TIME
from nearsight.studies.skyrmion.config import Config
from nearsight.studies.skyrmion.dynamics import path
from nearsight.studies.skyrmion.physics import CELL_SITES

CLOSE_UP = 24
"""Cells along an edge of the close-ups in which arrows are seen, at the last two times."""


def build(run: Run, config: Config) -> None:
    """Write ``figures/`` and ``report.html``."""
    title = "Skyrmions of an itinerant magnet: learned torques, crystals and quenches"
    quench_zones = partial(torques.quench_zones, lattice=_lattice(config, "quench"))
    figures: dict[str, report.Draw] = {
        **FIGURES,
        "quench_zones": quench_zones,
        **torques.of_students(config, triangular),
    }
    report.write(run, config, study="skyrmion", title=title, figures=figures, notes=notes(config))


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
    figure = plots.spin_map(data.spins.sel(texture=shown).values, lattice, arrows=True)
    figure.caption = f"Relaxed at B = {float(data.field):g}, from left to right: {'; '.join(shown)}. {figure.caption}"
    return figure


# --- learned against exact --------------------------------------------------------------------------------------------


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
    return plots.spin_map(
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


def charge(run: Run, config: Config) -> Picture:
    data = run.observable("quench").isel(shown=-1)
    lattice = _lattice(config, "quench")
    figure = plots.charge_map(charge_density(data.spins.values, lattice), lattice, limit=0.15)
    figure.caption += f" The first quench at t = {float(data.shown):g} {TIME}."
    return figure


def _lattice(config: Config, name: str) -> Lattice:
    length = {"restored": config.large.restored_length, "quench": config.large.quench_length}[name]
    return triangular(length)


FIGURES: dict[str, Callable[[Run, Config], Picture]] = {
    "phases": phases,
    "textures": textures,
    "structure_factor": partial(torques.paths, path=path, lattice=triangular),
    "zones": partial(torques.zones, lattice=triangular),
    "comparison": comparison,
    "restored": restored,
    "restored_maps": partial(maps, name="restored"),
    "quench": quench,
    "quench_maps": partial(maps, name="quench"),
    "quench_close_up": partial(maps, name="quench", window=CLOSE_UP),
    "charge": charge,
}
