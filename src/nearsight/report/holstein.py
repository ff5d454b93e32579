"""The report of the Holstein study, from what its run folder holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr
from pydantic import BaseModel

from nearsight import report
from nearsight.analysis import cdw_order, structure_factor
from nearsight.lattices import square
from nearsight.report.style import Picture
from nearsight.studies import Run, get
from nearsight.studies.holstein.config import Config
from nearsight.studies.holstein.simulate import fitted
from nearsight.studies.holstein.snapshots import PAPER_ERROR, SYMMETRY
from nearsight.studies.settings import difference

TIMES = 4
"""Times at which correlations and maps are drawn."""


def build(run: Run, config: Config) -> None:
    """Write ``figures/`` and ``report.html``."""
    study = get("holstein")
    report.write_report(
        run.path / "report.html",
        title=f"Holstein model: charge-density waves after a quench ({run.path.name})",
        question=study.question,
        verdicts=run.verdicts,
        figures={name: draw(run, config) for name, draw in FIGURES.items()},
        config=run.config,
        manifest=run.manifest,
        notes=notes(config),
        command=command(study.name, study.presets, config),
    )


def command(name: str, presets: Mapping[str, BaseModel], config: BaseModel) -> list[str]:
    """The shortest command that gives this configuration."""
    options = {preset: difference(start, config) for preset, start in presets.items()}
    preset = min(options, key=lambda p: len(options[p]))
    settings = [word for setting in options[preset] for word in ("--set", setting)]
    return ["nearsight", "run", name, "--preset", preset, *settings]


def notes(config: Config) -> list[str]:
    side = config.comparison.length
    return [
        f"Exact and learned quenches were compared on {side} × {side} sites up to t = {config.comparison.duration:g}; "
        f"the quench of {config.large.length} × {config.large.length} sites rests on the learned forces alone, and "
        "on the assumption that what matters there also occurs on the small lattice.",
        "A large p-value means that no difference was seen with this number of quenches, not that there is none: the "
        "error bars in the figures say how large a difference could have hidden.",
    ]


def training(run: Run, config: Config) -> Picture:
    return report.training_curves(run.path / "fit" / "log.csv", x="step")


def parity(run: Run, config: Config) -> Picture:
    data = run.observable("snapshots")
    return report.parity(data.exact_density.values, data.learned_density.values, quantity="n")


def errors(run: Run, config: Config) -> Picture:
    data = run.observable("snapshots")
    error = (data.learned_density - data.exact_density).values
    return report.error_histogram(error, quantity="n", paper=PAPER_ERROR, source="arXiv:2201.00798")


def errors_by_kind(run: Run, config: Config) -> Picture:
    data = run.observable("snapshots")
    error = data.learned_density - data.exact_density
    groups = {str(kind): error.values[(data.kind == kind).values] for kind in data.group.values}
    return report.error_by_group(groups, rng=run.rng("report"), quantity="n")


def symmetry(run: Run, config: Config) -> Picture:
    violation = run.observable("snapshots").symmetry_error.values[1:]  # the identity comes first
    labels = [f"$g_{k}$" for k in range(1, len(violation) + 1)]
    return report.symmetry_error({"learned": violation}, labels=labels, tolerance=SYMMETRY)


def lengths(run: Run, config: Config) -> Picture:
    L = run.observable("curves").L
    picture = report.growth({source: L.sel(source=source) for source in ("exact", "learned")})
    side = config.comparison.length
    picture.caption = (
        f"Domain size after quenches of {side} × {side} sites with exact and with learned forces, from the same "
        "initial fields with independent noise. Bands are one standard error."
    )
    return picture


def correlations(run: Run, config: Config) -> Picture:
    C = run.observable("curves").C
    chosen = _spread(C.time.values[1:])
    return report.correlations(C.sel(source="exact"), C.sel(source="learned"), times=list(chosen))


def domains(run: Run, config: Config) -> Picture:
    maps = _order(run, config)
    chosen = maps.sel(time=_spread(maps.time.values[1:]))
    return report.snapshots(chosen, square(config.large.length), times=[round(float(t), 3) for t in chosen.time])


def scattering(run: Run, config: Config) -> Picture:
    maps = run.observable("maps")
    lattice = square(config.large.length)
    density = maps.density.isel(time=-1).values.reshape(-1)
    S = structure_factor(density - density.mean(), lattice)
    return report.structure_factor_map(S, title=f"t = {float(maps.time[-1]):g}", about=(np.pi, np.pi))


def growth(run: Run, config: Config) -> Picture:
    observed = run.observable("growth")
    law = fitted(run, config, observed)
    return report.growth({"learned": observed.L.transpose("replica", "time")}, {"learned": law} if law else None)


def _order(run: Run, config: Config) -> xr.DataArray:
    density = run.observable("maps").density.stack(site=("x", "y"), create_index=False)
    return cdw_order(density, square(config.large.length), mean=0.5 * config.model.spins)


def _spread(times: np.ndarray) -> np.ndarray:
    """A few of the times, the last among them."""
    return times[np.unique(np.linspace(0, len(times) - 1, TIMES).round().astype(int))]


FIGURES: dict[str, Callable[[Run, Config], Picture]] = {
    "domains": domains,
    "growth": growth,
    "comparison": lengths,
    "correlations": correlations,
    "parity": parity,
    "errors": errors,
    "errors_by_kind": errors_by_kind,
    "structure_factor": scattering,
    "symmetry": symmetry,
    "training": training,
}
