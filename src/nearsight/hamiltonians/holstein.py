"""Electrons coupled to a local breathing mode."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import boolean, integer, number
from nearsight.fields import scalar
from nearsight.hamiltonians.classical_model import Coupling, _couplings
from nearsight.hamiltonians.hamiltonian import Hamiltonian
from nearsight.hamiltonians.hopping import checked_twist, dense, shell_hopping_elements
from nearsight.hamiltonians.reduction import Reduction
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice


class Holstein(Hamiltonian):
    r"""The semiclassical Holstein model: one real displacement Q_i per site, treated as a classical variable.

    .. math::
        \mathcal H = -\sum_s t_s \sum_{\langle ij \rangle_s} (c_i^\dagger c_j + \mathrm{h.c.})
                     - g \sum_i Q_i \left(n_i - \tfrac{1}{2}\right),
        \qquad
        V = \frac{k}{2} \sum_i Q_i^2 + \kappa \sum_{\langle ij \rangle} Q_i Q_j .

    Every bond ⟨ij⟩ counts once. The force of the electrons is F_i = g(⟨n_i⟩ - ½), the elastic force
    -kQ_i - κ Σ_j Q_j. With nearest-neighbour hopping on a bipartite lattice the particle-hole
    transformation c_i → (-1)^i c_i† makes the energy even in Q and ⟨n_i⟩ → 1 - ⟨n_i⟩ under Q → -Q.

    Parameters
    ----------
    lattice: any lattice.
    t: hopping of nearest neighbours, the unit of energy in the papers; or one amplitude for every neighbour shell from
        the first.
    g: electron-lattice coupling (energy per length).
    k, kappa: on-site spring constant and nearest-neighbour elastic coupling. The thesis gives them in units of g:
        k = 0.67 g, κ = 0.12 g.
    spins: 1 for spinless electrons, 2 for electrons with spin; energies and densities then count both.
    symmetric: couple Q to n - ½ per spin (default) or to n, which only shifts Q.
    twist: phase θ picked up across each periodic boundary, in radians per axis (π: antiperiodic); open boundaries are a
        property of the lattice.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(4)
    >>> model = ns.hamiltonians.Holstein(lattice, g=1.5)
    >>> wave = torch.tensor((-1.0) ** lattice.cells.sum(1))[:, None]  # Q = 1 and -1 in a checkerboard
    >>> levels = torch.linalg.eigvalsh(model.matrix(wave))
    >>> round(float(levels[8] - levels[7]), 6)  # the charge-density wave has a gap of 2 g |Q|
    3.0

    References
    ----------
    T. Holstein, Ann. Phys. 8, 325 (1959); P. Zhang, S. Zhang, G.-W. Chern, arXiv:2201.00798, sec. IV.
    """

    components = 1
    site_orbitals = 1
    classical_parameters = ("k", "kappa")

    def __init__(
        self,
        lattice: Lattice,
        *,
        t: Coupling = 1.0,
        g: float = 1.5,
        k: float = 1.0,
        kappa: float = 0.18,
        spins: int = 1,
        symmetric: bool = True,
        twist: tuple[float, ...] | None = None,
    ) -> None:
        self.lattice = checked_lattice(lattice)
        self.field_type = scalar()
        shells = _couplings(t, "t")
        self.t = shells[0] if len(shells) == 1 else shells
        self.g, self.k, self.kappa = number(g, "g"), number(k, "k"), number(kappa, "kappa")
        self.spins = self.degeneracy = integer(spins, "spins, 1 (spinless) or 2,", least=1, most=2)
        self.symmetric, self.twist = boolean(symmetric, "symmetric"), checked_twist(lattice, twist)
        self.bonds, *_ = [lattice.bonds(shell) for shell in range(1, len(shells) + 1)]  # refuses one that is not there
        self._ends = torch.from_numpy(np.stack([self.bonds.i, self.bonds.j]))
        self.rows = self.columns = torch.arange(lattice.n_sites)

    @cached_property
    def constant_elements(self) -> tuple[Tensor, Tensor, Tensor]:
        """The hopping. Built when first asked for: the springs of a lattice of 10⁶ sites need none."""
        return shell_hopping_elements(self.lattice, _couplings(self.t, "t"), twist=self.twist)

    @cached_property
    def constant(self) -> Tensor:  # type: ignore[override]
        """The dense hopping matrix, built for solvers of dense matrices only."""
        return dense(*self.constant_elements, self.orbitals)

    def coupling(self, field: Tensor) -> Tensor:
        return -self.g * field[..., 0]

    def background_energy(self, field: Tensor) -> Tensor:
        filling = 0.5 * self.degeneracy if self.symmetric else 0.0
        return self.g * filling * field.sum(dim=(-2, -1))

    def classical_energy(self, field: Tensor) -> Tensor:
        q = field[..., 0]
        if self._ends.device != q.device:
            self._ends = self._ends.to(q.device)
        # index_select, because the backward pass of advanced indexing sorts.
        pairs = (q.index_select(-1, self._ends[0]) * q.index_select(-1, self._ends[1])).sum(-1)
        return 0.5 * self.k * (q * q).sum(-1) + self.kappa * pairs

    def density(self, electron_force: Tensor) -> Tensor:
        """⟨n_i⟩ ``(*batch, site)`` from the electrons' force: F/g, plus ½ per spin with the symmetric coupling."""
        if self.g == 0:
            raise ValueError("At g = 0 the force carries no density; use the solver's density matrix.")
        return electron_force[..., 0] / self.g + (0.5 * self.degeneracy if self.symmetric else 0.0)

    def reduction(self, *, mu: float, kT: float) -> Reduction | None:
        r"""All electrons at fixed μ from those with t = g = spins = 1 and μ = 0 at the temperature kT/t.

        Levels are those of hopping and potential, and coupling and chemical potential are one potential, so that

        .. math:: -\sum_i (g Q_i + \mu)\, n_i + \frac{g}{2} \sum_i Q_i
                  = -\sum_i v_i\, (n_i - \tfrac12) - \frac{\mu N}{2} \quad\text{with}\quad v = g Q + \mu, \qquad
                  \Omega(Q; t, g, \mu, kT) = \mathrm{spins} \left[ t\, \hat\Omega(v/t;\, kT/t) - \mu N / 2 \right] .

        One function of one temperature serves every g, μ and t, and is even in v on bipartite lattices, away from half
        filling, too. For the symmetric coupling and one hopping t > 0; else None.
        """
        if not self.symmetric or isinstance(self.t, tuple) or self.t <= 0:
            return None
        constant = -0.5 * self.degeneracy * mu
        return Reduction(self.g / self.t, mu / self.t, self.degeneracy * self.t, constant, {"kT": kT / self.t})
