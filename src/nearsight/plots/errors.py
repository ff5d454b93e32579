"""How far learned forces are from exact ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import NullFormatter
from torch import Tensor

from nearsight._validation import generator, instance, number
from nearsight.analysis import bootstrap
from nearsight.plots.style import (
    CYCLE,
    EXACT,
    LEARNED,
    PAGE,
    PAPER,
    SEQUENTIAL,
    Picture,
    light_grid,
    picture,
    side_bar,
    styled,
    with_unit,
)

Numbers = Tensor | np.ndarray | Sequence[float]
SCATTER_LIMIT = 3000
"""Up to this many points are drawn one by one; more become a density."""


@styled
def parity(exact: Numbers, learned: Numbers, *, quantity: str = "F", unit: str = "1") -> Picture:
    """Learned against exact values, with the root mean square error; many points are drawn as a logarithmic density."""
    x, y = _flat(exact, "exact"), _flat(learned, "learned")
    if x.shape != y.shape:
        raise ValueError(f"Every exact value needs its learned one, got {x.size} and {y.size}.")
    figure = picture(3.2, 3.0)
    axes = figure.add_subplot()
    density = _scatter(axes, x, y)
    if density is not None:
        side_bar(axes, density, "points per cell")
    axes.set_xlabel(with_unit(f"${quantity}$ exact", unit))
    axes.set_ylabel(with_unit(f"${quantity}$ learned", unit))
    rmse = float(np.sqrt(np.mean((y - x) ** 2)))
    axes.set_title(f"RMSE {rmse:.3g}{'' if unit in ('', '1') else ' ' + unit}")
    figure.caption = f"Learned against exact ${quantity}$ for {x.size} values"
    if (spread := float(x.std())) > 0:
        figure.caption += (
            f"; the root mean square error is {100 * rmse / spread:.2g} % of the spread of the exact values"
        )
    figure.caption += "."
    return figure


@styled
def parity_by_mode(
    exact: Mapping[str, Numbers],
    learned: Mapping[str, Numbers],
    *,
    unit: str = "1",
    paper: float | None = None,
    source: str = "paper",
) -> Picture:
    """Learned against exact values of several components, and the distribution of the error of each below.

    ``exact`` and ``learned`` share their keys, the symbols of the components. ``paper`` is the published root mean
    square error, the same for all, drawn as a line on either side of zero.
    """
    for name, values in (("exact", exact), ("learned", learned)):
        instance(values, Mapping, name, "Name every component, as in {'F_x': ...}.")
    paper = None if paper is None else number(paper, "paper", above=0)
    if not exact or set(exact) != set(learned):
        raise ValueError(f"exact and learned must hold the same components, got {list(exact)} and {list(learned)}.")
    figure = picture(PAGE, 4.3)
    above, below = figure.subplots(2, len(exact), squeeze=False, height_ratios=[1.5, 1.0])
    words = []
    for upper, lower, name in zip(above, below, exact, strict=True):
        x, y = _flat(exact[name], name), _flat(learned[name], name)
        if x.shape != y.shape:
            raise ValueError(f"Every exact value of {name} needs its learned one, got {x.size} and {y.size}.")
        _scatter(upper, x, y)
        error = y - x
        rmse = float(np.sqrt(np.mean(error**2)))
        upper.set_title(f"${name}$")
        upper.set_xlabel(with_unit("exact", unit))
        reach = max(float(np.quantile(np.abs(error), 0.9995)), 3 * rmse, 1.2 * (paper or 0.0)) or 1.0
        counts, edges, _ = lower.hist(
            np.clip(error, -reach, reach), list(np.linspace(-reach, reach, 61)), density=True, color=PAPER, alpha=0.4,
            linewidth=0,
        )  # fmt: skip
        if rmse > 0:
            grid = np.linspace(-reach, reach, 400)
            gaussian = np.exp(-0.5 * ((grid - error.mean()) / error.std()) ** 2) / (error.std() * np.sqrt(2 * np.pi))
            lower.plot(grid, gaussian, color=EXACT, linewidth=0.9)
        if paper is not None:
            for side in (-1, 1):
                lower.axvline(side * paper, color=LEARNED, linewidth=0.9, linestyle=(0, (4, 2)))
        smallest = 1.0 / (error.size * (edges[1] - edges[0]))
        lower.set(yscale="log", xlim=(-reach, reach), ylim=(0.5 * smallest, 4.0 * float(np.max(counts))))
        lower.set_title(f"RMSE {rmse:.3g}")
        lower.set_xlabel(with_unit("learned − exact", unit))
        words.append(f"{rmse:.2g} for ${name}$ (exact values spread by {float(x.std()):.2g})")
    above[0].set_ylabel(with_unit("learned", unit))
    below[0].set_ylabel("probability density")
    figure.caption = (
        f"Learned against exact values, {x.size} of each component, and their errors with the Gaussian of the same "
        f"mean and width. Root mean square errors: {'; '.join(words)}."
    )
    if paper is not None:
        figure.caption += f" Dashed: the error of the {source}, {paper:.3g}."
    return figure


@styled
def error_histogram(
    error: Numbers, *, quantity: str = "F", unit: str = "1", paper: float | None = None, source: str = "paper"
) -> Picture:
    """Distribution of the error, the Gaussian of the same mean and standard deviation, and the paper's number.

    The vertical axis is logarithmic: a force field that is good on average and bad on rare sites shows as tails above
    the Gaussian. ``paper`` is the published standard deviation, drawn as a line on either side.
    """
    values = _flat(error, "error")
    paper = None if paper is None else number(paper, "paper", above=0)
    mean, std = float(values.mean()), float(values.std())
    if std == 0:
        raise ValueError("All errors are equal, so there is no distribution to draw.")
    figure = picture()
    axes = figure.add_subplot()
    reach = max(float(np.abs(values - mean).max()), 3 * std, 1.2 * (paper or 0.0))
    edges = np.linspace(mean - reach, mean + reach, 81)
    axes.hist(values, list(edges), density=True, color=PAPER, alpha=0.35, linewidth=0, label=f"error, std {std:.3g}")
    grid = np.linspace(edges[0], edges[-1], 400)
    gaussian = np.exp(-0.5 * ((grid - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))
    axes.plot(grid, gaussian, color=EXACT, linewidth=1.0, label="Gaussian")
    if paper is not None:
        for side, label in ((-1, None), (1, f"{source}, std {paper:.3g}")):
            axes.axvline(side * paper, color=LEARNED, linewidth=1.0, linestyle=(0, (4, 2)), label=label)
    smallest = 1.0 / (values.size * (edges[1] - edges[0]))
    axes.set(yscale="log", ylim=(0.5 * smallest, 6.0 * gaussian.max()), xlim=(edges[0], edges[-1]))
    axes.set_xlabel(with_unit(rf"$\Delta {quantity}$ (learned − exact)", unit))
    axes.set_ylabel("probability density" if unit in ("", "1") else "density [inverse unit]")
    axes.legend(loc="upper right", ncols=1)
    figure.caption = f"Error of ${quantity}$ (mean {mean:.2g}, standard deviation {std:.3g}, {values.size} values)"
    figure.caption += " with the Gaussian of the same width."
    if paper is not None:
        figure.caption += f" Dashed: the standard deviation of the {source}, {paper:.3g}."
    return figure


@styled
def error_by_group(
    errors: Mapping[str, Numbers],
    *,
    rng: torch.Generator,
    quantity: str = "F",
    unit: str = "1",
    group: str = "kind of snapshot",
) -> Picture:
    """Root mean square error by stage of the relaxation, or by kind of snapshot, with bootstrap errors.

    Each entry is ``(snapshot, ...)``: whole snapshots are resampled, since the errors of one snapshot are correlated.
    """
    instance(errors, Mapping, "errors", "Name every group, as in {'hot': ...}.")
    generator(rng)
    if not errors:
        raise ValueError("There are no groups of errors to draw.")
    figure = picture(max(2.4, 1.0 + 0.6 * len(errors)))
    axes = figure.add_subplot()
    for position, (name, values) in enumerate(errors.items()):
        array = np.atleast_1d(_array(values, name))
        squares = (array.reshape(len(array), -1) ** 2).mean(1)
        rmse = float(np.sqrt(squares.mean()))
        sigma = 0.0
        if len(squares) > 1:
            sigma = float(bootstrap(lambda s: np.sqrt(s.mean()), squares, rng=rng, samples=400).error)
        axes.bar(position, rmse, 0.62, color=PAPER, alpha=0.8, linewidth=0)
        axes.errorbar(position, rmse, sigma, color=EXACT, linewidth=0.9)
        above = (position, rmse + sigma)
        axes.annotate(f"{rmse:.2g}", above, (0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=7)
    slanted = len(errors) > 3
    axes.set_xticks(
        range(len(errors)), list(errors), rotation=25 if slanted else 0, ha="right" if slanted else "center"
    )
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.14)
    axes.set_xlabel(group)
    axes.set_ylabel(with_unit(f"RMSE of ${quantity}$", unit))
    figure.caption = f"Root mean square error of ${quantity}$ by {group}; error bars resample whole snapshots."
    return figure


@styled
def symmetry_error(
    errors: Mapping[str, Numbers], *, labels: Sequence[str], tolerance: float | None = None, unit: str = "1"
) -> Picture:
    """Largest violation |F(gΦ) - gF(Φ)| for every operation g, on a logarithmic axis.

    ``errors`` holds one number for each of the ``labels`` (operations), keyed by force field or precision. An exact
    zero is drawn at the lower edge.
    """
    instance(errors, Mapping, "errors", "Name the force fields, as in {'learned': ...}.")
    instance(labels, (list, tuple), "labels", "It names the operations.")
    tolerance = None if tolerance is None else number(tolerance, "tolerance", above=0)
    if not errors:
        raise ValueError("There are no symmetry errors to draw.")
    arrays = {name: _array(values, name) for name, values in errors.items()}
    for name, values in arrays.items():
        if values.shape != (len(labels),):
            raise ValueError(f"{name!r} needs one error for each of the {len(labels)} operations, got {values.shape}.")
    positive = np.concatenate([v[v > 0] for v in arrays.values()] + [np.array([tolerance or 1e-16])])
    floor = positive.min() / 10
    figure = picture(min(PAGE, max(3.0, 1.2 + 0.3 * len(labels))), 2.4)
    axes = figure.add_subplot()
    for (name, values), colour, marker in zip(arrays.items(), CYCLE, "osD^vPX", strict=False):
        axes.plot(range(len(labels)), np.maximum(values, floor), marker, color=colour, markersize=4.5, label=name)
    if tolerance is not None:
        axes.axhline(tolerance, color=LEARNED, linewidth=0.9, linestyle=(0, (4, 2)), label=f"tolerance {tolerance:.0e}")
    axes.set(yscale="log", ylim=(0.5 * floor, 20 * positive.max()))
    axes.set_xticks(range(len(labels)), labels)
    axes.yaxis.set_minor_formatter(NullFormatter())
    light_grid(axes)
    axes.set_xlabel("operation $g$")
    axes.set_ylabel(with_unit(r"$\max\,|F(g\Phi) - gF(\Phi)|$", unit))
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(arrays) + 1, borderaxespad=0.2)
    figure.caption = "Violation of the lattice symmetry by the force field, for every operation of the point group."
    return figure


def _scatter(axes: Axes, x: np.ndarray, y: np.ndarray) -> PolyCollection | None:
    """Points, or their density where they are many (which is returned for a colour bar), with the diagonal."""
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    margin = 0.04 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    density = None
    if x.size > SCATTER_LIMIT:
        extent = (*limits, *limits)
        density = axes.hexbin(x, y, gridsize=70, bins="log", mincnt=1, extent=extent, cmap=SEQUENTIAL, lw=0.1)
    else:
        axes.plot(x, y, "o", color=PAPER, markersize=2.2, markeredgewidth=0, alpha=0.6)
    axes.plot(limits, limits, color=LEARNED, linewidth=0.8, zorder=4)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    return density


def _flat(values: Numbers, name: str) -> np.ndarray:
    return _array(values, name).ravel()


def _array(values: Numbers, name: str) -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold real numbers, got {type(values).__name__} of {array.dtype}.")
    array = array.astype(float)
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{name!r} must hold finite numbers, at least one; got {array.size}, some NaN or infinite.")
    return array
