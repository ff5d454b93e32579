"""Crystals: a lattice in ångström, the elements on it and their masses; to and from ASE."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nearsight._description import Described
from nearsight._validation import instance, integer, integers, number, numbers
from nearsight.lattices import Lattice

if TYPE_CHECKING:
    from ase import Atoms

MASSES = {"C": 12.011, "Si": 28.0855, "Ge": 72.630, "Sn": 118.710}
"""Standard atomic masses in u, of the elements whose crystals are named here."""
ASE = "ASE is not installed; pip install ase (tested with 3.29.0)."


@dataclass(frozen=True, eq=False)
class Crystal(Described):
    """A periodic crystal of ``prod(lattice.shape)`` primitive cells.

    Displacements of its atoms are fields u ``(*batch, site, 3)`` in Å, in the order of the sites of the lattice: cells
    in C order, the atoms of a cell last.

    Parameters
    ----------
    lattice: vectors and positions in Å, of three dimensions and periodic; its ``species`` are the chemical symbols.
    masses: of the atoms of a primitive cell in u; those of the symbols where none are given.

    Examples
    --------
    >>> from nearsight.crystals import silicon
    >>> crystal = silicon(6)
    >>> crystal
    Si2, 6 × 6 × 6 cells, 432 atoms
    >>> crystal.resized(2).positions.shape
    (16, 3)
    """

    lattice: Lattice
    masses: tuple[float, ...] = field(default=())

    def __post_init__(self) -> None:
        lattice = instance(self.lattice, Lattice, "lattice", "crystals.silicon(4).lattice is one.")
        if lattice.dim != 3 or not all(lattice.periodic):  # type: ignore[arg-type]
            raise ValueError(f"A crystal needs a lattice of three dimensions, periodic along each; got {lattice!r}.")
        given = self.masses
        if not len(given):
            unknown = sorted({str(s) for s in lattice.species} - MASSES.keys())
            if unknown:
                raise ValueError(f"The mass of {', '.join(unknown)} is not known here; give masses= in u.")
            given = tuple(MASSES[str(s)] for s in lattice.species)
        object.__setattr__(self, "masses", numbers(given, "masses", length=lattice.n_basis, above=0))

    def __repr__(self) -> str:
        symbols = [str(s) for s in self.lattice.species]
        formula = "".join(f"{s}{n if (n := symbols.count(s)) > 1 else ''}" for s in dict.fromkeys(symbols))
        return f"{formula}, {' × '.join(map(str, self.lattice.shape))} cells, {self.n_atoms} atoms"

    @property
    def n_atoms(self) -> int:
        return self.lattice.n_sites

    @property
    def positions(self) -> np.ndarray:
        """Of the perfect crystal ``(site, 3)``, in Å."""
        return self.lattice.positions

    @property
    def cell(self) -> np.ndarray:
        """Periods of the supercell as rows ``(3, 3)``, in Å."""
        return self.lattice.vectors * np.array(self.lattice.shape)[:, None]

    def resized(self, *shape: int) -> Crystal:
        """The same crystal with another number of cells, one for all axes or one for each."""
        return replace(self, lattice=self.lattice.resized(*shape))

    def same_kind(self, other: Crystal) -> bool:
        """Whether both are one crystal in different numbers of cells."""
        return self.lattice.same_kind(other.lattice) and np.allclose(self.masses, other.masses)

    @classmethod
    def from_atoms(cls, atoms: Atoms, *shape: int, name: str | None = None) -> Crystal:
        """From a primitive cell of ASE, in so many cells (one number, or one for each axis).

        ``name`` of the lattice: the chemical formula if it is not given.
        """
        cells = integers(shape or (1,), "shape", least=1)
        vectors, basis = np.array(atoms.cell[:]), np.array(atoms.get_positions())
        lattice = Lattice(
            name or atoms.get_chemical_formula(),
            vectors,
            basis,
            cells if len(cells) == 3 else cells * 3,
            species=tuple(atoms.get_chemical_symbols()),
            symmetrise=True,
        )
        return cls(lattice, tuple(float(m) for m in atoms.get_masses()))

    def to_atoms(self, displacement: Any = None) -> Atoms:
        """The supercell for ASE, its atoms in the order of the sites, moved by u ``(site, 3)`` where one is given."""
        try:
            from ase import Atoms
        except ImportError as error:
            raise ImportError(ASE) from error
        moved = self.positions if displacement is None else self.positions + np.asarray(displacement, dtype=float)
        symbols = [str(self.lattice.species[b]) for b in self.lattice.sublattice]
        masses = np.array(self.masses)[self.lattice.sublattice]
        return Atoms(symbols, positions=moved, cell=self.cell, pbc=True, masses=masses)

    def displacement(self, atoms: Atoms) -> np.ndarray:
        """Displacements u ``(site, 3)`` in Å of a structure of ASE in this supercell, its atoms in any order.

        Such as a snapshot of molecular dynamics: every atom belongs to the site that it is nearest to, modulo the
        periods, and the mean of u, a drift of the whole, is taken off. ``ValueError`` if two atoms belong to one site
        (the structure has changed, or is of another supercell) or if cell or elements differ.
        """
        if len(atoms) != self.n_atoms or not np.allclose(atoms.cell[:], self.cell, atol=1e-3):
            raise ValueError(f"A structure of {len(atoms)} atoms in another cell is not one of {self!r}.")
        away = (np.asarray(atoms.get_positions())[None] - self.positions[:, None]) @ np.linalg.inv(self.cell)
        away = (away - np.rint(away)) @ self.cell
        # Of a drifting crystal the sites drift along: half a bond length is enough to lose them.
        for _ in range(3):
            atom = np.linalg.norm(away, axis=-1).argmin(1)
            away = away - np.median(away[np.arange(self.n_atoms), atom], axis=0)
        if len(set(atom.tolist())) < self.n_atoms:
            raise ValueError(
                "Two sites share an atom: the structure is no longer this crystal, or has drifted too far."
            )
        symbols = np.array(atoms.get_chemical_symbols())[atom]
        if (symbols != np.array([str(s) for s in self.lattice.species])[self.lattice.sublattice]).any():
            raise ValueError(f"The elements of the structure do not lie as in {self!r}.")
        u = away[np.arange(self.n_atoms), atom]
        return u - u.mean(0)


def silicon(length: int, *, a: float = 5.398) -> Crystal:
    """Silicon in ``length``³ primitive cells; a, the edge of the cubic cell in Å, is that of Perdew-Zunger LDA."""
    return _diamond("Si", length, a)


def carbon(length: int, *, a: float = 3.567) -> Crystal:
    """Diamond in ``length``³ primitive cells; a, the edge of the cubic cell in Å, is that measured."""
    return _diamond("C", length, a)


def _diamond(symbol: str, length: int, a: float) -> Crystal:
    edge = number(a, "a, the edge of the cubic cell in Å,", above=0)
    vectors = edge / 2 * (1.0 - np.eye(3))
    basis = np.array([[0.0] * 3, [edge / 4] * 3])
    cells = (integer(length, "length", least=1),) * 3
    symbols: Any = (symbol, symbol)
    return Crystal(Lattice("diamond", vectors, basis, cells, species=symbols))
