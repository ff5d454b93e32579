"""Means and errors over replicas, tests of ensembles and of posteriors, straight lines, power laws, data collapse."""

from nearsight.analysis.statistics.collapse import (
    Collapse,
    collapse_quality,
    fit_collapse,
    mean_of_both_sides,
    threshold_width,
    threshold_window,
)
from nearsight.analysis.statistics.comparison import Comparison, compare_curves
from nearsight.analysis.statistics.control import ControlledMean, best_numbers, controlled_mean, multilevel_mean
from nearsight.analysis.statistics.coverage import calibration, expected_coverage, truth_ranks
from nearsight.analysis.statistics.ensembles import (
    Estimate,
    bootstrap,
    jackknife,
    mean_and_error,
    resampled_means,
    weighted_mean_and_error,
)
from nearsight.analysis.statistics.laws import LinearLaw, SizeLaw, linear_law, size_law

__all__ = [
    "Collapse",
    "Comparison",
    "ControlledMean",
    "Estimate",
    "LinearLaw",
    "SizeLaw",
    "best_numbers",
    "bootstrap",
    "calibration",
    "collapse_quality",
    "compare_curves",
    "controlled_mean",
    "expected_coverage",
    "fit_collapse",
    "jackknife",
    "linear_law",
    "mean_and_error",
    "mean_of_both_sides",
    "multilevel_mean",
    "resampled_means",
    "size_law",
    "threshold_width",
    "threshold_window",
    "truth_ranks",
    "weighted_mean_and_error",
]
