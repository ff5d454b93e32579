"""Boxes of cells around sites of a large lattice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nearsight._validation import boolean, indices, instance, integer
from nearsight.lattices.lattice import Lattice


def cells_within(lattice: Lattice, radius: float) -> tuple[int, ...]:
    """How many cells a sphere reaches along every axis, from one face of a cell to beyond the opposite one."""
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice.vectors), axis=0)
    return tuple(int(n) for n in np.ceil(radius / heights - 1e-9))


@dataclass(frozen=True, eq=False)
class Patches:
    """Equal boxes of cells, one around each of several sites of one sublattice.

    lattice: the box as a lattice. sites: index of each of its sites in the large lattice ``(patch, site)``. centre:
    which of them the box is drawn around. whole: the axes along which the box is the large lattice itself. drawn: which
    of the sites asked for these are.

    :func:`cut_patches` returns them.
    """

    lattice: Lattice
    sites: np.ndarray
    centre: int
    whole: tuple[bool, ...]
    drawn: np.ndarray


def cut_patches(lattice: Lattice, sites: np.ndarray, radius: int, *, closed: bool = False) -> list[Patches]:
    """Boxes that reach ``radius`` cells from the cell of each site in every direction.

    An axis that is no longer than the box is taken whole, with its own boundary. Boxes that would stick out of an open
    edge are moved inwards, so that their edge is that of the lattice. Sites with the same place in their box come
    together.

    Parameters
    ----------
    lattice: the large one.
    sites: indices ``(n,)``.
    radius: in cells.
    closed: close the box periodically along every axis it cuts of a periodic lattice, with 2 · radius cells, an even
        number that fits a staggered order; otherwise it is open, with 2 · radius + 1.
    """
    instance(lattice, Lattice, "lattice")
    radius, closed = integer(radius, "radius", least=1), boolean(closed, "closed")
    sites = np.asarray(indices(np.asarray(sites), "sites", lattice.n_sites))
    shape, periodic = np.asarray(lattice.shape), np.asarray(lattice.periodic)
    box = np.where(periodic & closed, 2 * radius, 2 * radius + 1)
    whole = box >= shape
    box = np.where(whole, shape, box)
    edges = np.where(whole, periodic, periodic & closed)
    small = replace(lattice, shape=tuple(map(int, box)), periodic=tuple(map(bool, edges)), symmetrise=False)
    cells, sublattice = lattice.cells[sites], lattice.sublattice[sites]
    origin = cells - np.minimum(radius, box // 2)
    origin = np.where(periodic, origin, np.clip(origin, 0, shape - box))
    centre = small.index(cells - origin, sublattice)
    patches = []
    for place in np.unique(centre):
        drawn = np.flatnonzero(centre == place)
        index = lattice.index(origin[drawn, None] + small.cells[None], small.sublattice[None])
        patches.append(Patches(small, index, int(place), tuple(map(bool, whole)), drawn))
    return patches
