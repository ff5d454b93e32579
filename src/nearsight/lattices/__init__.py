"""Periodic and open lattices: geometry, neighbour shells, bonds, neighbourhoods, and their point groups."""

from nearsight.lattices.catalogue import bcc, chain, cubic, diamond, fcc, honeycomb, kagome, square, triangular
from nearsight.lattices.centres import bond_centre, plaquette_centre
from nearsight.lattices.images import half_period, nearest_image, torus_distance
from nearsight.lattices.lattice import Lattice
from nearsight.lattices.neighbourhood import Bonds, Neighbourhood
from nearsight.lattices.selection import Selection, lengths, select_pairs, select_sites, select_triplets
from nearsight.lattices.sublattices import aligned_neighbourhoods, crystal_class, sublattice_operations
from nearsight.lattices.symmetry import neighbour_permutations, site_group, site_permutations, torus_group

__all__ = [
    "Bonds",
    "Lattice",
    "Neighbourhood",
    "Selection",
    "aligned_neighbourhoods",
    "bcc",
    "bond_centre",
    "chain",
    "crystal_class",
    "cubic",
    "diamond",
    "fcc",
    "half_period",
    "honeycomb",
    "kagome",
    "lengths",
    "nearest_image",
    "neighbour_permutations",
    "plaquette_centre",
    "select_pairs",
    "select_sites",
    "select_triplets",
    "site_group",
    "site_permutations",
    "square",
    "sublattice_operations",
    "torus_distance",
    "torus_group",
    "triangular",
]
