"""Figures and the self-contained HTML report."""

from nearsight.report.coarsening import axial_correlations, coarsening, peak_profile, walls
from nearsight.report.curves import correlations, growth, training_curves
from nearsight.report.errors import error_by_group, error_histogram, parity, parity_by_mode, symmetry_error
from nearsight.report.html import write_report
from nearsight.report.locality import locality
from nearsight.report.maps import Layer, data_overview, gallery, snapshots, structure_factor_map
from nearsight.report.style import Picture, picture, styled
from nearsight.report.terminal import verdict_table

__all__ = [
    "Layer",
    "Picture",
    "axial_correlations",
    "coarsening",
    "correlations",
    "data_overview",
    "error_by_group",
    "error_histogram",
    "gallery",
    "growth",
    "locality",
    "parity",
    "parity_by_mode",
    "peak_profile",
    "picture",
    "snapshots",
    "structure_factor_map",
    "styled",
    "symmetry_error",
    "training_curves",
    "verdict_table",
    "walls",
    "write_report",
]
