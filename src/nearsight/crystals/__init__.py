"""Crystals whose atoms move: phonons, thermal displacements, and properties such as gaps that depend on them.

Units are Å, eV, K, THz and u. Displacements are fields ``(*batch, site, 3)`` on a supercell of primitive cells.
"""

from nearsight.crystals.blocks import DisplacementBlocks
from nearsight.crystals.crystal import Crystal, carbon, silicon
from nearsight.crystals.espresso import EspressoGap
from nearsight.crystals.evaluate import AtomsProperty, PropertyData, evaluate
from nearsight.crystals.force_constants import ForceConstants
from nearsight.crystals.second_order import SecondOrder
from nearsight.crystals.site_calculator import site_atoms, site_calculator
from nearsight.crystals.thermal import ThermalDisplacements
from nearsight.crystals.tight_binding import SlaterKoster, TightBinding
from nearsight.crystals.valence_force_field import ValenceForceField

__all__ = [
    "AtomsProperty",
    "Crystal",
    "DisplacementBlocks",
    "EspressoGap",
    "ForceConstants",
    "PropertyData",
    "SecondOrder",
    "SlaterKoster",
    "ThermalDisplacements",
    "TightBinding",
    "ValenceForceField",
    "carbon",
    "evaluate",
    "silicon",
    "site_atoms",
    "site_calculator",
]
