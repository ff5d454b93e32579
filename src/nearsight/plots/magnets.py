"""Pictures of magnets that order: phases, order in time, errors of torques, and how far they see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from nearsight.analysis import mean_and_error
from nearsight.lattices import Lattice
from nearsight.plots._axes import colours, light_grid, plain_log_ticks, side_bar, with_unit
from nearsight.plots._planes import check_plane, draw_plane
from nearsight.plots.style import CYCLE, EXACT, LEARNED, PAGE, SEQUENTIAL, Picture, picture, styled


@styled
def phases(omega: xr.DataArray, *, reference: str, charge: xr.DataArray | None = None) -> Picture:
    """Energies per site ``(texture, field)`` less that of one texture: the lowest in a field is the ground state.

    ``charge`` with the same dimensions is written beside every point.
    """
    if set(omega.dims) != {"texture", "field"}:
        raise ValueError(f"Energies have the dimensions texture and field, got {omega.dims}.")
    figure = picture(0.62 * PAGE, 2.9)
    axes = figure.add_subplot()
    difference = 1e4 * (omega - omega.sel(texture=reference, drop=True))
    near = difference.max("field") < 20.0
    for texture, colour in zip(omega.texture.values[near.values], CYCLE, strict=False):
        values = difference.sel(texture=texture)
        axes.plot(values.field, values, "o-", color=colour, label=str(texture))
        if charge is not None:
            for B, y, n in zip(values.field.values, values.values, charge.sel(texture=texture).values, strict=True):
                axes.annotate(
                    f"{abs(round(n, 2)):g}",
                    (B, y),
                    xytext=(3, 3),
                    textcoords="offset points",
                    fontsize=6.5,
                    color=colour,
                )
    axes.set(
        xlabel=with_unit("field $B$", "t"), ylabel=rf"$(\Omega - \Omega_\mathrm{{{reference}}})/N$ [$10^{{-4}}$ t]"
    )
    light_grid(axes)
    axes.legend(loc="best")
    far = [str(t) for t in omega.texture.values[~near.values]]
    numbers = " Numbers are topological charges per magnetic cell." if charge is not None else ""
    above = f" Far above, and not drawn: {', '.join(far)}." if far else ""
    figure.caption = (
        f"Grand potentials per site of relaxed textures, named by where they started, less that of the {reference}."
        f"{numbers}{above}"
    )
    return figure


@styled
def coexistence(energy: xr.DataArray, *, low: float, high: float, mu: float, density: float | None = None) -> Picture:
    """Energies per site ``(texture, density)`` less the common tangent of the phases of densities ``low`` and ``high``.

    The tangent is the zero line; ``density``, the one of the dynamics, is dotted.
    """
    if set(energy.dims) != {"texture", "density"}:
        raise ValueError(f"Energies have the dimensions texture and density, got {energy.dims}.")
    n = energy.density.values
    touching = float(energy.min("texture").sel(density=high, method="nearest"))
    above = energy.transpose("texture", "density") - (touching + mu * (n - high))
    figure = picture(0.62 * PAGE, 2.9)
    axes = figure.add_subplot()
    for texture, colour in zip(energy.texture.values, CYCLE * 2, strict=False):
        dashes: dict[str, Any] = {"linestyle": "--", "dashes": (3, 1.5)} if texture == "random" else {}
        axes.plot(n, above.sel(texture=texture), color=colour, label=str(texture), **dashes)
    axes.axhline(0.0, color="#888888", linewidth=0.7, zorder=0)
    axes.plot([low, high], [0.0, 0.0], "o", color=EXACT, zorder=5)
    if density is not None:
        axes.axvline(density, color="#888888", linewidth=0.8, linestyle=":")
    axes.set(ylim=(-0.02, 0.3), xlim=(n[0], n[-1] + 0.01), xlabel="electrons per site $n$")
    axes.set_ylabel("$E/N$ less the tangent [t]")
    light_grid(axes)
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncol=3, fontsize=6.5)
    figure.caption = (
        f"Energies per site of ordered textures, the lowest of each family, and of random spins, less the common "
        f"tangent of slope μ* = {mu:.3f} t. Between the dots, n = {low:.3g} and {high:.3g}, two phases coexist; the "
        "dotted line is the density of the dynamics."
    )
    return figure


@styled
def trapped_holes(energy: xr.DataArray, *, bulk: float) -> Picture:
    """Energy per hole ``(radius, holes)`` in ferromagnetic discs of an antiferromagnet; ``bulk``: in a large domain."""
    if set(energy.dims) != {"radius", "holes"}:
        raise ValueError(f"Energies have the dimensions radius and holes, got {energy.dims}.")
    figure = picture(0.65 * PAGE, 2.5)
    axes = figure.add_subplot()
    for radius, colour in zip(energy.radius.values, CYCLE, strict=False):
        label = {-1.0: "no disc", 0.0: "one spin reversed"}.get(float(radius), f"radius {radius:g} a")
        axes.plot(energy.holes, energy.sel(radius=radius), "o-", color=colour, linewidth=0.9, label=label)
    axes.axhline(bulk, color="#888888", linewidth=0.8, linestyle="--")
    band = float(energy.max("holes").min("radius"))
    axes.set(ylim=(bulk - 0.2, max(band, float(energy.isel(radius=0).max())) + 0.4))
    axes.set(xlabel="holes in one disc", ylabel="energy per hole [t]", xticks=energy.holes.values)
    light_grid(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6.5)
    figure.caption = (
        "Energy per hole in a ferromagnetic disc of the half-filled antiferromagnet, at kT = 0; dashed: in the "
        "ferromagnet with which it coexists. Where one hole alone lies below two or three together, holes stay apart."
    )
    return figure


@styled
def chemical_potentials(
    curves: Mapping[str, xr.DataArray], torque: xr.Dataset, *, coexisting: float | None = None, time_unit: str = "1/t"
) -> Picture:
    """μ(t) that holds the number of electrons ``(replica, time)``, and what torques miss if μ is held instead.

    ``torque`` has, for every snapshot, the rms torque and the errors ``at_mean`` and ``at_time`` of μ.
    """
    figure = picture(PAGE, 2.5)
    left, right = figure.subplots(1, 2)
    for name, colour in zip(curves, colours(curves), strict=True):
        data = curves[name].sel(time=curves[name]["time"] > 0).transpose("replica", "time")
        t, mean, spread = data.time.values, data.mean("replica").values, data.std("replica").values
        left.fill_between(t, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
        left.plot(t, mean, color=colour, label=name)
    if coexisting is not None:
        left.axhline(coexisting, color="#888888", linewidth=0.8, linestyle="--")
    left.set(xscale="log", xlabel=with_unit("time $t$", time_unit), ylabel=r"$\mu$ [t]")
    left.legend(loc="best")
    squares = (torque[["torque", "at_mean", "at_time"]] ** 2).groupby("time").mean()
    squares = squares.sel(time=squares.time > 0)
    labels = {"torque": "torque", "at_mean": r"error at the mean $\mu$", "at_time": r"error at $\mu(t)$"}
    for (name, label), colour in zip(labels.items(), (EXACT, *CYCLE), strict=False):
        values = np.sqrt(squares[name].values)
        if (values > 0).any():
            right.plot(squares.time, np.where(values > 0, values, np.nan), color=colour, label=label)
    right.set(xscale="log", yscale="log", xlabel=with_unit("time $t$", time_unit), ylabel="rms [t]")
    right.legend(loc="best")
    for axes in (left, right):
        plain_log_ticks(axes)
        light_grid(axes)
    dashed = "; dashed: where two phases coexist" if coexisting is not None else ""
    figure.caption = (
        f"Left: chemical potential that holds the number of electrons in exact and learned quenches, mean and spread "
        f"over replicas{dashed}. Right: exact torques on test trajectories, and how far they are from exact torques "
        "at a fixed μ, which alone are local."
    )
    return figure


@styled
def order_in_time(
    panels: Mapping[str, Mapping[str, xr.DataArray]],
    *,
    logarithmic: Sequence[str] = (),
    mark: float | None = None,
    levels: Mapping[str, float] | None = None,
    time_unit: str = "1/t",
) -> Picture:
    """Quantities ``(replica, time)`` side by side on a logarithmic time axis: mean and standard error of each source.

    panels: by the label of the axis, curves by the name in the legend.
    logarithmic: labels of the panels whose own axis is logarithmic too.
    mark: a time drawn as a vertical line, such as the end of the training data.
    levels: values drawn as horizontal lines, by panel.
    """
    if not panels or not all(panels.values()):
        raise ValueError("There is nothing to draw: every panel needs at least one curve.")
    figure = picture(min(PAGE, 2.5 * len(panels) + 0.4), 2.4)
    for axes, (label, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, colour in zip(curves, colours(curves), strict=True):
            data = curves[name].sel(time=curves[name]["time"] > 0)
            summary = mean_and_error(data)
            t, mean, error = data["time"].values, summary["mean"].values, summary["error"].values
            axes.fill_between(t, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0)
            axes.plot(t, mean, color=colour, label=name)
        if mark is not None:
            axes.axvline(mark, color="#888888", linewidth=0.8, linestyle=":")
        if levels is not None and label in levels:
            axes.axhline(levels[label], color="#888888", linewidth=0.8, linestyle="--")
        axes.set(xscale="log", xlabel=with_unit("time $t$", time_unit), ylabel=label)
        if label in logarithmic:
            axes.set_yscale("log")
        plain_log_ticks(axes)
        light_grid(axes)
        if len(curves) > 1:
            axes.legend(loc="best")
    figure.caption = "Mean over replicas; bands are one standard error."
    return figure


@styled
def torque_errors(exact: np.ndarray, learned: Mapping[str, np.ndarray], *, paper: float | None = None) -> Picture:
    """Lengths of learned against exact fields H normal to the spins ``(..., 3)``, and the angles between them.

    The left panel shows the first student; a published angle is a dotted line.
    """
    if not learned:
        raise ValueError("There is no student to draw.")
    figure = picture(PAGE, 2.8)
    left, right = figure.subplots(1, 2)
    length, other = (np.linalg.norm(x, axis=-1).ravel() for x in (exact, next(iter(learned.values()))))
    both = (length > 0) & (other > 0)
    if not both.any():
        raise ValueError("All fields vanish, so they have no directions to compare.")
    low, high = np.percentile(np.concatenate([length[both], other[both]]), [0.1, 100])
    cells = left.hexbin(
        length[both], other[both], gridsize=60, bins="log", xscale="log", yscale="log", mincnt=1, cmap=SEQUENTIAL
    )
    left.plot([low, high], [low, high], color=LEARNED, linewidth=0.8)
    left.set(xlim=(low, high), ylim=(low, high))
    left.set(xlabel=r"$|H_\perp|$ exact [t]", ylabel=r"$|H_\perp|$ learned [t]")
    side_bar(left, cells, "sites per cell")
    for name, colour in zip(learned, colours(learned) if len(learned) == 1 else CYCLE, strict=False):
        degrees = np.sort(_angles(exact, learned[name]))
        right.plot(degrees, np.linspace(0, 1, len(degrees)), color=colour, label=name)
    if paper is not None:
        right.axvline(paper, color="#888888", linewidth=0.8, linestyle=":")
    right.set(xscale="log", xlim=(0.1, 180), ylim=(0, 1), xlabel="angle [°]", ylabel="share of sites below")
    light_grid(right)
    right.legend(loc="upper left")
    figure.caption = (
        "Fields normal to the spins on unseen trajectories: their lengths, and the distribution of the angle between "
        "learned and exact ones on all sites however small their torque."
    )
    return figure


@styled
def receptive_fields(share: xr.DataArray, maps: xr.DataArray, lattice: Lattice, *, decades: float = 4.0) -> Picture:
    """How much the field H on every site feels a spin in the middle ``(source, x, y)``, and its share within r.

    ``share`` is ``(source, r)``; sources are "exact" and "learned".
    """
    check_plane(lattice)
    names = [str(name) for name in share.source.values]
    figure = picture(PAGE, 2.5)
    panels = figure.subplots(1, len(names) + 1, squeeze=False)[0]
    top = float(maps.max())
    norm = LogNorm(top / 10**decades, top)
    for axes, name in zip(panels, names, strict=False):
        values = np.maximum(maps.sel(source=name).values.ravel(), top / 10**decades)
        image = draw_plane(axes, values, lattice, norm, "magma")
        axes.set_title(name)
    side_bar(panels[len(names) - 1], image, r"$|\partial H_i/\partial S_j|$ [t]")
    _shares(panels[-1], share)
    figure.caption = (
        "Response of the fields normal to the spins when one spin, in the middle, turns: exact electrons and the "
        "student, and the share of the summed response within a distance."
    )
    return figure


def _shares(axes: Axes, share: xr.DataArray) -> None:
    for name, colour in (("exact", EXACT), ("learned", LEARNED)):
        if name in share.source.values:
            axes.plot(share.r, share.sel(source=name), color=colour, label=name)
    axes.set(xlabel=with_unit("distance $r$", "a"), ylabel="share within $r$", ylim=(0, 1.02))
    light_grid(axes)
    axes.legend(loc="lower right")


def _angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """In degrees, between the vectors of every site."""
    cross = np.linalg.norm(np.cross(a, b), axis=-1)
    return np.rad2deg(np.arctan2(cross, (a * b).sum(-1))).ravel()
