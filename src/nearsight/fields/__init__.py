"""What lives on a site, and how it transforms: field laws as data."""

from nearsight.fields.blocks import SpinStore, check_side, tiles
from nearsight.fields.catalogue import displacement, ising, jahn_teller, occupation, potts, scalar, spin, spin_one
from nearsight.fields.field_type import FieldType, check_field

__all__ = [
    "FieldType",
    "SpinStore",
    "check_field",
    "check_side",
    "displacement",
    "ising",
    "jahn_teller",
    "occupation",
    "potts",
    "scalar",
    "spin",
    "spin_one",
    "tiles",
]
