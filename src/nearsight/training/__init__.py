"""Data sets of exact forces, and force fields fitted to them."""

from nearsight.training.dataset import KINDS, DataSet, Split
from nearsight.training.generate import generate
from nearsight.training.recipe import NearEquilibrium, Random, Recipe, Relaxing, Thermal

__all__ = [
    "KINDS",
    "DataSet",
    "NearEquilibrium",
    "Random",
    "Recipe",
    "Relaxing",
    "Split",
    "Thermal",
    "generate",
]
