"""Itinerant electrons that feel localised ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from nearsight._validation import integer, number
from nearsight.fields import occupation
from nearsight.hamiltonians.classical_model import _couplings
from nearsight.hamiltonians.hamiltonian import Hamiltonian
from nearsight.hamiltonians.hopping import checked_twist, dense, shell_hopping_elements
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice


class FalicovKimball(Hamiltonian):
    r"""The Falicov-Kimball model: a localised f electron on a site, n_i = 0 or 1, costs an itinerant electron U there.

    .. math::
        \mathcal H = -\sum_k t_k \sum_{\langle ij \rangle_k} (c_i^\dagger c_j + \mathrm{h.c.})
                     + U \sum_i n_i\, c_i^\dagger c_i .

    Every bond counts once. The f electrons have no energy of their own: all they feel of each other is mediated by the
    electrons, and in equilibrium the configuration n has the weight exp(-F(n)/kT), F being the electrons' free energy.
    U → -U with t → -t and filling → 1 - filling is the same physics (c_i → c_i†, apart from a constant U Σ n), and on a
    bipartite lattice the sign of t does not matter. At low temperature and half filling of both kinds the f electrons
    order in a checkerboard; away from it they phase-separate.

    Parameters
    ----------
    lattice: any, periodic or open.
    t: hopping to nearest neighbours, the unit of energy in the papers; or a tuple with one amplitude for every
        neighbour shell from the first.
    U: on-site interaction, of either sign; U = 0 leaves electrons that do not see the field.
    spins: 1 for spinless electrons, 2 for electrons with spin; energies and densities then count both.
    twist: phase θ picked up across each periodic boundary, in radians per axis (π: antiperiodic).

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(4)
    >>> model = ns.hamiltonians.FalicovKimball(lattice, U=2.0)
    >>> checkerboard = torch.tensor(lattice.cells.sum(1) % 2).double()[:, None]
    >>> levels = torch.linalg.eigvalsh(model.matrix(checkerboard))
    >>> round(float(levels[8] - levels[7]), 6)  # ordered ions open a gap of U at half filling
    2.0

    References
    ----------
    L. M. Falicov, J. C. Kimball, Phys. Rev. Lett. 22, 997 (1969); T. Kennedy, E. H. Lieb, Physica A 138, 320 (1986);
    S. Zhang, PhD thesis (University of Virginia, 2024), ch. 2.
    """

    components = 1
    site_orbitals = 1

    def __init__(
        self,
        lattice: Lattice,
        *,
        t: float | Sequence[float] = 1.0,
        U: float = 2.0,
        spins: int = 1,
        twist: tuple[float, ...] | None = None,
    ) -> None:
        checked_lattice(lattice)
        self.t = _couplings(t, "t")
        if not 1 <= len(self.t) <= len(lattice.shell_distances):
            raise ValueError(f"t must give 1 to {len(lattice.shell_distances)} amplitudes, got {len(self.t)}.")
        self.lattice = lattice
        self.field_type = occupation()
        self.U, self.twist = number(U, "U"), checked_twist(lattice, twist)
        self.spins = self.degeneracy = integer(spins, "spins, 1 (spinless) or 2,", least=1, most=2)
        self.rows = self.columns = torch.arange(lattice.n_sites)

    @cached_property
    def constant_elements(self) -> tuple[Tensor, Tensor, Tensor]:
        """The hopping. Built when first asked for: a learned walk on 10⁵ sites needs none."""
        return shell_hopping_elements(self.lattice, self.t, twist=self.twist)

    @cached_property
    def constant(self) -> Tensor:  # type: ignore[override]
        """The dense hopping matrix, built for solvers of dense matrices only."""
        return dense(*self.constant_elements, self.orbitals)

    def coupling(self, field: Tensor) -> Tensor:
        return self.U * field[..., 0]
