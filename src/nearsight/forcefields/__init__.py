"""The seam: exact or learned, one call, field -> energy (if there is one) and generalised force."""

from nearsight.forcefields.exact import ClassicalForceField, ElectronForceField, ExactForceField
from nearsight.forcefields.exact_moves import DiagonalisingWalk, Ensembles, ExactMoves, ExactWalk
from nearsight.forcefields.files import load, save
from nearsight.forcefields.five_cases import FiveCases
from nearsight.forcefields.fixed_number import FixedNumber
from nearsight.forcefields.forcefield import ForceField, Forces, SumForceField
from nearsight.forcefields.hops import Hops
from nearsight.forcefields.lattice_gas import LatticeGas
from nearsight.forcefields.learned import ConvolutionalForceField, LearnedForceField, LocalForceField
from nearsight.forcefields.learned_moves import LearnedMoveEnergies, LearnedMoves
from nearsight.forcefields.move_centred import MoveCentred
from nearsight.forcefields.move_energies import Attempts, MoveEnergies, Walk
from nearsight.forcefields.property_model import Prediction, PropertyModel, error_of_mean

__all__ = [
    "Attempts",
    "ClassicalForceField",
    "ConvolutionalForceField",
    "DiagonalisingWalk",
    "ElectronForceField",
    "Ensembles",
    "ExactForceField",
    "ExactMoves",
    "ExactWalk",
    "FiveCases",
    "FixedNumber",
    "ForceField",
    "Forces",
    "Hops",
    "LatticeGas",
    "LearnedForceField",
    "LearnedMoveEnergies",
    "LearnedMoves",
    "LocalForceField",
    "MoveCentred",
    "MoveEnergies",
    "Prediction",
    "PropertyModel",
    "SumForceField",
    "Walk",
    "error_of_mean",
    "load",
    "save",
]
