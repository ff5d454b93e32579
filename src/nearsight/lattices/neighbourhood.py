"""Bonds of a neighbour shell, and the sites within a cutoff of a centre."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

SAME = 1e-6
"""Distances that differ by less than this, in units of the shortest one, belong to the same neighbour shell."""


@dataclass(frozen=True, eq=False)
class Bonds:
    """Pairs of sites joined by one neighbour shell, every bond once.

    ``i``, ``j`` are site indices ``(bond,)``; ``displacement`` is the vector from i to j ``(bond, dim)``; ``winding``
    counts how often the bond crosses each periodic boundary ``(bond, dim)`` and carries the phase of twisted boundary
    conditions. On a torus of two cells the same pair of sites is joined by two bonds, as the hopping sum requires.

    :meth:`Lattice.bonds`, :func:`bonds_within` and :func:`nearest_image_bonds` return them.
    """

    i: np.ndarray
    j: np.ndarray
    displacement: np.ndarray
    winding: np.ndarray

    def __len__(self) -> int:
        return len(self.i)


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """The sites within a cutoff of a centre, sorted by distance, then by the Cartesian components.

    ``cells`` are offsets in units of the primitive vectors ``(n, dim)``, ``sublattice`` the basis index of each
    neighbour ``(n,)`` and ``vectors`` the Cartesian displacements ``(n, dim)``. ``centre`` is the position of the
    centre in cell 0; where it is a site, the first row is that site.

    :meth:`Lattice.neighbourhood` returns it.
    """

    cells: np.ndarray
    sublattice: np.ndarray
    vectors: np.ndarray
    cutoff: float
    centre: np.ndarray

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def distances(self) -> np.ndarray:
        return np.linalg.norm(self.vectors, axis=1)

    @property
    def tolerance(self) -> float:
        """A length below which two distances are one: 10⁻⁶ of the shortest distance from the centre."""
        away = self.distances[self.distances > 1e-6 * self.distances[-1]]
        return SAME * (float(away[0]) if len(away) else self.cutoff or 1.0)

    @property
    def reach(self) -> tuple[int, ...]:
        """Largest cell offset along every axis: the halo that a padded grid needs."""
        return tuple(int(r) for r in np.abs(self.cells).max(axis=0))

    @property
    def on_site(self) -> bool:
        """Whether the centre is a site, which then is the first row."""
        return bool(self.distances[0] <= 1e-6 * self.distances[-1])

    def without_centre(self) -> Neighbourhood:
        """The neighbours of a site, the site itself left out; ``ValueError`` if there are none."""
        if len(self) == 1:
            raise ValueError(f"No neighbour lies within {self.cutoff:g} of the site; raise the cutoff.")
        return self.part(slice(1, None))

    def part(self, which: np.ndarray | slice) -> Neighbourhood:
        """Some of the neighbours, by their indices or a mask, in that order."""
        return replace(self, cells=self.cells[which], sublattice=self.sublattice[which], vectors=self.vectors[which])
