"""Ising spins, with equal couplings or with quenched ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import array, choice, integer, number
from nearsight.fields import FieldType, ising
from nearsight.hamiltonians.classical_model import ClassicalModel, Coupling, _couplings, _shell_bonds
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice

VALUES = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
"""State 0 is s = -1, state 1 is s = +1."""


class Ising(ClassicalModel):
    r"""Ising model on any lattice,

    .. math:: E = -\sum_k J_k \sum_{\langle ij \rangle_k} s_i s_j - h \sum_i s_i, \qquad s_i = \pm 1 .

    J > 0 is ferromagnetic; every bond counts once. State 0 is s = -1, state 1 is s = +1. At h = 0 the energy is even
    under s → -s (internal symmetry Z2); on a bipartite lattice with nearest neighbours alone, reversing one sublattice
    turns J into -J.

    Exact results: ``nearsight.sampling`` (square torus of any size, infinite lattices, enumeration).

    Parameters
    ----------
    lattice: any, periodic or open.
    J: coupling of nearest neighbours, or a tuple with one coupling for every neighbour shell from the first.
    h: field.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.Ising(ns.lattices.square(4))
    >>> up = torch.ones(16, dtype=torch.int8)
    >>> float(model.energy(up)), float(model.energy_change(up, site=5, new=0))  # -2J a site; a flip breaks four bonds
    (-32.0, 8.0)

    References
    ----------
    L. Onsager, Phys. Rev. 65, 117 (1944).
    """

    def __init__(self, lattice: Lattice, *, J: Coupling = 1.0, h: float = 0.0) -> None:
        self.J, self.h = _couplings(J), number(h, "h")
        field_type = ising() if self.h == 0 else FieldType("s", values="+-1")
        super().__init__(lattice, field_type, VALUES, torch.eye(1), _shell_bonds(lattice, J))

    def site_energy(self, field: Tensor) -> Tensor:
        return -self.h * field[..., 0]


class EdwardsAnderson(ClassicalModel):
    r"""Ising spins with quenched random couplings of nearest neighbours,

    .. math:: E = -\sum_{\langle ij \rangle} J_{ij}\, s_i s_j, \qquad s_i = \pm 1 .

    A sample is its couplings, one for each of ``lattice.bonds(1)`` in that order; drawn from ``seed``, they are the
    same on every machine. The energy is even under s → -s and invariant under the gauge transformation s_i → ε_i s_i,
    J_ij → ε_i ε_j J_ij with any signs ε; the lattice has no symmetry left.

    Parameters
    ----------
    lattice: any, periodic or open.
    couplings: J_ij of every bond; or None, to draw them.
    distribution: "gaussian", mean 0 and standard deviation J, or "+-J", both signs equally likely.
    J: scale of the couplings drawn, > 0.
    seed: whole number that names the sample.

    Examples
    --------
    >>> import nearsight as ns
    >>> import numpy as np
    >>> import torch
    >>> lattice, sign = ns.lattices.square(4), np.resize([1, -1, -1], 16)
    >>> bonds = lattice.bonds(1)
    >>> sample = ns.hamiltonians.EdwardsAnderson(lattice, sign[bonds.i] * sign[bonds.j])  # a ferromagnet in disguise
    >>> float(sample.energy(torch.tensor(sign > 0).to(torch.int8)))  # no bond of its ground state is frustrated
    -32.0

    References
    ----------
    S. F. Edwards, P. W. Anderson, J. Phys. F 5, 965 (1975).
    """

    disordered = True

    def __init__(
        self,
        lattice: Lattice,
        couplings: Sequence[float] | np.ndarray | None = None,
        *,
        distribution: Literal["gaussian", "+-J"] = "gaussian",
        J: float = 1.0,
        seed: int | None = None,
    ) -> None:
        bonds = checked_lattice(lattice).bonds(1)
        if (couplings is None) == (seed is None):
            raise ValueError("Pass either couplings, one for every bond, or seed= to draw them.")
        choice(distribution, "distribution", ("gaussian", "+-J"))
        self.distribution = distribution
        self.J = number(J, "J, the scale of the couplings,", above=0)
        self.seed = seed = None if seed is None else integer(seed, "seed", least=0)
        if couplings is None:
            rng = np.random.default_rng(seed)
            signs_or_normals = (
                rng.standard_normal(len(bonds)) if distribution == "gaussian" else rng.choice((-1.0, 1.0), len(bonds))
            )
            self.couplings = self.J * signs_or_normals
        else:
            self.couplings = array(couplings, "couplings, one for each of lattice.bonds(1),", (len(bonds),))
        self.couplings.setflags(write=False)
        super().__init__(lattice, ising(), VALUES, torch.eye(1), (bonds.i, bonds.j, self.couplings))

    def on(self, lattice: Lattice) -> Self:
        """The sample that the same seed draws on another lattice: other couplings, from the same distribution."""
        if self.seed is None:
            raise ValueError("Given couplings belong to one lattice; draw a sample with seed= to have one on another.")
        return super().on(lattice)

    @property
    def arguments(self) -> dict[str, Any]:
        """Either the couplings or the seed that drew them."""
        return super().arguments | ({} if self.seed is None else {"couplings": None})
