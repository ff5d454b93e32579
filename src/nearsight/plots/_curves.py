"""Curves of ensembles: how they are found in labelled arrays, summarised, and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from nearsight._validation import choice, instance
from nearsight.analysis import AllenCahn, LinearLaw, PowerLaw, SizeLaw, mean_and_error
from nearsight.plots._axes import axis_label, light_grid, plain_log_ticks, value_text

Curve = xr.DataArray | xr.Dataset
"""A quantity over replicas and one coordinate, or its ``mean`` and ``error`` over the coordinate."""
Curves = Curve | Mapping[str, Curve]
"""One quantity: with a dimension such as "source" that tells its curves apart, or curves by their names."""
Law = Callable[[np.ndarray], np.ndarray]
"""A recorded fit such as ``PowerLaw``, ``AllenCahn``, ``SizeLaw`` or ``LinearLaw``; drawn in its ``window``."""
Laws = Law | Mapping[str, Law | None] | None
Points = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Places, means and standard errors, which are NaN if there are no samples."""

GUIDE = "#888888"


@dataclass(frozen=True)
class Quantity:
    """Curves of one quantity by their names in the legend, the dimension ``x`` along the axis, and the one that counts
    independent samples, ``over``; ``logs`` names the logarithmic axes, "x", "y", "xy" or ""."""

    curves: dict[str, Curve]
    x: str
    over: str
    logs: str

    @property
    def first(self) -> Curve:
        return next(iter(self.curves.values()))

    @property
    def values(self) -> xr.DataArray:
        """Of the first curve, which brings names and units."""
        return mean_of(self.first)

    @property
    def name(self) -> str:
        return str(self.values.attrs.get("long_name", self.values.name or "values"))

    @property
    def sampled(self) -> bool:
        return any(self.over in curve.dims or "error" in curve for curve in self.curves.values())

    def points(self, curve: Curve) -> Points:
        """Places, means and errors of one curve, only at x > 0 on a logarithmic axis."""
        wanted = {self.x, self.over} if self.over in curve.dims else {self.x}
        if set(curve.dims) != wanted or self.x not in curve.coords:
            raise ValueError(
                f"A curve has the dimensions {self.over} and {self.x}, with a coordinate {self.x}, got {curve.dims} "
                f"with {list(curve.coords)}; choose with .sel(...), or name other dimensions with x=, by= or over=."
            )
        if isinstance(curve, xr.Dataset):
            known = curve
        elif self.over in curve.dims:
            known = mean_and_error(curve, self.over)
        else:
            known = xr.Dataset({"mean": curve, "error": curve * np.nan})
        at = known[self.x].values.astype(float)
        keep = at > 0 if "x" in self.logs else np.ones(len(at), dtype=bool)
        return at[keep], known["mean"].values[keep], known["error"].values[keep]

    def legend(self, name: str) -> str:
        """The name of a curve and its number of samples."""
        curve = self.curves[name]
        n = curve.sizes[self.over] if self.over in curve.dims else 0
        many = {0: "", 1: f"1 {self.over}, no error"}.get(n, f"{n} {self.over}s")
        return f"{name} ({many})" if name and many else name or many

    def finish(self, axes: Axes, *, small: bool = False) -> None:
        """Scales, labels, a grid, and a legend if any curve has a name."""
        axes.set(**{f"{axis}scale": "log" for axis in self.logs})
        axes.set_xlabel(axis_label(self.first[self.x], self.x))
        axes.set_ylabel(axis_label(self.values, "value"))
        plain_log_ticks(axes)
        light_grid(axes)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="best", fontsize=6.5 if small else None)


def quantity(
    data: Curves, what: str, *, x: str | None, by: str, over: str, log: str | None, apart: str | None = None
) -> Quantity:
    """The curves in ``data``, checked; ``apart`` is a dimension that panels or colours tell apart."""
    curves = _named(data, what, by)
    first = next(iter(curves.values()))
    left = [str(d) for d in first.dims if d not in (over, apart)]
    if x is None and "time" not in left and len(left) != 1:
        raise ValueError(f"Name the dimension of the horizontal axis with x=; there are {', '.join(left) or 'none'}.")
    x = x or ("time" if "time" in left else left[0])
    if x not in first.dims:
        raise ValueError(f"There is no dimension {x!r} among {tuple(first.dims)}.")
    return Quantity(curves, x, over, _logarithmic(first, x, log))


def mean_of(curve: Curve) -> xr.DataArray:
    return curve["mean"] if isinstance(curve, xr.Dataset) else curve


def draw(axes: Axes, points: Points, colour: Any, label: str | None, kind: str) -> None:
    """One curve as a line with a "band", as "points" with bars, or as points with bars joined by a "line"."""
    x, mean, error = points
    if kind == "band":
        axes.fill_between(x, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0)
        axes.plot(x, mean, color=colour, label=label)
        return
    axes.errorbar(
        x, mean, np.nan_to_num(error), fmt="o-" if kind == "line" else "o", color=colour, label=label, markersize=3.0,
        linewidth=0.9, elinewidth=0.9, markerfacecolor="white", zorder=3,
    )  # fmt: skip


def draw_law(axes: Axes, law: Law, x: np.ndarray, colour: Any) -> None:
    """A recorded fit in its window, as far as there are data."""
    low, high = getattr(law, "window", (x.min(), x.max()))
    low, high = max(low, x.min()), min(high, x.max())
    grid = np.linspace(low, high, 200) if low <= 0 else np.geomspace(low, high, 200)
    axes.plot(grid, law(grid), "--", color=colour, linewidth=0.9, dashes=(4, 2), label=law_label(law), zorder=5)


def law_label(law: Law) -> str:
    """The exponent or slope of a recorded fit, for a legend."""
    if isinstance(law, PowerLaw | SizeLaw):
        return rf"$n = {law.exponent:.3f} \pm {law.sigma if isinstance(law, PowerLaw) else law.error:.3f}$"
    if isinstance(law, AllenCahn):
        return r"$\propto (t - t_0)^{1/2}$"
    return rf"slope ${law.slope:.3g} \pm {law.slope_sigma:.1g}$" if isinstance(law, LinearLaw) else "fit"


def _named(data: Curves, what: str, by: str) -> dict[str, Curve]:
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
        if mean_of(curve).dtype.kind not in "iuf":
            raise ValueError(f"{what} {name!r} must hold real numbers, got {mean_of(curve).dtype}.")
    known = {name: curve for name, curve in named.items() if np.isfinite(mean_of(curve).values).any()}
    if not known:
        raise ValueError(f"There is nothing to draw: {what} holds no finite number in any curve.")
    return known


def _curve_name(value: Any, dim: str) -> str:
    return value if isinstance(value, str) else f"{dim} = {value_text(value)}"


def _logarithmic(data: Curve, x: str, log: str | None) -> str:
    if log is not None:
        return choice(log, "log", ("", "x", "y", "xy"))
    at = data[x] if x in data.coords else xr.DataArray()
    default = "log" if x == "time" and _ever_rarer(at.values) else "linear"
    scales = {"x": at.attrs.get("scale", default), "y": mean_of(data).attrs.get("scale")}
    return "".join(axis for axis, scale in scales.items() if scale == "log")


def _ever_rarer(times: np.ndarray) -> bool:
    """Whether the intervals between records grow with time, over a decade or more."""
    later = times[times > 0]
    steps = np.diff(later)
    return len(steps) > 1 and later[-1] >= 10 * later[0] and bool(steps[-1] >= 3 * steps[0] > 0)
