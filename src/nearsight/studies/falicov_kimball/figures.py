"""The report of the Falicov-Kimball study, from what its run folder holds."""

from __future__ import annotations

import numpy as np

from nearsight import plots
from nearsight.analysis import linear_law
from nearsight.lattices import square
from nearsight.plots.published import Published, read_published
from nearsight.plots.style import Picture
from nearsight.studies import Run, report
from nearsight.studies.falicov_kimball.config import Config
from nearsight.studies.falicov_kimball.simulate import fitted, scaled, tail

TIME = "attempts per f electron"
MAPS, PANELS, CURVES = 4, 3, 6
CLOSE_UP = 60
"""Cells along an edge that are shown of a large lattice, where single f electrons are still seen."""
PUBLISHED = "published"
"""Folder of a run for tables (csv with a card in yaml) whose columns t and s, l, L or barrier are drawn beside ours."""


def build(run: Run, config: Config) -> None:
    """Write ``figures/`` and ``report.html``."""
    title = "Falicov-Kimball model: checkerboards, super-clusters, and what freezes them"
    report.write(run, config, study="falicov_kimball", title=title, figures=FIGURES, notes=notes(run, config))


def notes(run: Run, config: Config) -> list[str]:
    return [
        f"Time counts attempts per f electron; a plot in units of 100 attempts of single electrons shows "
        f"{config.f_density:g} N t / 100 for N sites.",
        f"Exact and learned quenches were compared on {config.comparison.length} × {config.comparison.length} sites up "
        f"to t = {config.comparison.duration:g}; the quench of {config.large.length} × {config.large.length} sites "
        "rests on the learned energies alone.",
        "A large p-value means that no difference was seen with this number of quenches, not that there is none: the "
        "error bars in the figures say how large a difference could have hidden.",
        f"Tables in the folder {PUBLISHED!r} of this run, each with its card, are drawn as open symbols by the next "
        "report.",
    ]


def parity(run: Run, config: Config) -> Picture:
    data = run.observable("snapshots")
    return plots.parity(data.exact.values, data.learned.values, quantity=r"\Delta F", unit="t")


def errors(run: Run, config: Config) -> Picture:
    """Errors by the age of the quench."""
    data = run.observable("snapshots")
    error = (data.learned - data.exact).values
    times = np.unique(data.time.values)
    groups = {f"t = {t:g}": error[data.time.values == t] for t in report.evenly_spaced(times, PANELS + 1)}
    return plots.error_by_group(groups, rng=run.rng("report"), quantity=r"\Delta F / t")


def comparison(run: Run, config: Config) -> Picture:
    curves = run.observable("curves")
    # Where one sublattice rules everywhere L is infinite: the mean is of its inverse.
    inverse = (1.0 / curves.L).assign_attrs(units="1/a")
    panels = {r"\ell(t)": curves.l, r"\langle s \rangle(t)": curves.weighted_size, "1/L(t)": inverse}
    return plots.separation_growth(
        {
            symbol: {source: data.sel(source=source) for source in ("exact", "learned")}
            for symbol, data in panels.items()
        },
        time_unit=TIME,
    )


def correlations(run: Run, config: Config) -> Picture:
    C = run.observable("curves").C
    times = report.evenly_spaced(C.time.values[1:], PANELS)
    exact, learned = (C.sel(source=source, r=C.r > 0) for source in ("exact", "learned"))
    return plots.pair_correlations(exact, learned, times=list(times), paired=True, time_unit=TIME)


def growth(run: Run, config: Config) -> Picture:
    observed = run.observable("growth")
    panels = {
        r"\langle s \rangle^{1/2}(t)": "cluster_length",
        r"\ell(t)": "l",
        "R(t)": "R",
        "L(t)": "L",
    }
    columns = {"cluster_length": "s", "l": "l", "R": "R", "L": "L"}
    tables = {name: published(run, column) for name, column in columns.items()}
    laws = {symbol: fitted(run, config, observed[name]) for symbol, name in panels.items()}
    picture = plots.separation_growth(
        {symbol: {"learned": observed[name].transpose("replica", "time")} for symbol, name in panels.items()},
        fits={symbol: {"learned": law} for symbol, law in laws.items() if law},
        published={symbol: tables[name] for symbol, name in panels.items() if tables[name]},
        time_unit="1",  # four panels have no room for it
    )
    picture.caption += f" Time in {TIME}."
    return picture


def collapse(run: Run, config: Config) -> Picture:
    observed = run.observable("growth")
    S, R = observed.S.transpose("replica", "time", "k"), observed.R.transpose("replica", "time")
    times = report.evenly_spaced(observed.time.values[1:], CURVES)
    found, law = scaled(run, config, observed), tail(run, observed)
    return plots.scaling_collapse(
        S,
        R,
        dimension=2,
        times=list(times),
        found=None if isinstance(found, str) else found,
        tail=None if isinstance(law, str) else law,
        symbol="R",
        time_unit=TIME,
    )


def maps(run: Run, config: Config) -> Picture:
    data = run.observable("maps")
    data = data.sel(time=report.evenly_spaced(data.time.values, MAPS)).stack(site=("x", "y"), create_index=False)
    side = config.large.length
    close_up = CLOSE_UP if side > 1.5 * CLOSE_UP else None
    times = list(data.time.values)
    return plots.sublattice_maps(data.n, data.sigma, square(side), times=times, close_up=close_up, time_unit=TIME)


def potentials(run: Run, config: Config) -> Picture:
    data = run.observable("potential").stack(site=("x", "y"), create_index=False)
    return plots.particle_potentials(data.V, data.n, data.sigma, square(config.barrier.length))


def barriers(run: Run, config: Config) -> Picture:
    data = run.observable("barrier")
    finite = np.isfinite(data.L.values)
    fits = (
        linear_law(data.L.values[finite], data.barrier.values[finite], rng=run.rng("line", "length")),
        linear_law(np.abs(data.phi.values), data.barrier.values, rng=run.rng("line")),
    )
    tables = [table for table, _ in published(run, "barrier")]
    return plots.barriers(data.barrier, data.L, data.phi, data.M, fits=fits, published=tables)


def published(run: Run, column: str) -> list[tuple[Published, str]]:
    """Tables that a reader has put into the run and that hold a column."""
    tables = [read_published(path) for path in sorted((run.path / PUBLISHED).glob("*.csv"))]
    return [(table, column) for table in tables if column in table.columns]


FIGURES: dict[str, report.Draw] = {
    "maps": maps,
    "growth": growth,
    "collapse": collapse,
    "comparison": comparison,
    "correlations": correlations,
    "potentials": potentials,
    "barriers": barriers,
    "parity": parity,
    "errors_by_age": errors,
    "symmetry": report.symmetry,
    "training": report.training,
}
