"""Pictures of phase separation: particles and the sublattice that rules, lengths in time, collapse, correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.colors import Normalize

from nearsight._validation import integer, numbers
from nearsight.analysis import DynamicalScaling, PowerLaw, SizeLaw, compare_curves, mean_and_error, sublattice_sign
from nearsight.analysis._fields import SiteField, site_field
from nearsight.lattices import Lattice
from nearsight.plots.curves import chosen_times, colours, labelled, plain_log_ticks, replicas, require, time_colours
from nearsight.plots.maps import check_plane, draw_plane, plane_size
from nearsight.plots.published import Published, overlay, sources
from nearsight.plots.style import CYCLE, DIVERGING, EXACT, PAGE, Picture, light_grid, picture, styled, with_unit
from nearsight.storage import rounded

PALE = 0.22
"""Colour of σ under the particles, as a share of full colour."""
GUIDE = "#888888"
LATTICE = 1.5
"""Wave numbers, in 1/a, beyond which structure factors of sharp walls show the lattice."""


@styled
def sublattice_maps(
    field: SiteField,
    sigma: SiteField,
    lattice: Lattice,
    *,
    times: Sequence[float],
    close_up: int | None = None,
    time_unit: str = "1/t",
) -> Picture:
    """Particles coloured by their sublattice, over the pale field σ, and σ itself below, ``(time, site)``.

    ``close_up`` shows only so many cells along each edge in the upper row, for large lattices.
    """
    check_plane(lattice)
    n, s = (site_field(x, lattice, ("time",)).values for x in (field, sigma))
    times = numbers(times, "times")
    close_up = None if close_up is None else integer(close_up, "close_up", least=1)
    if not 1 <= len(times) <= 6 or n.shape != s.shape or len(n) != len(times):
        raise ValueError(f"Maps show 1 to 6 times of both fields, got {len(times)} times, {n.shape} and {s.shape}.")
    particles = np.where(n > 0.5, sublattice_sign(lattice), PALE * s)
    shape = plane_size(lattice)
    panel = min(2.2, (PAGE - 0.2) / len(times))
    figure = picture(len(times) * panel + 0.2, 2 * (panel * min(shape[1] / shape[0], 1.5) + 0.06) + 0.4)
    panels = figure.subplots(2, len(times), squeeze=False)
    for row, values in zip(panels, (particles, s), strict=True):
        for axes, value in zip(row, values, strict=True):
            draw_plane(axes, value, lattice, Normalize(-1, 1), DIVERGING)
    if close_up is not None:
        edge = min(close_up, *lattice.shape) * np.abs(lattice.vectors).max(0)
        for axes in panels[0]:
            axes.set(xlim=(-0.5, edge[0] - 0.5), ylim=(-0.5, edge[1] - 0.5))
    for axes, time in zip(panels[0], times, strict=True):
        axes.set_title(f"$t = {rounded(time)}$")
    panels[1, 0].set_xlabel(rf"${lattice.shape[0]} \times {lattice.shape[1]}$ cells", fontsize=7.5, loc="left")
    clock = "" if time_unit in ("", "1") else f" (times in {time_unit})"
    part = "" if close_up is None else f", a corner of {close_up} cells"
    figure.caption = (
        f"Above{part}: particles on the A (orange) and the B sublattice (blue), over the field σ in pale. Below: σ, "
        f"the sublattice of the nearest particle{clock}."
    )
    return figure


@styled
def separation_growth(
    quantities: Mapping[str, Mapping[str, xr.DataArray]],
    *,
    fits: Mapping[str, Mapping[str, PowerLaw]] | None = None,
    published: Mapping[str, Sequence[tuple[Published, str]]] | None = None,
    time_unit: str = "1/t",
) -> Picture:
    r"""Quantities that grow, one panel each: ⟨s⟩(t), ℓ(t), L(t) on logarithmic axes with bands of one standard error.

    Parameters
    ----------
    quantities: for the symbol of every panel, such as ``r"\\ell(t)"``, curves ``(replica, time)`` by the name in the
        legend. "exact" is drawn as a line; the others as lines of their own colours.
    fits: power laws by the same keys, drawn where they were fitted.
    published: by panel, tables and the column of them to draw against their column t.
    """
    require(quantities, "quantities")
    if len(quantities) > 4:
        raise ValueError(f"One picture holds at most 4 panels, got {len(quantities)}; draw two.")
    figure = picture(min(PAGE, 0.4 + 3.0 * len(quantities)), 2.7)
    panels = figure.subplots(1, len(quantities), squeeze=False)[0]
    fits, published = fits or {}, published or {}
    for axes, (symbol, curves) in zip(panels, quantities.items(), strict=True):
        require(curves, f"curves of {symbol}", ("replica", "time"))
        for name, colour in zip(curves, colours(curves), strict=True):
            data = curves[name].sel(time=curves[name]["time"] > 0)
            summary = mean_and_error(data)
            t, mean, error = data["time"].values, summary["mean"].values, summary["error"].values
            axes.fill_between(t, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0)
            axes.plot(t, mean, color=colour, label=f"{name} ({replicas(data)})")
            if (fit := fits.get(symbol, {}).get(name)) is not None:
                inside = np.geomspace(*fit.window, 50)
                label = rf"$t^{{{fit.exponent:.3f} \pm {fit.sigma:.3f}}}$"
                axes.plot(inside, fit(inside), "--", color=colour, linewidth=0.9, dashes=(4, 2), label=label, zorder=5)
        for number, (table, column) in enumerate(published.get(symbol, ())):
            overlay(axes, table, "t", column, number=number)
        axes.set(xscale="log", yscale="log", xlabel=with_unit("time $t$", time_unit))
        axes.set_ylabel(with_unit(f"${symbol}$", next(iter(curves.values())).attrs.get("units", "1")))
        plain_log_ticks(axes)
        light_grid(axes)
        axes.legend(loc="upper left", fontsize=6.5)
    figure.caption = (
        f"Growth after the quench of {', '.join(f'${symbol}$' for symbol in quantities)}: means over replicas with "
        "bands of one standard error; dashed, power laws where they were fitted."
    ) + sources([table for tables in published.values() for table, _ in tables])
    return figure


@styled
def scaling_collapse(
    S: xr.DataArray,
    L: xr.DataArray,
    *,
    dimension: int,
    times: Sequence[float],
    found: DynamicalScaling | None = None,
    tail: SizeLaw | None = None,
    symbol: str = "L",
    time_unit: str = "1/t",
) -> Picture:
    """S(k, t) of the super-clusters ``(replica, time, k)``, as measured and rescaled to S/L^d against kL.

    ``symbol`` names the length that was passed as L. The dashed line falls as k^-(d+1), the law of Porod for sharp
    walls; ``tail`` is the power that was fitted at the last time, ``found`` the judgement of the collapse.
    """
    times, dimension = chosen_times(times, 8), integer(dimension, "dimension", least=1)
    labelled(S, "S", ("replica", "time", "k"))
    labelled(L, "L", ("replica", "time"))
    figure = picture(PAGE, 2.8)
    left, right = figure.subplots(1, 2)
    positive = S.sel(k=S["k"] > 0)
    for time, colour in zip(times, time_colours(len(times)), strict=True):
        chosen = positive.sel(time=time, method="nearest")
        length = float(L.sel(time=time, method="nearest").mean("replica"))
        summary = mean_and_error(chosen)
        k, mean, error = chosen["k"].values, summary["mean"].values, summary["error"].values
        for axes, x, y in ((left, 1.0, 1.0), (right, length, length**-dimension)):
            low = np.maximum(mean - error, 1e-3 * mean)
            axes.fill_between(k * x, low * y, (mean + error) * y, color=colour, alpha=0.25, linewidth=0)
            axes.plot(k * x, mean * y, color=colour, linewidth=1.0, label=f"$t = {rounded(chosen['time'])}$")
    # The guide runs a little above the tail of the last time, up to where the lattice bends it.
    start = max(3.0, float(k[0]) * length)
    guide = np.geomspace(start, max(2.0 * start, LATTICE * length), 20)
    level = 2.0 * float(np.interp(start, k * length, mean)) * length**-dimension
    right.plot(guide, level * (guide / start) ** -(dimension + 1.0), "--", color=GUIDE, linewidth=0.9)
    right.annotate(f"$k^{{-{dimension + 1}}}$", (guide[8], 1.2 * level * (guide[8] / start) ** -(dimension + 1.0)),
                   color=GUIDE)  # fmt: skip
    for axes in (left, right):
        axes.set(xscale="log", yscale="log")
        light_grid(axes)
    left.set_xlabel(with_unit("$k$", "1/a"))
    left.set_ylabel("$S(k, t)$")
    right.set(xlabel=f"$k {symbol}(t)$", ylabel=f"$S(k, t)\\, / {symbol}^{dimension}(t)$")
    left.legend(loc="lower left")
    if found is not None:
        right.set_title(rf"best collapse: $\theta = {found.theta:.2f} \pm {found.theta_error:.2f}$")
    clock = "" if time_unit in ("", "1") else f", times in {time_unit}"
    figure.caption = (
        f"Structure factor of the super-clusters, averaged over directions and replicas{clock}, and the same rescaled "
        f"by {symbol}(t). Dashed: the tail of sharp walls."
    )
    if tail is not None:
        figure.caption += f" Fitted power of the tail: {tail}."
    if found is not None:
        figure.caption += (
            f" Points scatter by {100 * found.deviation:.2g} % about the common curve, "
            f"{np.sqrt(found.quality):.2g} error bars; self-similar domains demand θ = {dimension}."
        )
    return figure


@styled
def pair_correlations(
    exact: xr.DataArray,
    learned: xr.DataArray,
    *,
    times: Sequence[float],
    paired: bool = False,
    symbol: str = r"\langle n_i n_j \rangle",
    time_unit: str = "1/t",
) -> Picture:
    """C(r) at several times ``(replica, time, r)``, exact and learned, and below their difference in standard errors.

    The title of each panel gives the p-value of equal means over all distances (:func:`compare_curves`): distances are
    correlated, so that several points in a row outside ±2 say less than they seem to. ``paired``: replica i of both
    began from the same configuration. C(0), the density of particles, is conserved and left out.
    """
    times = chosen_times(times, 5)
    require({"exact": exact, "learned": learned}, "correlations", ("replica", "time", "r"))
    figure = picture(min(PAGE, 0.8 + 2.4 * len(times)), 3.2)
    above, below = figure.subplots(2, len(times), squeeze=False, sharex=True, sharey="row", height_ratios=(5, 2))
    for upper, lower, time in zip(above, below, times, strict=True):
        a, b = (
            data.sel(time=time, method="nearest").sel(r=data["r"] > 0).transpose("replica", "r")
            for data in (exact, learned)
        )
        one, two = mean_and_error(a), mean_and_error(b)
        r = a["r"].values
        upper.fill_between(r, one["mean"] - one["error"], one["mean"] + one["error"], color=EXACT, alpha=0.2, lw=0)
        upper.plot(r, one["mean"], color=EXACT, linewidth=1.0, label=f"exact ({replicas(a)})")
        upper.errorbar(r, two["mean"], two["error"], fmt="o", color=CYCLE[1], markersize=2.8, elinewidth=0.8,
                       markerfacecolor="white", zorder=3, label=f"learned ({replicas(b)})")  # fmt: skip
        gap = (two["mean"] - one["mean"]).values
        sigma = mean_and_error(b - a)["error"].values if paired else np.hypot(one["error"].values, two["error"].values)
        pulls = np.divide(gap, sigma, out=np.zeros_like(gap), where=sigma > 0)
        lower.axhspan(-2, 2, color="#eeeeee", zorder=0)
        lower.plot(r, pulls, "o-", color=CYCLE[1], markersize=2.4, linewidth=0.7)
        lower.axhline(0.0, color=GUIDE, linewidth=0.6)
        p = compare_curves(a, b, paired=paired).p_value
        upper.set_title(f"$t = {rounded(a['time'])}$, $p = {p:.2g}$")
        lower.set_xlabel(with_unit("$r$", exact["r"].attrs.get("units", "a")))
        light_grid(upper)
    above[0].set_ylabel(f"${symbol}$")
    below[0].set_ylabel("difference [σ]")
    above[0].legend(loc="best", fontsize=6.5)
    clock = "" if time_unit in ("", "1") else f" Times are in {time_unit}."
    figure.caption = (
        f"Correlation ${symbol}$ from exact (line, band of one standard error) and learned dynamics (circles). Below: "
        f"learned less exact in standard errors of the difference; grey, ±2. p is the probability of a larger "
        f"difference by chance, over all distances together.{clock}"
    )
    return figure
