"""Classical Heisenberg spins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from nearsight.hamiltonians.classical_model import Coupling
from nearsight.hamiltonians.hamiltonian import Hamiltonian
from nearsight.hamiltonians.pair_functions import PairFunction, revived_coupling
from nearsight.hamiltonians.spin_energy import DM, SpinEnergy
from nearsight.lattices import Lattice

if TYPE_CHECKING:
    from nearsight.hamiltonians._spin_kernels import SpinTables


class Heisenberg(Hamiltonian):
    r"""Unit vectors coupled by exchange: the classical Heisenberg model, without electrons,

    .. math:: E = -\sum_{\langle ij \rangle} J_{ij}\, \mathbf S_i \cdot \mathbf S_j
                  - \sum_{\langle ij \rangle} \mathbf D_{ij} \cdot (\mathbf S_i \times \mathbf S_j)
                  - K \sum_i (\mathbf S_i \cdot \mathbf n)^2 - \mathbf B \cdot \sum_i \mathbf S_i .

    Every bond counts once; positive J is ferromagnetic. The parameters are those of :class:`SpinEnergy`. Drive it with
    ``ClassicalForceField(Heisenberg(...))`` and a scheme for spins, such as ``dynamics.SemiImplicit``. A chain at kT
    has the exact energy -J (coth J/kT - kT/J) per bond, which makes it a referee of thermal spin dynamics.

    On the processor fields are worked out in closed form, and :class:`~nearsight.dynamics.SemiImplicit`,
    :class:`~nearsight.dynamics.AB2Rotation` and :class:`~nearsight.dynamics.HeunSpins` take their steps in compiled
    loops: some ten nanoseconds a site, and about as much again for the noise. Elsewhere, and where derivatives of the
    fields are asked for, they come from the energy by autograd, with the same numbers up to rounding.

    Examples
    --------
    >>> import nearsight as ns
    >>> lattice = ns.lattices.square(4)
    >>> force_field = ns.forcefields.ClassicalForceField(ns.hamiltonians.Heisenberg(lattice, J=1.0, B=0.5))
    >>> field, energy = force_field(ns.fields.ferromagnet(lattice))  # spins along z
    >>> float(field[0, 2]), float(energy)  # H = 4J + B, and E = -(2J + B) per site
    (4.5, -40.0)

    References
    ----------
    M. E. Fisher, Am. J. Phys. 32, 343 (1964), the chain; T. Moriya, Phys. Rev. 120, 91 (1960).
    """

    components = 3
    site_orbitals = 0
    _parts: ClassVar = Hamiltonian._parts | {"J": revived_coupling}

    def __init__(
        self,
        lattice: Lattice,
        *,
        J: Coupling | PairFunction = 1.0,
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

    @property
    def spin_tables(self) -> SpinTables:
        return self.spin_energy.tables

    def _allows(self, law: np.ndarray) -> bool:
        return self.spin_energy.symmetric(law)
