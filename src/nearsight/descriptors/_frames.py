"""How the components of a field are carried from one sublattice to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nearsight.fields import FieldType
from nearsight.groups import PointGroup
from nearsight.lattices import Neighbourhood, neighbour_permutations


@dataclass(frozen=True, eq=False)
class Frames:
    r"""Laws between sublattices, where the law of a field is known for the site group of sublattice 0.

    An operation h that carries a site of sublattice s to one of s' multiplies components of law "vector" by h and those
    of law "trivial" by 1. A component named by an irrep Γ of the site group is one of the local frame, whose axes on
    sublattice s are those of sublattice 0 turned by :math:`h_s`, so that it is multiplied by
    :math:`D^\Gamma(h_{s'}^{-1} h\, h_s)`.
    """

    field_type: FieldType
    group: PointGroup
    operations: np.ndarray
    """h_s of every sublattice ``(basis, dim, dim)``."""
    _known: dict[tuple, np.ndarray] = field(default_factory=dict)

    def carry(self, operation: np.ndarray, source: int, target: int) -> np.ndarray:
        """The matrix ``(component, component)`` of an operation from sublattice ``source`` to ``target``."""
        key = (*(np.round(operation, 5) + 0.0).ravel(), source, target)
        if key not in self._known:
            local = self.operations[target].T @ operation @ self.operations[source]
            element = np.abs(self.group.matrices - local).max(axis=(1, 2)).argmin()
            special = {"vector": operation, "trivial": np.eye(1)}
            blocks = [
                special[name] if name in special else self.group.irrep(name).matrices[element]
                for name in self.field_type.law
            ]
            self._known[key] = self.field_type.assembled(blocks)
        return self._known[key]

    def law(self, neighbourhood: Neighbourhood) -> np.ndarray:
        """What every operation of the site group does to every neighbour, ``(order, neighbour, c, c)``."""
        if len(self.operations) == 1:
            matrices = self.field_type.representation(self.group)[:, None]
            return np.broadcast_to(matrices, (len(self.group), len(neighbourhood), *matrices.shape[2:]))
        source = neighbourhood.sublattice
        target = source[neighbour_permutations(neighbourhood, self.group)]
        return np.array(
            [
                [self.carry(g, s, t) for s, t in zip(source, row, strict=True)]
                for g, row in zip(self.group.matrices, target, strict=True)
            ]
        )

    def turns(self, around: Sequence[Neighbourhood]) -> tuple[np.ndarray, tuple[int, ...]]:
        r"""The matrices of :math:`h_b^{-1}`, which show the neighbours of sublattice b as those of sublattice 0.

        ``(frame, sublattice of the neighbour, component, component)`` without repetitions, and the frame of every b.
        The first frame is the identity.
        """
        found: list[np.ndarray] = []
        which = []
        for h, own in zip(self.operations, around, strict=True):
            pairs = dict(zip(own.sublattice.tolist(), around[0].sublattice.tolist(), strict=True))
            # A sublattice that the neighbourhood does not reach needs no matrix.
            size = self.field_type.components(self.group)
            turn = np.array(
                [self.carry(h.T, s, pairs[s]) if s in pairs else np.eye(size) for s in range(len(self.operations))]
            )
            known = [k for k, other in enumerate(found) if np.allclose(turn, other)]
            which.append(known[0] if known else len(found))
            if not known:
                found.append(turn)
        return np.array(found), tuple(which)
