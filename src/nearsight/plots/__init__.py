"""Figures: arrays in, a :class:`Picture` out; axes, units and captions follow from the arrays and their attributes."""

from nearsight.plots.barriers import barriers, particle_potentials
from nearsight.plots.coarsening import axial_correlations, coarsening, peak_profile, walls
from nearsight.plots.curves import correlations, growth, training_curves
from nearsight.plots.errors import error_by_group, error_histogram, parity, parity_by_mode, symmetry_error
from nearsight.plots.locality import locality
from nearsight.plots.maps import Layer, data_overview, gallery, snapshots, structure_factor_map
from nearsight.plots.published import Published, read_published
from nearsight.plots.separation import pair_correlations, scaling_collapse, separation_growth, sublattice_maps
from nearsight.plots.spins import charge_map, path_profile, spin_map, zone_map
from nearsight.plots.style import Picture, picture, styled

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
    "walls",
    "zone_map",
]
