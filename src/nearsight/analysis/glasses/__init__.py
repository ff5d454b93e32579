"""Disordered spins: pair correlations by distance, the glassy length and its laws, overlaps, aging, susceptibility."""

from nearsight.analysis.glasses.laws import GlassGrowth, glass_growth
from nearsight.analysis.glasses.overlaps import (
    autocorrelation,
    replica_overlap,
    spin_glass_susceptibility,
)
from nearsight.analysis.glasses.pairs import correlation_moment_length, level_density, radial_correlation

__all__ = [
    "GlassGrowth",
    "autocorrelation",
    "correlation_moment_length",
    "glass_growth",
    "level_density",
    "radial_correlation",
    "replica_overlap",
    "spin_glass_susceptibility",
]
