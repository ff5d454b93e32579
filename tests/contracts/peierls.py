"""A second model for the contracts, where everything the Holstein model leaves out is present."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nearsight.fields import FieldType
from nearsight.hamiltonians import Hamiltonian
from nearsight.lattices import Lattice


class Peierls(Hamiltonian):
    r"""A chain whose hopping follows the displacements u_i (Su, Schrieffer, Heeger): the coupling is off-diagonal, the
    field changes sign under reflection, and with a twist the matrices are complex.

    .. math:: \mathcal H = -\sum_i [t - \alpha (u_{i+1} - u_i)] (e^{i\theta_i} c_{i+1}^\dagger c_i + \mathrm{h.c.}),
              \qquad V = \frac{k}{2} \sum_i (u_{i+1} - u_i)^2
    """

    components = 1
    field_type = FieldType("u", ("vector",))

    def __init__(
        self, lattice: Lattice, *, twist: float = 0.0, t: float = 1.0, alpha: float = 0.6, k: float = 0.8
    ) -> None:
        self.lattice, self.twist, self.t, self.alpha, self.k = lattice, twist, t, alpha, k
        bonds = lattice.bonds(1)
        self.i, self.j = torch.from_numpy(bonds.i), torch.from_numpy(bonds.j)
        phase = torch.from_numpy(np.exp(1j * twist * bonds.winding[:, 0]))
        self.phase = phase if twist else phase.real.clone()
        self.rows, self.columns = torch.cat([self.j, self.i]), torch.cat([self.i, self.j])
        constant = torch.zeros(lattice.n_sites, lattice.n_sites, dtype=self.phase.dtype)
        amplitude = -t * torch.cat([self.phase, self.phase.conj()])
        self.constant = constant.index_put((self.rows, self.columns), amplitude, accumulate=True)

    def stretch(self, field: Tensor) -> Tensor:
        return field[..., self.j, 0] - field[..., self.i, 0]

    def coupling(self, field: Tensor) -> Tensor:
        change = self.alpha * self.stretch(field)
        return torch.cat([change * self.phase, change * self.phase.conj()], dim=-1)

    def classical_energy(self, field: Tensor) -> Tensor:
        return 0.5 * self.k * self.stretch(field).square().sum(-1)
