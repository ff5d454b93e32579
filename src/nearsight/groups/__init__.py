"""Finite point groups: elements, multiplication, real irreducible representations."""

from nearsight.groups.point_group import Irrep, PointGroup

__all__ = ["Irrep", "PointGroup"]
