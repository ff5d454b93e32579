"""Orders in which the sites of a lattice are visited one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from nearsight._validation import choice, integers
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice

NamedOrder = Literal["raster", "snake", "spiral"]


def site_order(lattice: Lattice, order: NamedOrder | Sequence[int] = "snake") -> np.ndarray:
    """The sites of a lattice in the order of an autoregressive model, a permutation ``(site,)``.

    ``"raster"``: by index. ``"snake"``: each row in the opposite direction of the one before, so that consecutive
    cells are neighbours in any dimension. ``"spiral"``: around the border of a two-dimensional lattice and inwards. Or
    the sites themselves, each once. The sites of a cell stay together.

    >>> from nearsight.lattices import square
    >>> site_order(square(3), "snake").tolist()
    [0, 1, 2, 5, 4, 3, 6, 7, 8]
    >>> site_order(square(3), "spiral").tolist()
    [0, 1, 2, 5, 8, 7, 6, 3, 4]
    """
    checked_lattice(lattice)
    if not isinstance(order, str):
        sites = np.array(integers(order, "order, the name of one or the sites in their order,"))
        if not np.array_equal(np.sort(sites), np.arange(lattice.n_sites)):
            raise ValueError(f"order must hold each of the {lattice.n_sites} sites once.")
        return sites
    choice(order, "order", get_args(NamedOrder))
    grid = np.arange(lattice.n_cells).reshape(lattice.shape)
    if order == "spiral":
        if lattice.dim != 2:
            raise ValueError(f"A spiral needs two dimensions, {lattice.name} has {lattice.dim}; take 'snake'.")
        cells = _spiral(grid)
    else:
        cells = _snake(grid) if order == "snake" else grid.reshape(-1)
    return (cells[:, None] * lattice.n_basis + np.arange(lattice.n_basis)).reshape(-1)


def _snake(grid: np.ndarray) -> np.ndarray:
    if grid.ndim == 1:
        return grid
    rows = [_snake(row) for row in grid]
    return np.concatenate([row[::-1] if k % 2 else row for k, row in enumerate(rows)])


def _spiral(grid: np.ndarray) -> np.ndarray:
    edges = []
    while grid.size:
        edges.append(grid[0])
        grid = np.rot90(grid[1:])
    return np.concatenate(edges)
