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
from nearsight.gravity.mixture import Mixture
from nearsight.gravity.nested import nested
from nearsight.gravity.posterior import Posterior, Proposal, importance
from nearsight.gravity.priors import Prior
from nearsight.gravity.refine import refine
from nearsight.gravity.series import TimeSeries, estimate_asd, from_series, load_series
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
    "Mixture",
    "Polarisations",
    "PostEinsteinian",
    "Posterior",
    "PosteriorFitOptions",
    "PosteriorFlow",
    "Power",
    "Prior",
    "Proposal",
    "Simulator",
    "Sine",
    "Strain",
    "TaylorF2",
    "TimeSeries",
    "Uniform",
    "advanced_ligo",
    "estimate_asd",
    "fit_posterior",
    "frequency_grid",
    "from_series",
    "importance",
    "inject",
    "load_asd",
    "load_series",
    "masses",
    "nested",
    "project",
    "refine",
    "scalar_charge",
    "sidereal_time",
    "small_coupling_bound",
    "varied_noise",
]
