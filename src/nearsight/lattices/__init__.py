"""Periodic and open lattices and point clouds: geometry, neighbour shells, bonds, neighbourhoods, point groups."""

from nearsight.lattices.catalogue import bcc, chain, cubic, diamond, fcc, honeycomb, kagome, square, triangular
from nearsight.lattices.centres import bond_centre, plaquette_centre
from nearsight.lattices.disorder import diluted, from_ase, random_cloud, read_structure
from nearsight.lattices.edges import EdgeBasis, Edges, edges
from nearsight.lattices.images import half_period, nearest_image, torus_distance
from nearsight.lattices.lattice import Lattice
from nearsight.lattices.neighbourhood import Bonds, Neighbourhood
from nearsight.lattices.pairs import bonds_within, nearest_image_bonds
from nearsight.lattices.patches import Patches, cut_patches
from nearsight.lattices.point_cloud import PointCloud, Structures
from nearsight.lattices.selection import Selection, lengths, select_pairs, select_sites, select_triplets
from nearsight.lattices.sublattices import aligned_neighbourhoods, crystal_class, sublattice_operations
from nearsight.lattices.symmetry import neighbour_permutations, site_group, site_permutations, torus_group

__all__ = [
    "Bonds",
    "EdgeBasis",
    "Edges",
    "Lattice",
    "Neighbourhood",
    "Patches",
    "PointCloud",
    "Selection",
    "Structures",
    "aligned_neighbourhoods",
    "bcc",
    "bond_centre",
    "bonds_within",
    "chain",
    "crystal_class",
    "cubic",
    "cut_patches",
    "diamond",
    "diluted",
    "edges",
    "fcc",
    "from_ase",
    "half_period",
    "honeycomb",
    "kagome",
    "lengths",
    "nearest_image",
    "nearest_image_bonds",
    "neighbour_permutations",
    "plaquette_centre",
    "random_cloud",
    "read_structure",
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
