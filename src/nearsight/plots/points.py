"""One number against another: points with a recorded line through them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from nearsight._validation import choice, instance
from nearsight.plots._axes import axis_label, capitalised, light_grid, plain_log_ticks, value_text
from nearsight.plots._curves import Law, law_label
from nearsight.plots.published import Published, _overlay, _sources
from nearsight.plots.style import CYCLE, EXACT, LEARNED, Picture, picture, styled


@styled
def points(
    x: xr.DataArray,
    y: xr.DataArray,
    *,
    error: xr.DataArray | None = None,
    by: xr.DataArray | None = None,
    fit: Law | None = None,
    log: str = "",
    published: Sequence[Published] = (),
) -> Picture:
    """y against x, both of the same shape, with error bars if known; a recorded ``fit`` is a dashed line.

    Points with NaN or infinite x or y are left out. ``by`` (of the same shape) tells groups apart by colour. Tables
    ``published`` are drawn if they have columns named like x and y.
    """
    log = choice(log, "log", ("", "x", "y", "xy"))
    given = {"x": x, "y": y} | {k: v for k, v in {"error": error, "by": by}.items() if v is not None}
    for name, data in given.items():
        instance(data, xr.DataArray, name, "Name its dimension with xarray.")
    for name, data in given.items():
        if data.shape != y.shape or (name != "by" and data.dtype.kind not in "iuf"):
            raise ValueError(f"{name} must hold real numbers {y.dims} like y, got {data.dtype} of {data.shape}.")
    at, value = x.values.ravel().astype(float), y.values.ravel().astype(float)
    bars = np.zeros_like(value) if error is None else error.values.ravel()
    groups = np.zeros(len(at)) if by is None else by.values.ravel()
    finite = np.isfinite(at) & np.isfinite(value)
    if not finite.any():
        raise ValueError("There are no points with finite x and y to draw.")
    figure = picture(height=2.7)
    axes = figure.add_subplot()
    kinds = np.unique(groups[finite])
    palette = CYCLE if len(kinds) <= len(CYCLE) else [EXACT] * len(kinds)
    for kind, colour in zip(kinds, palette, strict=False):
        mine = finite & (groups == kind)
        label = None if by is None else f"{by.attrs.get('long_name', by.name)} = {value_text(kind)}"
        axes.errorbar(
            at[mine], value[mine], bars[mine], fmt="o", color=colour, markersize=3.2, alpha=0.8, elinewidth=0.8,
            markeredgewidth=0, label=label,
        )  # fmt: skip
    if fit is not None:
        ends = at[finite].min(), at[finite].max()
        grid = np.geomspace(*ends, 100) if "x" in log else np.linspace(*ends, 100)
        axes.plot(grid, fit(grid), "--", color=LEARNED, linewidth=0.9, label=law_label(fit), zorder=1)
    tables = [table for table in published if {x.name, y.name} <= set(table.columns)]
    for n, table in enumerate(tables):
        _overlay(axes, table, str(x.name), str(y.name), number=n)
    axes.set(**{f"{axis}scale": "log" for axis in log}, xlabel=axis_label(x, "x"), ylabel=axis_label(y, "y"))
    plain_log_ticks(axes)
    light_grid(axes)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best")
    figure.caption = f"{capitalised(axis_label(y, 'y'))} against {axis_label(x, 'x')}, {int(finite.sum())} points."
    if fit is not None:
        figure.caption += f" Dashed: {fit}."
    figure.caption += _sources(tables)
    return figure
