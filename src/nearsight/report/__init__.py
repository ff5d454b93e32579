"""Figures and the self-contained HTML report."""

from nearsight.report.curves import correlations, growth, training_curves
from nearsight.report.errors import error_by_group, error_histogram, parity, symmetry_error
from nearsight.report.html import write_report
from nearsight.report.maps import data_overview, snapshots, structure_factor_map
from nearsight.report.style import Picture, picture, styled
from nearsight.report.terminal import verdict_table

__all__ = [
    "Picture",
    "correlations",
    "data_overview",
    "error_by_group",
    "error_histogram",
    "growth",
    "parity",
    "picture",
    "snapshots",
    "structure_factor_map",
    "styled",
    "symmetry_error",
    "training_curves",
    "verdict_table",
    "write_report",
]
