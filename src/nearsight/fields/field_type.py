"""The law of a classical field: its components and the on-site matrices M(g) by which they transform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.groups import PointGroup


@dataclass(frozen=True)
class FieldType:
    r"""A site field whose components transform under the point group of the site.

    Under an operation g the field moves and its components mix,

    .. math:: (g\,\Phi)_{g(i)} = M(g)\, \Phi_i .

    ``law`` lists the blocks of M(g) in the order of the components: the name of an irreducible representation of the
    group ("B1"), "trivial" for an invariant component, or "vector" for a Cartesian vector of the lattice's dimension.
    """

    name: str
    law: tuple[str, ...] = ("trivial",)

    def components(self, group: PointGroup) -> int:
        """Number of components per site."""
        return self.representation(group).shape[-1]

    def representation(self, group: PointGroup) -> np.ndarray:
        """M(g) for every element ``(order, components, components)``."""
        blocks = [self._block(name, group) for name in self.law]
        size = sum(b.shape[-1] for b in blocks)
        result = np.zeros((len(group), size, size))
        start = 0
        for b in blocks:
            stop = start + b.shape[-1]
            result[:, start:stop, start:stop] = b
            start = stop
        return result

    @staticmethod
    def _block(name: str, group: PointGroup) -> np.ndarray:
        if name == "trivial":
            return np.ones((len(group), 1, 1))
        if name == "vector":
            return group.matrices
        return group.irrep(name).matrices

    def transform(self, field: Tensor, group: PointGroup, element: int, permutation: np.ndarray) -> Tensor:
        """g·Φ for a field ``(*batch, site, component)``; ``permutation[i]`` is the site at which site i arrives."""
        matrix = torch.as_tensor(self.representation(group)[element], dtype=field.dtype, device=field.device)
        result = torch.empty_like(field)
        result[..., torch.as_tensor(permutation, device=field.device), :] = field @ matrix.T
        return result


def scalar(name: str = "Q") -> FieldType:
    """One real number per site, invariant under every operation (a breathing mode, a density)."""
    return FieldType(name)


def check_field(field: Tensor, sites: int, components: int, *, finite: bool = False) -> Tensor:
    """Refuse a field that is not ``(*batch, sites, components)`` of floating-point numbers, naming the cure."""
    if not isinstance(field, Tensor):
        raise TypeError(f"A field is a torch.Tensor, got {type(field).__name__}; wrap arrays with torch.as_tensor.")
    if not field.is_floating_point():
        raise TypeError(f"A field holds floating-point numbers, got {field.dtype}; convert it with .double().")
    if field.ndim < 2 or tuple(field.shape[-2:]) != (sites, components):
        raise ValueError(
            f"A field of this model has shape (*batch, {sites}, {components}), got {tuple(field.shape)}. "
            f"A grid of scalars is brought into shape by field.reshape(*batch, {sites}, {components})."
        )
    if finite and not bool(torch.isfinite(field).all()):
        bad = int((~torch.isfinite(field)).sum())
        raise ValueError(f"The field holds {bad} NaN or infinite values; a smaller time step is the usual cure.")
    return field
