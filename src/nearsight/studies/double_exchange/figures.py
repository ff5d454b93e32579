"""The report of the double-exchange study, from what its run folder holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from nearsight import plots
from nearsight.lattices import square
from nearsight.plots import magnets
from nearsight.plots.maps import Layer
from nearsight.plots.style import Picture
from nearsight.studies import Run, report
from nearsight.studies.double_exchange.config import Config
from nearsight.studies.double_exchange.ground_states import ONE_PHASE
from nearsight.studies.double_exchange.ground_states import coexistence as maxwell
from nearsight.studies.double_exchange.physics import bond_order, path
from nearsight.studies.magnets import figures as torques
from nearsight.studies.magnets.figures import SOURCES, TIME

CLOSE_UP = 24
"""Cells along an edge of the close-ups in which arrows are seen, at the last two times."""
COLUMNS = 5
"""Times at which one exact and one learned quench stand side by side."""
MAPS = (
    "Bond order b_i, the mean of S_i·S_j over neighbours: blue is antiferromagnetic, orange ferromagnetic; and exact "
    "electrons per site on the same spins: white is one electron, blue fewer."
)


def build(run: Run, config: Config) -> None:
    """Write ``figures/`` and ``report.html``."""
    title = "The double-exchange magnet: learned torques and phases that part"
    zones = partial(torques.quench_zones, lattice=square(config.large.length))
    figures: dict[str, report.Draw] = {**FIGURES, "quench_zones": zones, **torques.of_students(config, square)}
    report.write(run, config, study="double_exchange", title=title, figures=figures, notes=notes(config))


def notes(config: Config) -> list[str]:
    c, large = config.comparison, config.large
    result = [
        f"Exact and learned quenches were compared on {c.length} × {c.length} sites up to t = {c.duration:g}; the "
        f"lattice of {large.length} × {large.length} sites rests on the learned torques alone. Electrons were put on a "
        "few of its textures afterwards, and moved nothing.",
        "A large p-value means that no difference was seen with this number of quenches, not that there is none: the "
        "error bars in the figures say how large a difference could have hidden.",
    ]
    if not config.half_filled:
        result.append(
            "The data have a fixed number of electrons, and their chemical potential falls while the spins order. A "
            "student is local: it cannot know a number that belongs to all sites, but learns from the order around a "
            "site which μ is usual in such surroundings. Its dynamics conserves no number; how well the number is kept "
            "all the same is one of the verdicts."
        )
    return result


# --- ground states ----------------------------------------------------------------------------------------------------


def phases(run: Run, config: Config) -> Picture:
    energy = run.observable("phases").energy
    found = maxwell(run.observable("phases"), 1.0 - 2 * ONE_PHASE)
    return magnets.coexistence(energy, low=found.low, high=found.high, mu=found.mu, density=config.density)


def holes(run: Run, config: Config) -> Picture:
    found = maxwell(run.observable("phases"), 1.0 - 2 * ONE_PHASE)
    return magnets.trapped_holes(run.observable("bubbles").energy, bulk=-found.mu)


# --- learned against exact --------------------------------------------------------------------------------------------


def number(run: Run, config: Config) -> Picture:
    mu = run.observable("densities").mu
    found = None if config.half_filled else maxwell(run.observable("phases"), config.density).mu
    curves = {source: mu.sel(source=source) for source in SOURCES}
    return magnets.chemical_potentials(curves, run.observable("number"), coexisting=found, time_unit=TIME)


def comparison(run: Run, config: Config) -> Picture:
    curves = run.observable("curves")
    panels = {
        "bond order $-b(t)$": -curves.b,
        "length $L(t)$ [a]": curves.L,
        "ferromagnetic sites": curves.ferro,
    }
    figure = magnets.order_in_time(
        {label: {s: data.sel(source=s) for s in SOURCES} for label, data in panels.items()},
        time_unit=TIME,
    )
    figure.caption = f"Exact and learned quenches from the same random spins. {figure.caption}"
    return figure


def side_by_side(run: Run, config: Config) -> Picture:
    """Bond order and electrons of the first exact and the first learned quench."""
    data, n = (run.observable(name).isel(replica=0) for name in ("curves", "densities"))
    lattice = square(config.comparison.length)
    times = report.evenly_spaced(data.time.values, COLUMNS)
    layers = []
    for source in SOURCES:
        spins = data.spins.sel(source=source, time=times).transpose("time", "site", "component")
        b = bond_order(torch.from_numpy(spins.values), lattice)
        layers += _layers(b, n.n.sel(source=source, time=times).transpose("time", "site").values, f", {source}")
    figure = plots.gallery(layers, lattice, times=list(times), time_unit=TIME)
    figure.caption = f"An exact quench, and the learned one from the same random spins. {MAPS} Times in {TIME}."
    return figure


# --- the large lattice ------------------------------------------------------------------------------------------------


def maps(run: Run, config: Config) -> Picture:
    data = run.observable("maps")
    lattice = square(config.large.length)
    figure = plots.gallery(_layers(data.b.values, data.n.values), lattice, times=data.shown.values, time_unit=TIME)
    figure.caption = f"Learned torques on {lattice!r}. {MAPS} Times in {TIME}."
    return figure


def close_up(run: Run, config: Config) -> Picture:
    data = run.observable("quench").isel(shown=slice(-2, None))
    lattice = square(config.large.length)
    return plots.spin_map(
        data.spins.values,
        lattice,
        times=list(data.shown.values),
        window=min(CLOSE_UP, config.large.length),
        arrows=True,
        time_unit=TIME,
    )


def quench(run: Run, config: Config) -> Picture:
    """The large learned quench over the small exact ones."""
    large, small = run.observable("quench"), run.observable("curves").sel(source="exact")
    names = {"L": "length $L(t)$ [a]", "ferro": "ferromagnetic sites", "cluster": "sites of a cluster"}
    figure = magnets.order_in_time(
        {label: {"exact": small[name], "learned": large[name]} for name, label in names.items()},
        logarithmic=("length $L(t)$ [a]", "sites of a cluster"),
        mark=config.trajectories.duration,
        time_unit=TIME,
    )
    figure.caption = (
        f"Random spins under learned torques on {config.large.length} × {config.large.length} sites, and under exact "
        f"ones on {config.comparison.length} × {config.comparison.length}, where clusters and lengths have less room. "
        f"{figure.caption} Dotted: the end of the training data."
    )
    return figure


def _layers(b: np.ndarray, n: np.ndarray, of: str = "") -> list[Layer]:
    return [Layer(b, f"$b_i${of}", limit=1.0), Layer(n, rf"$\langle n_i \rangle${of}", centre=1.0, limit=0.4)]


FIGURES: dict[str, Callable[[Run, Config], Picture]] = {
    "phases": phases,
    "holes": holes,
    "maps": maps,
    "close_up": close_up,
    "quench": quench,
    "side_by_side": side_by_side,
    "comparison": comparison,
    "structure_factor": partial(torques.paths, path=path, lattice=square),
    "zones": partial(torques.zones, lattice=square),
    "number": number,
}
