"""Invariants of a neighbourhood: fields in, features per site out."""

from nearsight.descriptors._contractions import MODES
from nearsight.descriptors.acsf import ACSF
from nearsight.descriptors.block_displacements import BlockDisplacements
from nearsight.descriptors.block_irreps import BlockIrreps, BlockMoments
from nearsight.descriptors.completeness import count_distinct, inequivalent_occupations
from nearsight.descriptors.descriptor import Descriptor
from nearsight.descriptors.irreps import Irreps
from nearsight.descriptors.magnetic_acsf import MagneticACSF
from nearsight.descriptors.spin_ace import SpinACE
from nearsight.descriptors.spins import SpinInvariants
from nearsight.descriptors.symmetry_functions import Angular, Radial, angular_functions, radial_functions

__all__ = [
    "ACSF",
    "MODES",
    "Angular",
    "BlockDisplacements",
    "BlockIrreps",
    "BlockMoments",
    "Descriptor",
    "Irreps",
    "MagneticACSF",
    "Radial",
    "SpinACE",
    "SpinInvariants",
    "angular_functions",
    "count_distinct",
    "inequivalent_occupations",
    "radial_functions",
]
