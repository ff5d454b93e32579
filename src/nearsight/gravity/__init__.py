"""Gravitational waves of compact binaries beyond general relativity."""

from nearsight.gravity.corrections import GaussBonnet, PostEinsteinian, scalar_charge, small_coupling_bound
from nearsight.gravity.densities import ComponentRatio, Cosine, Coupling, Density, Power, Sine, Uniform
from nearsight.gravity.detectors import (
    DETECTORS,
    Detector,
    advanced_ligo,
    load_asd,
    project,
    sidereal_time,
    varied_noise,
)
from nearsight.gravity.priors import Prior
from nearsight.gravity.waveforms import Polarisations, TaylorF2, masses

__all__ = [
    "DETECTORS",
    "ComponentRatio",
    "Cosine",
    "Coupling",
    "Density",
    "Detector",
    "GaussBonnet",
    "Polarisations",
    "PostEinsteinian",
    "Power",
    "Prior",
    "Sine",
    "TaylorF2",
    "Uniform",
    "advanced_ligo",
    "load_asd",
    "masses",
    "project",
    "scalar_charge",
    "sidereal_time",
    "small_coupling_bound",
    "varied_noise",
]
