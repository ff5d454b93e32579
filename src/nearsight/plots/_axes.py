"""Labels, ticks, colours and colour bars that figures have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from nearsight._validation import instance, numbers
from nearsight.plots.style import CYCLE, EXACT, LEARNED
from nearsight.storage import rounded


def axis_label(data: xr.DataArray, default: str = "") -> str:
    """The label of an axis from attributes: ``long_name``, ``symbol`` in mathematical type, ``units``."""
    name, symbol = str(data.attrs.get("long_name", data.name or default)), data.attrs.get("symbol")
    return with_unit(f"{name} ${symbol}$" if symbol else name, str(data.attrs.get("units", "1")))


def value_text(value: Any) -> str:
    """A coordinate for a title or legend: words as they are, numbers rounded."""
    return value if isinstance(value, str) else rounded(value)


def capitalised(words: str) -> str:
    """The words with a capital letter at the head, the others as they are."""
    return words[:1].upper() + words[1:]


def side_bar(axes: Axes, mappable: ScalarMappable, label: str, *, extend: str = "neither") -> None:
    """A colour bar as tall as the axes, also where equal aspect makes them shrink inside the layout."""
    bar = axes.figure.colorbar(mappable, cax=axes.inset_axes((1.03, 0.0, 0.045, 1.0)), extend=extend)
    bar.set_label(label)
    bar.outline.set_linewidth(0.5)


def light_grid(axes: Axes) -> None:
    axes.grid(True, which="major", color="#e6e6e6", linewidth=0.5)


def with_unit(label: str, unit: str) -> str:
    """An axis label with its unit in brackets; a dimensionless quantity has none."""
    return label if unit in ("", "1") else f"{label} [{unit}]"


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


def colours(names: Mapping[str, object]) -> list[str]:
    """A colour for every name of a legend; "exact" and "learned" keep theirs in all figures."""
    others = iter(c for c in CYCLE * 3 if c not in (EXACT, LEARNED))
    return [{"exact": EXACT, "learned": LEARNED}.get(name) or next(others) for name in names]


def time_colours(n: int) -> list[tuple[float, ...]]:
    """Early to late as dark blue to orange, all dark enough for thin lines."""
    from matplotlib import colormaps

    return [tuple(colormaps["plasma"](u)) for u in np.linspace(0.05, 0.75, n)]


def chosen_times(times: Sequence[float] | np.ndarray, most: int) -> list[float]:
    """Times to draw, at least one and at most as many as a picture holds."""
    given = list(numbers(times, "times"))
    if not 1 <= len(given) <= most:
        raise ValueError(f"One picture holds 1 to {most} times, got {len(given)}; choose some with times=.")
    return given


def require(items: Mapping[str, object], what: str) -> None:
    """Refuse what is no mapping, or an empty one."""
    if not instance(items, Mapping, what, "Name every entry, as in {'exact': ...}."):
        raise ValueError(f"There are no {what} to draw.")
