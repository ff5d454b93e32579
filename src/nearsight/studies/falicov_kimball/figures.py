"""The report of the Falicov-Kimball study, from what its run folder holds."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nearsight import plots
from nearsight.analysis import linear_law
from nearsight.lattices import square
from nearsight.plots.published import Published, read_published
from nearsight.plots.style import Picture
from nearsight.studies import Run, report
from nearsight.studies.falicov_kimball.config import Config
from nearsight.studies.falicov_kimball.simulate import fitted, scaled, tail

GROWING = ("s", "l", "R", "L")
PALE = 0.22
"""Colour of σ under the particles, as a fraction of full colour."""
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
    return plots.parity(data.exact, data.learned)


def errors(run: Run, config: Config) -> Picture:
    """Errors by the age of the quench."""
    data = run.observable("snapshots")
    times = report.evenly_spaced(np.unique(data.time.values), PANELS + 1)
    data = data.isel(hop=np.isin(data.time.values, times))
    return plots.rms_errors(data.exact, data.learned, by="time")


def comparison(run: Run, config: Config) -> Picture:
    curves = run.observable("curves")
    # Where one sublattice has all of the lattice L is infinite: the mean is of its inverse.
    inverse = (1.0 / curves.L).assign_attrs(long_name="inverse length of the super-clusters", units="1/a")
    return plots.compare(curves.l, curves.weighted_size, inverse, log="xy")


def correlations(run: Run, config: Config) -> Picture:
    C = run.observable("curves").C
    times = report.evenly_spaced(C.time.values[1:], PANELS)
    return plots.profiles(C.sel(r=C.r > 0), times=list(times), residuals=True, paired=True)


def growth(run: Run, config: Config) -> Picture:
    observed = run.observable("growth").rename(cluster_length="s")  # as columns of tables are named
    laws = [fitted(run, config, observed[name]) for name in GROWING]
    return plots.compare(*(observed[name] for name in GROWING), log="xy", fits=laws, published=published(run))


def collapse(run: Run, config: Config) -> Picture:
    observed = run.observable("growth")
    shown = observed.sel(time=report.evenly_spaced(observed.time.values[1:], CURVES))
    R = shown.R.mean("replica")
    found, law = scaled(run, config, observed), tail(run, observed)
    labels = ("$k R(t)$", r"$S(k, t) \, / R^2(t)$")
    return plots.collapse(shown.S, R, R**-2.0, log="xy", labels=labels, fit=f"{found}. Power of the tail: {law}")


def maps(run: Run, config: Config) -> Picture:
    """The sublattice of the nearest particle."""
    data = run.observable("maps")
    return plots.maps(data.sigma, square(config.large.length), times=list(report.evenly_spaced(data.time.values, MAPS)))


def particles(run: Run, config: Config) -> Picture:
    """Particles by their sublattice over the pale field of the nearest one, in a corner of the lattice."""
    data = run.observable("maps")
    window = min(CLOSE_UP, config.large.length)
    shown = over(data.n, data.sigma)
    times = list(report.evenly_spaced(data.time.values, MAPS))
    return plots.maps(shown, square(config.large.length), times=times, window=window)


def potentials(run: Run, config: Config) -> Picture:
    data = run.observable("potential")
    lowest = data.V.min(("x", "y"))
    V = (data.V - lowest).assign_attrs(long_name="potential above its minimum", units="t")
    return plots.maps([over(data.n, data.sigma), V], square(config.barrier.length))


def barrier_by_length(run: Run, config: Config) -> Picture:
    data = run.observable("barrier")
    finite = np.isfinite(data.L.values)
    line = linear_law(data.L.values[finite], data.barrier.values[finite], rng=run.rng("line", "length"))
    return plots.points(data.L, data.barrier, by=abs(data.M).rename("|M|"), fit=line, published=published(run))


def barrier_by_order(run: Run, config: Config) -> Picture:
    data = run.observable("barrier")
    phi = abs(data.phi).assign_attrs(long_name="order of the sublattices", symbol=r"|\phi|")
    line = linear_law(phi.values, data.barrier.values, rng=run.rng("line"))
    return plots.points(phi, data.barrier, by=abs(data.M).rename("|M|"), fit=line, published=published(run))


def over(n: xr.DataArray, sigma: xr.DataArray) -> xr.DataArray:
    """±1 where a particle is on the A (B) sublattice, pale σ elsewhere."""
    x, y = (xr.DataArray(np.arange(n.sizes[d]), dims=d) for d in "xy")
    shown = xr.where(n > 0.5, (-1.0) ** (x + y), PALE * sigma)
    return shown.transpose(*n.dims).assign_attrs(long_name="particles by sublattice over σ", limit=1.0, centre=0.0)


def published(run: Run) -> list[Published]:
    """Tables that a reader has put into the run."""
    return [read_published(path) for path in sorted((run.path / PUBLISHED).glob("*.csv"))]


FIGURES: dict[str, report.Draw] = {
    "maps": maps,
    "particles": particles,
    "growth": growth,
    "collapse": collapse,
    "comparison": comparison,
    "correlations": correlations,
    "potentials": potentials,
    "barriers": barrier_by_length,
    "barriers_by_order": barrier_by_order,
    "parity": parity,
    "errors_by_age": errors,
    "symmetry": report.symmetry,
    "training": report.training,
}
