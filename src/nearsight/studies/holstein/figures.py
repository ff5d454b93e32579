"""The report of the Holstein study, from what its run folder holds."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nearsight import plots
from nearsight.analysis import cdw_order, structure_factor
from nearsight.lattices import square
from nearsight.plots.style import Picture
from nearsight.studies import Run, report
from nearsight.studies.holstein.config import Config
from nearsight.studies.holstein.simulate import fitted
from nearsight.studies.holstein.snapshots import PAPER_ERROR

TIMES = 4
"""Times at which correlations and maps are drawn."""


def build(run: Run, config: Config) -> None:
    """Write ``figures/`` and ``report.html``."""
    title = "Holstein model: charge-density waves after a quench"
    report.write(run, config, study="holstein", title=title, figures=FIGURES, notes=notes(config))


def notes(config: Config) -> list[str]:
    side = config.comparison.length
    return [
        f"Exact and learned quenches were compared on {side} × {side} sites up to t = {config.comparison.duration:g}; "
        f"the quench of {config.large.length} × {config.large.length} sites rests on the learned forces alone, and "
        "on the assumption that what matters there also occurs on the small lattice.",
        "A large p-value means that no difference was seen with this number of quenches, not that there is none: the "
        "error bars in the figures say how large a difference could have hidden.",
    ]


def parity(run: Run, config: Config) -> Picture:
    data = run.observable("snapshots")
    return plots.parity(data.exact_density.values, data.learned_density.values, quantity="n")


def errors(run: Run, config: Config) -> Picture:
    data = run.observable("snapshots")
    error = (data.learned_density - data.exact_density).values
    return plots.error_histogram(error, quantity="n", paper=PAPER_ERROR, source="arXiv:2201.00798")


def errors_by_kind(run: Run, config: Config) -> Picture:
    data = run.observable("snapshots")
    error = data.learned_density - data.exact_density
    groups = {str(kind): error.values[(data.kind == kind).values] for kind in data.group.values}
    return plots.error_by_group(groups, rng=run.rng("report"), quantity="n")


def lengths(run: Run, config: Config) -> Picture:
    L = run.observable("curves").L
    picture = plots.growth({source: L.sel(source=source) for source in ("exact", "learned")})
    side = config.comparison.length
    picture.caption = (
        f"Domain size after quenches of {side} × {side} sites with exact and with learned forces, from the same "
        "initial fields with independent noise. Bands are one standard error."
    )
    return picture


def correlations(run: Run, config: Config) -> Picture:
    C = run.observable("curves").C
    chosen = report.evenly_spaced(C.time.values[1:], TIMES)
    return plots.correlations(C.sel(source="exact"), C.sel(source="learned"), times=list(chosen))


def domains(run: Run, config: Config) -> Picture:
    maps = _order(run, config)
    chosen = maps.sel(time=report.evenly_spaced(maps.time.values[1:], TIMES))
    return plots.snapshots(chosen, square(config.large.length), times=[round(float(t), 3) for t in chosen.time])


def scattering(run: Run, config: Config) -> Picture:
    maps = run.observable("maps")
    lattice = square(config.large.length)
    density = maps.density.isel(time=-1).values.reshape(-1)
    S = structure_factor(density - density.mean(), lattice)
    return plots.structure_factor_map(S, title=f"t = {float(maps.time[-1]):g}", about=(np.pi, np.pi))


def growth(run: Run, config: Config) -> Picture:
    observed = run.observable("growth")
    law = fitted(run, config, observed)
    return plots.growth({"learned": observed.L.transpose("replica", "time")}, {"learned": law} if law else None)


def _order(run: Run, config: Config) -> xr.DataArray:
    density = run.observable("maps").density.stack(site=("x", "y"), create_index=False)
    return cdw_order(density, square(config.large.length), mean=config.mean_density)


FIGURES: dict[str, report.Draw] = {
    "domains": domains,
    "growth": growth,
    "comparison": lengths,
    "correlations": correlations,
    "parity": parity,
    "errors": errors,
    "errors_by_kind": errors_by_kind,
    "structure_factor": scattering,
    "symmetry": report.symmetry,
    "training": report.training,
}
