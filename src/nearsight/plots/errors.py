"""How far learned forces are from exact ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import NullFormatter
from torch import Tensor

from nearsight._validation import instance, number
from nearsight.plots._axes import axis_label, capitalised, light_grid, side_bar, value_text, with_unit
from nearsight.plots.style import CYCLE, EXACT, LEARNED, PAGE, PAPER, SEQUENTIAL, Picture, picture, styled

Numbers = xr.DataArray | Tensor | np.ndarray | Sequence[float]
SCATTER_LIMIT = 3000
"""Up to this many points are drawn one by one; more become a density."""


@styled
def parity(
    exact: Numbers | Mapping[str, Numbers],
    learned: Numbers | Mapping[str, Numbers],
    *,
    by: str | None = None,
    quantity: str | None = None,
    unit: str | None = None,
    paper: float | None = None,
    source: str = "paper",
) -> Picture:
    """Learned against exact values with the root mean square error; many points are drawn as a logarithmic density.

    Parameters
    ----------
    exact, learned: of equal shape; labelled arrays bring ``long_name`` and ``units``. Mappings from the symbols of
        components to their values, or labelled arrays with a dimension ``by``, are drawn component by component, with
        the distribution of the errors of each below.
    quantity, unit: symbol in mathematical type and unit, in the place of those of labelled arrays.
    paper: the published root mean square error, a line on either side of zero in the distributions.
    """
    paper = None if paper is None else number(paper, "paper", above=0)
    one, two = _components(exact, by, "exact"), _components(learned, by, "learned")
    if set(one) != set(two):
        raise ValueError(f"exact and learned must hold the same components, got {list(one)} and {list(two)}.")
    pairs = {}
    for name in one:
        x, y = _flat(one[name], name or "exact"), _flat(two[name], name or "learned")
        if x.shape != y.shape:
            raise ValueError(f"Every exact value of {name} needs its learned one, got {x.size} and {y.size}.")
        pairs[name] = x, y
    unit = _unit(next(iter(one.values())), unit)
    if list(pairs) != [""]:
        return _parity_by_component(pairs, unit, paper, source)
    x, y = pairs[""]
    figure = picture(3.2, 3.0)
    axes = figure.add_subplot()
    density = _scatter(axes, x, y)
    if density is not None:
        side_bar(axes, density, "points per cell")
    for which, values, set_label in (("exact", exact, axes.set_xlabel), ("learned", learned, axes.set_ylabel)):
        if isinstance(values, xr.DataArray) and quantity is None:
            set_label(axis_label(values, which))
        else:
            set_label(with_unit(f"${quantity or 'F'}$ {which}", unit))
    rmse = float(np.sqrt(np.mean((y - x) ** 2)))
    axes.set_title(f"RMSE {rmse:.3g}{'' if unit in ('', '1') else ' ' + unit}")
    figure.caption = f"Learned against exact {_symbol(exact, quantity)} for {x.size} values"
    if (spread := float(x.std())) > 0:
        figure.caption += (
            f"; the root mean square error is {100 * rmse / spread:.2g} % of the spread of the exact values"
        )
    figure.caption += "."
    return figure


def _parity_by_component(
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], unit: str, paper: float | None, source: str
) -> Picture:
    figure = picture(PAGE, 4.3)
    above, below = figure.subplots(2, len(pairs), squeeze=False, height_ratios=[1.5, 1.0])
    words = []
    for upper, lower, (name, (x, y)) in zip(above, below, pairs.items(), strict=True):
        _scatter(upper, x, y)
        upper.set_title(f"${name}$")
        upper.set_xlabel(with_unit("exact", unit))
        rmse = float(np.sqrt(np.mean((y - x) ** 2)))
        reach = max(float(np.quantile(np.abs(y - x), 0.9995)), 3 * rmse, 1.2 * (paper or 0.0)) or 1.0
        _distribution(lower, np.clip(y - x, -reach, reach), (y - x).mean(), (y - x).std(), (-reach, reach), 61)
        _mark_paper(lower, paper)
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
    error: Numbers,
    *,
    quantity: str | None = None,
    unit: str | None = None,
    paper: float | None = None,
    source: str = "paper",
) -> Picture:
    """Distribution of the error, the Gaussian of the same mean and standard deviation, and the paper's number.

    The vertical axis is logarithmic: a force field that is good on average and bad on rare sites shows as tails above
    the Gaussian. ``paper`` is the published standard deviation, drawn as a line on either side.
    """
    values = _flat(error, "error")
    unit = _unit(error, unit)
    paper = None if paper is None else number(paper, "paper", above=0)
    mean, std = float(values.mean()), float(values.std())
    if std == 0:
        raise ValueError("All errors are equal, so there is no distribution to draw.")
    figure = picture()
    axes = figure.add_subplot()
    reach = max(float(np.abs(values - mean).max()), 3 * std, 1.2 * (paper or 0.0))
    _distribution(axes, values, mean, std, (mean - reach, mean + reach), 81, label=f"error, std {std:.3g}")
    _mark_paper(axes, paper, f"{source}, std {paper:.3g}" if paper is not None else None)
    if isinstance(error, xr.DataArray) and quantity is None:
        axes.set_xlabel(axis_label(error, "learned − exact"))
    else:
        axes.set_xlabel(with_unit(rf"$\Delta {quantity or 'F'}$ (learned − exact)", unit))
    axes.set_ylabel("probability density" if unit in ("", "1") else "density [inverse unit]")
    axes.legend(loc="upper right", ncols=1)
    words = "" if isinstance(error, xr.DataArray) and quantity is None else "error of "
    words = capitalised(words + _symbol(error, quantity))
    figure.caption = f"{words} (mean {mean:.2g}, standard deviation {std:.3g}, {values.size} values)"
    figure.caption += " with the Gaussian of the same width."
    if paper is not None:
        figure.caption += f" Dashed: the standard deviation of the {source}, {paper:.3g}."
    return figure


@styled
def rms_errors(exact: xr.DataArray, learned: xr.DataArray, *, by: str | Sequence[str]) -> Picture:
    """Root mean square error in groups: by kind of snapshot, age of the quench, source of the forces.

    Parameters
    ----------
    exact, learned: ``(snapshot, ...)`` with equal dimensions, of which learned may have more, such as "source".
    by: coordinates, or dimensions, that tell the groups apart. Error bars are standard errors of the mean square over
        whole snapshots, the dimension of the first coordinate: the errors within a snapshot are correlated.
    """
    names = (by,) if isinstance(by, str) else tuple(instance(by, (list, tuple), "by"))
    for which, data in (("exact", exact), ("learned", learned)):
        if instance(data, xr.DataArray, which).dtype.kind not in "iuf" or not np.isfinite(data.values).all():
            raise ValueError(f"{which} must hold finite real numbers, got {data.dtype}.")
    square = (learned - exact) ** 2
    if unknown := [name for name in names if name not in square.coords]:
        raise ValueError(f"There is no coordinate {unknown[0]!r} to group by among {list(square.coords)}.")
    groups = {"": square}
    for name in names:
        dim = square[name].dims[0]
        groups = {
            f"{words}{',' + chr(10) if words else ''}{value_text(value)}": part.isel(
                {dim: np.flatnonzero(part[name].values == value)}
            )
            for words, part in groups.items()
            for value in dict.fromkeys(square[name].values.tolist())
        }
    sample = square[names[-1]].dims[0]
    bars = {}
    for name, part in groups.items():
        means = part.mean([d for d in part.dims if d != sample]).values
        if not len(means):
            continue
        rms = float(np.sqrt(means.mean()))
        # δ√m = δm / 2√m
        sigma = means.std(ddof=1) / np.sqrt(len(means)) / (2 * rms) if len(means) > 1 and rms > 0 else 0.0
        bars[name] = rms, float(sigma)
    label = str(exact.attrs.get("long_name", exact.name or "values")).removeprefix("exact ")
    return _bars(bars, with_unit(f"rms error of the {label}", str(exact.attrs.get("units", "1"))), ", ".join(names))


def _bars(bars: Mapping[str, tuple[float, float]], label: str, group: str) -> Picture:
    """Heights with error bars and their values, one for every name."""
    figure = picture(max(2.4, 1.0 + 0.6 * len(bars)))
    axes = figure.add_subplot()
    for position, (rms, sigma) in enumerate(bars.values()):
        axes.bar(position, rms, 0.62, color=PAPER, alpha=0.8, linewidth=0)
        axes.errorbar(position, rms, sigma, color=EXACT, linewidth=0.9)
        above = (position, rms + sigma)
        axes.annotate(f"{rms:.2g}", above, (0, 2), textcoords="offset points", ha="center", va="bottom", fontsize=7)
    slanted = len(bars) > 3
    axes.set_xticks(range(len(bars)), list(bars), rotation=25 if slanted else 0, ha="right" if slanted else "center")
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.14)
    axes.set(xlabel=group, ylabel=label)
    figure.caption = f"{capitalised(label)} by {group}; error bars are one standard error over whole snapshots."
    return figure


@styled
def histograms(values: Mapping[str, Numbers] | xr.DataArray, *, by: str | None = None) -> Picture:
    """Distributions of the values in every group, one below the other: what a data set covers.

    ``values`` are ``(snapshot, ...)`` by the name of the group, or labelled with a coordinate ``by`` along snapshots.
    """
    groups: dict[str, Numbers]
    if isinstance(values, xr.DataArray):
        if by is None or by not in values.coords:
            raise ValueError(f"Name the coordinate of the groups with by=, one of {list(values.coords)}.")
        dim, label = values[by].dims[0], axis_label(values, "value")
        kinds = dict.fromkeys(values[by].values.tolist())
        groups = {str(kind): values.isel({dim: np.flatnonzero(values[by].values == kind)}).values for kind in kinds}
    else:
        groups, label = dict(instance(values, Mapping, "values", "Name every group, as in {'thermal': ...}.")), "value"
    if not groups:
        raise ValueError("There are no groups of values to draw.")
    arrays = {name: np.atleast_1d(_array(group, name)) for name, group in groups.items()}
    low, high = min(a.min() for a in arrays.values()), max(a.max() for a in arrays.values())
    edges = np.linspace(low, high, 81) if high > low else np.linspace(low - 0.5, high + 0.5, 81)
    figure = picture(PAGE / 2, 0.8 + 0.62 * len(arrays))
    panels = figure.subplots(len(arrays), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, array), colour in zip(panels, arrays.items(), CYCLE * len(arrays), strict=False):
        axes.hist(array.ravel(), edges, density=True, color=colour, alpha=0.75, linewidth=0)
        axes.text(0.0, 1.0, f"{name}: {len(array)}", transform=axes.transAxes, va="top", fontsize=7.5)
        axes.margins(y=0.35)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
    panels[-1].set_xlabel(label)
    figure.supylabel("density of values", fontsize=8.5)
    figure.caption = f"Distribution of the {label} in every group, with the number of snapshots."
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
    figure.caption = (
        r"Violation of the lattice symmetry: how much the force $F$ of a turned field $g\Phi$ differs from the force "
        "turned like it, for every operation $g$ of the point group."
    )
    return figure


def _components(values: Numbers | Mapping[str, Numbers], by: str | None, which: str) -> dict[str, Numbers]:
    """Values by component; one without a name if there are no components."""
    if by is not None:
        array = instance(values, xr.DataArray, which, "Only labelled arrays have a dimension to go by.")
        if by not in array.dims:
            raise ValueError(f"{which} has no dimension {by!r} among {array.dims}.")
        return {str(value): array.sel({by: value}) for value in array[by].values}
    if not isinstance(values, Mapping):
        return {"": values}
    if not values:
        raise ValueError(f"There are no components to draw: {which} is empty.")
    return dict(values)


def _unit(values: Numbers, unit: str | None) -> str:
    given = values.attrs.get("units", "1") if isinstance(values, xr.DataArray) else "1"
    return str(given) if unit is None else unit


def _symbol(values: object, quantity: str | None) -> str:
    """What is compared, in words if a labelled array has them, else its symbol."""
    if quantity is None and isinstance(values, xr.DataArray):
        return str(values.attrs.get("long_name", values.name or "values")).removeprefix("exact ")
    return f"${quantity or 'F'}$"


def _distribution(
    axes: Axes, values: np.ndarray, mean: float, std: float, limits: tuple[float, float], edges: int, label: str = ""
) -> None:
    """A histogram on a logarithmic scale and, if there is any scatter, the Gaussian of this mean and deviation."""
    bins = np.linspace(*limits, edges)
    counts, *_ = axes.hist(values, list(bins), density=True, color=PAPER, alpha=0.35, linewidth=0, label=label or None)
    top = float(np.max(counts))
    if std > 0:
        grid = np.linspace(*limits, 400)
        gaussian = np.exp(-0.5 * ((grid - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))
        axes.plot(grid, gaussian, color=EXACT, linewidth=1.0, label="Gaussian" if label else None)
        top = max(top, float(gaussian.max()))
    smallest = 1.0 / (values.size * (bins[1] - bins[0]))
    axes.set(yscale="log", ylim=(0.5 * smallest, 5.0 * top), xlim=limits)


def _mark_paper(axes: Axes, paper: float | None, label: str | None = None) -> None:
    for side, text in ((-1, None), (1, label)) if paper is not None else ():
        axes.axvline(side * (paper or 0.0), color=LEARNED, linewidth=1.0, linestyle=(0, (4, 2)), label=text)


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
