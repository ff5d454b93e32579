"""Spins: intensities and correlations, chirality, topological charge, temperature, spin waves, spectra."""

from nearsight.analysis.spins.bonds import parallel_clusters, spin_alignment
from nearsight.analysis.spins.charge import charge_density, count_skyrmions, scalar_chirality, topological_charge
from nearsight.analysis.spins.intensities import (
    peak_growth,
    peak_length,
    peak_order,
    spin_correlation,
    spin_structure_factor,
    spin_structure_factor_at,
)
from nearsight.analysis.spins.plaquettes import Plaquettes, plaquettes
from nearsight.analysis.spins.spectra import dynamical_structure_factor
from nearsight.analysis.spins.temperature import spin_curvature, spin_temperature
from nearsight.analysis.spins.waves import spin_waves

__all__ = [
    "Plaquettes",
    "charge_density",
    "count_skyrmions",
    "dynamical_structure_factor",
    "parallel_clusters",
    "peak_growth",
    "peak_length",
    "peak_order",
    "plaquettes",
    "scalar_chirality",
    "spin_alignment",
    "spin_correlation",
    "spin_curvature",
    "spin_structure_factor",
    "spin_structure_factor_at",
    "spin_temperature",
    "spin_waves",
    "topological_charge",
]
