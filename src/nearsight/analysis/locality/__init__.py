"""The range of forces and of energies of hops: response, irreducible error of a cutoff, what a larger one brings; and
how far forces are from a gradient."""

from nearsight.analysis.locality.assessment import LocalityReport, assess_growth, assess_size
from nearsight.analysis.locality.circulation import circulation
from nearsight.analysis.locality.derivative import directional_derivative, linear_response
from nearsight.analysis.locality.examination import examine_locality
from nearsight.analysis.locality.response import Decay, Response, response
from nearsight.analysis.locality.sphere import spin_derivative
from nearsight.analysis.locality.truncation import ensemble_length, truncation

__all__ = [
    "Decay",
    "LocalityReport",
    "Response",
    "assess_growth",
    "assess_size",
    "circulation",
    "directional_derivative",
    "ensemble_length",
    "examine_locality",
    "linear_response",
    "response",
    "spin_derivative",
    "truncation",
]
