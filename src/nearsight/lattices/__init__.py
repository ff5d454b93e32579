"""Periodic and open lattices: geometry, neighbour shells, bonds, neighbourhoods, and their point groups."""

from nearsight.lattices.catalogue import chain, cubic, diamond, honeycomb, kagome, square, triangular
from nearsight.lattices.lattice import Bonds, Lattice, Neighbourhood
from nearsight.lattices.symmetry import neighbour_permutations, site_group, site_permutations

__all__ = [
    "Bonds",
    "Lattice",
    "Neighbourhood",
    "chain",
    "cubic",
    "diamond",
    "honeycomb",
    "kagome",
    "neighbour_permutations",
    "site_group",
    "site_permutations",
    "square",
    "triangular",
]
