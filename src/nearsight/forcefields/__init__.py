"""The seam: exact or learned, one call, field -> energy (if there is one) and generalised force."""

from nearsight.forcefields.biased import Biased
from nearsight.forcefields.card import Card, ExtrapolationWarning
from nearsight.forcefields.components import OnComponents
from nearsight.forcefields.disjoint import Disjoint
from nearsight.forcefields.exact import ClassicalForceField, ElectronForceField, ExactForceField
from nearsight.forcefields.exported import export
from nearsight.forcefields.files import load, save
from nearsight.forcefields.fixed_number import FixedNumber
from nearsight.forcefields.forcefield import ForceField, Forces, SumForceField
from nearsight.forcefields.learned import (
    BehlerParrinello,
    LearnedForceField,
    LocalModel,
)
from nearsight.forcefields.learned_family import LearnedFamily
from nearsight.forcefields.parameter_box import ParameterBox
from nearsight.forcefields.patches import PatchForces
from nearsight.forcefields.referee import Referee
from nearsight.forcefields.shipped import pretrained
from nearsight.forcefields.solenoidal import Solenoidal
from nearsight.forcefields.uncertainty import Estimate, UncertainForceField

__all__ = [
    "BehlerParrinello",
    "Biased",
    "Card",
    "ClassicalForceField",
    "Disjoint",
    "ElectronForceField",
    "Estimate",
    "ExactForceField",
    "ExtrapolationWarning",
    "FixedNumber",
    "ForceField",
    "Forces",
    "LearnedFamily",
    "LearnedForceField",
    "LocalModel",
    "OnComponents",
    "ParameterBox",
    "PatchForces",
    "Referee",
    "Solenoidal",
    "SumForceField",
    "UncertainForceField",
    "export",
    "load",
    "pretrained",
    "save",
]
