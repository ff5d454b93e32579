"""Functions of distance or wave vector at several times: correlations, structure factors, paths through the zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes

from nearsight._validation import boolean, instance, number
from nearsight.analysis import Path
from nearsight.plots._axes import capitalised, chosen_times, colours, time_colours
from nearsight.plots._curves import GUIDE, Curve, Curves, Points, Quantity, draw, mean_of, quantity
from nearsight.plots.style import LEARNED, PAGE, Picture, picture, styled
from nearsight.storage import rounded


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
    shown = quantity(data, "profiles", x=x, by=by, over="replica", log=log, apart="time")
    shown = shown if path is None else _along(shown, path)
    frames = _frames(shown, times)
    figure, above, below = _grid(1 if together else len(frames), residuals)
    shades = time_colours(len(frames)) if together else [None] * len(frames)
    for n, (frame, title, shade) in enumerate(zip(frames, _titles(frames), shades, strict=True)):
        axes = above[0 if together else n]
        points = _curves(axes, frame, title, shade)
        axes.set_title("" if together else title)
        if residuals:
            _residuals(below[n], frame, paired)
    if guide is not None:
        _guide(above[-1], points, guide)
    if together:
        for k, name in enumerate(shown.curves if len(shown.curves) > 1 else ()):
            above[0].plot([], [], "o" if k else "-", color="#444444", markerfacecolor="white", label=name)
    for n, axes in enumerate((*above, *below)):
        frame = frames[0] if n < len(above) else replace(frames[0], logs=frames[0].logs.replace("y", ""))
        _finish(axes, frame, path, head=n == 0, foot=axes in (below or above), small=len(above) > 1)
    if below:
        below[0].set_ylabel("difference [σ]")
    figure.caption = _caption(shown, path, residuals, guide)
    return figure


def _along(shown: Quantity, path: Path) -> Quantity:
    """The curves over the distance along a path."""
    n = len(instance(path, Path, "path", "nearsight.analysis.symmetry_path makes one."))
    for name, curve in shown.curves.items():
        if curve.sizes.get("point") != n:
            raise ValueError(f"{name} has {curve.sizes.get('point', 'no')} points, the path {n}.")
    curves = {name: curve.assign_coords(point=path.distance) for name, curve in shown.curves.items()}
    return replace(shown, curves=curves, x="point", logs=shown.logs.replace("x", ""))


def _frames(shown: Quantity, times: Sequence[float] | None) -> list[Quantity]:
    """The curves at every time."""
    if "time" not in shown.first.dims:
        return [shown]
    moments = chosen_times(shown.first["time"].values if times is None else times, 8)
    return [
        replace(shown, curves={name: c.sel(time=t, method="nearest") for name, c in shown.curves.items()})
        for t in moments
    ]


def _titles(frames: list[Quantity]) -> list[str]:
    known = ["time" in frame.first.coords for frame in frames]
    return [f"$t = {rounded(f.first['time'])}$" if k else "" for f, k in zip(frames, known, strict=True)]


def _curves(axes: Axes, frame: Quantity, title: str, shade: tuple[float, ...] | None) -> Points:
    """Draw the first curve as a line and the others as points, and return the first."""
    every = [frame.points(curve) for curve in frame.curves.values()]
    for k, (name, points, colour) in enumerate(zip(frame.curves, every, colours(frame.curves), strict=True)):
        label = frame.legend(name) if shade is None else title if k == 0 else None
        draw(axes, points, colour if shade is None else shade, label, "points" if k else "band")
    return every[0]


def _residuals(axes: Axes, frame: Quantity, paired: bool) -> None:
    if len(frame.curves) != 2:
        raise ValueError(f"Residuals are between two curves, got {len(frame.curves)}.")
    curves: list[Curve] = list(frame.curves.values())
    (at, one, s1), (_, two, s2) = (frame.points(curve) for curve in curves)
    sigma = np.hypot(s1, s2)
    if paired:
        first, second = (mean_of(curve).transpose("replica", frame.x) for curve in curves)
        sigma = frame.points(second.copy(data=second.values - first.values))[2]
    axes.axhspan(-2, 2, color="#eeeeee", zorder=0)
    pulls = np.divide(two - one, sigma, out=np.zeros_like(one), where=sigma > 0)
    axes.plot(at, pulls, "o-", color=LEARNED, markersize=2.4, linewidth=0.7)


def _guide(axes: Axes, points: Points, exponent: float) -> None:
    x, mean, _ = points
    tail = x[(x > 0.25 * x[-1]) & (x < 0.6 * x[-1])]
    if len(tail) > 1:
        line = 2.0 * float(np.interp(tail[0], x, mean)) * (tail / tail[0]) ** exponent
        axes.plot(tail, line, "--", color=GUIDE, linewidth=0.8)
        axes.annotate(f"power {exponent:g}", (tail[-1], 1.1 * line[-1]), color=GUIDE, fontsize=7)


def _finish(axes: Axes, frame: Quantity, path: Path | None, *, head: bool, foot: bool, small: bool) -> None:
    """Labels on the left and below, one legend."""
    frame.finish(axes, small=small)
    if not head:
        axes.set_ylabel("")
        if (legend := axes.get_legend()) is not None:
            legend.remove()
    if path is not None:
        axes.set_xticks(path.ticks, path.labels)
        axes.set(xlim=(path.ticks[0], path.ticks[-1]))
        axes.grid(True, axis="x", color=GUIDE, linewidth=0.6)
    if path is not None or not foot:
        axes.set_xlabel("")


def _grid(panels: int, residuals: bool) -> tuple[Picture, list[Axes], list[Axes]]:
    """A picture with so many panels in rows of at most four, each with a low one below it if there are residuals."""
    columns = 1 if panels == 1 else min(panels, 4 if panels % 3 else 3)
    rows = -(-panels // columns)
    width = 3.4 if panels == 1 else max(3.4, min(PAGE, 0.6 + 2.2 * columns))
    figure = picture(width, 0.6 + rows * ((2.1 if rows == 1 else 1.6) + 0.9 * residuals))
    ratios = (5, 2) * rows if residuals else (1,) * rows
    grid = figure.subplots(len(ratios), columns, squeeze=False, sharex=True, sharey="row", height_ratios=ratios)
    above, below = (grid[::2].ravel(), grid[1::2].ravel()) if residuals else (grid.ravel(), grid[:0].ravel())
    for axes in (*above[panels:], *below[panels:]):
        axes.set_visible(False)
    return figure, list(above[:panels]), list(below[:panels])


def _caption(shown: Quantity, path: Path | None, residuals: bool, guide: float | None) -> str:
    named = [name for name in shown.curves if name]
    words = shown.name + (f" along {'-'.join(path.labels)}" if path is not None else "")
    if named:
        words += f": {named[0]} (line)" + (f", {', '.join(named[1:])} (circles)" if named[1:] else "")
    words = f"{capitalised(words)}. Bands and bars are one standard error over replicas."
    units = shown.first["time"].attrs.get("units", "1") if "time" in shown.first.coords else "1"
    words += f" Times in {units}." if units not in ("", "1") else ""
    words += " Below: the difference in its standard errors; grey, ±2." if residuals else ""
    return words + (f" Dashed: a power law of exponent {guide:g}." if guide is not None else "")
