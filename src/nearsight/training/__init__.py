"""Data sets of exact forces, and the fits of all that is learned."""

from nearsight.training.dataset import KINDS, DataSet
from nearsight.training.fit import FitOptions, fit
from nearsight.training.generate import generate
from nearsight.training.identify import Identification, identify
from nearsight.training.labelled import Split
from nearsight.training.metrics import evaluate
from nearsight.training.move_data import MoveData
from nearsight.training.move_fit import MoveFitOptions, evaluate_moves, fit_moves
from nearsight.training.optimizers.soap import SOAP
from nearsight.training.options import TrainerOptions
from nearsight.training.property_fit import PropertyFitOptions, fit_property
from nearsight.training.recipe import NearEquilibrium, Random, Recipe, Relaxing, Thermal
from nearsight.training.refine import Refinement, refine
from nearsight.training.refine_options import RefineOptions
from nearsight.training.site_files import export_sites
from nearsight.training.spin_card import SpinCard
from nearsight.training.spin_checks import check_spins
from nearsight.training.spin_import import import_spins
from nearsight.training.trainer import Task, Trainer

__all__ = [
    "KINDS",
    "SOAP",
    "DataSet",
    "FitOptions",
    "Identification",
    "MoveData",
    "MoveFitOptions",
    "NearEquilibrium",
    "PropertyFitOptions",
    "Random",
    "Recipe",
    "RefineOptions",
    "Refinement",
    "Relaxing",
    "SpinCard",
    "Split",
    "Task",
    "Thermal",
    "Trainer",
    "TrainerOptions",
    "check_spins",
    "evaluate",
    "evaluate_moves",
    "export_sites",
    "fit",
    "fit_moves",
    "fit_property",
    "generate",
    "identify",
    "import_spins",
    "refine",
]
