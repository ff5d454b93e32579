"""Observables of ensembles: means over replicas with one standard error, and recorded laws drawn over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from nearsight._validation import boolean, choice, instance, number
from nearsight.analysis import AllenCahn, LinearLaw, Path, PowerLaw, SizeLaw, mean_and_error
from nearsight.plots._axes import (
    axis_label,
    capitalised,
    chosen_times,
    colours,
    light_grid,
    plain_log_ticks,
    time_colours,
    value_text,
)
from nearsight.plots.published import Published, overlay, sources
from nearsight.plots.style import PAGE, Picture, picture, styled
from nearsight.storage import rounded

Curve = xr.DataArray | xr.Dataset
"""A quantity over replicas and one coordinate, or its ``mean`` and ``error`` over the coordinate."""
Curves = Curve | Mapping[str, Curve]
"""One quantity: with a dimension such as "source" that tells its curves apart, or curves by their names."""
Law = Callable[[np.ndarray], np.ndarray]
"""A recorded fit such as ``PowerLaw``, ``AllenCahn``, ``SizeLaw`` or ``LinearLaw``; drawn in its ``window``."""
Laws = Law | Mapping[str, Law | None] | None

GUIDE = "#888888"


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
    log = None if log is None else choice(log, "log", ("", "x", "y", "xy"))
    mark, points = None if mark is None else number(mark, "mark"), boolean(points, "points")
    if not 1 <= len(quantities) <= 4:
        raise ValueError(f"One picture holds 1 to 4 quantities, got {len(quantities)}; draw several.")
    named = [series(quantity, "quantity", by) for quantity in quantities]
    figure = picture(3.4 if len(named) == 1 else min(PAGE, 0.4 + 2.8 * len(named)), 2.7)
    panels = figure.subplots(1, len(named), squeeze=False)[0]
    laws: list[str] = []
    tables: list[Published] = []
    for n, (axes, curves) in enumerate(zip(panels, named, strict=True)):
        first = next(iter(curves.values()))
        along = _axis(first, x, over)
        logs = _logarithmic(first, along, log)
        recorded = fits[n] if n < len(fits) else None
        law_of = recorded if isinstance(recorded, Mapping) else dict.fromkeys(curves, recorded)
        for (name, data), colour in zip(curves.items(), colours(curves), strict=True):
            at, mean, error = summary(data, along, over, positive="x" in logs)
            _draw(axes, at, mean, error, colour, _legend(name, data, over), "line" if points else "band")
            if (law := law_of.get(name)) is not None:
                _draw_law(axes, law, at, colour)
                laws.append(f"{name + ': ' if name else ''}{law}")
        _lines(axes, levels[n] if n < len(levels) else None, mark)
        tables += _overlays(axes, published, "t" if along == "time" else along, str(_quantity(first).name))
        _finish(axes, logs)
        axes.set_xlabel(axis_label(first[along], along))
        axes.set_ylabel(axis_label(_quantity(first), "value"))
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="best", fontsize=6.5 if len(named) > 1 else None)
    names = dict.fromkeys(_name(_quantity(next(iter(curves.values())))) for curves in named)
    figure.caption = capitalised(f"{'; '.join(names)}.")
    if any(over in data.dims or "error" in data for curves in named for data in curves.values()):
        figure.caption += f" {'Bars' if points else 'Bands'} are one standard error of the mean."
    if laws:
        figure.caption += f" Dashed, fits where they were made: {'; '.join(laws)}."
    figure.caption += sources(tables)
    return figure


def growth(data: Curves, fit: Laws = None, *, published: Sequence[Published] = (), **options: Any) -> Picture:
    """A length or size that grows, on logarithmic axes, with the recorded power laws: :func:`compare` with log="xy".

    ``fit`` is one law, or laws by the names of the curves; ``options`` are those of :func:`compare`.
    """
    options.pop("time_unit", None)
    return compare(data, log="xy", fits=(fit,), published=published, **options)


@styled
def profiles(
    data: Curves,
    *,
    times: Sequence[float] | None = None,
    x: str | None = None,
    by: str = "source",
    log: str | None = None,
    together: bool = False,
    residuals: bool = False,
    paired: bool = False,
    path: Path | None = None,
    guide: float | None = None,
) -> Picture:
    """A function of distance or wave vector at several times, one panel each: exact as lines, learned as points.

    Parameters
    ----------
    data: ``(source, replica, time, r)``, or ``(replica, time, r)`` by name; without "time" there is one panel. The
        first curve is a line with a band, the others points with bars, of one standard error over replicas.
    times: at most 8 of those recorded; all of them if not given.
    together: all times in one panel, told apart by colour.
    residuals: below every panel the second curve minus the first in standard errors of the difference, which are those
        of the differences between replicas of the same number if the ensembles are ``paired``.
    path: the wave vectors are those of a path through the zone, whose named points are marked.
    guide: exponent of a power law drawn above the tail, such as -3 for sharp walls in the plane (Porod).
    """
    together, residuals = boolean(together, "together"), boolean(residuals, "residuals")
    paired, guide = boolean(paired, "paired"), None if guide is None else number(guide, "guide")
    curves = series(data, "profiles", by)
    first = next(iter(curves.values()))
    moving = "time" in first.dims
    moments = chosen_times(first["time"].values if times is None else times, 8) if moving else [None]
    along = x or ("point" if path is not None else _axis(first.isel(time=0) if moving else first, None, "replica"))
    logs = _logarithmic(first, along, log)
    for name, curve in curves.items():
        if path is not None and curve.sizes.get("point") != len(instance(path, Path, "path")):
            raise ValueError(f"{name} has {curve.sizes.get('point', 'no')} points, the path {len(path)}.")
    figure, above, below = _grid(1 if together else len(moments), residuals)
    for n, (moment, shade) in enumerate(zip(moments, time_colours(len(moments)), strict=True)):
        axes = above[0 if together else n]
        chosen = {k: c if moment is None else c.sel(time=moment, method="nearest") for k, c in curves.items()}
        for k, ((name, curve), colour) in enumerate(zip(chosen.items(), colours(curves), strict=True)):
            at, mean, error = summary(curve, along, "replica", positive="x" in logs, path=path)
            when = "" if moment is None else f"$t = {rounded(curve['time'])}$"
            label = (when if k == 0 else None) if together else _legend(name, curve, "replica")
            _draw(axes, at, mean, error, shade if together else colour, label, "band" if k == 0 else "points")
            if guide is not None and k == 0 and n == len(moments) - 1:
                _draw_guide(axes, at, mean, guide)
        if not together and moment is not None:
            axes.set_title(when)
        if residuals:
            _residuals(below[n], list(chosen.values()), along, paired, "x" in logs)
            below[0].set_ylabel("difference [σ]")
    for axes in (*above, *below):
        _finish(axes, logs if axes in above else logs.replace("y", ""))
        if path is not None:
            axes.set_xticks(path.ticks, path.labels)
            axes.set(xlim=(path.ticks[0], path.ticks[-1]))
            axes.grid(True, axis="x", color=GUIDE, linewidth=0.6)
    for axes in below or above:
        axes.set_xlabel("" if path is not None else axis_label(first[along], along))
    above[0].set_ylabel(axis_label(_quantity(first), "value"))
    if together:
        for k, name in enumerate(curves if len(curves) > 1 else ()):
            above[0].plot([], [], "o" if k else "-", color="#444444", markerfacecolor="white", label=name)
    if above[0].get_legend_handles_labels()[1]:
        above[0].legend(loc="best", fontsize=6.5 if len(above) > 1 else None)
    figure.caption = _profile_caption(first, curves, path, residuals, guide)
    return figure


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
    curves = series(data, "collapse", by)
    first = next(iter(curves.values()))
    along = _axis(first, None, over)
    logs = _logarithmic(first, along, log)
    figure = picture(PAGE, 2.8)
    panels = figure.subplots(1, 2)
    scales = zip(x_factor.values, y_factor.values, time_colours(len(curves)), strict=True)
    for (name, curve), (fx, fy, colour) in zip(curves.items(), scales, strict=True):
        at, mean, error = summary(curve, along, over, positive="x" in logs)
        for axes, u, v in ((panels[0], 1.0, 1.0), (panels[1], fx, fy)):
            _draw(axes, at * u, mean * v, error * v, colour, name, "band" if len(at) > 25 else "points")
    for axes in panels:
        _finish(axes, logs)
    panels[0].set(xlabel=axis_label(first[along], along), ylabel=axis_label(_quantity(first), "value"))
    panels[1].set(xlabel=labels[0], ylabel=labels[1])
    panels[0].legend(loc="best", fontsize=6.5)
    figure.caption = f"{capitalised(_name(_quantity(first)))}: as measured and rescaled."
    if fit is not None:
        figure.caption += f" {fit}."
    return figure


def series(data: Curves, what: str, by: str = "source") -> dict[str, xr.DataArray | xr.Dataset]:
    """Curves by their names in the legend, checked to be labelled numbers; those without a finite one are left out."""
    if isinstance(data, xr.DataArray | xr.Dataset):
        if by in data.dims:
            named = {_curve_name(value, by): data.sel({by: value}) for value in data[by].values.tolist()}
        else:
            named = {_curve_name(data.coords[by].item(), by) if by in data.coords else "": data}
    else:
        named = dict(instance(data, Mapping, what, "Pass a labelled array, or several by their names."))
    if not named:
        raise ValueError(f"There are no curves to draw: {what} is empty.")
    for name, curve in named.items():
        instance(curve, (xr.DataArray, xr.Dataset), f"{what} {name!r}", "Name its dimensions with xarray.")
        if isinstance(curve, xr.Dataset) and not {"mean", "error"} <= set(curve.data_vars):
            raise ValueError(f"{what} {name!r} needs the variables 'mean' and 'error', got {list(curve.data_vars)}.")
        if _quantity(curve).dtype.kind not in "iuf":
            raise ValueError(f"{what} {name!r} must hold real numbers, got {_quantity(curve).dtype}.")
    known = {name: curve for name, curve in named.items() if np.isfinite(_quantity(curve).values).any()}
    if not known:
        raise ValueError(f"There is nothing to draw: {what} holds no finite number in any curve.")
    return known


def summary(
    data: Curve, x: str, over: str, *, positive: bool = False, path: Path | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, means and standard errors (NaN if there are no samples) of one curve, only at x > 0 if ``positive``."""
    wanted = {x, over} if over in data.dims else {x}
    if set(data.dims) != wanted or (path is None and x not in data.coords):
        raise ValueError(
            f"A curve has the dimensions {over} and {x}, with a coordinate {x}, got {data.dims} with "
            f"{list(data.coords)}; choose with .sel(...), or name other dimensions with x=, by= or over=."
        )
    if isinstance(data, xr.DataArray):
        known = mean_and_error(data, over) if over in data.dims else xr.Dataset({"mean": data, "error": data * np.nan})
    else:
        known = data
    at = known[x].values.astype(float) if path is None else path.distance
    keep = at > 0 if positive else np.ones(len(at), dtype=bool)
    return at[keep], known["mean"].values[keep], known["error"].values[keep]


