"""The faces of a plane lattice, and its triangles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.spatial import Delaunay

from nearsight.lattices import Lattice

SAME = 1e-6
"""Lengths that agree to this, in units of the shortest distance, are equal."""


@dataclass(frozen=True, eq=False)
class Plaquettes:
    """The faces that tile a plane lattice, each once, cut into triangles.

    ``centres`` ``(plaquette, 2)`` are those of the circles through the corners; ``size`` ``(plaquette,)`` counts the
    corners, ``corners`` ``(plaquette, largest)`` lists their sites anticlockwise, filled up with -1. ``triangles``
    ``(triangle, 3)`` are sites, anticlockwise, and ``owner`` ``(triangle,)`` the plaquette of each: a polygon is cut
    from its first corner.

    :func:`plaquettes` returns them.
    """

    centres: np.ndarray
    size: np.ndarray
    corners: np.ndarray
    triangles: np.ndarray
    owner: np.ndarray

    def __len__(self) -> int:
        return len(self.centres)


@lru_cache(maxsize=16)
def plaquettes(lattice: Lattice) -> Plaquettes:
    """Faces of a two-dimensional lattice: the polygons of its Delaunay tessellation, two triangles per site in all.

    Triangles of the triangular lattice, squares, hexagons of the honeycomb lattice, triangles and hexagons of kagome.
    Across an open boundary there are none.
    """
    if lattice.dim != 2:
        raise ValueError(f"Plaquettes tile a plane, got {lattice!r}.")
    grid = lattice.cells[:: lattice.n_basis]
    largest = max(len(cells) for _, cells, _ in _faces(lattice))
    centres, size, corners = [], [], []
    for centre, cells, sublattice in _faces(lattice):
        sites = np.stack([lattice.index(grid + c, b) for c, b in zip(cells, sublattice, strict=True)], axis=1)
        inside = (sites >= 0).all(1)
        filled = np.full((int(inside.sum()), largest), -1)
        filled[:, : len(cells)] = sites[inside]
        corners.append(filled)
        centres.append(grid[inside] @ lattice.vectors + centre)
        size.append(np.full(int(inside.sum()), len(cells)))
    table, sizes = np.concatenate(corners), np.concatenate(size)
    pieces, owners = [], []
    for n in range(1, largest - 1):
        whole = np.flatnonzero(sizes > n + 1)
        pieces.append(table[whole][:, [0, n, n + 1]])
        owners.append(whole)
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return Plaquettes(np.concatenate(centres), sizes, table, np.concatenate(pieces)[order], owner[order])


@lru_cache(maxsize=16)
def _faces(lattice: Lattice) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Centre, cells and sublattices (anticlockwise corners) of every face whose centre lies in cell 0."""
    longest = float(np.linalg.norm(lattice.vectors, axis=1).sum())
    cells, sublattice, _ = lattice._around(np.zeros(2), 4 * longest)
    # In units of the shortest distance, for which the tolerances are made.
    unit = lattice.spacing
    vectors = lattice.vectors / unit
    points = cells @ vectors + lattice.basis[sublattice] / unit
    simplices = points[Delaunay(points).simplices]
    # Slivers on the rim and between points on one circle have no area, and a centre anywhere.
    edges = simplices[:, 1:] - simplices[:, :1]
    area = np.abs(np.linalg.det(edges))
    edges, corner = edges[area > SAME], simplices[area > SAME, 0]
    centres = corner + np.linalg.solve(edges, 0.5 * (edges**2).sum(-1)[..., None]).squeeze(-1)
    fraction = centres @ np.linalg.inv(vectors)
    home = np.all((fraction > -SAME) & (fraction < 1 - SAME), axis=1)
    chosen: list[np.ndarray] = []
    result = []
    for centre in centres[home][np.lexsort(centres[home].round(5).T)]:
        if chosen and np.linalg.norm(np.array(chosen) - centre, axis=1).min() < 1e-4:
            continue
        chosen.append(centre)
        distance = np.linalg.norm(points - centre, axis=1)
        on = np.flatnonzero(distance < distance.min() + SAME)
        angle = np.arctan2(*(points[on] - centre).T[::-1])
        ring = on[np.argsort(np.round(angle, 6) % (2 * np.pi))]
        result.append((centre * unit, cells[ring], sublattice[ring]))
    triangles = sum(len(cells) - 2 for _, cells, _ in result)
    if triangles != 2 * lattice.n_basis:
        raise ArithmeticError(f"{lattice!r} was cut into {triangles} triangles per cell, not {2 * lattice.n_basis}.")
    return result
