"""Figures of intensive properties from blocks: energies, accuracies, windows and their collapse."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from nearsight.analysis import Collapse, SizeLaw
from nearsight.plots.curves import plain_log_ticks, require, time_colours
from nearsight.plots.style import CYCLE, EXACT, PAGE, Picture, light_grid, picture, styled


@styled
def energy_bias(energy: xr.Dataset, *, critical: float, quantity: str = "e") -> Picture:
    """Energy per site against temperature for blocks of several sides, and below it how far it is off.

    ``energy`` holds ``exact`` (temperature), ``sampled`` (temperature, snapshot) and ``learned`` (side, temperature,
    snapshot). Error bars are standard errors over snapshots.
    """
    figure = picture(height=3.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    T = energy.temperature.values
    top.plot(T, energy.exact.values, color=EXACT, linewidth=0.9, label="exact torus", zorder=1)
    bottom.axhline(0, color=EXACT, linewidth=0.7)
    for side, colour in zip(energy.side.values, time_colours(energy.sizes["side"]), strict=True):
        learned = energy.learned.sel(side=side)
        top.plot(T, learned.mean("snapshot"), "o", color=colour, markersize=2.4, label=rf"$\ell = {side}$")
        off = learned - energy.sampled
        error = off.std("snapshot", ddof=1) / np.sqrt(off.sizes["snapshot"])
        bottom.errorbar(T, off.mean("snapshot"), error, fmt="o-", color=colour, markersize=2.2, linewidth=0.8)
    for axes in (top, bottom):
        axes.axvline(critical, color="#999999", linewidth=0.7, linestyle=":")
        light_grid(axes)
    top.set_ylabel(f"${quantity}$ [J]")
    top.legend(loc="upper left")
    bottom.set(xlabel="temperature $T$ [J]", ylabel=f"$\\Delta {quantity}$ [J]")
    figure.caption = (
        "Energy per site of whole snapshots, predicted from random blocks. Below: the mean error at every temperature, "
        "with its standard error over snapshots. The dotted line is the transition."
    )
    return figure


@styled
def accuracy_curves(
    block: xr.DataArray, whole: xr.DataArray, *, critical: float, thresholds: tuple[float, ...] = ()
) -> Picture:
    """Share of right phases against temperature ``(side, temperature, snapshot)``: of blocks and of whole snapshots."""
    figure = picture(PAGE, 2.7)
    axes = figure.subplots(1, 2, sharey=True)
    T = block.temperature.values
    for panel, values, title in ((axes[0], block, "single blocks"), (axes[1], whole, "mean over the blocks")):
        for side, colour in zip(values.side.values, time_colours(values.sizes["side"]), strict=True):
            mean = values.sel(side=side).mean("snapshot")
            error = values.sel(side=side).std("snapshot", ddof=1) / np.sqrt(values.sizes["snapshot"])
            panel.errorbar(
                T, mean, error, fmt="o-", color=colour, markersize=2, linewidth=0.8, label=rf"$\ell = {side}$"
            )
        panel.axvline(critical, color="#999999", linewidth=0.7, linestyle=":")
        for threshold in thresholds:
            panel.axhline(threshold, color="#999999", linewidth=0.6, linestyle="--")
        panel.set(xlabel="temperature $T$ [J]", title=title)
        light_grid(panel)
    axes[0].set_ylabel("accuracy $A$")
    axes[0].legend(loc="lower left")
    figure.caption = (
        "Accuracy of the phase against temperature, for single blocks and for the mean probability over all blocks of "
        "a snapshot. Error bars are standard errors over snapshots."
    )
    return figure


@styled
def window_scaling(windows: Mapping[str, xr.Dataset], laws: Mapping[str, SizeLaw | None]) -> Picture:
    r"""ΔT against the side of the block on logarithmic axes, with error bars by resampling and fitted power laws.

    ``windows`` hold ``window`` (side) and ``window_samples`` (sample, side), keyed by the name in the legend.
    """
    require(windows, "windows")
    figure = picture(height=2.8)
    axes = figure.add_subplot()
    for k, (name, data) in enumerate(windows.items()):
        colour = CYCLE[k % len(CYCLE)]
        side, width = data.side.values.astype(float), data.window.values
        known = np.nan_to_num(width) > 0
        error = data.window_samples.std("sample", ddof=1).values[known]
        fitted = laws.get(name)
        label = name if fitted is None else rf"{name}: $\ell^{{{fitted.exponent:.2f} \pm {fitted.error:.2f}}}$"
        axes.errorbar(side[known], width[known], error, fmt="o", color=colour, label=label)
        if fitted is not None:
            axes.plot(side[known], fitted(side[known]), "--", color=colour, linewidth=0.9)
    axes.set(xscale="log", yscale="log", xlabel=r"side of the block $\ell$ [a]", ylabel=r"window $\Delta T$ [J]")
    plain_log_ticks(axes)
    light_grid(axes)
    axes.legend(loc="best")
    figure.caption = (
        "Width of the temperatures about the transition at which single blocks are right less often than the "
        "threshold. Error bars and exponents are from resampled snapshots."
    )
    return figure


@styled
def collapsed(sizes: np.ndarray, x: np.ndarray, y: np.ndarray, error: np.ndarray, found: Collapse) -> Picture:
    """Mean share of wrong blocks at Tc ± t against t, as measured and rescaled by the fitted exponents."""
    figure = picture(PAGE, 2.7)
    axes = figure.subplots(1, 2)
    for row, (side, colour) in enumerate(zip(sizes, time_colours(len(sizes)), strict=True)):
        factor = side**found.theta
        style = {"fmt": "o", "color": colour, "markersize": 2.2, "elinewidth": 0.7}
        axes[0].errorbar(x, y[row], error[row], label=rf"$\ell = {side}$", **style)
        axes[1].errorbar(x * side**found.inverse_nu, y[row] * factor, error[row] * factor, **style)
    axes[0].set(xlabel="$t = |T - T_c|$ [J]", ylabel="$1 - A$")
    axes[1].set(xlabel=r"$t\,\ell^{1/\nu}$ [J]", ylabel=r"$(1 - A)\,\ell^{\theta}$")
    axes[1].set_xlim(0, _reach(x, sizes, found))
    axes[1].set_title(
        rf"$\theta = {found.theta:.3f} \pm {found.theta_error:.3f}$, "
        rf"$1/\nu = {found.inverse_nu:.3f} \pm {found.inverse_nu_error:.3f}$"
    )
    axes[0].legend(loc="upper right")
    for panel in axes:
        light_grid(panel)
    figure.caption = (
        "Share of wrong blocks, mean of Tc + t and Tc - t, as measured (left) and rescaled with the exponents of the "
        "best collapse (right), whose "
        f"mean squared deviation in units of the errors is {found.quality:.2g}."
    )
    return figure


def _reach(x: np.ndarray, sizes: np.ndarray, found: Collapse) -> float:
    """How far at least two sizes have points."""
    return float(x.max() * np.sort(np.asarray(sizes, dtype=float))[-2] ** found.inverse_nu)


@styled
def front_comparison(near: xr.DataArray, bound: xr.DataArray, *, reach: float) -> Picture:
    """Accuracy near the transition against the side of the block, and what it lacks of the best possible one.

    near: of all fronts, ``(front, side, snapshot)``. bound: the same on the blocks whose exact guess is known, of
    "exact" and all fronts, for the sides where it is.
    """
    figure = picture(PAGE, 2.6)
    left, right = figure.subplots(1, 2)
    fronts = [str(front) for front in near.front.values]
    for k, front in enumerate(fronts):
        here, lack = near.sel(front=front), bound.sel(front="exact") - bound.sel(front=front)
        left.plot(here.side, here.mean("snapshot"), "o-", color=CYCLE[k], label=front)
        error = lack.std("snapshot", ddof=1) / np.sqrt(lack.sizes["snapshot"])
        shifted = lack.side.values * 1.06 ** (k - 0.5 * (len(fronts) - 1))
        right.errorbar(shifted, lack.mean("snapshot"), error, fmt="o", color=CYCLE[k])
    right.axhline(0.0, color=EXACT, linestyle="--")
    left.set(ylabel="accuracy $A$")
    right.set(ylabel="exact bound less $A$")
    for axes, sides in ((left, near.side.values), (right, bound.side.values)):
        axes.set(xscale="log", xlabel=r"side of the block $\ell$ [a]")
        axes.set_xticks(sides, labels=[str(s) for s in sides])
        axes.minorticks_off()
        light_grid(axes)
    left.legend(loc="best")
    figure.caption = (
        f"Left: accuracy of single blocks, averaged over temperatures within {reach:g} J of the transition, by what "
        "the network sees: the raw block, the invariants of the paper, or |m| and the energy. Right: what each lacks "
        "of the best guess that a block allows, known from its exact probability, on the same blocks. Nothing stays "
        "below the dashed line but by chance."
    )
    return figure
