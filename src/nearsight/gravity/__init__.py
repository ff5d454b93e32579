"""Gravitational waves of compact binaries beyond general relativity."""

from nearsight.gravity.corrections import GaussBonnet, PostEinsteinian, scalar_charge, small_coupling_bound
from nearsight.gravity.detectors import (
    DETECTORS,
    Detector,
    advanced_ligo,
    load_asd,
    project,
    sidereal_time,
    varied_noise,
)
from nearsight.gravity.waveforms import Polarisations, TaylorF2, masses

__all__ = [
    "DETECTORS",
    "Detector",
    "GaussBonnet",
    "Polarisations",
    "PostEinsteinian",
    "TaylorF2",
    "advanced_ligo",
    "load_asd",
    "masses",
    "project",
    "scalar_charge",
    "sidereal_time",
    "small_coupling_bound",
    "varied_noise",
]
