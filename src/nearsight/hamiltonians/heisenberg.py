"""Classical Heisenberg spins."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nearsight.hamiltonians.classical_model import Coupling
from nearsight.hamiltonians.hamiltonian import Hamiltonian
from nearsight.hamiltonians.spin_energy import DM, SpinEnergy
from nearsight.lattices import Lattice, site_group, site_permutations, torus_group


class Heisenberg(Hamiltonian):
    r"""Unit vectors coupled by exchange: the classical Heisenberg model, without electrons,

    .. math:: E = -\sum_{\langle ij \rangle} J_{ij}\, \mathbf S_i \cdot \mathbf S_j
                  - \sum_{\langle ij \rangle} \mathbf D_{ij} \cdot (\mathbf S_i \times \mathbf S_j)
                  - K \sum_i (\mathbf S_i \cdot \mathbf n)^2 - \mathbf B \cdot \sum_i \mathbf S_i .

    Every bond counts once; positive J is ferromagnetic. The parameters are those of :class:`SpinEnergy`. Drive it with
    ``ClassicalForceField(Heisenberg(...))`` and a scheme for spins, such as ``dynamics.SemiImplicit``. A chain at kT
    has the exact energy -J (coth J/kT - kT/J) per bond, which makes it a referee of thermal spin dynamics.

    References
    ----------
    M. E. Fisher, Am. J. Phys. 32, 343 (1964), the chain; T. Moriya, Phys. Rev. 120, 91 (1960).
    """

    components = 3

    def __init__(
        self,
        lattice: Lattice,
        *,
        J: Coupling = 1.0,
        D: float = 0.0,
        dm: DM = "bulk",
        K: float = 0.0,
        axis: Sequence[float] = (0.0, 0.0, 1.0),
        B: float | Sequence[float] = 0.0,
    ) -> None:
        self.lattice = lattice
        self.spin_energy = e = SpinEnergy(lattice, J, D, dm, K, axis, B)
        self.J, self.D, self.dm, self.K, self.axis, self.B = e.J, e.D, e.dm, e.K, e.axis, e.B
        self.field_type = self.spin_energy.field_type
        self.constant = torch.zeros(0, 0, dtype=torch.float64)
        self.rows = self.columns = torch.zeros(0, dtype=torch.long)

    def coupling(self, field: Tensor) -> Tensor:
        return field[..., :0, 0]

    def classical_energy(self, field: Tensor) -> Tensor:
        return self.spin_energy(field)

    def check(self, rng: torch.Generator, *, tolerance: float = 1e-12) -> None:
        """Prove on a random field that the energy has the symmetry of the lattice and that of the spins.

        Operations of the lattice that act on the spins and thereby turn the field B or the anisotropy axis are left
        out. Raises an ``ArithmeticError`` that names what fails.
        """
        field = self.field_type.random(self.lattice.n_sites, 3, rng)
        energy = self.classical_energy(field)
        moved = {"the internal operation": field @ self.field_type.internal_operation(3, rng).T}
        if all(self.lattice.periodic):  # type: ignore[arg-type]
            group, torus = site_group(self.lattice), torus_group(self.lattice)
            laws = self.field_type.representation(group)
            for g, permutation in zip(group.indices(torus), site_permutations(self.lattice, torus), strict=True):
                if self.spin_energy.symmetric(laws[g]):
                    moved[f"operation {g}"] = self.field_type.transform(field, group, g, permutation)
        scale = 1.0 + float(sum(x.abs().sum() for x in (self.spin_energy._bonds[2], energy)))
        for name, image in moved.items():
            change = float((self.classical_energy(image) - energy).abs())
            if change > tolerance * scale:
                raise ArithmeticError(f"The energy changes by {change:.1e} under {name}.")
