"""Structure factors, correlations, order, lengths, locality, and the statistics that compare ensembles."""

from nearsight.analysis.block_clusters import block_arrangements, block_polarity, grow_checkerboard
from nearsight.analysis.brillouin import Path, fold, star, symmetry_path, symmetry_points, zone_boundary
from nearsight.analysis.chirality import scalar_chirality
from nearsight.analysis.clusters import checkerboard_clusters, cluster_sizes, size_distribution
from nearsight.analysis.coarsening import AllenCahn, Departure, allen_cahn, departure, local_exponent
from nearsight.analysis.collapse import (
    Collapse,
    SizeLaw,
    collapse_quality,
    fit_collapse,
    size_law,
    threshold_window,
)
from nearsight.analysis.correlation import axial_correlation, correlation
from nearsight.analysis.dynamical_scaling import DynamicalScaling, dynamical_scaling, porod_law
from nearsight.analysis.insertion_potential import (
    insertion_energies,
    particle_potential,
    staggered_barrier,
    walked_potential,
)
from nearsight.analysis.lengths import PowerLaw, correlation_length, crossing_length, growth_exponent
from nearsight.analysis.linear_law import LinearLaw, linear_law
from nearsight.analysis.locality import (
    Decay,
    LocalityReport,
    Response,
    assess_growth,
    assess_size,
    directional_derivative,
    ensemble_length,
    examine_hops,
    examine_locality,
    hop_response,
    hop_truncation,
    linear_response,
    response,
    spin_derivative,
    truncation,
)
from nearsight.analysis.order import (
    cdw_order,
    contrast_order,
    domain_fraction,
    global_order,
    ising_sign,
    local_amplitude,
    staggered,
    wall_density,
)
from nearsight.analysis.phase_separation import checkerboard_length, phase_separation
from nearsight.analysis.plaquettes import Plaquettes, plaquettes
from nearsight.analysis.reciprocal import distance_to, reciprocal_vectors, wave_vectors
from nearsight.analysis.skyrmions import charge_density, count_skyrmions, topological_charge
from nearsight.analysis.spin_structure import (
    peak_growth,
    peak_length,
    peak_order,
    spin_correlation,
    spin_structure_factor,
    spin_structure_factor_at,
)
from nearsight.analysis.spin_temperature import spin_curvature, spin_temperature
from nearsight.analysis.statistics import (
    Comparison,
    Estimate,
    bootstrap,
    compare_curves,
    mean_and_error,
    weighted_mean_and_error,
)
from nearsight.analysis.structure_factor import shell_average, structure_factor, structure_factor_at
from nearsight.analysis.sublattice_field import polarity, sublattice_field
from nearsight.analysis.sublattice_sign import sublattice_sign
from nearsight.analysis.verdict import Verdict, written
from nearsight.analysis.walls import wall_distance, wall_profile, wall_shape

__all__ = [
    "AllenCahn",
    "Collapse",
    "Comparison",
    "Decay",
    "Departure",
    "DynamicalScaling",
    "Estimate",
    "LinearLaw",
    "LocalityReport",
    "Path",
    "Plaquettes",
    "PowerLaw",
    "Response",
    "SizeLaw",
    "Verdict",
    "allen_cahn",
    "assess_growth",
    "assess_size",
    "axial_correlation",
    "block_arrangements",
    "block_polarity",
    "bootstrap",
    "cdw_order",
    "charge_density",
    "checkerboard_clusters",
    "checkerboard_length",
    "cluster_sizes",
    "collapse_quality",
    "compare_curves",
    "contrast_order",
    "correlation",
    "correlation_length",
    "count_skyrmions",
    "crossing_length",
    "departure",
    "directional_derivative",
    "distance_to",
    "domain_fraction",
    "dynamical_scaling",
    "ensemble_length",
    "examine_hops",
    "examine_locality",
    "fit_collapse",
    "fold",
    "global_order",
    "grow_checkerboard",
    "growth_exponent",
    "hop_response",
    "hop_truncation",
    "insertion_energies",
    "ising_sign",
    "linear_law",
    "linear_response",
    "local_amplitude",
    "local_exponent",
    "mean_and_error",
    "particle_potential",
    "peak_growth",
    "peak_length",
    "peak_order",
    "phase_separation",
    "plaquettes",
    "polarity",
    "porod_law",
    "reciprocal_vectors",
    "response",
    "scalar_chirality",
    "shell_average",
    "size_distribution",
    "size_law",
    "spin_correlation",
    "spin_curvature",
    "spin_derivative",
    "spin_structure_factor",
    "spin_structure_factor_at",
    "spin_temperature",
    "staggered",
    "staggered_barrier",
    "star",
    "structure_factor",
    "structure_factor_at",
    "sublattice_field",
    "sublattice_sign",
    "symmetry_path",
    "symmetry_points",
    "threshold_window",
    "topological_charge",
    "truncation",
    "walked_potential",
    "wall_density",
    "wall_distance",
    "wall_profile",
    "wall_shape",
    "wave_vectors",
    "weighted_mean_and_error",
    "written",
    "zone_boundary",
]
