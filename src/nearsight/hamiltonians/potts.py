"""Potts and clock models: q states of equal standing."""

from __future__ import annotations

from typing import Literal

import torch

from nearsight._validation import choice, integer
from nearsight.fields import FieldType, potts
from nearsight.hamiltonians.classical_model import ClassicalModel, Coupling, _couplings, _shell_bonds
from nearsight.lattices import Lattice


class Potts(ClassicalModel):
    r"""q-state Potts model ("standard") or clock model ("clock") on any lattice,

    .. math::
        E = -\sum_{\langle ij \rangle} J\, \delta_{a_i a_j} \quad \text{(standard)}, \qquad
        E = -\sum_{\langle ij \rangle} J \cos\frac{2\pi (a_i - a_j)}{q} \quad \text{(clock)}, \qquad
        a_i = 0, \dots, q - 1 .

    J > 0 is ferromagnetic; every bond counts once. The field holds q components per site, 1 for the state taken and 0
    for the others. The standard energy is invariant under all permutations of the states (internal symmetry S(n)); that
    of the clock under shifts a → a + k and under a → -a, which for q ≤ 3 are all permutations.

    Two states of the standard model are Ising spins with J/2, up to a constant: δ = (1 + s s')/2. The clock of two
    states is the Ising model with J, that of three the standard model with 3J/2, that of four two Ising models
    with J/2.
    The square lattice orders at kT = J / ln(1 + √q), continuously for q ≤ 4 (standard).

    Parameters
    ----------
    lattice: any, periodic or open.
    q: number of states, 2 to 127.
    J: coupling of nearest neighbours, or a tuple with one coupling for every neighbour shell from the first.
    kind: "standard" or "clock".

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.Potts(ns.lattices.triangular(3), q=3, J=-1.0)
    >>> three = torch.tensor([0, 2, 1, 1, 0, 2, 2, 1, 0], dtype=torch.int8)  # every triangle holds all three states
    >>> float(model.energy(three)), float(model.energy(0 * three))  # no frustration, against 3 |J| per site
    (0.0, 27.0)

    References
    ----------
    R. B. Potts, Proc. Camb. Phil. Soc. 48, 106 (1952); F. Y. Wu, Rev. Mod. Phys. 54, 235 (1982).
    """

    def __init__(
        self, lattice: Lattice, q: int, *, J: Coupling = 1.0, kind: Literal["standard", "clock"] = "standard"
    ) -> None:
        self.q = q = integer(q, "q", least=2, most=127)
        choice(kind, "kind", ("standard", "clock"))
        self.J, self.kind = _couplings(J), kind
        metric = torch.eye(q, dtype=torch.float64)
        field_type = potts(q)
        if kind == "clock":
            step = torch.arange(q, dtype=torch.float64)
            metric = torch.cos(2 * torch.pi / q * (step[:, None] - step))
            if q > 3:
                field_type = FieldType("p", ("trivial",) * q, values="one-hot")
        super().__init__(lattice, field_type, torch.eye(q), metric, _shell_bonds(lattice, J))
