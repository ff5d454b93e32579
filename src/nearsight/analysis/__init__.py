"""Structure factors, correlations, order, lengths, and the statistics that compare ensembles."""

from nearsight.analysis.correlation import correlation
from nearsight.analysis.lengths import PowerLaw, correlation_length, crossing_length, growth_exponent
from nearsight.analysis.order import cdw_order, domain_fraction, global_order, ising_sign, staggered, wall_density
from nearsight.analysis.reciprocal import distance_to, reciprocal_vectors, wave_vectors
from nearsight.analysis.statistics import Comparison, Estimate, bootstrap, compare_curves, mean_and_error
from nearsight.analysis.structure_factor import shell_average, structure_factor, structure_factor_at
from nearsight.analysis.verdict import Verdict, written

__all__ = [
    "Comparison",
    "Estimate",
    "PowerLaw",
    "Verdict",
    "bootstrap",
    "cdw_order",
    "compare_curves",
    "correlation",
    "correlation_length",
    "crossing_length",
    "distance_to",
    "domain_fraction",
    "global_order",
    "growth_exponent",
    "ising_sign",
    "mean_and_error",
    "reciprocal_vectors",
    "shell_average",
    "staggered",
    "structure_factor",
    "structure_factor_at",
    "wall_density",
    "wave_vectors",
    "written",
]
