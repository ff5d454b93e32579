"""Force fields whose variables are displacements of sites, for the relaxation and dynamics of ASE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from nearsight._validation import instance, number
from nearsight.crystals.crystal import ASE
from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice
from nearsight.lattices.images import nearest_image

if TYPE_CHECKING:
    from ase import Atoms


def site_atoms(lattice: Lattice, *, length: float = 1.0, symbols: Any = "X") -> Atoms:
    """The sites of a lattice at rest as ``ase.Atoms``, in the order of fields.

    Parameters
    ----------
    lattice: of one to three dimensions; further axes are open, a unit of length wide.
    length: a unit of length of the lattice in Å.
    symbols: chemical symbols of all sites, or one for all.

    Needs ASE, ``pip install ase``.

    >>> from nearsight.lattices import square
    >>> site_atoms(square(3), length=2.5, symbols="Cu")
    Atoms(symbols='Cu9', pbc=[True, True, False], cell=[7.5, 7.5, 2.5])
    """
    try:
        from ase import Atoms
    except ImportError as error:
        raise ImportError(ASE) from error
    instance(lattice, Lattice, "lattice", "nearsight.lattices makes them: square(8).")
    scale = number(length, "length", above=0)
    if lattice.dim > 3:
        raise ValueError(f"Atoms live in three dimensions, {lattice!r} has {lattice.dim}.")
    cell, flags, rest = np.eye(3), np.zeros(3, bool), np.zeros((lattice.n_sites, 3))
    cell[: lattice.dim, : lattice.dim] = lattice.vectors * np.asarray(lattice.shape)[:, None]
    flags[: lattice.dim], rest[:, : lattice.dim] = lattice.periodic, lattice.positions
    names = [symbols] * lattice.n_sites if isinstance(symbols, str) else symbols
    return Atoms(names, positions=scale * rest, cell=scale * cell, pbc=flags)


def site_calculator(forcefield: ForceField, *, energy: float = 1.0, length: float = 1.0) -> Any:
    r"""An ASE calculator of a force field whose field are the displacements u of the sites, exact or learned.

    .. math:: u_i = (r_i - R_i) / \ell, \qquad E = \epsilon\, V(u), \qquad F_i = \frac{\epsilon}{\ell}\, f_i(u),

    with the sites at rest R, of which :func:`site_atoms` makes atoms, and the force f = -∂V/∂u of the force field.
    Along periodic axes the nearest image of u counts. Axes that the lattice does not have take part in nothing.

    Parameters
    ----------
    forcefield: its field must have a component for every dimension of the lattice, as that of a Peierls model.
    energy: ε, its unit of energy in eV. length: ℓ, the unit of length of the lattice and of the field, in Å.

    Returns
    -------
    An ``ase.calculators.calculator.Calculator`` with energy, free energy and forces; forces alone where the force field
    has no energy. It raises ``ValueError`` for atoms that are not the sites of the lattice. Needs ASE.

    References
    ----------
    A. Hjorth Larsen et al., J. Phys.: Condens. Matter 29, 273002 (2017).

    >>> from nearsight.forcefields import ClassicalForceField
    >>> from nearsight.hamiltonians import Peierls
    >>> from nearsight.lattices import chain
    >>> springs = ClassicalForceField(Peierls(chain(4), k=2.0, kappa=-1.0))
    >>> atoms = site_atoms(springs.lattice)
    >>> atoms.calc = site_calculator(springs)
    >>> atoms.positions[1, 0] += 0.1
    >>> round(atoms.get_potential_energy(), 6)
    0.01
    """
    try:
        from ase.calculators.calculator import Calculator, all_changes
    except ImportError as error:
        raise ImportError(ASE) from error
    instance(forcefield, ForceField, "forcefield", "forcefields.load(path) reads a learned one.")
    lattice = forcefield.lattice
    if forcefield.components != lattice.dim:
        raise ValueError(
            f"Displacements have {lattice.dim} components on {lattice!r}, the field of this force field has "
            f"{forcefield.components}; it does not move sites."
        )
    epsilon, scale = number(energy, "energy", above=0), number(length, "length", above=0)
    rest = site_atoms(lattice, length=scale)

    class SiteCalculator(Calculator):
        implemented_properties: ClassVar = ["energy", "free_energy", "forces"]  # type: ignore[misc]

        def calculate(
            self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes
        ) -> None:
            super().calculate(atoms, properties or ["energy"], system_changes)
            moved = self.atoms
            assert moved is not None
            _check_sites(moved, rest, lattice)
            away = (moved.positions - rest.positions)[:, : lattice.dim] / scale
            u = torch.from_numpy(nearest_image(away, lattice))
            with torch.no_grad():
                force, value = forcefield(u)
            forces = np.zeros((lattice.n_sites, 3))
            forces[:, : lattice.dim] = epsilon / scale * force.numpy()
            self.results = {"forces": forces}
            if value is not None:
                total = epsilon * float(value)
                self.results |= {"energy": total, "free_energy": total}

    return SiteCalculator()


def _check_sites(atoms: Atoms, rest: Atoms, lattice: Lattice) -> None:
    if len(atoms) != len(rest) or not np.allclose(atoms.cell, rest.cell, atol=1e-6 * rest.cell.cellpar()[:3].max()):
        raise ValueError(
            f"The calculator is of {lattice!r}: {len(rest)} sites in a cell of {rest.cell[:].round(6).tolist()} Å, got "
            f"{len(atoms)} atoms in {atoms.cell[:].round(6).tolist()}. site_atoms(lattice, length=...) makes them; the "
            f"cell does not change."
        )
