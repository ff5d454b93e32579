"""Figures and the self-contained HTML report."""

from nearsight.report.barriers import barriers, particle_potentials
from nearsight.report.coarsening import axial_correlations, coarsening, peak_profile, walls
from nearsight.report.curves import correlations, growth, training_curves
from nearsight.report.errors import error_by_group, error_histogram, parity, parity_by_mode, symmetry_error
from nearsight.report.html import write_report
from nearsight.report.locality import locality
from nearsight.report.maps import Layer, data_overview, gallery, snapshots, structure_factor_map
from nearsight.report.published import Published, read_published
from nearsight.report.separation import pair_correlations, scaling_collapse, separation_growth, sublattice_maps
from nearsight.report.spins import charge_map, path_profile, spin_map, zone_map
from nearsight.report.style import Picture, picture, styled
from nearsight.report.terminal import verdict_table

__all__ = [
    "Layer",
    "Picture",
    "Published",
    "axial_correlations",
    "barriers",
    "charge_map",
    "coarsening",
    "correlations",
    "data_overview",
    "error_by_group",
    "error_histogram",
    "gallery",
    "growth",
    "locality",
    "pair_correlations",
    "parity",
    "parity_by_mode",
    "particle_potentials",
    "path_profile",
    "peak_profile",
    "picture",
    "read_published",
    "scaling_collapse",
    "separation_growth",
    "snapshots",
    "spin_map",
    "structure_factor_map",
    "styled",
    "sublattice_maps",
    "symmetry_error",
    "training_curves",
    "verdict_table",
    "walls",
    "write_report",
    "zone_map",
]
