"""The report of the Jahn-Teller study, from what its run folder holds."""

from __future__ import annotations

from functools import partial

import xarray as xr

from nearsight import plots
from nearsight.analysis import (
    contrast_order,
    departure,
    local_amplitude,
    local_exponent,
    weighted_mean_and_error,
)
from nearsight.lattices import Lattice, square
from nearsight.plots.maps import Layer
from nearsight.plots.style import Picture
from nearsight.storage import rounded
from nearsight.studies import Run, report
from nearsight.studies.jahn_teller.config import Config
from nearsight.studies.jahn_teller.simulate import fitted
from nearsight.studies.jahn_teller.snapshots import PAPER_ERROR

SYMBOLS = {"Q1": "F^{A_1}/λ", "Qx": "F^x/λ", "Qz": "F^z/λ"}
TIME = r"$\tau_0$"
PANELS, MAPS = 6, 4
"""Times at which correlations, and at which maps, are drawn."""


def build(run: Run, config: Config) -> None:
    """Write ``figures/`` and ``report.html``."""
    title = "Cooperative Jahn-Teller model: orbital order after a quench"
    domains = {f"domains_{k}": partial(maps, filling=f) for k, f in enumerate(_names(run.observable("maps")))}
    report.write(run, config, study="jahn_teller", title=title, figures=domains | FIGURES, notes=notes(run))


def notes(run: Run) -> list[str]:
    maps = run.observable("maps")
    curves = run.observable("curves")
    side = 2 * (curves.sizes["r"] - 1)
    return [
        f"Exact and learned quenches were compared on {side} × {side} sites at f = {_compared(curves):g} up to "
        f"t = {rounded(curves.time[-1])} τ0; the quenches of {maps.sizes['x']} × {maps.sizes['y']} sites rest on the "
        "learned forces alone, and on the assumption that what matters there also occurs on the small lattice.",
        "A large p-value means that no difference was seen with this number of quenches, not that there is none: the "
        "error bars in the figures say how large a difference could have hidden.",
        "Late freezing is judged by the local exponent of L(t). Where it has not fallen below the threshold by the end "
        "of the record, that is what the report says: a longer run, not a bolder reading, would decide.",
    ]


def parity(run: Run, config: Config) -> Picture:
    data = run.observable("snapshots")
    exact, learned = (
        {SYMBOLS[str(mode)]: data[name].sel(mode=mode).values for mode in data.mode.values}
        for name in ("exact_force", "learned_force")
    )
    return plots.parity_by_mode(exact, learned, paper=PAPER_ERROR, source="thesis (sec. 7.3.4)")


def errors_by_kind(run: Run, config: Config) -> Picture:
    data = run.observable("snapshots")
    error = data.learned_force - data.exact_force
    groups = {str(kind): error.values[(data.kind == kind).values] for kind in data.group.values}
    return plots.error_by_group(groups, rng=run.rng("report"), quantity="F/λ")


def correlations(run: Run, config: Config) -> Picture:
    C = run.observable("curves").C
    times = report.evenly_spaced(C.time.values[1:], PANELS)
    return plots.axial_correlations(C.sel(source="exact"), C.sel(source="learned"), times=list(times), time_unit=TIME)


def lengths(run: Run, config: Config) -> Picture:
    curves = run.observable("curves")
    by_source = {source: curves.L.sel(source=source) for source in ("exact", "learned")}
    picture = plots.growth(by_source, time_unit=TIME)
    side = 2 * (curves.sizes["r"] - 1)
    picture.caption = (
        f"Size of the orbital domains after quenches of {side} × {side} sites at f = {_compared(curves):g} with "
        "exact and with learned forces, from the same initial fields with independent noise. Bands are one standard "
        "error."
    )
    return picture


def growth(run: Run, config: Config) -> Picture:
    lengths = _by_filling(run.observable("growth").L)
    laws = {name: fitted(run, config, L) for name, L in lengths.items()}
    exponents, falls = {}, {}
    for name, L in lengths.items():
        since = 0.0 if (law := laws[name]) is None else law.t0
        try:
            exponents[name] = local_exponent(L, rng=run.rng("local exponent"), since=since)
            falls[name] = departure(L, rng=run.rng("departure"), since=since)
        except ValueError:  # no window of the local exponent was recorded in full
            continue
    return plots.coarsening(lengths, exponents, laws=laws, departures=falls, time_unit=TIME)


def peak(run: Run, config: Config) -> Picture:
    S = run.observable("growth").S
    times = list(report.evenly_spaced(S.time.values[1:], MAPS))
    return plots.peak_profile(_by_filling(S), times=times, time_unit=TIME)


def walls(run: Run, config: Config) -> Picture:
    observed = run.observable("growth")
    directions, profiles = {}, {}
    for filling, name in _names(observed).items():
        data = observed.sel(filling=filling)
        directions[name] = weighted_mean_and_error(data.diagonal, data.wall_length)
        last = data.isel(time=-1)
        profiles[name] = weighted_mean_and_error(last.charge, last.charge_sites)
    return plots.walls(directions, profiles, time_unit=TIME)


def maps(run: Run, config: Config, filling: float) -> Picture:
    """Orbital domains, density and patches of charge order of one filling, row by row."""
    data = run.observable("maps").sel(filling=filling)
    lattice = square(data.sizes["x"], data.sizes["y"])
    data = data.sel(time=report.evenly_spaced(data.time.values[1:], MAPS)).stack(site=("x", "y"), create_index=False)
    layers = [
        Layer(data.phi, r"orbital order $\varphi$"),
        Layer(data.density, r"density $\langle n \rangle$", centre=2 * filling),
        Layer(charge_order(data.density, lattice), "charge order", centre=None),
    ]
    return plots.gallery(
        layers, lattice, times=list(data.time.values), title=_names(run.observable("maps"))[filling], time_unit=TIME
    )


def charge_order(density: xr.DataArray, lattice: Lattice) -> xr.DataArray:
    """Amplitude of the checkerboard of the density around every site."""
    return local_amplitude(contrast_order(density, lattice), lattice)


def _compared(curves: xr.Dataset) -> float:
    return float(curves.attrs["filling"])


def _names(data: xr.Dataset | xr.DataArray) -> dict[float, str]:
    return {float(f): f"f = {float(f):g}" for f in data.filling.values}


def _by_filling(data: xr.DataArray) -> dict[str, xr.DataArray]:
    return {name: data.sel(filling=filling).transpose("replica", ...) for filling, name in _names(data).items()}


FIGURES: dict[str, report.Draw] = {
    "growth": growth,
    "structure_factor": peak,
    "walls": walls,
    "correlations": correlations,
    "comparison": lengths,
    "parity": parity,
    "errors_by_kind": errors_by_kind,
    "symmetry": report.symmetry,
    "training": report.training,
}