def _axis(data: Curve, x: str | None, over: str) -> str:
    """The dimension along the horizontal axis."""
    left = [str(d) for d in data.dims if d != over]
    if x is None and "time" not in left and len(left) != 1:
        raise ValueError(f"Name the dimension of the horizontal axis with x=; there are {', '.join(left) or 'none'}.")
    x = x or ("time" if "time" in left else left[0])
    if x not in data.dims:
        raise ValueError(f"There is no dimension {x!r} among {tuple(data.dims)}.")
    return x


def _quantity(data: Curve) -> xr.DataArray:
    return data["mean"] if isinstance(data, xr.Dataset) else data


def _name(data: xr.DataArray) -> str:
    return str(data.attrs.get("long_name", data.name or "values"))


def _curve_name(value: Any, dim: str) -> str:
    return value if isinstance(value, str) else f"{dim} = {value_text(value)}"


def _logarithmic(data: Curve, x: str, log: str | None) -> str:
    if log is not None:
        return choice(log, "log", ("", "x", "y", "xy"))
    at = data[x] if x in data.coords else xr.DataArray()
    default = "log" if x == "time" and _ever_rarer(at.values) else "linear"
    scales = {"x": at.attrs.get("scale", default), "y": _quantity(data).attrs.get("scale")}
    return "".join(axis for axis, scale in scales.items() if scale == "log")


