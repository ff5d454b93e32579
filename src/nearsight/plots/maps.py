"""Maps of the plane: fields on the lattice, intensities in the zone, and the values that a data set covers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection, EllipseCollection
from matplotlib.colors import Colormap, Normalize

from nearsight._validation import instance, number, numbers
from nearsight.analysis._fields import SiteField, site_field
from nearsight.lattices import Lattice
from nearsight.plots.style import DIVERGING, PAGE, SEQUENTIAL, Picture, picture, side_bar, styled, with_unit
from nearsight.storage import rounded

LARGEST_MAP = 1000
"""Cells along an edge beyond which a map is thinned out: no print resolves more."""


@dataclass(frozen=True)
class Layer:
    """One quantity of :func:`gallery`: a row of maps ``(time, site)`` with colours of its own.

    ``centre`` is white, and the colours run to ``limit`` on either side (by default to the 99.5th percentile of the
    distance from it); with centre None they run from zero to ``limit``, for amplitudes.
    """

    values: SiteField
    label: str
    centre: float | None = 0.0
    limit: float | None = None
    unit: str = "1"


@styled
def gallery(
    layers: Sequence[Layer], lattice: Lattice, *, times: Sequence[float], title: str = "", time_unit: str = "1/t"
) -> Picture:
    """Several quantities of a two-dimensional lattice, row by row, at the same times from left to right.

    What happens at one place can be followed across rows: whether a wall of the order in one row carries charge in
    another.
    """
    check_plane(lattice)
    times = numbers(times, "times")
    instance(layers, (list, tuple), "layers", "List the rows of the gallery.")
    for k, layer in enumerate(layers):
        instance(layer, Layer, f"layers[{k}]")
    if not layers or not 1 <= len(times) <= 6:
        raise ValueError(f"A gallery has at least one layer and 1 to 6 times, got {len(layers)} and {len(times)}.")
    shape = plane_size(lattice)
    panel = min(2.2, (PAGE - 0.8) / len(times))
    height = panel * min(shape[1] / shape[0], 1.5)
    figure = picture(len(times) * panel + 0.8, len(layers) * (height + 0.06) + 0.4)
    panels = figure.subplots(len(layers), len(times), squeeze=False)
    for row, layer in zip(panels, layers, strict=True):
        values = site_field(layer.values, lattice, ("time",)).values
        if len(values) != len(times):
            raise ValueError(f"times must name the {len(values)} fields of {layer.label}, got {len(times)}.")
        far = values if layer.centre is None else values - number(layer.centre, "centre")
        given = layer.limit
        limit = float(np.quantile(np.abs(far), 0.995)) or 1.0 if given is None else number(given, "limit", above=0)
        low, high = (0.0, limit) if layer.centre is None else (layer.centre - limit, layer.centre + limit)
        colours = SEQUENTIAL if layer.centre is None else DIVERGING
        for axes, value in zip(row, values, strict=True):
            image = draw_plane(axes, value, lattice, Normalize(low, high), colours)
        side_bar(row[-1], image, with_unit(layer.label, layer.unit), extend="max" if layer.centre is None else "both")
    for axes, time in zip(panels[0], times, strict=True):
        axes.set_title(f"$t = {rounded(time)}$")
    panels[-1, 0].set_xlabel(rf"${lattice.shape[0]} \times {lattice.shape[1]}$ cells", fontsize=7.5, loc="left")
    clock = "" if time_unit in ("", "1") else f" (times in {time_unit})"
    labels = ", ".join(layer.label for layer in layers)
    figure.caption = f"{title + ': ' if title else ''}maps of {labels} at the same sites and times{clock}."
    return figure


def check_plane(lattice: Lattice) -> None:
    if instance(lattice, Lattice, "lattice").dim != 2:
        raise ValueError(f"A map needs a two-dimensional lattice, got {lattice!r}.")


def plane_size(lattice: Lattice) -> np.ndarray:
    """Width and height of the lattice."""
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * np.asarray(lattice.shape) @ lattice.vectors
    return np.ptp(corners, axis=0)


def draw_plane(axes: Axes, value: np.ndarray, lattice: Lattice, norm: Normalize, colours: str | Colormap) -> Collection:
    """One map in its frame, without ticks."""
    image = _draw(axes, value, lattice, norm, colours)
    axes.set_aspect("equal")
    axes.set(xticks=[], yticks=[])
    axes.spines[["left", "bottom", "top", "right"]].set_visible(True)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="#555555")
    return image


def _draw(axes: Axes, value: np.ndarray, lattice: Lattice, norm: Normalize, colours: str | Colormap) -> Collection:
    if lattice.n_basis == 1:
        grid = value.reshape(lattice.shape)
        step = max(1, int(np.ceil(max(lattice.shape) / LARGEST_MAP)))
        # Corners of the primitive cells: a skewed lattice shows as parallelograms that tile the plane.
        corners = [np.arange(0, n + step, step) - 0.5 for n in lattice.shape]
        x, y = np.moveaxis(np.stack(np.meshgrid(*corners, indexing="ij"), -1) @ lattice.vectors, -1, 0)
        return axes.pcolormesh(x, y, grid[::step, ::step], cmap=colours, norm=norm, rasterized=True, shading="flat")
    size = np.full(lattice.n_sites, 0.95 * lattice.shell_distances[0])
    sites = EllipseCollection(
        size,
        size,
        np.zeros_like(size),
        offsets=lattice.positions,
        units="xy",
        offset_transform=axes.transData,
        cmap=colours,
        norm=norm,
    )
    sites.set_array(value)
    axes.add_collection(sites)
    low, high = lattice.positions.min(0) - 0.6, lattice.positions.max(0) + 0.6
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return sites
