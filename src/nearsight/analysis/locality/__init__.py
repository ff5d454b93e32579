"""The range of forces: response by distance, irreducible error of a cutoff, and what a larger cutoff brings."""

from nearsight.analysis.locality.assessment import LocalityReport, assess_growth, assess_size
from nearsight.analysis.locality.derivative import directional_derivative, linear_response
from nearsight.analysis.locality.examination import examine_hops, examine_locality
from nearsight.analysis.locality.hops import hop_response, hop_truncation
from nearsight.analysis.locality.response import Decay, Response, response
from nearsight.analysis.locality.sphere import spin_derivative
from nearsight.analysis.locality.truncation import ensemble_length, truncation

__all__ = [
    "Decay",
    "LocalityReport",
    "Response",
    "assess_growth",
    "assess_size",
    "directional_derivative",
    "ensemble_length",
    "examine_hops",
    "examine_locality",
    "hop_response",
    "hop_truncation",
    "linear_response",
    "response",
    "spin_derivative",
    "truncation",
]
