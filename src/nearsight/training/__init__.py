"""Data sets of exact forces, and force fields fitted to them."""

from nearsight.training.dataset import KINDS, DataSet, Split
from nearsight.training.fit import fit
from nearsight.training.generate import generate
from nearsight.training.metrics import evaluate
from nearsight.training.options import FitOptions
from nearsight.training.property_fit import PropertyFitOptions, fit_property
from nearsight.training.recipe import NearEquilibrium, Random, Recipe, Relaxing, Thermal
from nearsight.training.soap import SOAP

__all__ = [
    "KINDS",
    "SOAP",
    "DataSet",
    "FitOptions",
    "NearEquilibrium",
    "PropertyFitOptions",
    "Random",
    "Recipe",
    "Relaxing",
    "Split",
    "Thermal",
    "evaluate",
    "fit",
    "fit_property",
    "generate",
]
