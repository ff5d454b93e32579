"""Two e_g orbitals per site, coupled to the breathing mode and to the Jahn-Teller doublet of their octahedron."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import array, boolean, number
from nearsight.fields import jahn_teller
from nearsight.hamiltonians.hamiltonian import Hamiltonian
from nearsight.hamiltonians.hopping import checked_twist, dense, hopping_elements
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice

MODES = ("Q1", "Qx", "Qz")
"""The components of the field, in this order."""
ORBITALS = ("x2-y2", "3z2-r2")
"""a and b: orbital a of site i is row 2i of the matrix, orbital b row 2i + 1."""


class JahnTeller(Hamiltonian):
    r"""Cooperative Jahn-Teller model on the square lattice: spinless e_g electrons and three classical modes per site.

    .. math::
        \mathcal H = \sum_{\gamma = x, y} \sum_{\langle ij \rangle \parallel \gamma} \sum_{\mu\nu}
                     (t^\gamma_{\mu\nu} c_{i\mu}^\dagger c_{j\nu} + \mathrm{h.c.})
                     - \lambda \sum_i (Q^1_i n_i + Q^x_i \tau^x_i + Q^z_i \tau^z_i),
        \qquad
        V = \frac{K}{2} \sum_i \left[\beta (Q^1_i)^2 + (Q^x_i)^2 + (Q^z_i)^2\right]
            + \sum_{\langle ij \rangle} Q_i^T\, \kappa^\gamma\, Q_j

    with the orbitals a = x² - y² and b = 3z² - r², τˣ = a†b + b†a, τᶻ = a†a - b†b, and

    .. math::
        t^x = t \begin{pmatrix} 1 & -1/\sqrt 3 \\ -1/\sqrt 3 & 1/3 \end{pmatrix}, \qquad
        t^y = t \begin{pmatrix} 1 & 1/\sqrt 3 \\ 1/\sqrt 3 & 1/3 \end{pmatrix}.

    Every bond counts once. The sign in front of t is a choice of gauge on the bipartite lattice. A bond carries one
    orbital only, a ∓ b/√3 with amplitude t^γ: an electron of the orbital orthogonal to it cannot move along γ.

    Q¹ breathes with the symmetry A1; Qˣ is B1, it changes sign under a quarter turn and under the diagonal mirrors
    (as a does); Qᶻ is A1 on the square lattice. The forces of the electrons are λ⟨n⟩, λ⟨τˣ⟩, λ⟨τᶻ⟩.

    Since only λQ¹ + μ enters the matrix, a chemical potential is a uniform shift of Q¹. The particle-hole
    transformation c_i → (-1)^i c_i† takes Q to -Q, ⟨n⟩ to 2 - ⟨n⟩ and ⟨τ⟩ to -⟨τ⟩.

    Parameters
    ----------
    lattice: square, periodic or open.
    t: hopping amplitude, the unit of energy in the papers.
    lam: electron-lattice coupling λ (energy per length).
    K, beta: spring constant of the doublet, and the ratio of the breathing mode's to it.
    kappa: elastic coupling of neighbours along x, a symmetric matrix in the order (Q¹, Qˣ, Qᶻ); along y symmetry
        demands M κ M with M = diag(1, -1, 1). None (the papers' choice) couples octahedra through the electrons alone.
    symmetric: couple Q¹ to n - 1 instead of n, which measures Q¹ from λ/(βK), its value in a uniform half-filled
        lattice, and puts half filling at μ = 0; forces at a given shape of the lattice are the same.
    twist: phase θ picked up across each periodic boundary, in radians per axis (π: antiperiodic); open boundaries are a
        property of the lattice. A twist that is not the same for x and y breaks the symmetry of the square.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.JahnTeller(ns.lattices.square(2), t=0.0, lam=1.25)
    >>> Q = torch.tensor([0.0, 0.6, 0.8]).double().repeat(4, 1)  # (Q1, Qx, Qz) of every site
    >>> torch.linalg.eigvalsh(model.matrix(Q)).round(decimals=6).tolist()  # without hopping ±λ (Qx² + Qz²)^½
    [-1.25, -1.25, -1.25, -1.25, 1.25, 1.25, 1.25, 1.25]

    References
    ----------
    T. Hotta, Rep. Prog. Phys. 69, 2061 (2006); S. Zhang, PhD thesis (University of Virginia, 2024), sec. 7.3;
    P. Zhang, S. Zhang, G.-W. Chern, arXiv:2201.00798, sec. V.
    """

    components = 3
    site_orbitals = 2

    def __init__(
        self,
        lattice: Lattice,
        *,
        t: float = 1.0,
        lam: float = 1.25,
        K: float = 1.1574,
        beta: float = 2.0,
        kappa: Sequence[Sequence[float]] | None = None,
        symmetric: bool = False,
        twist: tuple[float, ...] | None = None,
    ) -> None:
        checked_lattice(lattice)
        if (
            lattice.dim != 2
            or lattice.n_basis != 1
            or not np.allclose(lattice.vectors, lattice.vectors[0, 0] * np.eye(2), atol=lattice.tolerance)
        ):
            raise ValueError(f"The orbitals are those of the square lattice, not of {lattice!r}; use lattices.square.")
        coupling = np.zeros((3, 3)) if kappa is None else array(kappa, "kappa, a symmetric 3 × 3 matrix,", (3, 3))
        if not np.array_equal(coupling, coupling.T):
            raise ValueError(f"kappa must be a symmetric 3 × 3 matrix in the order {', '.join(MODES)}, got {kappa}.")
        self.lattice = lattice
        self.field_type = jahn_teller()
        self.t, self.lam, self.K, self.beta = number(t, "t"), number(lam, "lam"), number(K, "K"), number(beta, "beta")
        self.kappa = None if kappa is None else tuple(map(tuple, coupling.tolist()))
        self.symmetric, self.twist = boolean(symmetric, "symmetric"), checked_twist(lattice, twist)
        self.bonds = lattice.bonds(1)
        self._along_y = self.bonds.displacement[:, 1] != 0
        reflection = np.diag([1.0, -1.0, 1.0])
        self._elastic = [
            (torch.from_numpy(self.bonds.i[along]), torch.from_numpy(self.bonds.j[along]), torch.from_numpy(matrix))
            for along, matrix in ((~self._along_y, coupling), (self._along_y, reflection @ coupling @ reflection))
            if kappa is not None
        ]
        a, b = 2 * torch.arange(lattice.n_sites), 2 * torch.arange(lattice.n_sites) + 1
        self.rows = torch.stack([a, b, a, b], dim=1).reshape(-1)
        self.columns = torch.stack([a, b, b, a], dim=1).reshape(-1)

    @cached_property
    def constant_elements(self) -> tuple[Tensor, Tensor, Tensor]:
        """The hopping. Built when first asked for: the springs of a lattice of 10⁶ sites need none."""
        mixing = np.where(self._along_y, 1.0, -1.0) / np.sqrt(3)
        amplitude = self.t * np.array([[np.ones_like(mixing), mixing], [mixing, np.full_like(mixing, 1 / 3)]])
        return hopping_elements(self.lattice, self.bonds, amplitude.transpose(2, 0, 1), twist=self.twist)

    @cached_property
    def constant(self) -> Tensor:  # type: ignore[override]
        """The dense hopping matrix, built for solvers of dense matrices only."""
        return dense(*self.constant_elements, self.orbitals)

    def coupling(self, field: Tensor) -> Tensor:
        breathing, x, z = field.unbind(-1)
        return -self.lam * torch.stack([breathing + z, breathing - z, x, x], dim=-1).flatten(-2)

    def background_energy(self, field: Tensor) -> Tensor:
        return (self.lam if self.symmetric else 0.0) * field[..., 0].sum(-1)

    def classical_energy(self, field: Tensor) -> Tensor:
        stiffness = field.new_tensor([self.beta, 1.0, 1.0])
        energy = 0.5 * self.K * (stiffness * field * field).sum((-2, -1))
        for i, j, matrix in self._elastic:
            # index_select, because the backward pass of advanced indexing sorts.
            left, right = field.index_select(-2, i.to(field.device)), field.index_select(-2, j.to(field.device))
            energy = energy + ((left @ matrix.to(field)) * right).sum((-2, -1))
        return energy

    def density(self, electron_force: Tensor) -> Tensor:
        """⟨n_i⟩ ``(*batch, site)`` from the electrons' force: F¹/λ, plus 1 with the symmetric coupling.

        From the total force and without κ, ⟨n⟩ = (F¹ + βKQ¹)/λ.
        """
        return electron_force[..., 0] / self._coupled() + (1.0 if self.symmetric else 0.0)

    def pseudo_spin(self, electron_force: Tensor) -> Tensor:
        """(⟨τˣ_i⟩, ⟨τᶻ_i⟩) ``(*batch, site, 2)`` from the electrons' force; in equilibrium (K/λ)(Qˣ, Qᶻ)."""
        return electron_force[..., 1:] / self._coupled()

    def _coupled(self) -> float:
        if self.lam == 0:
            raise ValueError("At lam = 0 the force carries no density; use the solver's density matrix.")
        return self.lam
