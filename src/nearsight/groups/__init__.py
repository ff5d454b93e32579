"""Finite point groups: elements, multiplication, real irreducible representations, and how these couple."""

from nearsight.groups.clebsch_gordan import clebsch_gordan
from nearsight.groups.irreps import Irrep, decompose
from nearsight.groups.point_group import PointGroup

__all__ = ["Irrep", "PointGroup", "clebsch_gordan", "decompose"]
