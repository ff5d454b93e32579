"""Figures of the study of silicon's gap."""

from __future__ import annotations

from typing import Any

import xarray as xr

import nearsight as ns
from nearsight.studies.run import Run

CORNERS = ("L", "Γ", "X")
"""Where the path of the bands begins, turns in the middle, and ends."""


def draw_bands(run: Run, c: Any) -> Any:
    data = run.observable("bands")

    @ns.plots.styled
    def draw() -> Any:
        figure = ns.plots.picture(6.0, 2.8)
        for axes, name in zip(figure.subplots(1, 2), ("electrons", "phonons"), strict=True):
            axes.plot(data.wave, data[name], color="#0072b2")
            ticks = data.wave.values[[0, len(data.wave) // 2 - 1, -1]]
            axes.set(xticks=ticks, xticklabels=CORNERS, xlim=ticks[[0, 2]])
            axes.set_ylabel(f"{data[name].long_name} ({data[name].units})")
            axes.axvline(ticks[1], color="#cccccc", linewidth=0.7)
        figure.axes[0].set_ylim(-10, 14)
        figure.caption = (
            "Electron bands by tight binding, and phonons by the valence force field, of the perfect crystal."
        )
        return figure

    return draw()


def draw_parity(run: Run, c: Any) -> dict[str, Any]:
    data = run.observable("gaps")
    exact = data.exact.assign_attrs(long_name="exact shift of the gap")
    learned = data.learned.assign_attrs(long_name="shift by the surrogate")
    return {str(s): ns.plots.parity(exact, learned.sel(surrogate=s)) for s in data.surrogate.values}


def draw_histogram(run: Run, c: Any) -> Any:
    return ns.plots.histograms(run.observable("gaps").training.isel(temperature=[0, -1]), by="temperature")


def draw_errors(run: Run, c: Any) -> Any:
    data = run.observable("gaps")
    error = data.learned.sel(surrogate="learned") - data.exact
    return ns.plots.histograms(error.assign_attrs(long_name="learned minus exact", units="meV"), by="temperature")


def draw_curve(run: Run, c: Any) -> Any:
    curve, means = run.observable("curve"), run.observable("renormalisation")
    plain = xr.Dataset({"mean": means.plain, "error": means.plain_error})
    smooth = xr.Dataset({"mean": curve["mean"], "error": curve.error})
    return ns.plots.compare({"exact gaps alone": plain, "with the surrogate": smooth}, x="temperature")


def draw_sizes(run: Run, c: Any) -> Any:
    return ns.plots.compare(run.observable("sizes")["shift"], x="length", by="temperature")
