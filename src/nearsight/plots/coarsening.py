"""Pictures of coarsening: growth laws and local exponents, the peak of S(k), walls and what gathers on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from nearsight.analysis import AllenCahn, Departure, mean_and_error
from nearsight.plots.curves import chosen_times, plain_log_ticks, replicas, require, time_colours
from nearsight.plots.style import CYCLE, EXACT, PAGE, Picture, light_grid, picture, styled, with_unit
from nearsight.storage import rounded

AXIS_SHARE = "#888888"
"""Colour of what a curve is held against: ½, ¼, no preferred direction."""


@styled
def coarsening(
    lengths: Mapping[str, xr.DataArray],
    exponents: Mapping[str, xr.Dataset],
    *,
    laws: Mapping[str, AllenCahn | None] | None = None,
    departures: Mapping[str, Departure | None] | None = None,
    time_unit: str = "1/t",
) -> Picture:
    """L(t) of ensembles ``(replica, time)`` with Allen-Cahn laws, beside their local exponents with errors.

    The laws are drawn solid and black in the window of the fit and dashed beyond; a departure that was reached is a
    mark at its time with its 68 % interval. All mappings share the names of the legend.
    """
    require(lengths, "lengths", ("replica", "time"))
    figure = picture(PAGE, 2.9)
    left, right = figure.subplots(1, 2)
    laws, departures = laws or {}, departures or {}
    for (name, length), colour in zip(lengths.items(), CYCLE, strict=False):
        data = length.sel(time=length["time"] > 0)
        summary = mean_and_error(data)
        t, mean, error = data["time"].values, summary["mean"].values, summary["error"].values
        left.fill_between(t, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0)
        left.plot(t, mean, color=colour, label=f"{name} ({replicas(data)})")
        if (law := laws.get(name)) is not None:
            grid = np.geomspace(max(t[0], law.t0 + 1e-3 * t[-1]), t[-1], 300)
            fitted = (grid >= law.window[0]) & (grid <= law.window[1])
            left.plot(grid, law(grid), color=colour, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
            left.plot(grid[fitted], law(grid[fitted]), color=EXACT, linewidth=0.8, zorder=4)
        if name in exponents:
            local = exponents[name]
            at, n, sigma = (local[k].values for k in ("time", "exponent", "error"))
            right.fill_between(at, n - sigma, n + sigma, color=colour, alpha=0.25, linewidth=0)
            right.plot(at, n, color=colour, label=name)
        if (fall := departures.get(name)) is not None and fall.time is not None:
            late = min(fall.high, float(t[-1]))
            right.errorbar(
                fall.time,
                fall.threshold,
                xerr=[[max(fall.time - fall.low, 0.0)], [max(late - fall.time, 0.0)]],
                fmt="o",
                color=colour,
                markersize=4,
                markerfacecolor="white",
                zorder=5,
            )
    longest = [float(np.nanmax(law(np.asarray(left.get_xlim())))) for law in laws.values() if law is not None]
    shown = [float(length.mean("replica").max()) for length in lengths.values()]
    left.set(xscale="log", yscale="log", xlabel=with_unit("time $t$", time_unit))
    smallest = min(float(length.sel(time=length["time"] > 0).mean("replica").min()) for length in lengths.values())
    left.set_ylim(0.85 * smallest, min(2.0 * max(shown), max([*longest, 1.3 * max(shown)])))
    left.set_ylabel(with_unit("length $L(t)$", next(iter(lengths.values())).attrs.get("units", "a")))
    right.set(xscale="log", xlabel=with_unit("time $t$", time_unit), xlim=left.get_xlim())
    right.set_ylabel(r"local exponent $d\ln L/d\ln (t - t_0)$")
    if not exponents:
        right.annotate("too few records for a local exponent", (0.5, 0.62), xycoords="axes fraction", ha="center")
    for level, text in ((0.5, "Allen-Cahn ½"), (0.25, "¼"), (0.0, "frozen")):
        right.axhline(level, color=AXIS_SHARE, linewidth=0.7, linestyle=(0, (1, 1.5)), zorder=0)
        right.annotate(
            text, (0.01, level), xycoords=("axes fraction", "data"), va="bottom", fontsize=6.5, color=AXIS_SHARE
        )
    for axes in (left, right):
        plain_log_ticks(axes)
        light_grid(axes)
    left.legend(loc="upper left")
    figure.caption = (
        "Growth of the ordered domains. Left: mean length with a band of one standard error over replicas; dashed, the "
        "law of Allen and Cahn, $L = a (t - t_0)^{1/2}$, black where it was fitted. Right: the local "
        "exponent with its bootstrap error; circles mark the time after which it stays below the threshold, where the "
        "records reach it."
    )
    return figure


@styled
def axial_correlations(
    exact: xr.DataArray,
    learned: xr.DataArray,
    *,
    times: Sequence[float],
    symbol: str = "C^{xx}(r, t)",
    time_unit: str = "1/t",
) -> Picture:
    """Correlation along the axes at several times, ``(replica, time, r)``, one panel each: exact lines, learned points.

    Staggered order alternates with r, so that curves of several times would hide each other in one panel.
    """
    times = chosen_times(times, 8)
    require({"exact": exact, "learned": learned}, "correlations", ("replica", "time", "r"))
    rows = 1 if len(times) <= 4 else 2
    columns = -(-len(times) // rows)
    figure = picture(min(PAGE, 0.8 + 1.75 * columns), 0.6 + 1.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.ravel()[len(times) :]:
        axes.set_visible(False)
    for axes, time in zip(panels.ravel(), times, strict=False):
        for data, points in ((exact, False), (learned, True)):
            chosen = data.sel(time=time, method="nearest")
            summary = mean_and_error(chosen)
            r, mean, error = chosen["r"].values, summary["mean"].values, summary["error"].values
            if points:
                axes.errorbar(r, mean, error, fmt="o", color=CYCLE[1], markersize=2.8, elinewidth=0.8, label="learned",
                              markerfacecolor="white", zorder=3)  # fmt: skip
            else:
                axes.fill_between(r, mean - error, mean + error, color=EXACT, alpha=0.2, linewidth=0)
                axes.plot(r, mean, color=EXACT, linewidth=1.0, label="exact")
        axes.axhline(0.0, color=AXIS_SHARE, linewidth=0.6, zorder=0)
        axes.set_title(f"$t = {rounded(chosen['time'])}$")
        light_grid(axes)
    for axes in panels[-1]:
        axes.set_xlabel(with_unit("$r$", exact["r"].attrs.get("units", "a")))
    for axes in panels[:, 0]:
        axes.set_ylabel(with_unit(f"${symbol}$", exact.attrs.get("units", "1")))
    panels[0, 0].legend(loc="upper right")
    clock = "" if time_unit in ("", "1") else f", times in {time_unit}"
    figure.caption = (
        f"Correlation ${symbol}$ along the axes: exact dynamics (lines, bands of one standard error) and learned "
        f"dynamics (circles, error bars of one standard error){clock}."
    )
    return figure


@styled
def peak_profile(
    S: Mapping[str, xr.DataArray], *, times: Sequence[float], time_unit: str = "1/t", centre: str = r"\mathbf{K}"
) -> Picture:
    """S(k, t) around the ordering wave vector, averaged over directions ``(replica, time, k)``; one panel per name.

    Both axes are logarithmic: sharp walls show as a tail k⁻³ in two dimensions (Porod), drawn as a guide.
    """
    require(S, "structure factors", ("replica", "time", "k"))
    times = chosen_times(times, 12)
    figure = picture(min(PAGE, 0.6 + 3.1 * len(S)), 2.7)
    panels = figure.subplots(1, len(S), squeeze=False, sharey=True)[0]
    for axes, (name, data) in zip(panels, S.items(), strict=True):
        positive = data.sel(k=data["k"] > 0)
        for time, colour in zip(times, time_colours(len(times)), strict=True):
            chosen = positive.sel(time=time, method="nearest")
            summary = mean_and_error(chosen)
            k, mean, error = chosen["k"].values, summary["mean"].values, summary["error"].values
            axes.fill_between(
                k, np.maximum(mean - error, 1e-3 * mean), mean + error, color=colour, alpha=0.25, linewidth=0
            )
            axes.plot(k, mean, color=colour, label=f"$t = {rounded(chosen['time'])}$")
        tail = k[(k > 0.25 * k[-1]) & (k < 0.6 * k[-1])]
        if len(tail) > 1:
            level = float(np.interp(tail[0], k, mean))
            axes.plot(tail, 2.0 * level * (tail / tail[0]) ** -3.0, "--", color=AXIS_SHARE, linewidth=0.8)
            axes.annotate("$k^{-3}$", (tail[-1], 2.2 * level * (tail[-1] / tail[0]) ** -3.0), color=AXIS_SHARE)
        axes.set(xscale="log", yscale="log")
        axes.set_xlabel(with_unit(rf"$|\mathbf{{k}} - {centre}|$", "1/a"))
        axes.set_title(name)
        light_grid(axes)
    panels[0].set_ylabel(with_unit(r"$S(\mathbf{k}, t)$", next(iter(S.values())).attrs.get("units", "1")))
    panels[0].legend(loc="lower left")
    clock = "" if time_unit in ("", "1") else f", times in {time_unit}"
    figure.caption = (
        f"Structure factor around the ordering wave vector, averaged over directions and replicas{clock}. The dashed "
        "guide is the tail of sharp walls."
    )
    return figure


@styled
def walls(
    directions: Mapping[str, xr.Dataset], profiles: Mapping[str, xr.Dataset], *, time_unit: str = "1/t"
) -> Picture:
    """Direction of the walls in time, and the charge as a function of the distance from them.

    Both hold the ``mean`` and ``error`` of :func:`nearsight.analysis.weighted_mean_and_error`: the share of diagonal
    walls over ``time``, weighed with the length of the walls, and the deviation of the density over ``distance``,
    weighed with the sites there.
    """
    require(directions, "walls")
    figure = picture(PAGE, 2.6)
    left, right = figure.subplots(1, 2)
    for (name, shape), colour in zip(directions.items(), CYCLE, strict=False):
        share = shape.sel(time=shape["time"] > 0)
        time, mean, error = (share[key].values for key in ("time", "mean", "error"))
        left.fill_between(time, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0)
        left.plot(time, mean, color=colour, label=name)
        if name in profiles:
            profile = profiles[name]
            distance, mean, error = (profile[key].values for key in ("distance", "mean", "error"))
            right.errorbar(distance, mean, error, fmt="o-", color=colour, markersize=3.2, linewidth=0.9,
                           markerfacecolor="white", label=name)  # fmt: skip
    left.axhline(0.5, color=AXIS_SHARE, linewidth=0.7, linestyle=(0, (1, 1.5)), zorder=0)
    left.annotate("no preferred direction", (0.99, 0.5), xycoords=("axes fraction", "data"), va="bottom", ha="right",
                  fontsize=6.5, color=AXIS_SHARE)  # fmt: skip
    left.set(xscale="log", ylim=(0, 1), xlabel=with_unit("time $t$", time_unit), ylabel="share of diagonal walls")
    right.axhline(0.0, color=AXIS_SHARE, linewidth=0.6, zorder=0)
    right.set_xlabel(with_unit("distance from the wall", "a"))
    right.set_ylabel(r"$\langle n \rangle - \bar n$")
    for axes in (left, right):
        plain_log_ticks(axes)
        light_grid(axes)
        axes.legend(loc="best")
    figure.caption = (
        "Left: the share of the walls' length that runs diagonally; straight walls along x and y have 0, walls without "
        "a preferred direction ½. Right: mean density by distance from the nearest wall at the last time, less the "
        "mean of all sites; negative values are holes. Bands and bars are one standard error over replicas."
    )
    return figure
