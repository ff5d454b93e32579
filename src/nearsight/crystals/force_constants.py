"""Harmonic force constants of a crystal: dynamical matrices, frequencies, and where they come from."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import array, instance, integer, number
from nearsight.crystals.crystal import Crystal
from nearsight.lattices import Lattice

if TYPE_CHECKING:
    from ase import Atoms
    from phonopy import Phonopy

HBAR = 0.6582119569e-3
"""ħ in eV ps, so that ħΩ is in eV for Ω in rad/ps."""
UNIT = 9648.53321233
"""1 eV / (Å² u) in (rad/ps)²."""
PHONOPY = "phonopy is not installed; pip install phonopy (tested with 4.8.6)."


class ForceConstants(Described):
    r"""Second derivatives of the energy, and the phonons that follow from them.

    .. math:: E = E_0 + \tfrac12 \sum_{ij} u_i^T \Phi_{ij} u_j, \qquad
              D_{bb'}(q) = \frac{1}{\sqrt{m_b m_{b'}}} \sum_R \Phi_{b0,b'R}\, e^{i q \cdot R}

    with R the vectors of primitive cells, so that D(q + G) = D(q). The eigenvalues of D are Ω².

    Parameters
    ----------
    crystal: the supercell of the force constants.
    matrices: Φ ``(basis, site, 3, 3)`` in eV/Å², of the atoms of cell 0 with all atoms of the supercell. They are made
        symmetric under exchange of the atoms, and the acoustic sum rule is imposed on the diagonal; ``ValueError`` if
        either is off by more than ``tol`` of the largest entry, the sign of an unfinished relaxation or of atoms in
        another order.

    Between the q points of the supercell, D is interpolated with every pair of atoms at its shortest distance, equally
    distant images weighted equally; exact where Φ does not reach half of the supercell.

    Examples
    --------
    >>> import numpy as np
    >>> from nearsight.crystals import Crystal, ForceConstants
    >>> from nearsight.lattices import Lattice
    >>> lattice = Lattice("Po", 3.35 * np.eye(3), np.zeros((1, 3)), (4, 4, 4), species=("Po",))
    >>> def springs(u):  # K/2 (u_i - u_j)² of nearest neighbours
    ...     grid = u.reshape(4, 4, 4, 3)
    ...     return sum(0.5 * (grid - grid.roll(1, axis)).square().sum() for axis in range(3))
    >>> phonons = ForceConstants.from_energy(Crystal(lattice, masses=(209.0,)), springs)
    >>> f = phonons.frequencies([[0.5, 0.0, 0.0], [0.5, 0.5, 0.5]])[:, -1]
    >>> round(float(f[1] / f[0]), 4)  # Ω² = 4K/M Σ sin² πq: √3
    1.7321
    """

    def __init__(self, crystal: Crystal, matrices: np.ndarray, *, tol: float = 0.02) -> None:
        self.crystal = instance(crystal, Crystal, "crystal", "crystals.silicon(4) is one.")
        self.tol = number(tol, "tol", above=0)
        lattice = crystal.lattice
        given = np.asarray(matrices)
        if given.shape != (lattice.n_basis, lattice.n_sites, 3, 3):
            raise ValueError(
                f"{crystal!r} needs force constants ({lattice.n_basis}, {lattice.n_sites}, 3, 3), got {given.shape}: "
                f"they belong to another supercell."
            )
        phi = array(given, "matrices", (lattice.n_basis, lattice.n_sites, 3, 3))
        self.matrices = self._symmetric(phi)
        self.matrices.setflags(write=False)

    def _symmetric(self, phi: np.ndarray) -> np.ndarray:
        lattice, size = self.crystal.lattice, float(np.abs(phi).max())
        back = exchanged(self.crystal, phi)
        total = np.abs(phi.sum(1)).max()
        for found, what in ((np.abs(phi - back).max(), "exchange of two atoms"), (total, "translation (sum rule)")):
            if found > self.tol * size:
                raise ValueError(
                    f"The force constants break the symmetry under {what} by {found:.2g} eV/Å², of {size:.3g} in all. "
                    f"Relax the crystal, take a better converged calculator, or check the order of the atoms; tol= "
                    f"allows more."
                )
        even = (phi + back) / 2
        for b in range(lattice.n_basis):
            even[b, b] -= even[b].sum(0)
            even[b, b] = (even[b, b] + even[b, b].T) / 2
        return even

    def __repr__(self) -> str:
        return f"ForceConstants({self.crystal!r})"

    # --- phonons ----------------------------------------------------------------------------------------------------

    @cached_property
    def _images(self) -> tuple[np.ndarray, np.ndarray]:
        """Cells R ``(pair, image, 3)`` at which a pair is closest, and the weights of these images."""
        crystal = self.crystal
        lattice, shape = crystal.lattice, np.array(crystal.lattice.shape)
        shifts = np.stack(np.meshgrid(*[[-2, -1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3) * shape
        cells = lattice.cells[None, :, None] + shifts
        away = lattice.positions[None, :, None] + shifts @ lattice.vectors - lattice.basis[:, None, None]
        distance = np.linalg.norm(away, axis=-1)
        near = distance < distance.min(-1, keepdims=True) + lattice.tolerance
        cells = np.broadcast_to(cells, (*near.shape, 3))
        return cells, near / near.sum(-1, keepdims=True)

    def dynamical_matrix(self, q: np.ndarray) -> np.ndarray:
        """D(q) ``(*batch, 3 basis, 3 basis)`` in (rad/ps)², at q ``(*batch, 3)`` in units of reciprocal vectors."""
        points = np.asarray(q, dtype=float).reshape(-1, 3)
        cells, weights = self._images
        n, lattice = self.crystal.lattice.n_basis, self.crystal.lattice
        roots = np.sqrt(np.array(self.crystal.masses))
        result = np.empty((len(points), n, 3, n, 3), complex)
        onto = np.eye(n)[lattice.sublattice]
        for k, point in enumerate(points):
            phase = (np.exp(2j * np.pi * (cells @ point)) * weights).sum(-1)
            result[k] = np.einsum("as,asij,sc->aicj", phase, self.matrices, onto, optimize=True)
        result *= UNIT / (roots[:, None, None, None] * roots[:, None])
        found = result.reshape(len(points), 3 * n, 3 * n)
        found = (found + found.conj().transpose(0, 2, 1)) / 2
        return found.reshape(*np.shape(q)[:-1], 3 * n, 3 * n)

    def frequencies(self, q: np.ndarray) -> np.ndarray:
        """Ω/2π ``(*batch, 3 basis)`` in THz, ascending; negative numbers stand for imaginary ones."""
        return in_thz(np.linalg.eigvalsh(self.dynamical_matrix(q)))

    # --- where they come from ---------------------------------------------------------------------------------------

    @classmethod
    def from_energy(cls, crystal: Crystal, energy: Callable[[Tensor], Tensor], **options: Any) -> ForceConstants:
        """From an energy in eV of displacements ``(site, 3)`` in Å, by automatic differentiation at u = 0."""
        lattice = crystal.lattice
        u = torch.zeros(lattice.n_sites, 3, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(energy(u), u, create_graph=True)
        rows = [
            torch.autograd.grad(slope[b, x], u, retain_graph=True)[0] for b in range(lattice.n_basis) for x in range(3)
        ]
        phi = torch.stack(rows).reshape(lattice.n_basis, 3, lattice.n_sites, 3).movedim(1, 2)
        return cls(crystal, phi.numpy(), **options)

    @classmethod
    def from_calculator(
        cls, atoms: Atoms, calculator: Any, length: int, *, distance: float = 0.01, **options: Any
    ) -> ForceConstants:
        """From any calculator of ASE: finite displacements in a supercell of ``length``³ primitive cells, by phonopy.

        Parameters
        ----------
        atoms: the primitive cell, relaxed with this calculator.
        distance: of the displacements in Å; errors are of second order in it.
        """
        try:
            from phonopy import Phonopy
            from phonopy.structure.atoms import PhonopyAtoms
        except ImportError as error:
            raise ImportError(PHONOPY) from error
        from ase import Atoms

        cell = PhonopyAtoms(symbols=atoms.get_chemical_symbols(), cell=atoms.cell[:], positions=atoms.get_positions())
        cells = np.eye(3, dtype=int) * integer(length, "length", least=1)
        phonons = Phonopy(cell, supercell_matrix=cells, primitive_matrix=np.eye(3))
        phonons.generate_displacements(distance=number(distance, "distance", above=0))
        forces, moves = [], cast(Any, phonons.supercells_with_displacements)
        for one in moves:
            moved = Atoms(one.symbols, positions=one.positions, cell=one.cell, pbc=True)
            moved.calc = calculator
            forces.append(moved.get_forces())
        phonons.forces = np.array(forces)
        phonons.produce_force_constants()
        return cls.from_phonopy(phonons, **options)

    @classmethod
    def from_phonopy(cls, phonons: Phonopy | str | Path, **options: Any) -> ForceConstants:
        """From a ``Phonopy`` object with force constants, or from a file such as ``phonopy_params.yaml``.

        The supercell must be a diagonal one of the primitive cell.
        """
        if isinstance(phonons, str | Path):
            try:
                import phonopy
            except ImportError as error:
                raise ImportError(PHONOPY) from error
            if not Path(phonons).is_file():
                raise FileNotFoundError(f"There is no file {phonons}; phonopy writes one by its save().")
            phonons = phonopy.load(str(phonons), log_level=0)
        if phonons.force_constants is None:
            raise ValueError("This Phonopy object has no force constants; call its produce_force_constants() first.")
        primitive, supercell = phonons.primitive, phonons.supercell
        cells = supercell.cell @ np.linalg.inv(primitive.cell)
        shape = np.rint(np.diag(cells)).astype(int)
        if not np.allclose(cells, np.diag(shape), atol=1e-5):
            raise ValueError(
                f"The supercell is no diagonal one of the primitive cell, but {np.round(cells, 3).tolist()} of it; "
                f"give phonopy the primitive cell and supercell_matrix=[n, n, n]."
            )
        lattice = Lattice(
            "crystal",
            primitive.cell,
            primitive.positions,
            tuple(int(n) for n in shape),
            species=cast(Any, tuple(primitive.symbols)),
            symmetrise=True,
        )
        crystal = Crystal(lattice, tuple(float(m) for m in primitive.masses))
        place = _matching(crystal, supercell.positions)
        full = phonons.force_constants
        rows = place[: lattice.n_basis] if len(full) == len(supercell) else np.arange(lattice.n_basis)
        if len(full) != len(supercell):
            first = [int(np.flatnonzero(place[: lattice.n_basis] == p)[0]) for p in primitive.p2s_map]
            rows = np.argsort(first)
        return cls(crystal, full[rows][:, place], **options)


def in_thz(squares: np.ndarray) -> np.ndarray:
    """Ω/2π in THz of Ω² in (rad/ps)²; negative numbers stand for imaginary ones."""
    return np.sign(squares) * np.sqrt(np.abs(squares)) / (2 * np.pi)


def exchanged(crystal: Crystal, matrices: np.ndarray) -> np.ndarray:
    """Φ ``(basis, site, 3, 3)`` with the atoms of each pair exchanged: Φ_{b'0,b-R}^T in the place of Φ_{b0,b'R}."""
    lattice = crystal.lattice
    grid = matrices.reshape(lattice.n_basis, *lattice.shape, lattice.n_basis, 3, 3)
    back = np.roll(np.flip(grid, (1, 2, 3)), 1, (1, 2, 3)).transpose(4, 1, 2, 3, 0, 6, 5)
    return back.reshape(matrices.shape)


def _matching(crystal: Crystal, positions: np.ndarray) -> np.ndarray:
    """For every site of a crystal the atom that lies there, in a list of positions of the same supercell."""
    scaled = (crystal.positions[:, None] - positions[None]) @ np.linalg.inv(crystal.cell)
    off = np.abs((scaled - np.rint(scaled)) @ crystal.cell).max(-1)
    found = off.argmin(1)
    if len(set(found)) < len(found) or off.min(1).max() > 1e-2:
        raise ValueError("The atoms do not lie on the sites of the supercell: it is of another crystal.")
    return found
