"""Observables of ensembles: means over replicas with one standard error, and recorded laws drawn over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import xarray as xr
from matplotlib.axes import Axes

from nearsight._validation import boolean, instance, number
from nearsight.plots._axes import capitalised, colours, time_colours
from nearsight.plots._curves import GUIDE, Curve, Curves, Laws, Quantity, draw, draw_law, quantity
from nearsight.plots.published import Published, _overlay, _sources
from nearsight.plots.style import PAGE, Picture, picture, styled


@styled
def compare(
    *quantities: Curves,
    x: str | None = None,
    by: str = "source",
    over: str = "replica",
    log: str | None = None,
    fits: Sequence[Laws] = (),
    levels: Sequence[float | None] = (),
    mark: float | None = None,
    published: Sequence[Published] = (),
    points: bool = False,
) -> Picture:
    """Curves of exact and learned ensembles, one panel for every quantity: mean and one standard error over replicas.

    Parameters
    ----------
    quantities: each ``(source, replica, time)`` in any order, or a mapping of ``(replica, time)`` by name. A Dataset
        with ``mean`` and ``error`` is drawn as it is, a quantity without replicas as a line without a band.
    x: dimension along the axis; "time", or the only one besides ``by`` and ``over``, if not given.
    by, over: dimensions that tell curves apart, and that count independent samples.
    log: the logarithmic axes, "x", "y", "xy" or ""; by default those with the attribute ``scale = "log"``, and times
        that are recorded ever less often.
    fits: for every panel a law, or laws by the names of the curves, as they were recorded. Nothing is fitted here.
    levels: for every panel a value drawn as a horizontal line, or None.
    mark: a place on the horizontal axis, such as the end of the training data.
    published: tables, drawn in those panels whose quantity is named like one of their columns, against the column
        ``x`` (or "t" for times).
    points: error bars on points instead of bands, for curves of few points.
    """
    mark, points = None if mark is None else number(mark, "mark"), boolean(points, "points")
    if not 1 <= len(quantities) <= 4:
        raise ValueError(f"One picture holds 1 to 4 quantities, got {len(quantities)}; draw several.")
    drawn = [quantity(data, "quantity", x=x, by=by, over=over, log=log) for data in quantities]
    several = len(drawn) > 1
    figure = picture(min(PAGE, 0.4 + 2.8 * len(drawn)) if several else 3.4, 2.7)
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    words: list[str] = []
    tables: list[Published] = []
    for axes, shown, laws, level in zip_longest(panels, drawn, fits[: len(drawn)], levels[: len(drawn)]):
        words += _curves(axes, shown, laws, "line" if points else "band")
        _lines(axes, level, mark)
        tables += _overlays(axes, published, "t" if shown.x == "time" else shown.x, str(shown.values.name))
        shown.finish(axes, small=several)
    figure.caption = capitalised(f"{'; '.join(dict.fromkeys(shown.name for shown in drawn))}.")
    if any(shown.sampled for shown in drawn):
        figure.caption += f" {'Bars' if points else 'Bands'} are one standard error of the mean."
    if words:
        figure.caption += f" Dashed, fits where they were made: {'; '.join(words)}."
    figure.caption += _sources(tables)
    return figure


def growth(data: Curves, fit: Laws = None, *, published: Sequence[Published] = (), **options: Any) -> Picture:
    """A length or size that grows, on logarithmic axes, with the recorded power laws: :func:`compare` with log="xy".

    ``fit`` is one law, or laws by the names of the curves; ``options`` are those of :func:`compare`.
    """
    return compare(data, log="xy", fits=(fit,), published=published, **options)


@styled
def collapse(
    data: Curve,
    x_factor: xr.DataArray,
    y_factor: xr.DataArray,
    *,
    over: str = "replica",
    log: str | None = None,
    labels: tuple[str, str] = ("rescaled x", "rescaled y"),
    fit: object = None,
) -> Picture:
    """Curves of several times or sizes as measured, and rescaled: do they fall on one?

    Parameters
    ----------
    data: ``(curve, x)``, with ``over`` if it holds samples; or a Dataset of ``mean`` and ``error``.
    x_factor, y_factor: ``(curve,)``, such as L(t) and L(t)⁻² for structure factors S(k, t), or ℓ^{1/ν} and ℓ^θ for the
        accuracies of blocks of side ℓ. Their dimension is the one that tells curves apart.
    labels: of the rescaled axes, such as ``("$kL$", "$S/L^2$")``.
    fit: a recorded collapse, whose words stand in the caption.
    """
    for name, factor in (("x_factor", x_factor), ("y_factor", y_factor)):
        if instance(factor, xr.DataArray, name).ndim != 1 or factor.dims != x_factor.dims:
            raise ValueError(f"{name} must hold one number for every curve, got the dimensions {factor.dims}.")
    instance(data, (xr.DataArray, xr.Dataset), "data", "Name its dimensions with xarray.")
    by = str(x_factor.dims[0])
    if by not in data.dims or data.sizes[by] != len(x_factor):
        raise ValueError(f"The factors are for {len(x_factor)} curves along {by!r}, the data have {dict(data.sizes)}.")
    shown = quantity(data, "data", x=None, by=by, over=over, log=log)
    figure = picture(PAGE, 2.8)
    left, right = figure.subplots(1, 2)
    scales = zip(x_factor.values, y_factor.values, time_colours(len(x_factor)), strict=True)
    for (name, curve), (fx, fy, colour) in zip(shown.curves.items(), scales, strict=True):
        at, mean, error = shown.points(curve)
        kind = "band" if len(at) > 25 else "points"
        draw(left, (at, mean, error), colour, name, kind)
        draw(right, (at * fx, mean * fy, error * fy), colour, None, kind)
    for axes in (left, right):
        shown.finish(axes, small=True)
    right.set(xlabel=labels[0], ylabel=labels[1])
    figure.caption = f"{capitalised(shown.name)}: as measured and rescaled."
    if fit is not None:
        figure.caption += f" {fit}."
    return figure


def _curves(axes: Axes, shown: Quantity, laws: Laws, kind: str) -> list[str]:
    """Draw all curves with their laws, and return what these say."""
    law_of = laws if isinstance(laws, Mapping) else dict.fromkeys(shown.curves, laws)
    words = []
    for (name, curve), colour in zip(shown.curves.items(), colours(shown.curves), strict=True):
        points = shown.points(curve)
        draw(axes, points, colour, shown.legend(name), kind)
        if (law := law_of.get(name)) is not None:
            draw_law(axes, law, points[0], colour)
            words.append(f"{name + ': ' if name else ''}{law}")
    return words


def _lines(axes: Axes, level: float | None, mark: float | None) -> None:
    if level is not None:
        axes.axhline(number(level, "level"), color=GUIDE, linewidth=0.8, linestyle="--", zorder=0)
    if mark is not None:
        axes.axvline(mark, color=GUIDE, linewidth=0.8, linestyle=":", zorder=0)


def _overlays(axes: Axes, published: Sequence[Published], x: str, name: str) -> list[Published]:
    """Draw the tables that know the quantity, and return them."""
    found = [table for table in published if {x, name} <= set(table.columns)]
    for n, table in enumerate(found):
        _overlay(axes, table, x, name, number=n)
    return found
