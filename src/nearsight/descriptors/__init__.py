"""Invariants of a neighbourhood: fields in, features per site out."""

from nearsight.descriptors.descriptor import Descriptor
from nearsight.descriptors.irreps import MODES, Irreps

__all__ = ["MODES", "Descriptor", "Irreps"]
