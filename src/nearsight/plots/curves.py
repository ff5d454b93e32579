"""Curves: what the dynamics did, exactly and learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from nearsight._validation import filename, instance, numbers
from nearsight.plots.style import CYCLE, EXACT, LEARNED, PAGE, Picture, light_grid, picture, styled


@styled
def training_curves(log: str | Path | Mapping[str, Sequence[float]], *, x: str = "step") -> Picture:
    """Losses and the learning rate during the fit, from ``log.csv`` or columns of numbers.

    Columns whose values are all positive are drawn on a logarithmic axis against ``x``; the learning rate (a column
    with "rate" or "lr" in its name) stands in a panel of its own.
    """
    if isinstance(log, str | Path):
        columns = _read_csv(filename(log, "log"))
    else:
        require(log, "columns")
        columns = {name: _column(v, name) for name, v in log.items()}
    if x not in columns or len(columns) < 2:
        raise ValueError(f"A training log needs a column {x!r} and at least one more, got {sorted(columns)}.")
    drawn = {name: v for name, v in columns.items() if name != x and np.isfinite(v).any() and np.nanmin(v) > 0}
    rates = [name for name in drawn if "rate" in name or name == "lr"]
    losses = [name for name in drawn if name not in rates and not any(w in name for w in ("second", "time", "step"))]
    require({name: columns[name] for name in losses}, "losses")
    figure = picture(PAGE if rates else 3.4, 2.5)
    panels = figure.subplots(1, 2 if rates else 1, width_ratios=[2, 1] if rates else None, squeeze=False)[0]
    for panel, names, label in zip(panels, (losses, rates), ("loss or error", "learning rate"), strict=False):
        for name in names:
            finite = np.isfinite(columns[name])
            panel.plot(columns[x][finite], columns[name][finite], label=name.replace("_", " "))
        panel.set(yscale="log", xlabel=x, ylabel=label)
        light_grid(panel)
    panels[0].legend()
    figure.caption = "Course of the fit. Training and validation curves that part from each other mean over-fitting."
    return figure


def _column(values: object, name: str) -> np.ndarray:
    column = np.asarray(values)
    if column.ndim != 1 or column.dtype.kind not in "iuf":
        raise TypeError(f"Column {name!r} must hold real numbers (step,), got {type(values).__name__}.")
    return column.astype(float)  # NaN between validations is no error


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: the fit writes it when it is given a path.")
    table = np.genfromtxt(path, delimiter=",", names=True, dtype=float, encoding="utf-8")
    return {name: np.atleast_1d(table[name]) for name in table.dtype.names or ()}


def require(items: Mapping[str, object], what: str, dims: Sequence[str] | None = None) -> None:
    """Refuse what is no mapping, or an empty one, or holds anything but labelled arrays with these dimensions."""
    instance(items, Mapping, what, "Name every entry, as in {'exact': ...}.")
    if not items:
        raise ValueError(f"There are no {what} to draw.")
    for name, data in items.items() if dims is not None else ():
        labelled(data, f"{what}[{name!r}]", dims or ())


def labelled(data: object, name: str, dims: Sequence[str]) -> None:
    """Refuse what is no labelled array of real numbers with these dimensions and coordinates, or has no number."""
    array = instance(data, xr.DataArray, name, f"It has the dimensions {', '.join(dims)}.")
    needs = [d for d in dims if d not in array.dims or (d != "replica" and d not in array.coords)]
    if needs or array.dtype.kind not in "iuf":
        raise ValueError(
            f"{name} must be real numbers over {', '.join(dims)} with coordinates, got {array.dtype} {array.dims}."
        )
    if not np.isfinite(array.values).any():
        raise ValueError(f"{name} holds no finite number, so there is nothing to draw.")


def chosen_times(times: Sequence[float] | np.ndarray, most: int) -> list[float]:
    """Times to draw, at least one and at most as many as a picture holds."""
    given = list(numbers(times, "times"))
    if not 1 <= len(given) <= most:
        raise ValueError(f"One picture holds 1 to {most} times, got {len(given)}; choose some with times=.")
    return given


def replicas(data: xr.DataArray) -> str:
    """How many curves stand behind one, in words."""
    n = data.sizes["replica"]
    return f"{n} replicas" if n > 1 else "1 replica, no error bars"


def colours(names: Mapping[str, object]) -> list[str]:
    """A colour for every name of a legend; "exact" and "learned" keep theirs in all figures."""
    others = iter(c for c in CYCLE * 3 if c not in (EXACT, LEARNED))
    return [{"exact": EXACT, "learned": LEARNED}.get(name) or next(others) for name in names]


def time_colours(n: int) -> list[tuple[float, ...]]:
    """Early to late as dark blue to orange, all dark enough for thin lines."""
    from matplotlib import colormaps

    return [tuple(colormaps["plasma"](u)) for u in np.linspace(0.05, 0.75, n)]


def plain_log_ticks(axes: Axes) -> None:
    """Numbers such as 2 and 5 on those logarithmic axes that span less than two decades."""
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if axis.get_scale() != "log":
            continue
        if np.log10(limits[1] / limits[0]) < 2.0:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            formatter = ScalarFormatter()
            formatter.set_scientific(False)
            axis.set_major_formatter(formatter)
        axis.set_minor_formatter(NullFormatter())
