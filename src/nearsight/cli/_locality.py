"""`nearsight doctor locality`: how far the model of a run sees, and whether that is enough."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nearsight import plots
from nearsight.cli._terminal import plain_table
from nearsight.storage import write_atomic
from nearsight.studies import Run, get, locality


def examine(
    path: Path, others: Sequence[Path], *, samples: int, steps: int | None, console: Console, progress: Console
) -> None:
    """Examine a run, store data and figure in its folder, renew its report if it has one, and print what was found."""
    found = locality.examine(
        path, others, samples=samples, steps=steps, say=lambda text: progress.print(f"{text} ...", markup=False)
    )
    run = Run(path)
    write_atomic(run.path / "figures" / "locality.png", plots.locality(found.data).png())
    if (run.path / "report.html").exists():
        study = get(run.manifest["study"])
        study.run(run.path, study.stored_config(run), only="report", resume=True)
    console.print(floor_table(found.data))
    console.print(_model_table(found.data))
    if "probe" in found.data.coords:
        console.print(growth_table(found.data))
    console.print(found.words, highlight=False, markup=False)
    console.print(Text(f"Data: {run.path / locality.FILE}"), soft_wrap=True)


def floor_table(data: xr.Dataset) -> Table:
    """What any model with a cutoff misses, and the share of the responses that it sees."""
    sources = [str(name) for name in data["source"].values]
    table = _table("cutoff / a", "cannot know", "±", *(f"response: {name}" for name in sources))
    for radius in data["radius"].values:
        here = data.sel(radius=radius)
        shares = []
        for source in sources:
            within = data["share"].sel(source=source, r=data["r"] <= radius + 1e-6).dropna("r")
            shares.append(f"{100 * float(within.values.max(initial=0.0)):.1f} %")
        table.add_row(f"{radius:.3g}", f"{float(here.floor):.2g}", f"{float(here.floor_error):.1g}", *shares)
    return table


def _model_table(data: xr.Dataset) -> Table:
    """Cutoff, error and decay of the response of every model."""
    table = _table("model", "cutoff / a", "error", "of the rms", "cannot know", "ξ / a")
    radius, floor, rms = data["radius"].values, data["floor"].values, float(data["rms"])
    for model in data["model"].values:
        here = data.sel(model=model, source=model)
        size, error = float(here["size"]), float(here.error)
        known = f"{np.interp(size, radius, floor):.2g}" if size <= radius[-1] else f"< {floor[-1]:.2g}"
        decay = f"{float(here.decay_length):.2g}"
        table.add_row(Text(str(model)), f"{size:.3g}", f"{error:.2g}", _percent(error, rms), known, decay)
    return table


def growth_table(data: xr.Dataset) -> Table:
    """Errors of the models that differ in their cutoff alone."""
    table = _table("cutoff / a", "error after equal training", "of the rms")
    for name in data["probe"].values:
        here = data.sel(probe=name)
        error = float(here.probe_error)
        table.add_row(f"{float(here.probe_size):.3g}", f"{error:.2g}", _percent(error, float(data["rms"])))
    return table


def _percent(error: float, rms: float) -> str:
    return f"{100 * error / rms:.3g} %" if rms > 0 else "-"


def _table(first: str, *columns: str) -> Table:
    table = plain_table()
    table.add_column(first, justify="left" if first == "model" else "right")
    for column in columns:
        table.add_column(Text(column), justify="right")
    return table
