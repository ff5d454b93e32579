"""Five-parameter valence force field of the diamond structure: force constants that need no other program."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from nearsight._description import Described
from nearsight._validation import instance, number
from nearsight.crystals.crystal import Crystal
from nearsight.crystals.force_constants import ForceConstants
from nearsight.lattices import Neighbourhood

ANGLES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
"""Pairs of the four bonds of an atom."""


@dataclass(frozen=True)
class ValenceForceField(Described):
    r"""Quadratic energy of bond lengths and angles in the diamond structure, in eV,

    .. math:: E = \sum_b \tfrac12 k_r\, \delta r_b^2 + \sum_a \tfrac12 k_\theta\, s_a^2
              + \sum_{bb'} k_{rr}\, \delta r_b \delta r_{b'} + \sum_{ba} k_{r\theta}\, \delta r_b s_a
              + \sum_{aa'} k_{\rm p}\, s_a s_{a'},

    with :math:`s_a = r_0\, \delta\theta_a`: b, b' bonds at one atom, b a side of the angle a, a and a' angles at
    neighbouring atoms in one plane, with the bond between the atoms as common side and the other sides antiparallel.
    The last term makes the transverse acoustic branch flat, which a model of stretching and bending alone (Keating's)
    has too high at the zone boundary by half.

    ===================  ==================  ========
    symbol               argument            unit
    ===================  ==================  ========
    :math:`k_r`          ``stretch``         eV/Å²
    :math:`k_\theta`     ``bend``            eV/Å²
    :math:`k_{rr}`       ``stretch_stretch`` eV/Å²
    :math:`k_{r\theta}`  ``stretch_bend``    eV/Å²
    :math:`k_{\rm p}`    ``coplanar``        eV/Å²
    ===================  ==================  ========

    Sums run over each bond, angle or pair once; δr and δθ are of first order in u, so that the energy is exactly
    quadratic, and invariant under translations and rotations of the whole.

    :meth:`silicon` and :meth:`diamond` are least-squares fits to frequencies at Γ, X and L and to elastic constants.

    Examples
    --------
    >>> from nearsight.crystals import ValenceForceField, silicon
    >>> force_constants = ValenceForceField.silicon().force_constants(silicon(6))
    >>> force_constants.frequencies([0.5, 0.5, 0.0]).round(1)  # X, in THz
    array([ 4.4,  4.4, 12.3, 12.3, 13.6, 13.6])

    References
    ----------
    R. Tubino, L. Piseri, G. Zerbi, J. Chem. Phys. 56, 1022 (1972): this potential for C, Si, Ge, Sn.
    """

    stretch: float
    bend: float
    stretch_stretch: float = 0.0
    stretch_bend: float = 0.0
    coplanar: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, number(getattr(self, one.name), one.name))

    @classmethod
    def silicon(cls) -> ValenceForceField:
        """Fitted to frequencies of PZ-LDA perturbation theory at a = 5.398 Å and to measured elastic constants.

        Γ 15.31, X 4.18, 12.21, 13.72, L 3.20, 11.18, 12.29, 14.58 THz; C11, C12, C44 = 165.8, 63.9, 79.6 GPa.

        Frequencies are met within 0.2 THz, LA at L within 0.7 THz, velocities of sound within 1 %.
        """
        return cls(8.9955, 0.1823, 0.2315, 0.2513, 0.1945)

    @classmethod
    def diamond(cls) -> ValenceForceField:
        """Fitted to measured frequencies and elastic constants.

        Γ 39.9, X 24.1, 32.0, 35.5, L 16.9, 30.2, 36.2, 37.5 THz; C11, C12, C44 = 1079, 124, 578 GPa.

        Frequencies are met within 0.8 THz, velocities of sound within 2 %.
        """
        return cls(23.587, 2.3898, 0.6556, 1.802, 0.5365)

    def force_constants(self, crystal: Crystal) -> ForceConstants:
        """Φ of this crystal, in a supercell of 4 × 4 × 4 primitive cells, beyond which it does not reach.

        ``ValueError`` for a crystal that has not the diamond structure.
        """
        cell = instance(crystal, Crystal, "crystal", "crystals.silicon(6) is one.").resized(4)
        constants = [getattr(self, one.name) for one in fields(self)]
        return ForceConstants(cell, np.einsum("p,pbsij->bsij", constants, _terms(cell)))


def tetrahedral_neighbours(crystal: Crystal, what: str) -> list[Neighbourhood]:
    """The four neighbours of both atoms of a cell; ``ValueError`` if the crystal has not the diamond structure."""
    lattice = crystal.lattice
    around = [lattice.neighbourhood(1.01 * lattice.spacing, centre=b).without_centre() for b in range(lattice.n_basis)]
    fits = [len(a) == 4 and np.allclose(a.vectors.sum(0), 0, atol=1e-6) for a in around]
    if lattice.n_basis != 2 or not all(fits) or len(set(lattice.species)) > 1:
        raise ValueError(f"{crystal!r} has not the diamond structure, for which this {what} is made.")
    return around


def _terms(crystal: Crystal) -> np.ndarray:
    """Φ ``(term, basis, site, 3, 3)`` per unit of each constant, in the order of the arguments."""
    lattice, n = crystal.lattice, crystal.n_atoms
    around = tetrahedral_neighbours(crystal, "force field")
    tables = np.stack([lattice.neighbour_table(a) for a in around], 1).reshape(n, 4)
    unit = np.stack([a.vectors / lattice.spacing for a in around])[lattice.sublattice]  # (site, 4, 3)
    site = np.arange(n)
    # Rows of B: δr (site, 4) and s = r0 δθ (site, 6) as linear functions of u.
    stretch = np.zeros((n, 4, n, 3))
    bend = np.zeros((n, 6, n, 3))
    for a in range(4):
        stretch[site, a, tables[:, a]] += unit[:, a]
        stretch[site, a, site] -= unit[:, a]
    for k, (a, c) in enumerate(ANGLES):
        cosine = (unit[:, a] * unit[:, c]).sum(-1)[:, None]
        sine = np.sqrt(1 - cosine**2)
        for x, y in ((a, c), (c, a)):
            slope = -(unit[:, y] - cosine * unit[:, x]) / sine
            bend[site, k, tables[:, x]] += slope
            bend[site, k, site] -= slope
    side = np.array([[float(a in p) for p in ANGLES] for a in range(4)])
    trans = _coplanar(tables, unit)
    terms = [
        _product(stretch, stretch) / 2,
        _product(bend, bend),
        _product(stretch, np.einsum("ac,scvx->savx", 1 - np.eye(4), stretch)),
        _product(stretch, np.einsum("ak,skvx->savx", side, bend), twice=True),
        _product(bend.reshape(1, -1, n, 3), np.asarray(trans @ bend.reshape(6 * n, -1)).reshape(1, -1, n, 3)),
    ]
    return np.stack(terms)


def _product(left: np.ndarray, right: np.ndarray, *, twice: bool = False) -> np.ndarray:
    """Second derivatives ``(2, site, 3, 3)`` of ½ Σ left·right, or Σ left·right where two kinds meet."""
    n = left.shape[2]
    a, b = left.reshape(-1, n * 3), right.reshape(-1, n * 3)
    found = a[:, :6].T @ b
    if twice:
        found = found + b[:, :6].T @ a
    return found.reshape(2, 3, n, 3).transpose(0, 2, 1, 3)


def _coplanar(tables: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Which angles ``(6 site, 6 site)`` share a bond and lie in one plane with the other sides antiparallel."""
    from scipy.sparse import coo_array

    rows, columns = [], []
    n = len(tables)
    for k, (a, c) in enumerate(ANGLES):
        for shared, other in ((a, c), (c, a)):
            to = tables[:, shared]
            for m, (x, y) in enumerate(ANGLES):
                for back, far in ((x, y), (y, x)):
                    fits = np.abs(unit[to, back] + unit[:, shared]).max(1) < 1e-6
                    fits &= np.abs(unit[to, far] + unit[:, other]).max(1) < 1e-6
                    at = np.flatnonzero(fits)
                    rows.append(6 * at + k)
                    columns.append(6 * to[at] + m)
    i, j = np.concatenate(rows), np.concatenate(columns)
    return coo_array((np.ones(len(i)), (i, j)), shape=(6 * n, 6 * n)).tocsr()
