"""Periodic and open lattices: geometry, neighbour shells, bonds, neighbourhoods, and their point groups."""

from nearsight.lattices.catalogue import chain, cubic, diamond, honeycomb, kagome, square, triangular
from nearsight.lattices.lattice import Bonds, Lattice, Neighbourhood
from nearsight.lattices.sublattices import aligned_neighbourhoods, crystal_class, sublattice_operations
from nearsight.lattices.symmetry import neighbour_permutations, site_group, site_permutations

__all__ = [
    "Bonds",
    "Lattice",
    "Neighbourhood",
    "aligned_neighbourhoods",
    "chain",
    "crystal_class",
    "cubic",
    "diamond",
    "honeycomb",
    "kagome",
    "neighbour_permutations",
    "site_group",
    "site_permutations",
    "square",
    "sublattice_operations",
    "triangular",
]
