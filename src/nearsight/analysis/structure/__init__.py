"""Structure factors, correlations and the lengths they hold; wave vectors and the Brillouin zone."""

from nearsight.analysis.structure._reciprocal import distance_to, reciprocal_vectors, wave_vectors
from nearsight.analysis.structure.brillouin import Path, fold, star, symmetry_path, symmetry_points, zone_boundary
from nearsight.analysis.structure.correlations import axial_correlation, correlation
from nearsight.analysis.structure.intensities import shell_average, structure_factor, structure_factor_at
from nearsight.analysis.structure.lengths import correlation_length, crossing_length

__all__ = [
    "Path",
    "axial_correlation",
    "correlation",
    "correlation_length",
    "crossing_length",
    "distance_to",
    "fold",
    "reciprocal_vectors",
    "shell_average",
    "star",
    "structure_factor",
    "structure_factor_at",
    "symmetry_path",
    "symmetry_points",
    "wave_vectors",
    "zone_boundary",
]
