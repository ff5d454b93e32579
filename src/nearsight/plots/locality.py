"""Pictures of locality: the response of forces by distance, and errors against the cutoff."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from nearsight._validation import instance
from nearsight.plots._axes import light_grid, plain_log_ticks, require, with_unit
from nearsight.plots.style import CYCLE, EXACT, LEARNED, PAGE, PAPER, Picture, picture, styled

NAMES = {"exact": "exact, fixed μ", "canonical": "exact, fixed number"}
MARKERS = "osD^vP"


@styled
def locality(data: xr.Dataset) -> Picture:
    """The response by distance, and errors against the cutoff, from the data of a ``LocalityReport``.

    Left: |∂F_i/∂Φ_j|, rms over pairs and fields. Right: the irreducible error of any model with a given cutoff, and
    the models' own errors where they were measured.
    """
    instance(data, xr.Dataset, "data", "Pass report.data of a LocalityReport.")
    both = "response" in data
    figure = picture(PAGE if both else 0.6 * PAGE, 2.8)
    panels = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
    if both:
        _responses(panels[0], data)
    _errors(panels[-1], data)
    growth = CAPTION_GROWTH * ("probe_error" in data)
    figure.caption = (CAPTION_RESPONSE * both + CAPTION_ERRORS + growth).strip()
    return figure


CAPTION_RESPONSE = (
    "Left: root-mean-square response of a force to the field at distance r, with exponential decay dashed where it was "
    "fitted. A model that ends before the exact curve does not respond to the rest. "
)
CAPTION_ERRORS = (
    "Error against the cutoff of a model: the line with its band of one standard error is the irreducible error of any "
    "model of that size, the points are the models. "
)
CAPTION_GROWTH = "Diamonds: models that differ in their cutoff alone, after a short training that is the same for all."


def _responses(axes: Axes, data: xr.Dataset) -> None:
    others = iter(c for c in CYCLE * 3 if c not in (EXACT, LEARNED, PAPER))
    models = [str(name) for name in data["model"].values] if "model" in data.coords else []
    for source in map(str, data["source"].values):
        found = data.sel(source=source)
        colour = {"exact": EXACT, "canonical": PAPER}.get(source) or (
            LEARNED if models[:1] == [source] else next(others)
        )
        values = found["response"].where(found["response"] > 1e-9 * float(found["response"].max()))
        shown = values.dropna("r")
        label = NAMES.get(source, source)
        axes.plot(shown["r"], shown, "o", color=colour, markersize=2.8, alpha=0.85, label=label)
        length, limit = float(found["decay_length"]), float(data.attrs["half_period"])
        inside = shown.sel(r=(shown["r"] > 0.9) & (shown["r"] <= limit + 1e-6))
        if source == "exact" and np.isfinite(length) and inside.sizes["r"] > 1:
            r = inside["r"].values
            amplitude = np.exp(np.mean(np.log(inside.values) + r / length))
            fit_label = rf"$e^{{-r/\xi_F}}$, $\xi_F = {length:.2g}\,a$"
            axes.plot(r, amplitude * np.exp(-r / length), "--", color=colour, linewidth=0.9, label=fit_label)
    axes.set(yscale="log", xlabel=with_unit("distance $r$", "a"), ylabel=r"response $|\partial F_i/\partial\Phi_j|$")
    light_grid(axes)
    axes.legend(loc="upper right")


def _errors(axes: Axes, data: xr.Dataset) -> None:
    require({name: data[name] for name in ("floor", "error") if name in data}, "floors and errors")
    name, unit, quantity = (data.attrs[key] for key in ("name", "unit", "quantity"))
    if "floor" in data:
        known = data[["floor", "floor_error"]] if "floor_error" in data else data[["floor"]]
        known = known.sel(radius=known["floor"] > 0)
        size, floor = known["radius"].values, known["floor"].values
        axes.plot(size, floor, color=EXACT, label="irreducible")
        if "floor_error" in known:
            error = known["floor_error"].values
            axes.fill_between(
                size, np.maximum(floor - error, 0.3 * floor), floor + error, color=EXACT, alpha=0.2, linewidth=0
            )
    if "error" in data:
        colours = [LEARNED, *(c for c in CYCLE if c not in (EXACT, LEARNED, PAPER))]
        for k, model in enumerate(data["model"].values):
            found = data.sel(model=model)
            colour, marker = colours[k % len(colours)], MARKERS[k % len(MARKERS)]
            axes.plot(found["size"], found["error"], marker, color=colour, markersize=5, label=str(model))
    if "probe_error" in data:
        axes.plot(
            data["probe_size"], data["probe_error"], "--D", color="#777777", markersize=3.5, linewidth=0.8,
            markerfacecolor="white", label="short training",
        )  # fmt: skip
    if "rms" in data:
        axes.axhline(float(data["rms"]), color="#bbbbbb", linewidth=0.8, label="to answer zero")
    length = data.attrs.get("length", float("nan"))
    if 0 < length < np.inf:
        axes.axvline(length, color="#888888", linewidth=0.8, dashes=(4, 2), label=rf"$\xi = {length:.2g}$ {unit}")
    axes.set(yscale="log", xlabel=with_unit(str(name), unit), ylabel=f"error of the {quantity}")
    axes.set_xlim(left=0)
    plain_log_ticks(axes)
    light_grid(axes)
    axes.legend(loc="best")
