"""A plane lattice drawn cell by cell, or site by site."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection, EllipseCollection
from matplotlib.colors import Colormap, Normalize

from nearsight._validation import instance
from nearsight.lattices import Lattice

LARGEST_MAP = 1000
"""Cells along an edge beyond which a map is thinned out: no print resolves more."""


def check_plane(lattice: Lattice) -> None:
    if instance(lattice, Lattice, "lattice").dim != 2:
        raise ValueError(f"A map needs a two-dimensional lattice, got {lattice!r}.")


def framed(lattice: Lattice) -> bool:
    """Whether a skewed torus is drawn as a rectangle, its rows wrapped around the period along x."""
    (x1, y1), (x2, _) = lattice.vectors
    tiny = lattice.tolerance
    return bool(abs(y1) < tiny < min(abs(x2), x1) and lattice.periodic[0])  # type: ignore[index]


def plane_size(lattice: Lattice, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Width and height of so many cells of the lattice, all of them by default."""
    cells = np.asarray(lattice.shape if shape is None else shape)
    if framed(lattice):
        return cells * np.abs(np.diag(lattice.vectors))
    return np.ptp(np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * cells @ lattice.vectors, axis=0)


def placed(lattice: Lattice, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Where every site is drawn ``(site, 2)``, and whether it lies in a window of so many cells ``(site,)``."""
    if not framed(lattice):
        return lattice.positions, np.all(lattice.cells < np.asarray(shape), axis=1)
    step, where = lattice.vectors[0, 0], lattice.positions.copy()
    left = _left(lattice) - lattice.tolerance
    where[:, 0] = (where[:, 0] - left) % (lattice.shape[0] * step) + left
    inside: np.ndarray = (where[:, 0] < left + shape[0] * step) & (lattice.cells[:, 1] < shape[1])
    return where, inside


def _left(lattice: Lattice) -> float:
    """The left edge of the frame: half a cell before the first site, where a cell holds one."""
    first = float(lattice.basis[:, 0].min())
    return first - 0.5 * float(lattice.vectors[0, 0]) / lattice.n_basis


def draw_plane(
    axes: Axes, value: np.ndarray, lattice: Lattice, shape: tuple[int, ...], norm: Normalize, colours: str | Colormap
) -> Collection:
    """A map of all sites in its frame, without ticks; the part of it that a window of so many cells shows."""
    if lattice.n_basis > 1:
        image = _draw_sites(axes, value, lattice, shape, norm, colours)
    elif framed(lattice):
        image = _draw_rows(axes, value, lattice, shape, norm, colours)
    else:
        image = _draw_cells(axes, value, lattice, shape, norm, colours)
    axes.set_aspect("equal")
    axes.set(xticks=[], yticks=[])
    axes.spines[["left", "bottom", "top", "right"]].set_visible(True)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color="#555555")
    return image


def _draw_cells(
    axes: Axes, value: np.ndarray, lattice: Lattice, shape: tuple[int, ...], norm: Normalize, colours: str | Colormap
) -> Collection:
    grid = value.reshape(lattice.shape)[: shape[0], : shape[1]]
    step = max(1, int(np.ceil(max(shape) / LARGEST_MAP)))
    # Corners of the primitive cells: an open skewed lattice shows as parallelograms that tile the plane.
    corners = [np.arange(0, n + step, step) - 0.5 for n in shape]
    x, y = np.moveaxis(np.stack(np.meshgrid(*corners, indexing="ij"), -1) @ lattice.vectors, -1, 0)
    return axes.pcolormesh(x, y, grid[::step, ::step], cmap=colours, norm=norm, rasterized=True, shading="flat")


def _draw_rows(
    axes: Axes, value: np.ndarray, lattice: Lattice, shape: tuple[int, ...], norm: Normalize, colours: str | Colormap
) -> Collection:
    """Rows of bricks, one for every site, wrapped around the torus: a rectangle without empty corners."""
    (a, _), (shear, height) = lattice.vectors
    step = max(1, int(np.ceil(max(shape) / LARGEST_MAP)))
    rows, columns = np.arange(0, shape[1], step), -(-shape[0] // step) + 1
    left, low = _left(lattice), float(lattice.basis[0, 1]) - 0.5 * height
    # The brick of site i in row j begins at i a + j shear - a/2; the first of a row is cut by the left edge.
    first = np.floor(-rows * shear / a + 1e-9).astype(int)
    numbers = first[:, None] + step * np.arange(columns)
    x = left + (first[:, None] + step * np.arange(columns + 1)) * a + rows[:, None] * shear
    y = low + np.stack([rows, rows + step], 1).reshape(-1) * height
    # Two rows of corners for every row of bricks; between them lie rows without height.
    # Zeros and not what memory holds, which may be an infinity that arithmetic warns about.
    shown = np.ma.MaskedArray(np.zeros((2 * len(rows) - 1, columns)), mask=True)
    shown[::2] = value.reshape(lattice.shape)[numbers % lattice.shape[0], rows[:, None]]
    corners = np.repeat(x, 2, axis=0), np.repeat(y[:, None], columns + 1, axis=1)
    image = axes.pcolormesh(*corners, shown, cmap=colours, norm=norm, rasterized=True, shading="flat")
    width, tall = plane_size(lattice, shape)
    axes.set(xlim=(left, left + width), ylim=sorted((low, low + np.sign(height) * tall)))
    return image


def _draw_sites(
    axes: Axes, value: np.ndarray, lattice: Lattice, shape: tuple[int, ...], norm: Normalize, colours: str | Colormap
) -> Collection:
    where, shown = placed(lattice, shape)
    where = where[shown]
    size = np.full(len(where), 0.95 * lattice.shell_distances[0])
    sites = EllipseCollection(
        size,
        size,
        np.zeros_like(size),
        offsets=where,
        units="xy",
        offset_transform=axes.transData,
        cmap=colours,
        norm=norm,
    )
    sites.set_array(value[shown])
    axes.add_collection(sites)
    low, high = where.min(0) - 0.6, where.max(0) + 0.6
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return sites
