"""Patches of checkerboard of a lattice gas: clusters and their sizes, super-clusters, potentials of a test particle."""

from nearsight.analysis.clusters.blocks import (
    block_arrangements,
    block_polarity,
    grow_checkerboard,
    spread_polarity,
)
from nearsight.analysis.clusters.checkerboard import checkerboard_clusters, cluster_sizes, size_distribution
from nearsight.analysis.clusters.insertion import (
    insertion_energies,
    particle_potential,
    staggered_barrier,
    walked_potential,
)
from nearsight.analysis.clusters.separation import checkerboard_length, phase_separation
from nearsight.analysis.clusters.sublattices import polarity, sublattice_field

__all__ = [
    "block_arrangements",
    "block_polarity",
    "checkerboard_clusters",
    "checkerboard_length",
    "cluster_sizes",
    "grow_checkerboard",
    "insertion_energies",
    "particle_potential",
    "phase_separation",
    "polarity",
    "size_distribution",
    "spread_polarity",
    "staggered_barrier",
    "sublattice_field",
    "walked_potential",
]
