"""What every contraction promises: coefficients of irreps in, invariants and their names out."""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nearsight.descriptors.blocks import _Block, _Layout
from nearsight.fields import FieldType
from nearsight.groups import PointGroup


@dataclass(frozen=True, eq=False)
class Variables:
    """The coefficients of a neighbourhood: what a contraction has to know in order to combine them.

    ``vectors`` ``(neighbour, dim)`` are the positions about the centre, ``blocks`` their decomposition; ``mixing`` says
    whether an operation turns the components of a site into each other. ``unit`` is the length in which weights measure
    distances, so that features do not depend on the unit of the lattice.
    """

    group: PointGroup
    blocks: Sequence[_Block]
    vectors: np.ndarray
    field_type: FieldType
    components: int
    mixing: bool = field(default=False, kw_only=True)
    unit: float = field(default=1.0, kw_only=True)
    numbered: ClassVar[str] = ","
    """What stands before the number of a copy in its label."""

    @cached_property
    def layout(self) -> _Layout:
        return _Layout.of(self.blocks, self.group)

    @property
    def trivial(self) -> str | None:
        """The irrep whose coefficients are invariant as they stand; none if the field may change sign (Z2)."""
        return None if self.field_type.internal == "Z2" else self.group.irreps[0].name

    @cached_property
    def distances(self) -> np.ndarray:
        return np.linalg.norm(self.vectors, axis=1)

    @cached_property
    def basis(self) -> np.ndarray:
        """The orthogonal matrix ``(row, neighbour * component)`` from the field to the coefficients."""
        result = np.zeros((self.layout.variables, len(self.vectors), self.components))
        start = 0
        for block in self.blocks:
            for sites, basis in zip(block.members, block.basis, strict=True):
                result[start : start + len(basis), sites] = basis.reshape(len(basis), len(sites), -1)
                start += len(basis)
        return result.reshape(len(result), -1)

    @cached_property
    def copies(self) -> tuple[tuple[str, str], ...]:
        """Irrep and label of every copy, in the order of the coefficients: ``("E", "E[r=2.236,1]")``.

        Copies of one irrep at one distance, of one orbit or of several, are numbered from 1.
        """
        found = [
            (name, self.place(b, orbit))
            for b, block in enumerate(self.blocks)
            for orbit in block.members
            for name, count in block.copies
            for _ in range(count)
        ]
        total, seen = Counter(found), Counter[tuple[str, str]]()
        labels = []
        for name, where in found:
            seen[name, where] += 1
            number = f"{self.numbered}{seen[name, where]}" if total[name, where] > 1 else ""
            labels.append((name, f"{name}[{where}{number}]"))
        return tuple(labels)

    def place(self, block: int, orbit: np.ndarray) -> str:
        """Where an orbit of a block lies, for the labels of its copies."""
        return f"r={_length(self.distances[orbit[0]])}"

    def multiplicities(self) -> dict[str, int]:
        """How often each irrep occurs."""
        total = Counter[str]()
        for block in self.blocks:
            for name, count in block.copies:
                total[name] += len(block.members) * count
        return {irrep.name: total[irrep.name] for irrep in self.group.irreps if total[irrep.name]}

    @cached_property
    def rows(self) -> dict[str, slice]:
        """The rows of every copy among the coefficients, by its label."""
        stops = np.cumsum([self.group.irrep(irrep).dim for irrep, _ in self.copies])
        return {label: slice(b - self.group.irrep(n).dim, b) for (n, label), b in zip(self.copies, stops, strict=True)}

    def table(self) -> str:
        """The orbits and their irreps, a line each: ``8 sites at r = 2.236: A1 + A2 + B1 + B2 + 2E``."""
        lines = []
        for block in self.blocks:
            for orbit in block.members:
                r, sites = self.distances[orbit[0]], f"{len(orbit)} site{'s' if len(orbit) > 1 else ''}"
                lines.append((r, f"{sites} at r = {_length(r)}: {block.irreps}"))
        return "\n".join(text for _, text in sorted(lines))

    def views(self) -> list[tuple[str, list[str]]]:
        """Irrep and labels ``orbit * copy`` of every piece, in the order of ``layout.views``."""
        labels = iter(self.copies)
        result = []
        for block in self.blocks:
            orbits = [{name: [next(labels)[1] for _ in range(n)] for name, n in block.copies} for _ in block.members]
            result += [(name, [label for orbit in orbits for label in orbit[name]]) for name, _ in block.copies]
        return result


class Contraction(abc.ABC):
    """The invariants of one mode, from coefficients ``(row, point)`` to features ``(feature, point)``.

    A contraction knows the neighbourhood, not the lattice: the same object serves every lattice of a kind, every
    centre, and any number of points. Features are invariant under the point group, and even if the field has the
    symmetry Z2.
    """

    smooth = True
    """Whether the features can be differentiated twice everywhere, as training on forces asks."""

    internal: tuple[str, ...] = ("none", "Z2")
    """The internal symmetries of fields under which the features are invariant."""

    def __init__(self, variables: Variables, eps: float) -> None:
        law = variables.field_type
        if law.internal not in self.internal:
            states = law.internal == "S(n)"
            cure = "mode='lifted'" if states else "descriptors.SpinInvariants, whose variables are products of spins"
            raise ValueError(
                f"The features of this mode are not invariant under the internal symmetry {law.internal} of "
                f"{law.name}, which acts on all sites at once. Take {cure}."
            )
        self.variables, self.eps = variables, eps
        self._constants: dict[tuple[torch.dtype, torch.device], dict[str, Tensor]] = {}

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """One name for every feature, such as ``A1[r=1.000]``."""

    @abc.abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """The constants: numbers in double precision, and integers."""

    @abc.abstractmethod
    def contract(self, f: Tensor, constants: dict[str, Tensor]) -> Tensor:
        """Features ``(feature, point)`` from coefficients ``(row, point)`` and constants of the same precision."""

    def __call__(self, f: Tensor) -> Tensor:
        key = f.dtype, f.device
        if key not in self._constants:  # always converted from double precision
            with torch.inference_mode(False):  # what is made here serves training, too
                self._constants[key] = {
                    name: torch.as_tensor(array, dtype=None if array.dtype.kind == "i" else f.dtype, device=f.device)
                    for name, array in self.arrays().items()
                }
        return self.contract(f, self._constants[key])


def _length(r: float) -> str:
    """A distance for labels: 2.236, and 3.9e-10 where a lattice is given in metres."""
    return f"{r:.3f}" if r == 0 or r >= 0.1 else f"{r:.4g}"
