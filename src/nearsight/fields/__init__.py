"""What lives on a site, and how it transforms: field laws as data."""

from nearsight.fields.blocks import SpinStore, check_side, tiles
from nearsight.fields.catalogue import displacement, ising, jahn_teller, occupation, potts, scalar, spin, spin_one
from nearsight.fields.field_type import FieldType, check_field
from nearsight.fields.tangent import tangent
from nearsight.fields.textures import cone, ferromagnet, helix, perturbed, random_spins, skyrmion_lattice

__all__ = [
    "FieldType",
    "SpinStore",
    "check_field",
    "check_side",
    "cone",
    "displacement",
    "ferromagnet",
    "helix",
    "ising",
    "jahn_teller",
    "occupation",
    "perturbed",
    "potts",
    "random_spins",
    "scalar",
    "skyrmion_lattice",
    "spin",
    "spin_one",
    "tangent",
    "tiles",
]
