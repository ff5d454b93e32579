"""The linear step: the field around every site, orbit by orbit, in symmetry-adapted coordinates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nearsight.groups import PointGroup
from nearsight.lattices import Neighbourhood, neighbour_permutations


@dataclass(frozen=True, eq=False)
class _Block:
    """Orbits of neighbours with the same number of sites and the same irreps, handled by one batched product.

    ``members`` are neighbour indices ``(orbit, site)``. ``basis`` ``(orbit, row, site * component)`` turns the values
    on an orbit into coefficients; its rows run over the irreps in ``copies`` (name and number of copies), then over
    the copies, then over the components of the irrep.
    """

    members: np.ndarray
    basis: np.ndarray
    copies: tuple[tuple[str, int], ...]

    @property
    def irreps(self) -> str:
        """``A1 + A2 + 2E``."""
        return " + ".join(f"{count if count > 1 else ''}{name}" for name, count in self.copies)

    def rows(self, group: PointGroup) -> dict[str, slice]:
        """The rows that belong to each irrep."""
        stops = list(itertools.accumulate(count * group.irrep(name).dim for name, count in self.copies))
        return {name: slice(a, b) for (name, _), a, b in zip(self.copies, [0, *stops], stops, strict=False)}


def symmetry_blocks(neighbourhood: Neighbourhood, group: PointGroup, law: np.ndarray) -> list[_Block]:
    """Decompose a field around a centre.

    ``law`` holds the matrices by which every operation multiplies the components of every neighbour as it moves it,
    ``(order, neighbour, component, component)``, or ``(order, component, component)`` if they are the same for all.

    The sites of one orbit are images of each other under the group. An orbit is often smaller than its shell: on the
    square lattice the twelve sites at distance 5 are orbits of four and of eight.
    """
    permutations = neighbour_permutations(neighbourhood, group)
    if law.ndim == 3:
        law = np.broadcast_to(law[:, None], (len(law), len(neighbourhood), *law.shape[1:]))
    components = law.shape[-1]
    kinds: dict[tuple[int, tuple[tuple[str, int], ...]], list[tuple[np.ndarray, np.ndarray]]] = {}
    for first in np.flatnonzero(permutations.min(axis=0) == np.arange(len(neighbourhood))):
        sites = np.unique(permutations[:, first])
        arrival = np.searchsorted(sites, permutations[:, sites])  # within the orbit
        moves = np.eye(len(sites))[arrival].transpose(0, 2, 1)
        size = len(sites) * components
        action = np.einsum("gij,gjab->giajb", moves, law[:, sites]).reshape(len(group), size, size)
        copies = group.decompose(action)
        # (copies, size, dim) -> rows: copy by copy, component by component.
        basis = np.concatenate([x.transpose(0, 2, 1).reshape(-1, size) for x in copies.values()])
        kind = len(sites), tuple((name, len(x)) for name, x in copies.items())
        kinds.setdefault(kind, []).append((sites, basis))
    return [
        _Block(np.array([sites for sites, _ in orbits]), np.array([basis for _, basis in orbits]), copies)
        for (_, copies), orbits in kinds.items()
    ]


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where the coefficients of every irrep stand among all rows ``(row, point)``: block by block, orbit by orbit."""

    variables: int
    pieces: tuple[tuple[str, int, int, int, slice, int], ...]

    @classmethod
    def of(cls, blocks: Sequence[_Block], group: PointGroup) -> _Layout:
        pieces = []
        start = 0
        for block in blocks:
            orbits, rows = block.basis.shape[:2]
            for name, where in block.rows(group).items():
                pieces.append((name, start, orbits, rows, where, group.irrep(name).dim))
            start += orbits * rows
        return cls(start, tuple(pieces))

    def views(self, flat: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Name and view ``(orbit, copy, component, point)`` of the coefficients of every irrep in every block."""
        for name, start, orbits, rows, where, dim in self.pieces:
            block = flat[start : start + orbits * rows].unflatten(0, (orbits, rows))
            yield name, block[:, where].unflatten(1, (-1, dim))

    def windows(self, flat: Tensor) -> Iterator[tuple[str, Tensor]]:
        """:meth:`views` of a contiguous tensor outside of a graph, in a fraction of the time."""
        points, origin = flat.shape[-1], flat.storage_offset()
        for name, start, orbits, rows, where, dim in self.pieces:
            size = orbits, (where.stop - where.start) // dim, dim, points
            strides = rows * points, dim * points, points, 1
            yield name, flat.as_strided(size, strides, origin + (start + where.start) * points)
