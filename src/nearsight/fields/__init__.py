"""What lives on a site, and how it transforms: field laws as data."""

from nearsight.fields.catalogue import displacement, ising, jahn_teller, occupation, potts, scalar, spin, spin_one
from nearsight.fields.field_type import FieldType, check_field

__all__ = [
    "FieldType",
    "check_field",
    "displacement",
    "ising",
    "jahn_teller",
    "occupation",
    "potts",
    "scalar",
    "spin",
    "spin_one",
]
