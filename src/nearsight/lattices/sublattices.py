"""Equivalent sites of one cell: the operations between their surroundings, and their neighbours in one order."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nearsight.groups import PointGroup
from nearsight.lattices.lattice import Lattice, checked_lattice
from nearsight.lattices.neighbourhood import Neighbourhood
from nearsight.lattices.symmetry import _find_points, matching_operations, neighbour_map


def sublattice_operations(lattice: Lattice) -> np.ndarray:
    """For every sublattice b the operation h_b ``(basis, dim, dim)`` from the surroundings of site 0 onto those of b.

    What is learned about one site then serves all of them: h_b carries the k-th neighbour of a site of sublattice 0 to
    a neighbour of a site of sublattice b with the same species. All other choices are h_b g with g in the site group.
    The identity is taken where it does, then the inversion (honeycomb, diamond), then the rotation by the smallest
    angle (kagome), so that every machine finds the same operations. ``ValueError`` names sublattices that no operation
    joins to sublattice 0, such as the two species of boron nitride or the centre and corners of the Lieb lattice.
    """
    group = crystal_class(lattice)
    inversion = np.abs(group.matrices + np.eye(lattice.dim)).max(axis=(1, 2)).argmin()
    chosen = []
    for candidates in _equivalences(lattice):
        # The canonical order of the group begins with the identity, then small angles before large ones.
        distance = np.abs(candidates[:, None] - group.matrices).max(axis=(2, 3))
        allowed = sorted(distance.argmin(axis=1))
        chosen.append(inversion if allowed[0] > 0 and inversion in allowed else allowed[0])
    operations = group.matrices[chosen]
    operations.setflags(write=False)
    return operations


def crystal_class(lattice: Lattice) -> PointGroup:
    """The point group of a lattice of equivalent sites: the site group and all operations between sublattices.

    D6 for honeycomb (site group D3) and kagome (site group D2), Oh for diamond (site group Td). Operations outside the
    site group of 0 need the law of the field in this group.
    """
    found = np.concatenate(_equivalences(checked_lattice(lattice))).reshape(-1, lattice.dim**2)
    return PointGroup(found[np.unique(_find_points(found, found))].reshape(-1, lattice.dim, lattice.dim))


def aligned_neighbourhoods(lattice: Lattice, cutoff: float) -> tuple[Neighbourhood, ...]:
    """The neighbourhoods of all sublattices, each listed in the order of that of sublattice 0.

    The k-th neighbour of b lies at ``h_b @ vectors[k]`` with :func:`sublattice_operations`, so that an array over the
    neighbours means the same on every sublattice. Each of them serves ``lattice.neighbour_table``, whose rows are the
    sites b, b + n_basis, b + 2 n_basis and so on.
    """
    first = checked_lattice(lattice).neighbourhood(cutoff)
    result = []
    for b, h in enumerate(sublattice_operations(lattice)):
        own = lattice.neighbourhood(cutoff, centre=b)
        result.append(own.part(neighbour_map(first, own, h)))
    return tuple(result)


@lru_cache(maxsize=64)
def _equivalences(lattice: Lattice) -> list[np.ndarray]:
    """For every sublattice, all operations that carry the surroundings of sublattice 0 onto its own."""
    same = np.array(lattice.species) == lattice.species[0]
    nothing = np.zeros((0, lattice.dim, lattice.dim))
    found = [matching_operations(lattice, 0, b) if same[b] else nothing for b in range(lattice.n_basis)]
    strange = [b for b, operations in enumerate(found) if not len(operations)]
    if strange:
        raise ValueError(
            f"No rotation or reflection carries sublattice 0 of {lattice.name} onto sublattice"
            f"{'s' if len(strange) > 1 else ''} {', '.join(map(str, strange))}: these sites are inequivalent. Treat "
            f"them apart, each with its own model."
        )
    return found