def _ever_rarer(times: np.ndarray) -> bool:
    """Whether the intervals between records grow with time, over a decade or more."""
    later = times[times > 0]
    steps = np.diff(later)
    return len(steps) > 1 and later[-1] >= 10 * later[0] and bool(steps[-1] >= 3 * steps[0] > 0)


def _legend(name: str, data: Curve, over: str) -> str:
    n = data.sizes[over] if over in data.dims else 0
    many = {0: "", 1: f"1 {over}, no error"}.get(n, f"{n} {over}s")
    return f"{name} ({many})" if name and many else name or many


def _draw(
    axes: Axes, x: np.ndarray, mean: np.ndarray, error: np.ndarray, colour: Any, label: str | None, kind: str
) -> None:
    """One curve as a line with a band, as points with bars, or as points with bars joined by a line."""
    if kind == "band":
        axes.fill_between(x, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0)
        axes.plot(x, mean, color=colour, label=label)
        return
    joined = "o-" if kind == "line" else "o"
    axes.errorbar(
        x, mean, np.nan_to_num(error), fmt=joined, color=colour, label=label, markersize=3.0, linewidth=0.9,
        elinewidth=0.9, markerfacecolor="white", zorder=3,
    )  # fmt: skip


def _draw_law(axes: Axes, law: Law, x: np.ndarray, colour: Any) -> None:
    low, high = getattr(law, "window", (x.min(), x.max()))
    grid = np.linspace(low, high, 200) if low <= 0 else np.geomspace(low, high, 200)
    axes.plot(grid, law(grid), "--", color=colour, linewidth=0.9, dashes=(4, 2), label=law_label(law), zorder=5)


