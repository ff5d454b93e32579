"""Figures that many studies have, each made for names of observables: ``(run, config) -> Picture``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import xarray as xr

import nearsight as ns
from nearsight.lattices import Lattice, square
from nearsight.studies.checks import Published
from nearsight.studies.fits import fits
from nearsight.studies.run import Run
from nearsight.studies.snapshots import SYMMETRY

Data = TypeVar("Data", xr.DataArray, xr.Dataset)
Draw = Callable[[Run, Any], Any]


def some_times(data: Data, count: int) -> Data:
    """The data at ``count`` of their times after the first, evenly spaced among the records, the last among them."""
    later = data.isel(time=slice(1, None))
    return later.isel(time=np.unique(np.linspace(0, later.sizes["time"] - 1, count).round().astype(int)))


def captioned(picture: ns.plots.Picture, words: str) -> ns.plots.Picture:
    """The picture, with more words in its caption."""
    picture.caption += f" {words}"
    return picture


def tables(run: Run) -> list[ns.plots.Published]:
    """Tables that a reader has put into the folder "published" of a run; figures draw the columns that they know."""
    return [ns.plots.read_published(path) for path in sorted((run.path / "published").glob("*.csv"))]


def comparison(*names: str, log: str = "xy") -> Draw:
    """Observables over time in exact and in learned quenches from the same initial fields."""

    def draw(run: Run, config: Any) -> Any:
        curves = run.observable("curves").sel(source=["exact", "learned"])
        return ns.plots.compare(*(curves[name] for name in names if name in curves), log=log)

    return draw


def growth(*names: str, by: str = "source", log: str = "xy", levels: Sequence[float | None] = ()) -> Draw:
    """Observables of the large quench with the laws that were fitted to them; ``by`` tells several quenches apart.

    The law of a curve has the name of the observable, followed by the value of ``by`` if there are several. The errors
    of an observable without replicas are those recorded as ``NAME_error``.
    """

    def draw(run: Run, config: Any) -> Any:
        observed = run.observable("growth")
        found = fits(observed)

        def laws(name: str) -> Any:
            if by not in observed[name].dims:
                return found.get(name)
            return {f"{by} = {value:g}": found.get(f"{name} {value:g}") for value in observed[by].values}

        def quantity(name: str) -> Any:
            if f"{name}_error" not in observed:
                return observed[name]
            return xr.Dataset({"mean": observed[name], "error": observed[f"{name}_error"]})

        shown = [name for name in names if name in observed and observed[name].notnull().any()]  # 0.1 had fewer
        quantities = [quantity(name) for name in shown]
        heights = [level for name, level in zip(names, levels, strict=False) if name in shown]
        return ns.plots.compare(
            *quantities, by=by, log=log, fits=[laws(name) for name in shown], levels=heights, published=tables(run)
        )

    return draw


def profiles(name: str, times: int = 4, *, group: str = "curves", **options: Any) -> Draw:
    """A function of distance or wave vector at some times: of exact and learned quenches, or of the large one."""

    def draw(run: Run, config: Any) -> Any:
        data = run.observable(group)[name]
        if "source" in data.dims:
            data = data.sel(source=["exact", "learned"])
        return ns.plots.profiles(data, times=list(some_times(data, times).time.values), **options)

    return draw


def maps(
    *names: str, times: int = 4, by: str | None = None, lattice: Callable[[int], Lattice] = square, **options: Any
) -> Draw:
    """Maps of the large quench at some times, a picture for every value of ``by``."""

    def draw(run: Run, config: Any) -> Any:
        data = some_times(run.observable("maps"), times)
        place = lattice(config.large.length)
        parts = {"": data} if by is None else {f"{v:g}": data.sel({by: v}) for v in data[by].values}
        shown = [name for name in names if name in data]  # runs of 0.1 have fewer
        return {k: ns.plots.maps([part[name] for name in shown], place, **options) for k, part in parts.items()}

    return draw


def parity(
    quantity: str = "", *, by: str | None = None, symbol: str | None = None, published: Published | None = None
) -> Draw:
    """Learned over exact values of a quantity on the test trajectories, by component if there are several.

    Here and below, "" where the snapshots hold one quantity without a name.
    """

    def draw(run: Run, config: Any) -> Any:
        exact, learned = values(run, quantity)
        paper, source = (None, "") if published is None else (published.value, published.source)
        return ns.plots.parity(exact, learned, by=by, quantity=symbol, paper=paper, source=source)

    return draw


def errors(quantity: str, *, symbol: str, published: Published | None = None) -> Draw:
    """The distribution of errors on the test trajectories, beside that in print."""

    def draw(run: Run, config: Any) -> Any:
        exact, learned = values(run, quantity)
        paper, source = (None, "") if published is None else (published.value, published.source)
        return ns.plots.error_histogram((learned - exact).values, quantity=symbol, paper=paper, source=source)

    return draw


def errors_by(coordinate: str, quantity: str = "") -> Draw:
    """Root mean square errors by the kind of snapshot or by time."""
    return lambda run, config: ns.plots.rms_errors(*values(run, quantity), by=coordinate)


def symmetry(run: Run, config: Any) -> Any:
    """The violation of every operation of the site group."""
    violation = run.observable("snapshots").symmetry_error[1:]  # the identity comes first
    tolerance = violation.attrs.get("tolerance", SYMMETRY)
    labels = [f"$g_{k}$" for k in range(1, len(violation) + 1)]
    return ns.plots.symmetry_error({"learned": violation.values}, labels=labels, tolerance=tolerance)


def values(run: Run, quantity: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Exact and learned values of the test trajectories."""
    data = run.observable("snapshots")
    name = f"_{quantity}" if quantity else ""
    return data[f"exact{name}"], data[f"learned{name}"]
