"""Maps of the plane: scalar fields, spins and quantities of plaquettes, side by side in time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import Collection, PolyCollection
from matplotlib.colors import Colormap, LogNorm, Normalize

from nearsight._validation import boolean, instance, integer, number, numbers
from nearsight.analysis import plaquettes
from nearsight.lattices import Lattice
from nearsight.plots._axes import axis_label, side_bar, value_text
from nearsight.plots._planes import check_plane, draw_plane, framed, placed, plane_size
from nearsight.plots.style import DIVERGING, PAGE, SEQUENTIAL, Picture, picture, styled

MOST_ARROWS = 40
"""Sites along an edge beyond which spins are drawn without arrows, which would be shorter than they are wide."""
ONE_ROW = 64
"""Sites along an edge beyond which more than two maps of one field fill two rows."""


@styled
def maps(
    fields: xr.DataArray | Sequence[xr.DataArray],
    lattice: Lattice,
    *,
    times: Sequence[float] | None = None,
    window: int | None = None,
    arrows: bool | None = None,
) -> Picture:
    """Fields of a plane lattice: a row of maps for each (and for each of its sources), a column for every time.

    What happens at one place can be followed across rows: whether a wall of the order in one carries charge in another.

    Parameters
    ----------
    fields: ``(time, site)`` or ``(time, x, y)``, with any other name in the place of "time", or none; "source" makes
        rows. Spins ``(time, site, component)`` show S^z in colour, S^x and S^y as arrows; densities ``(time,
        plaquette)`` fill the plaquettes. NaN and infinite values are black.

        The attribute ``centre`` is the value drawn white, with colours that run to ``limit`` on either side (by default
        to the 99.5th percentile of the distance from it). Without ``centre``, fields of both signs are drawn about
        zero, and those of one sign from zero in sequential colours; with ``scale = "log"`` these are logarithmic, over
        four decades below the largest value.
    times: those to draw, by default all; at most 6.
    window: so many cells along each edge, from cell 0, instead of all.
    arrows: whether spins have arrows; by default where there is room for them.
    """
    rows, shown, arrows = checked_rows(fields, lattice, times, window, arrows)
    columns = rows[0].shape[0]
    if columns > 6 or any(len(row) != columns for row in rows):
        raise ValueError(f"A picture has 1 to 6 maps in every row, got {[len(r) for r in rows]}; choose with times=.")
    return draw_rows(rows, [colours(row) for row in rows], lattice, shown, arrows)


Colours = tuple[Normalize, Colormap, str]
"""The scale of a row, its colours, and at which ends values may lie beyond."""


def checked_rows(
    fields: object,
    lattice: Lattice,
    times: Sequence[float] | None,
    window: int | None,
    arrows: bool | None,
) -> tuple[list[xr.DataArray], Lattice, bool | None]:
    """Arguments of :func:`maps` as rows ``(column, place)``, the part of the lattice that is shown, and ``arrows``."""
    check_plane(lattice)
    times = None if times is None else numbers(times, "times")
    arrows = None if arrows is None else boolean(arrows, "arrows")
    given = [fields] if isinstance(fields, xr.DataArray) else list(instance(fields, (list, tuple), "fields"))
    rows = [row for k, field in enumerate(given) for row in _rows(field, f"fields[{k}]", lattice, times)]
    if not rows or not len(rows[0]):
        raise ValueError(
            "There is nothing to draw: pass a field, and 1 to 6 maps of it, or one frame of a movie or more."
        )
    return rows, lattice if window is None else _window(lattice, integer(window, "window")), arrows


def draw_rows(
    rows: list[xr.DataArray], palettes: list[Colours], lattice: Lattice, shown: Lattice, arrows: bool | None
) -> Picture:
    """A row of maps for each, in its colours."""
    columns = len(rows[0])
    lines = 2 if len(rows) == 1 and columns > 2 and _across(shown) > ONE_ROW else 1
    per_line = -(-columns // lines)
    width, height = plane_size(lattice, shown.shape)
    panel = min(2.4 if len(rows) > 1 else 3.0, (PAGE - 0.8) / per_line)
    tall = panel * min(height / width, 1.5) + (0.3 if lines > 1 else 0.06)
    figure = picture(per_line * panel + 0.8, len(rows) * lines * tall + 0.4)
    grid = figure.subplots(len(rows) * lines, per_line, squeeze=False)
    for axes in grid.ravel()[columns * len(rows) :]:
        axes.set_visible(False)
    for k, (row, (norm, palette, extend)) in enumerate(zip(rows, palettes, strict=True)):
        panels = grid.ravel()[:columns] if lines > 1 else grid[k]
        for axes, values in zip(panels, _values(row), strict=True):
            image = _draw(axes, values, row, lattice, shown, norm, palette, arrows)
        label = "$S^z$" if "component" in row.dims else axis_label(row, "field")
        side_bar(panels[-1], image, label, extend=extend)
    for axes, title in zip(grid.ravel(), _titles(rows[0]), strict=False):
        axes.set_title(title)
    grid[-1, 0].set_xlabel(rf"${shown.shape[0]} \times {shown.shape[1]}$ cells", fontsize=7.5, loc="left")
    figure.caption = _caption(rows, lattice, shown)
    return figure


def _rows(field: object, name: str, lattice: Lattice, times: Sequence[float] | None) -> list[xr.DataArray]:
    """The field as rows ``(column, place)`` or ``(column, component, site)``, checked."""
    array = instance(field, xr.DataArray, name, "Name its dimensions: xr.DataArray(values, dims=('time', 'site')).")
    if {"x", "y"} <= set(array.dims):
        array = array.stack(site=("x", "y"), create_index=False)
    if "source" in array.dims:
        parts = [(array.sel(source=source), f", {source}") for source in array["source"].values]
    else:
        parts = [(array, "")]
    if times is not None and "time" in array.dims:
        parts = [(part.sel(time=list(times), method="nearest"), words) for part, words in parts]
    place = "plaquette" if "plaquette" in array.dims else "site"
    n = len(plaquettes(lattice)) if place == "plaquette" else lattice.n_sites
    inner = ["component", place] if "component" in array.dims else [place]
    if array.sizes.get(place) != n or array.sizes.get("component", 3) != 3 or array.dtype.kind not in "iufb":
        raise ValueError(
            f"{name} must hold real numbers on {n} {place}s of {lattice!r}, got {array.dtype} of {dict(array.sizes)}."
        )
    result = []
    for part, words in parts:
        left = [d for d in part.dims if d not in inner]
        if len(left) > 1:
            raise ValueError(f"{name} has the dimensions {part.dims}; choose one of {left[1:]} with .sel(...).")
        row = part.transpose(*left, *inner) if left else part.transpose(*inner).expand_dims("map")
        if not np.isfinite(row.values).any():
            raise ValueError(f"{name} holds no finite number, so there is nothing to draw.")
        label = str(array.attrs.get("long_name", array.name or "field")) + words
        result.append(row.assign_attrs({**array.attrs, "long_name": label}))
    return result


def _values(row: xr.DataArray) -> np.ma.MaskedArray:
    return np.ma.masked_invalid(row.values.astype(float))


def colours(row: xr.DataArray) -> Colours:
    """Those of all maps of a row, as its attributes want them."""
    if "component" in row.dims:
        return Normalize(-1, 1), DIVERGING, "neither"
    values = _values(row).compressed()
    centre, limit = row.attrs.get("centre"), row.attrs.get("limit")
    sequential = centre is None and values.min() >= 0
    middle = 0.0 if centre is None else number(centre, "centre")
    reach = float(np.quantile(np.abs(values - middle), 0.995)) or 1.0
    reach = reach if limit is None else number(limit, "limit", above=0)
    if sequential and row.attrs.get("scale") == "log":
        top = float(values.max()) or 1.0
        return LogNorm(1e-4 * top, top, clip=True), colormaps["magma"].with_extremes(bad="black"), "min"
    if sequential:
        return Normalize(0.0, reach), colormaps[SEQUENTIAL].with_extremes(bad="black"), "max"
    return Normalize(middle - reach, middle + reach), DIVERGING.with_extremes(bad="black"), "both"


def _draw(
    axes: Axes,
    values: np.ma.MaskedArray,
    row: xr.DataArray,
    lattice: Lattice,
    shown: Lattice,
    norm: Normalize,
    palette: Colormap,
    arrows: bool | None,
) -> Collection:
    if "plaquette" in row.dims:
        if shown is not lattice:
            raise ValueError("Plaquettes are drawn on the whole lattice; leave out window=.")
        return _draw_plaquettes(axes, values, lattice, norm, palette)
    if "component" not in row.dims:
        return draw_plane(axes, values, lattice, shown.shape, norm, palette)
    image = draw_plane(axes, values[2], lattice, shown.shape, norm, palette)
    if arrows or (arrows is None and _across(shown) <= MOST_ARROWS):
        where, inside = placed(lattice, shown.shape)
        _draw_arrows(axes, np.asarray(values[:, inside]).T, where[inside], lattice)
    return image


def _draw_plaquettes(
    axes: Axes, values: np.ma.MaskedArray, lattice: Lattice, norm: Normalize, palette: Colormap
) -> Collection:
    faces, polygons = plaquettes(lattice), []
    periods = np.asarray(lattice.shape)[:, None] * lattice.vectors
    for centre, size, corners in zip(faces.centres, faces.size, faces.corners, strict=True):
        # Across a periodic boundary the image of the corner that is next to the centre.
        offset = lattice.positions[corners[:size]] - centre
        turns = np.round(offset @ np.linalg.inv(periods)) * np.asarray(lattice.periodic)
        # The centre where sites around it are drawn, on a torus that is wrapped into a rectangle.
        shift = np.floor(centre[0] / periods[0, 0] + 1e-9) * periods[0] if framed(lattice) else 0.0
        polygons.append(centre - shift + offset - turns @ periods)
    image = PolyCollection(
        polygons, array=values, norm=norm, cmap=palette, edgecolors="face", linewidths=0.2, rasterized=True
    )
    axes.add_collection(image)
    axes.autoscale_view()
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    return image


def _draw_arrows(axes: Axes, S: np.ndarray, where: np.ndarray, lattice: Lattice) -> None:
    """Arrows of the length of the component in the plane, in a colour that stands out from the map below."""
    spacing = lattice.shell_distances[0]
    dark = np.where(np.abs(S[:, 2]) > 0.6, 0.95, 0.12)
    axes.quiver(
        *where.T, *(0.85 * spacing * S[:, :2]).T, color=np.repeat(dark[:, None], 3, axis=1),
        pivot="middle", angles="xy", units="xy", scale_units="xy", scale=1.0, width=0.09 * spacing,
        headwidth=3.5, headlength=3.5, headaxislength=3.0, rasterized=len(where) > 2000,
    )  # fmt: skip


def _across(lattice: Lattice) -> float:
    return max(lattice.shape) * float(np.sqrt(lattice.n_basis))


def _window(lattice: Lattice, window: int) -> Lattice:
    if not 1 <= window <= min(lattice.shape):
        raise ValueError(f"A window has between 1 and {min(lattice.shape)} cells along each axis, got {window}.")
    return lattice.resized(window, window)


def _titles(row: xr.DataArray) -> list[str]:
    dim = row.dims[0]
    if dim not in row.coords:
        return []
    name = "$t$" if dim == "time" else str(row[dim].attrs.get("long_name", dim))
    return [v if isinstance(v, str) else f"{name} = {value_text(v)}" for v in row[dim].values.tolist()]


def _caption(rows: list[xr.DataArray], lattice: Lattice, shown: Lattice) -> str:
    labels = ", ".join(dict.fromkeys(str(row.attrs["long_name"]) for row in rows))
    part = f"{shown.shape[0]} × {shown.shape[1]} cells of {lattice!r}" if shown is not lattice else repr(lattice)
    words = f"Maps of {labels} on {part}."
    if framed(lattice):
        words += (
            " The rows of the torus are wrapped around its period along x, which makes the skewed cell a rectangle."
        )
    if any("component" in row.dims for row in rows):
        words += " Spins: $S^z$ in colour, the components in the plane as arrows where they are drawn."
    units = rows[0]["time"].attrs.get("units", "1") if "time" in rows[0].coords else "1"
    words += f" Times in {units}." if units not in ("", "1") else ""
    if [row.sizes["plaquette"] for row in rows if "plaquette" in row.dims and len(row) == 1]:
        words += f" Sum over the plaquettes: {float(rows[0].sum()):.4g}."
    return words