def law_label(law: Law) -> str:
    """The exponent or slope of a recorded fit, for a legend."""
    if isinstance(law, PowerLaw | SizeLaw):
        return rf"$n = {law.exponent:.3f} \pm {law.sigma if isinstance(law, PowerLaw) else law.error:.3f}$"
    if isinstance(law, AllenCahn):
        return r"$\propto (t - t_0)^{1/2}$"
    return rf"slope ${law.slope:.3g} \pm {law.slope_sigma:.1g}$" if isinstance(law, LinearLaw) else "fit"


def _draw_guide(axes: Axes, x: np.ndarray, mean: np.ndarray, exponent: float) -> None:
    tail = x[(x > 0.25 * x[-1]) & (x < 0.6 * x[-1])]
    if len(tail) > 1:
        line = 2.0 * float(np.interp(tail[0], x, mean)) * (tail / tail[0]) ** exponent
        axes.plot(tail, line, "--", color=GUIDE, linewidth=0.8)
        axes.annotate(f"power {exponent:g}", (tail[-1], 1.1 * line[-1]), color=GUIDE, fontsize=7)


def _residuals(axes: Axes, curves: list[Curve], x: str, paired: bool, positive: bool) -> None:
    if len(curves) != 2:
        raise ValueError(f"Residuals are between two curves, got {len(curves)}.")
    (at, one, s1), (_, two, s2) = (summary(curve, x, "replica", positive=positive) for curve in curves)
    if paired:
        first, second = (_quantity(curve).transpose("replica", x) for curve in curves)
        difference = second.copy(data=second.values - first.values)
        sigma = summary(difference, x, "replica", positive=positive)[2]
    else:
        sigma = np.hypot(s1, s2)
    axes.axhspan(-2, 2, color="#eeeeee", zorder=0)
    pulls = np.divide(two - one, sigma, out=np.zeros_like(one), where=sigma > 0)
    axes.plot(at, pulls, "o-", color=colours({"learned": 0})[0], markersize=2.4, linewidth=0.7)


def _lines(axes: Axes, level: float | None, mark: float | None) -> None:
    if level is not None:
        axes.axhline(number(level, "level"), color=GUIDE, linewidth=0.8, linestyle="--", zorder=0)
    if mark is not None:
        axes.axvline(mark, color=GUIDE, linewidth=0.8, linestyle=":", zorder=0)


def _overlays(axes: Axes, published: Sequence[Published], x: str, name: str) -> list[Published]:
    """Draw the tables that know the quantity, and return them."""
    found = [table for table in published if {x, name} <= set(table.columns)]
    for n, table in enumerate(found):
        overlay(axes, table, x, name, number=n)
    return found


def _finish(axes: Axes, logs: str) -> None:
    axes.set(**{f"{axis}scale": "log" for axis in logs})
    plain_log_ticks(axes)
    light_grid(axes)


def _grid(panels: int, residuals: bool) -> tuple[Picture, list[Axes], list[Axes]]:
    """A picture with so many panels in rows of at most four, each with a low one below it if there are residuals."""
    columns = 1 if panels == 1 else min(panels, 4 if panels % 3 else 3)
    rows = -(-panels // columns)
    width = 3.4 if panels == 1 else max(3.4, min(PAGE, 0.6 + 2.2 * columns))
    figure = picture(width, 0.6 + rows * ((2.1 if rows == 1 else 1.6) + 0.9 * residuals))
    ratios = (5, 2) * rows if residuals else (1,) * rows
    grid = figure.subplots(len(ratios), columns, squeeze=False, sharex=True, sharey="row", height_ratios=ratios)
    step = 2 if residuals else 1
    above, below = grid[::step].ravel(), grid[1::2].ravel() if residuals else grid[:0].ravel()
    for axes in (*above[panels:], *below[panels:]):
        axes.set_visible(False)
    return figure, list(above[:panels]), list(below[:panels])


def _profile_caption(
    first: Curve, curves: Mapping[str, Curve], path: Path | None, residuals: bool, guide: float | None
) -> str:
    named = [name for name in curves if name]
    words = f"{_name(_quantity(first))}" + (f" along {'-'.join(path.labels)}" if path is not None else "")
    if named:
        words += f": {named[0]} (line)" + (f", {', '.join(named[1:])} (circles)" if named[1:] else "")
    words = f"{capitalised(words)}. Bands and bars are one standard error over replicas."
    units = first["time"].attrs.get("units", "1") if "time" in first.coords else "1"
    words += f" Times in {units}." if units not in ("", "1") else ""
    words += " Below: the difference in its standard errors; grey, ±2." if residuals else ""
    return words + (f" Dashed: a power law of exponent {guide:g}." if guide is not None else "")
