"""The seam: exact or learned, one call, field -> energy (if there is one) and generalised force."""

from nearsight.forcefields.exact import ClassicalForceField, ElectronForceField, ExactForceField
from nearsight.forcefields.forcefield import ForceField, Forces, SumForceField

__all__ = ["ClassicalForceField", "ElectronForceField", "ExactForceField", "ForceField", "Forces", "SumForceField"]
