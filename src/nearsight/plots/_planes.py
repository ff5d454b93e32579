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
