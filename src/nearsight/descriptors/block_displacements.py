"""Invariants of the displacements in a cube of a crystal about one of its atoms."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import boolean, choice, number
from nearsight.descriptors._contraction import Contraction, Variables
from nearsight.descriptors._contractions import MODES, Phase, contraction
from nearsight.descriptors.blocks import symmetry_blocks
from nearsight.fields import displacement
from nearsight.groups import PointGroup
from nearsight.lattices import Lattice, Neighbourhood, aligned_neighbourhoods, site_group, sublattice_operations


class BlockDisplacements(Described, nn.Module):
    r"""Invariants of the displacements of all atoms in a cube about an atom, under the group of its site.

    The atoms with |x|, |y|, |z| ≤ edge / 2 are one block. Shell by shell, their displacements are decomposed into
    coefficients :math:`f_r^\Gamma` of the irreps of the site group: in the diamond structure, under Td, shells of 4, 6
    and 12 atoms hold A1 + E + T1 + 2T2, A1 + E + 2T1 + 3T2 and 2A1 + A2 + 3E + 4T1 + 5T2. Mode ``"power+phase"``
    (default) is the set of the thesis, as many invariants as an irrep has dimensions,

    .. math:: A_1: f; \quad A_2: f\,\hat f; \quad E: f \cdot f,\ f \cdot \hat f; \quad
              T_2: f \cdot f,\ f \cdot \hat f,\ \sum C_{abc} f_a \hat f_b \hat f_c; \quad
              T_1: \text{the same, the last times } \hat f^{A_2},

    with one reference :math:`\hat f^\Gamma` of every irrep, read from the displacements of a wedge of the cube. The
    number of features is that of displacements: 837 for 3 × 3 × 3 cubic cells of diamond, 279 atoms. They are
    polynomials, smooth everywhere. In small cubes, whose wedges hold few atoms, a reference may vanish and with it the
    features that it enters, A2 in one cubic cell of diamond. The modes of :class:`Irreps` serve as well: "lifted", of
    as many features and three, loses nothing there.

    Called with blocks ``(batch, atom, 3)`` in the order of :attr:`around`, or with ``temperature`` with one more row,
    (T / 100 K, 0, 0), whose first entry is the last feature; returns ``(batch, feature)``.
    ``crystals.DisplacementBlocks`` cuts such blocks about any atom.

    Parameters
    ----------
    lattice: a periodic lattice of equivalent sites, with any number of cells.
    edge: of the cube, in the unit of the lattice.
    temperature: whether T is a feature. A property at given displacements does not depend on it; a model may.

    Examples
    --------
    >>> import nearsight as ns
    >>> descriptor = ns.descriptors.BlockDisplacements(ns.lattices.diamond(4), edge=2.4)
    >>> print(descriptor.orbit_table())  # an atom of silicon with its first and second neighbours
    1 site at r = 0.000: T2
    4 sites at r = 1.000: A1 + E + T1 + 2T2
    12 sites at r = 1.633: 2A1 + A2 + 3E + 4T1 + 5T2

    References
    ----------
    S. Zhang, PhD thesis (2024), section 5.3 and appendix A.
    """

    _parts: ClassVar = {"lattice": Lattice.from_config}

    def __init__(
        self, lattice: Lattice, edge: float, *, mode: str = "power+phase", eps: float = 0.05, temperature: bool = False
    ) -> None:
        super().__init__()
        self.lattice, self.edge = lattice, number(edge, "edge", above=0)
        self.mode = choice(mode, "mode", ("power+phase", *MODES))
        self.eps, self.temperature = number(eps, "eps", least=0), boolean(temperature, "temperature")
        self.group = site_group(lattice)
        self.operations, reach = sublattice_operations(lattice), self.edge * np.sqrt(3) / 2
        every = aligned_neighbourhoods(lattice, reach)
        self.arounds = tuple(_cube(a, h, self.edge) for a, h in zip(every, self.operations, strict=True))
        self.around = self.arounds[0]
        blocks = symmetry_blocks(self.around, self.group, displacement().representation(self.group))
        variables = Variables(
            self.group, blocks, self.around.vectors, displacement(), 3, mixing=True, unit=lattice.spacing
        )
        self.contraction: Contraction = (
            _Projections(variables, 0.0) if mode == "power+phase" else contraction(mode, variables, self.eps)
        )
        self.feature_names = (*self.contraction.names, *(("T",) if self.temperature else ()))
        self.features = len(self.feature_names)
        self._blocks = blocks
        self._constants: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}

    @property
    def side(self) -> int:
        """Atoms of a block."""
        return len(self.around)

    @property
    def block(self) -> tuple[int, int]:
        """Shape of a block."""
        return len(self.around) + self.temperature, 3

    def orbit_table(self) -> str:
        """The shells of the block and their irreps, ready to print."""
        return self.contraction.variables.table()

    def forward(self, blocks: Tensor) -> Tensor:
        key = blocks.dtype, blocks.device
        if key not in self._constants:
            self._constants[key] = [torch.as_tensor(b.basis, dtype=key[0], device=key[1]) for b in self._blocks]
        u = blocks[:, : self.side].movedim(0, -1)  # (atom, 3, batch): whole rows are gathered
        parts = [
            torch.bmm(basis, u[torch.as_tensor(block.members, device=key[1])].flatten(1, 2)).flatten(0, 1)
            for block, basis in zip(self._blocks, self._constants[key], strict=True)
        ]
        features = self.contraction(torch.cat(parts)).T
        return torch.cat([features, blocks[:, self.side :, 0]], 1) if self.temperature else features


class _Projections(Phase):
    """As many invariants of every copy as it has components: its length, and projections on references."""

    smooth = True

    def __init__(self, variables: Variables, eps: float) -> None:
        super().__init__(variables, eps)
        self.tensors = {name: _triple(variables.group, name) for name in self.reference.slices}

    @property
    def names(self) -> tuple[str, ...]:
        names: list[str] = []
        for irrep, labels in self.variables.views():
            if irrep == self.variables.trivial:
                names += labels
                continue
            dim = self.variables.group.irrep(irrep).dim
            names += [f"|{label}|²" for label in labels] if dim > 1 else []
            names += [f"{label}·ref" for label in labels]
            names += [f"{label}·ref·ref" for label in labels] if dim > 2 else []
        return tuple(names)

    def contract(self, f: Tensor, constants: dict[str, Tensor]) -> Tensor:
        vectors = {name: v[0] for name, v in self.reference.split(constants["weights"] @ f).items()}
        features: list[Tensor] = []
        for name, f_r in self.variables.layout.views(f):
            if name not in vectors:
                features.append(f_r)
                continue
            reference = vectors[name]
            if f_r.shape[2] > 1:
                features.append(f_r.square().sum(2))
            features.append((f_r * reference).sum(2))
            if f_r.shape[2] > 2:
                tensor, other = self.tensors[name]
                third = torch.einsum("abc,bn,cn->an", torch.as_tensor(tensor).to(f), reference, reference)
                features.append((f_r * (third if other is None else third * vectors[other])).sum(2))
        return torch.cat([feature.reshape(-1, f.shape[-1]) for feature in features])


def _triple(group: PointGroup, name: str) -> tuple[np.ndarray, str | None]:
    """A tensor C ``(d, d, d)`` symmetric in the last two places that takes f and twice the reference to a number.

    It is invariant, or changes as the irrep of one dimension whose name comes with it, by which it is multiplied then.
    """
    irrep = group.irrep(name)
    d = irrep.dim
    if d < 3:
        return np.zeros((d, d, d)), None
    for other in (i for i in group.irreps if i.dim == 1):
        matrices = [irrep.matrices] * 3
        average = np.einsum("g,gil,gjm,gkn->ijklmn", other.characters, *matrices, optimize=True) / len(group)
        average = (average + average.transpose(0, 2, 1, 3, 4, 5)) / 2
        left, size, _ = np.linalg.svd(average.reshape(d**3, d**3))
        if size[0] > 0.5:
            tensor = left[:, 0].reshape(d, d, d)
            tensor = tensor * np.sign(tensor.reshape(-1)[np.abs(tensor).argmax()])
            return tensor, None if np.allclose(other.characters, 1) else other.name
    raise ValueError(f"{group.name} has no symmetric product of three {name}; take another mode, such as 'lifted'.")


def _cube(around: Neighbourhood, operation: np.ndarray, edge: float) -> Neighbourhood:
    """The part of a neighbourhood that lies in the cube, which turns with the sublattice."""
    inside = np.abs(around.vectors @ operation).max(1) <= edge / 2 + around.tolerance
    return around.part(inside)
