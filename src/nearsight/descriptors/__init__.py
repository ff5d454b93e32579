"""Invariants of a neighbourhood: fields in, features per site out."""

from nearsight.descriptors.contractions import MODES
from nearsight.descriptors.descriptor import Descriptor
from nearsight.descriptors.irreps import Irreps

__all__ = ["MODES", "Descriptor", "Irreps"]
