"""Figures that many studies have, each made for an observable: ``(run, config) -> Picture``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import xarray as xr

import nearsight as ns
from nearsight.studies.checks import Published
from nearsight.studies.run import Run
from nearsight.studies.snapshots import SYMMETRY

Data = TypeVar("Data", xr.DataArray, xr.Dataset)
Draw = Callable[[Run, Any], Any]


def some_times(data: Data, count: int) -> Data:
    """The data at ``count`` of their times after the first, evenly spaced among the records, the last among them."""
    later = data.isel(time=slice(1, None))
    return later.isel(time=np.unique(np.linspace(0, later.sizes["time"] - 1, count).round().astype(int)))


def comparison(name: str) -> Draw:
    """An observable over time in exact and in learned quenches."""

    def draw(run: Run, config: Any) -> Any:
        curves = run.observable("curves")[name]
        picture = ns.plots.growth(
            {source: curves.sel(source=source) for source in ("exact", "learned")}, time_unit=curves.time.attrs["units"]
        )
        picture.caption = (
            f"{curves.attrs.get('long_name', name).capitalize()} after quenches of {config.comparison.length} × "
            f"{config.comparison.length} sites with exact and with learned forces, from the same initial fields with "
            f"independent noise. Bands are one standard error."
        )
        return picture

    return draw


def parity(quantity: str, *, symbol: str, unit: str = "") -> Draw:
    """Learned over exact values of a quantity on the test trajectories."""

    def draw(run: Run, config: Any) -> Any:
        data = run.observable("snapshots")
        exact, learned = (data[f"{source}_{quantity}"].values for source in ("exact", "learned"))
        return ns.plots.parity(exact, learned, quantity=symbol, unit=unit or None)

    return draw


def errors(quantity: str, *, symbol: str, published: Published | None = None) -> Draw:
    """The distribution of errors on the test trajectories, beside that in print."""

    def draw(run: Run, config: Any) -> Any:
        paper, source = (None, "") if published is None else (published.value, published.source)
        return ns.plots.error_histogram(_error(run, quantity).values, quantity=symbol, paper=paper, source=source)

    return draw


def errors_by_kind(quantity: str, *, symbol: str) -> Draw:
    """Errors by the kind of snapshot, with bootstrap intervals."""

    def draw(run: Run, config: Any) -> Any:
        error = _error(run, quantity)
        kinds = run.observable("snapshots").group.values
        groups = {str(kind): error.values[(error.kind == kind).values] for kind in kinds}
        return ns.plots.error_by_group(groups, rng=run.rng("report"), quantity=symbol)

    return draw


def symmetry(run: Run, config: Any) -> Any:
    """The violation of every operation of the site group."""
    violation = run.observable("snapshots").symmetry_error.values[1:]  # the identity comes first
    labels = [f"$g_{k}$" for k in range(1, len(violation) + 1)]
    return ns.plots.symmetry_error({"learned": violation}, labels=labels, tolerance=SYMMETRY)


def _error(run: Run, quantity: str) -> xr.DataArray:
    data = run.observable("snapshots")
    return data[f"learned_{quantity}"] - data[f"exact_{quantity}"]
