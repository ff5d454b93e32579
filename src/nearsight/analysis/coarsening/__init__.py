"""How domains grow: laws of growth, when growth slows down, dynamical scaling, and the walls between domains."""

from nearsight.analysis.coarsening.growth import AllenCahn, PowerLaw, allen_cahn, growth_exponent
from nearsight.analysis.coarsening.scaling import DynamicalScaling, dynamical_scaling, porod_law
from nearsight.analysis.coarsening.slowing import Departure, departure, local_exponent
from nearsight.analysis.coarsening.walls import wall_distance, wall_profile, wall_shape

__all__ = [
    "AllenCahn",
    "Departure",
    "DynamicalScaling",
    "PowerLaw",
    "allen_cahn",
    "departure",
    "dynamical_scaling",
    "growth_exponent",
    "local_exponent",
    "porod_law",
    "wall_distance",
    "wall_profile",
    "wall_shape",
]
