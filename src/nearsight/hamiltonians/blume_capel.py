"""Spins that may also be absent."""

from __future__ import annotations

import torch
from torch import Tensor

from nearsight._validation import number
from nearsight.fields import spin_one
from nearsight.hamiltonians.classical_model import ClassicalModel, Coupling, _couplings, _shell_bonds
from nearsight.lattices import Lattice


class BlumeCapel(ClassicalModel):
    r"""Blume-Capel model on any lattice: an Ising magnet with vacancies,

    .. math:: E = -\sum_{\langle ij \rangle} J\, s_i s_j + D \sum_i s_i^2 - h \sum_i s_i, \qquad s_i = -1, 0, 1 .

    J > 0 is ferromagnetic; every bond counts once. States 0, 1, 2 are s = -1, 0, 1. At h = 0 the energy is even under
    s → -s (internal symmetry Z2). D → -∞ is the Ising model, D > 0 favours vacancies: on the square lattice the
    transition turns from continuous to first-order at the tricritical point D/J ≈ 1.966, kT/J ≈ 0.608, and the magnet
    is gone beyond D = 2J.

    Parameters
    ----------
    lattice: any, periodic or open.
    J: coupling of nearest neighbours, or a tuple with one coupling for every neighbour shell from the first.
    D: energy of a magnetic site over a vacant one (crystal field).
    h: field.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.BlumeCapel(ns.lattices.square(4), D=2.0)
    >>> aligned, vacant = torch.full((16,), 2), torch.full((16,), 1)  # states 0, 1, 2 are s = -1, 0, 1
    >>> [float(model.energy(states.to(torch.int8))) for states in (aligned, vacant)]  # (D - 2J) N: equal at D = 2J
    [0.0, 0.0]

    References
    ----------
    M. Blume, Phys. Rev. 141, 517 (1966); H. W. Capel, Physica 32, 966 (1966);
    J. Zierenberg et al., Eur. Phys. J. Special Topics 226, 789 (2017) (tricritical point).
    """

    def __init__(self, lattice: Lattice, *, J: Coupling = 1.0, D: float = 0.0, h: float = 0.0) -> None:
        self.J, self.D, self.h = _couplings(J), number(D, "D"), number(h, "h")
        values = torch.tensor([[-1.0], [0.0], [1.0]])
        super().__init__(lattice, spin_one(even=self.h == 0), values, torch.eye(1), _shell_bonds(lattice, J))

    def site_energy(self, field: Tensor) -> Tensor:
        s = field[..., 0]
        return (self.D * s - self.h) * s
