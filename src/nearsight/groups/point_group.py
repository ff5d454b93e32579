"""Finite point groups as sets of orthogonal matrices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Irrep:
    """A real irreducible representation: one orthogonal matrix ``(dim, dim)`` for every group element.

    ``kind`` is "real" when it stays irreducible over the complex numbers (⟨χ²⟩ = 1) and "complex" when it is a pair of
    complex-conjugate irreps written in real form (⟨χ²⟩ = 2).
    """

    name: str
    matrices: np.ndarray
    kind: str = "real"

    @property
    def dim(self) -> int:
        return self.matrices.shape[-1]

    @property
    def characters(self) -> np.ndarray:
        return np.trace(self.matrices, axis1=1, axis2=2)


@dataclass(frozen=True, eq=False)
class PointGroup:
    """A finite group of orthogonal matrices ``(order, dim, dim)``, in canonical order with the identity first."""

    matrices: np.ndarray

    def __post_init__(self) -> None:
        matrices = np.asarray(self.matrices, dtype=float)
        if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2]:
            raise ValueError(f"matrices must have shape (order, dim, dim), got {matrices.shape}.")
        # Canonical order: identity, other proper operations, then improper ones; ties by the entries.
        keys = [(-round(np.linalg.det(g)), -round(float(np.trace(g)), 6), *(-np.round(g, 6)).ravel()) for g in matrices]
        ordered = matrices[sorted(range(len(matrices)), key=keys.__getitem__)]
        ordered.setflags(write=False)
        object.__setattr__(self, "matrices", ordered)

    def __len__(self) -> int:
        return len(self.matrices)

    @property
    def dim(self) -> int:
        return self.matrices.shape[-1]

    @cached_property
    def table(self) -> np.ndarray:
        """``table[g, h]`` is the index of the product g h."""
        products = np.einsum("gij,hjk->ghik", self.matrices, self.matrices)
        distance = np.abs(products[:, :, None] - self.matrices[None, None]).max(axis=(-1, -2))
        table = distance.argmin(axis=-1)
        if np.take_along_axis(distance, table[..., None], -1).max() > 1e-6:
            raise ValueError("The matrices are not closed under multiplication.")
        return table

    @cached_property
    def inverse(self) -> np.ndarray:
        """``inverse[g]`` is the index of g⁻¹."""
        return np.argmax(self.table == 0, axis=1)
