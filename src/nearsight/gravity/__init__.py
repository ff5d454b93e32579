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
from nearsight.gravity.fit import PosteriorFitOptions, fit_posterior
from nearsight.gravity.flow import PosteriorFlow
from nearsight.gravity.likelihood import Likelihood
from nearsight.gravity.matched_filter import MatchedFilter
from nearsight.gravity.priors import Prior
from nearsight.gravity.simulator import Simulator
from nearsight.gravity.strain import Strain, frequency_grid, inject
from nearsight.gravity.waveforms import Polarisations, TaylorF2, masses

__all__ = [
    "DETECTORS",
    "ComponentRatio",
    "Cosine",
    "Coupling",
    "Density",
    "Detector",
    "GaussBonnet",
    "Likelihood",
    "MatchedFilter",
    "Polarisations",
    "PostEinsteinian",
    "PosteriorFitOptions",
    "PosteriorFlow",
    "Power",
    "Prior",
    "Simulator",
    "Sine",
    "Strain",
    "TaylorF2",
    "Uniform",
    "advanced_ligo",
    "fit_posterior",
    "frequency_grid",
    "inject",
    "load_asd",
    "masses",
    "project",
    "scalar_charge",
    "sidereal_time",
    "small_coupling_bound",
    "varied_noise",
]
