"""Finite point groups: elements, multiplication, real irreducible representations."""

from nearsight.groups.irreps import Irrep, decompose
from nearsight.groups.point_group import PointGroup

__all__ = ["Irrep", "PointGroup", "decompose"]
