"""Curves: what the dynamics did, exactly and learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nearsight._validation import filename
from nearsight.plots._axes import light_grid, require
from nearsight.plots.style import PAGE, Picture, picture, styled


@styled
def training_curves(log: str | Path | Mapping[str, Sequence[float]], *, x: str = "step") -> Picture:
    """Losses and the learning rate during the fit, from ``log.csv`` or columns of numbers.

    Columns whose values are all positive are drawn on a logarithmic axis against ``x``; where no loss is, such as those
    of densities, losses are drawn on a linear one. The learning rate (a column with "rate" or "lr" in its name) stands
    in a panel of its own.
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
    scales = ["log", "log"]
    if not losses:
        losses, scales[0] = [name for name, v in columns.items() if "loss" in name and np.isfinite(v).any()], "linear"
    require({name: columns[name] for name in losses}, "losses")
    figure = picture(PAGE if rates else 3.4, 2.5)
    panels = figure.subplots(1, 2 if rates else 1, width_ratios=[2, 1] if rates else None, squeeze=False)[0]
    labels = ("loss or error", "learning rate")
    for panel, names, label, scale in zip(panels, (losses, rates), labels, scales, strict=False):
        for name in names:
            finite = np.isfinite(columns[name])
            panel.plot(columns[x][finite], columns[name][finite], label=name.replace("_", " "))
        panel.set(yscale=scale, xlabel=x, ylabel=label)
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
