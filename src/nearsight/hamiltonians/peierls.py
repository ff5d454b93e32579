"""Electrons whose hopping follows the displacements of the atoms."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import integer, number
from nearsight.fields import displacement
from nearsight.hamiltonians.hamiltonian import Hamiltonian
from nearsight.hamiltonians.hopping import bond_phases, checked_twist, dense, hopping_elements
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice


class Peierls(Hamiltonian):
    r"""The Peierls (Su-Schrieffer-Heeger) model: displacements u_i of the atoms, polar vectors, stretch the bonds.

    .. math::
        \mathcal H = -\sum_{\langle ij \rangle} [t - \alpha (u_j - u_i) \cdot e_{ij}] (c_i^\dagger c_j + \mathrm{h.c.})
                     - t_2 \sum_{\langle\langle ij \rangle\rangle} (c_i^\dagger c_j + \mathrm{h.c.}),
        \qquad
        V = \frac{k}{2} \sum_i |u_i|^2 + \kappa \sum_{\langle ij \rangle} u_i \cdot u_j .

    e_ij is the unit vector from i to its neighbour j; ⟨⟨ij⟩⟩ are second neighbours, on the square lattice diagonals.
    Every bond counts once; a longer bond is a weaker one. Displacements are small against the lattice constant: bonds
    turn no further than that u·e is their stretch. The force of the electrons is

    .. math:: F_i = 2 \alpha \sum_j e_{ij}\, \mathrm{Re} \langle c_i^\dagger c_j \rangle ,

    towards the neighbours with the stronger bonds. Without t₂, on a bipartite lattice, particle-hole symmetry puts half
    filling at μ = 0. The springs of a chain of atoms, (K/2) Σ (u_{i+1} - u_i)², are k = 2K and κ = -K.

    With the default parameters the half-filled square lattice (spinless) orders at (π, π) along one axis,
    u_i = (-1)^{x+y} u x̂ or ŷ with u = ±0.24406 at zero temperature, so that four domains compete: every other bond
    along that axis is strong, t + 2αu. The order is a semimetal, for the bands still touch at (π, 0) and (0, π), at the
    energy 4t₂; on a periodic lattice of even length that level is on the mesh of wavevectors, and forces jump where it
    splits: take antiperiodic boundaries.

    Parameters
    ----------
    lattice: any lattice; u has as many components as it has dimensions.
    t, t2: hopping amplitudes of first and second neighbours.
    alpha: electron-lattice coupling (energy per length).
    k, kappa: on-site spring constant and elastic coupling of neighbours (energy per length²).
    spins: 1 for spinless electrons, 2 for electrons with spin; energies then count both.
    twist: phase θ picked up across each periodic boundary, in radians per axis (π: antiperiodic); open boundaries are a
        property of the lattice.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.Peierls(ns.lattices.chain(8), t=2.5, t2=0.0, alpha=4.0)
    >>> dimers = 0.1 * torch.tensor([1.0, -1.0]).repeat(4)[:, None].double()  # bonds of t + 2αu and t - 2αu in turn
    >>> levels = torch.linalg.eigvalsh(model.matrix(dimers))
    >>> round(float(levels[4] - levels[3]), 6)  # the Peierls gap 8 α u
    3.2

    References
    ----------
    W.-P. Su, J. R. Schrieffer, A. J. Heeger, Phys. Rev. Lett. 42, 1698 (1979); S. Tang, J. E. Hirsch, Phys. Rev. B 37,
    9546 (1988), for the square lattice; H. Jang, Y. Yang, G.-W. Chern, arXiv:2510.20659, for the parameters.
    """

    site_orbitals = 1

    def __init__(
        self,
        lattice: Lattice,
        *,
        t: float = 2.5,
        t2: float = 0.5,
        alpha: float = 4.0,
        k: float = 30.0,
        kappa: float = 4.0,
        spins: int = 1,
        twist: tuple[float, ...] | None = None,
    ) -> None:
        self.lattice = checked_lattice(lattice)
        self.field_type, self.components = displacement(), lattice.dim
        self.t, self.t2, self.alpha = number(t, "t"), number(t2, "t2"), number(alpha, "alpha")
        self.k, self.kappa = number(k, "k"), number(kappa, "kappa")
        self.spins = self.degeneracy = integer(spins, "spins, 1 (spinless) or 2,", least=1, most=2)
        self.twist = checked_twist(lattice, twist)
        self.bonds = lattice.bonds(1)
        r = self.bonds.displacement
        self._direction = torch.from_numpy(r / np.linalg.norm(r, axis=-1, keepdims=True))
        self._phase = torch.from_numpy(bond_phases(self.bonds, self.twist))
        self._i, self._j = torch.from_numpy(self.bonds.i), torch.from_numpy(self.bonds.j)
        # Both directions of a bond in turn: where two bonds join one pair, h_ij and h_ji are summed in the same order.
        self.rows = torch.stack([self._j, self._i], dim=1).flatten()
        self.columns = torch.stack([self._i, self._j], dim=1).flatten()

    @cached_property
    def constant_elements(self) -> tuple[Tensor, Tensor, Tensor]:
        parts = [hopping_elements(self.lattice, self.bonds, -self.t, twist=self.twist)]
        if self.t2:
            parts.append(hopping_elements(self.lattice, self.lattice.bonds(2), -self.t2, twist=self.twist))
        rows, columns, values = (torch.cat(column) for column in zip(*parts, strict=True))
        return rows, columns, values

    @cached_property
    def constant(self) -> Tensor:  # type: ignore[override]
        """The hopping matrix. Built when first asked for: the springs of a lattice of 10⁶ sites need none."""
        return dense(*self.constant_elements, self.lattice.n_sites)

    def coupling(self, field: Tensor) -> Tensor:
        stretch = (self._ends(field, self._j) - self._ends(field, self._i)) * self._direction.to(field)
        change = self.alpha * stretch.sum(-1) * self._phase.to(field.device)
        return torch.stack([change, change.conj()], dim=-1).flatten(-2)

    def classical_energy(self, field: Tensor) -> Tensor:
        pairs = (self._ends(field, self._i) * self._ends(field, self._j)).sum((-2, -1))
        return 0.5 * self.k * field.square().sum((-2, -1)) + self.kappa * pairs

    @staticmethod
    def _ends(field: Tensor, sites: Tensor) -> Tensor:
        # index_select, because the backward pass of advanced indexing sorts.
        return field.index_select(-2, sites.to(field.device))
