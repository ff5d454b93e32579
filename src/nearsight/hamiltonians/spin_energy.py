"""The energy of classical spins: exchange, Dzyaloshinskii-Moriya interaction, anisotropy, Zeeman term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import choice, number, numbers
from nearsight.fields import FieldType, spin
from nearsight.hamiltonians.classical_model import Coupling, _couplings
from nearsight.hamiltonians.pair_functions import PairFunction
from nearsight.lattices import Lattice, site_group
from nearsight.lattices.lattice import checked_lattice

if TYPE_CHECKING:
    from nearsight.hamiltonians._spin_kernels import SpinTables

DM = Literal["bulk", "interfacial"]


@dataclass(frozen=True, eq=False)
class SpinEnergy:
    r"""The energy of three-component spins without electrons,

    .. math:: E = -\sum_{\langle ij \rangle} J_{ij}\, \mathbf S_i \cdot \mathbf S_j
                  - \sum_{\langle ij \rangle} \mathbf D_{ij} \cdot (\mathbf S_i \times \mathbf S_j)
                  - K \sum_i (\mathbf S_i \cdot \mathbf n)^2 - \mathbf B \cdot \sum_i \mathbf S_i ,

    every bond once. Positive J favours parallel spins, positive K the axis n, negative K the plane normal to it; B is
    an energy (the moment is absorbed). Models with electrons add it as their classical part; :class:`Heisenberg` is
    this energy alone. The effective field is H_i = -∂E/∂S_i.

    Parameters
    ----------
    lattice: any.
    J: exchange of nearest neighbours, one number for every neighbour shell from the first, or a function of distance
        (:class:`Exponential`, :class:`RKKY`), which point clouds need.
    D: strength of the Dzyaloshinskii-Moriya interaction of nearest neighbours at r_ij = r_j - r_i, on two-dimensional
        lattices. Between two spins in a wall it wants them at the angle arctan(D/J).
    dm: "bulk", D_ij = D r_ij/|r_ij| (helices turn about their wave vector, Bloch skyrmions), or "interfacial",
        D_ij = D z × r_ij/|r_ij| (cycloids, Néel skyrmions).
    K, axis: uniaxial anisotropy and its axis n, any length.
    B: magnetic field, three components, or one number along z.

    Examples
    --------
    >>> import nearsight as ns
    >>> import numpy as np
    >>> import torch
    >>> lattice = ns.lattices.square(8)
    >>> angle = np.pi / 4 * lattice.cells[:, 0]  # a helix along x that turns by arctan(D/J) a bond
    >>> helix = torch.tensor(np.stack([0 * angle, np.cos(angle), np.sin(angle)], axis=1))
    >>> energy = ns.hamiltonians.SpinEnergy(lattice, J=1.0, D=1.0)
    >>> round(float(energy(helix)) / 64, 4)  # -(J² + D²)^½ along x, -J along y
    -2.4142
    """

    lattice: Lattice
    J: Coupling | PairFunction = 0.0
    D: float = 0.0
    dm: DM = "bulk"
    K: float = 0.0
    axis: Sequence[float] = (0.0, 0.0, 1.0)
    B: float | Sequence[float] = 0.0

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        checked_lattice(self.lattice)
        if not isinstance(self.J, PairFunction):
            shells = _couplings(self.J)
            if any(shells) or not self.lattice.disordered:
                for shell in range(1, len(shells) + 1):
                    self.lattice.bonds(shell)  # refuses a shell that does not exist
            set_(self, "J", shells[0] if len(shells) == 1 else shells)
        set_(self, "D", number(self.D, "D"))
        set_(self, "K", number(self.K, "K"))
        choice(self.dm, "dm", ("bulk", "interfacial"))
        if self.D and self.lattice.dim != 2:
            raise ValueError(
                f"The Dzyaloshinskii-Moriya interaction needs a lattice in the plane, got {self.lattice!r}."
            )
        if isinstance(self.B, str) or not np.iterable(self.B):
            B = (0.0, 0.0, number(self.B, "B, one number along z or three finite components,"))
        else:
            B = numbers(self.B, "B, of three finite components,", length=3)  # type: ignore[assignment]
        axis = np.array(numbers(self.axis, "axis, of three finite components,", length=3))
        if not np.any(axis):
            raise ValueError("axis must not be zero; set K=0 to leave the anisotropy out.")
        set_(self, "B", B)
        set_(self, "axis", tuple(axis.tolist()))

    @property
    def field_type(self) -> FieldType:
        """The law of the spins: free of the lattice without D, turning with it (as axial vectors) otherwise.

        With D the reflections of a plane lattice act on spins in the way that leaves the energy alone: as half turns
        about an axis in the plane for "bulk", as mirrors that contain z for "interfacial". A field or an anisotropy
        then may leave fewer operations, which :meth:`symmetric` tells.
        """
        if not self.D:
            if self.K or any(self.B):  # type: ignore[arg-type]
                return FieldType("S", ("trivial",) * 3, "none" if any(self.B) else "Z2", "unit")  # type: ignore[arg-type]
            return spin()
        group = site_group(self.lattice)
        matrices = np.zeros((len(group), 3, 3))
        sign = np.linalg.det(group.matrices)
        matrices[:, :2, :2] = group.matrices * (sign[:, None, None] if self.dm == "interfacial" else 1.0)
        matrices[:, 2, 2] = sign
        return FieldType.from_matrices("S", group, matrices, values="unit", internal="none" if any(self.B) else "Z2")  # type: ignore[arg-type]

    def symmetric(self, matrix: np.ndarray) -> bool:
        """Whether an orthogonal matrix acting on all spins leaves the field B and the anisotropy axis alone."""
        n = np.asarray(self.axis) / np.linalg.norm(self.axis)
        return bool(
            np.allclose(matrix @ np.asarray(self.B), self.B) and (not self.K or np.isclose(abs(n @ matrix @ n), 1.0))
        )

    @cached_property
    def _bonds(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sites i, j and J of every bond of a shell that is coupled."""
        if isinstance(self.J, PairFunction):
            bonds, strength = self.J.bonds(self.lattice)
            return torch.from_numpy(bonds.i), torch.from_numpy(bonds.j), torch.from_numpy(strength)
        shells = [(self.lattice.bonds(k), J) for k, J in enumerate(_couplings(self.J), start=1) if J]
        empty = np.zeros(0, dtype=np.int64)
        i, j = (np.concatenate([empty, *(getattr(b, end) for b, _ in shells)]) for end in "ij")
        strength = np.concatenate([np.zeros(0), *(np.full(len(b), J) for b, J in shells)])
        return torch.from_numpy(i), torch.from_numpy(j), torch.from_numpy(strength)

    @cached_property
    def _twists(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sites i, j and the vector D_ij ``(bond, 3)`` of every nearest-neighbour bond."""
        bonds = self.lattice.bonds(1)
        x, y = (bonds.displacement / np.linalg.norm(bonds.displacement, axis=1, keepdims=True)).T
        turned = (x, y) if self.dm == "bulk" else (-y, x)
        vectors = self.D * np.stack([*turned, np.zeros_like(x)], axis=1)
        return torch.from_numpy(bonds.i), torch.from_numpy(bonds.j), torch.from_numpy(vectors)

    @cached_property
    def tables(self) -> SpinTables:
        """The terms by site, as compiled loops read them; couplings of a pair that is listed twice are added."""
        from nearsight.hamiltonians._spin_kernels import SpinTables

        i, j, strength = (x.numpy() for x in self._bonds)
        k, l, twist = (x.numpy() for x in self._twists) if self.D else (i[:0], j[:0], np.zeros((0, 3)))
        n = self.lattice.n_sites
        key, slot = np.unique(np.concatenate([i, j, k, l]) * n + np.concatenate([j, i, l, k]), return_inverse=True)
        J, D = np.zeros(len(key)), np.zeros((len(key) if self.D else 0, 3))
        np.add.at(J, slot[: 2 * len(i)], np.concatenate([strength, strength]))
        np.add.at(D, slot[2 * len(i) :], np.concatenate([twist, -twist]))
        start = np.searchsorted(key, np.arange(n + 1) * n)
        axis = np.asarray(self.axis, dtype=float)
        axis = axis * np.sqrt(2 * abs(self.K)) / np.linalg.norm(axis)
        sign = float(np.sign(self.K))
        return SpinTables(
            start.astype(np.uint64), (key % n).astype(np.uint32), J, D, axis, sign, np.asarray(self.B, dtype=float)
        )

    def __call__(self, field: Tensor) -> Tensor:
        """E ``(*batch,)`` of spins ``(*batch, site, 3)``, differentiable; a polynomial also where |S| ≠ 1."""
        energy = -(field * torch.tensor(self.B, dtype=field.dtype, device=field.device)).sum((-2, -1))
        if self.K:
            axis = torch.tensor(self.axis, dtype=field.dtype, device=field.device)
            energy = energy - self.K * (field @ axis).square().sum(-1) / axis.square().sum()
        if len(self._bonds[0]):
            i, j, strength = (x.to(field.device) for x in self._bonds)
            overlap = (field.index_select(-2, i) * field.index_select(-2, j)).sum(-1)
            energy = energy - (overlap * strength.to(field.dtype)).sum(-1)
        if self.D:
            i, j, vectors = (x.to(field.device) for x in self._twists)
            turn = torch.linalg.cross(field.index_select(-2, i), field.index_select(-2, j))
            energy = energy - (turn * vectors.to(field.dtype)).sum((-2, -1))
        return energy
