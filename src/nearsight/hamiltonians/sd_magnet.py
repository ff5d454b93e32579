"""Itinerant magnets: electrons that see a classical spin on every site."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import boolean, choice, number
from nearsight.fields import check_field, spin
from nearsight.hamiltonians.classical_model import Coupling, _couplings
from nearsight.hamiltonians.hamiltonian import Hamiltonian
from nearsight.hamiltonians.hopping import checked_twist, dense, hopping_elements
from nearsight.hamiltonians.pair_functions import PairFunction, revived_coupling
from nearsight.hamiltonians.spin_energy import SpinEnergy
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice


class FieldError(NamedTuple):
    """Of the fields H_i ``(*batch,)``: of one ``component``, and of the ``vector``.

    :meth:`SDModel.force_error` returns it.
    """

    component: Tensor
    vector: Tensor


class SDModel(Hamiltonian):
    r"""The s-d model (Kondo lattice with classical spins, double exchange): electrons in a field of local moments,

    .. math::
        \mathcal H = -\sum_s t_s \sum_{\langle ij \rangle_s} \sum_\alpha
                     (c_{i\alpha}^\dagger c_{j\alpha} + \mathrm{h.c.})
                     - J_\sigma \sum_i \mathbf S_i \cdot c_i^\dagger \boldsymbol\sigma\, c_i ,
        \qquad
        V = -\sum_{\langle ij \rangle} I_{ij}\, \mathbf S_i \cdot \mathbf S_j
            - K \sum_i (\mathbf S_i \cdot \mathbf n)^2 - \mathbf B \cdot \sum_i \mathbf S_i
            + \frac{k}{2} \sum_i |\mathbf S_i|^2 .

    Every bond of neighbour shell s counts once. The sign of J only reverses the spins of the electrons; the sign of t
    matters off bipartite lattices. The effective field of the electrons is

    .. math::
        \mathbf H_i = -\frac{\partial \Omega}{\partial \mathbf S_i}
                    = J_\sigma \langle c_i^\dagger \boldsymbol\sigma\, c_i \rangle ,

    and B acts on the local moments alone. A common rotation of all spins leaves the electrons' energy alone, and so
    does their reversal unless a twist has a handedness; ``field_type`` is this law, that of the electrons, which is
    what a model learns. K and B break it in the classical part, which is exact and local.

    Spins may have any length: half steps of integrators leave the sphere, and with ``unit=False`` the length is a
    variable (spin density waves). :meth:`normalised` refuses a spin without direction.

    Orbital 2i is the electron with spin up on site i, 2i + 1 that with spin down; matrices are complex.

    Parameters
    ----------
    lattice: any, periodic or open.
    t: hopping of nearest neighbours, or a tuple with one amplitude for every neighbour shell from the first:
        ``t=(1.0, 0.0, -0.85)`` has t₁ and t₃; or a function of distance such as :class:`Exponential`, which point
        clouds need. It enters with a minus sign, too: the amplitude of c_i† c_j is -t(R_ij).
    J: exchange of a local moment with the electron at its site, an energy.
    pauli: couple to the Pauli matrices, J_σ = J (default); False couples to the electron's spin s = σ/2, J_σ = J/2.
    exchange: direct exchange I of the moments, one number, one for every neighbour shell, or a function of distance;
        positive is ferromagnetic.
    K, axis: uniaxial anisotropy and its axis n; K > 0 is an easy axis.
    B: magnetic field on the moments, three components, or one number along z.
    k: stiffness of the length of spins with ``unit=False``.
    unit: whether the spins have length 1.
    twist: phase θ picked up across each periodic boundary, in radians per axis (π: antiperiodic).

    Electrons without a dense matrix, for lattices of a thousand sites and more: ``solvers.Poles``.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(4)
    >>> model = ns.hamiltonians.SDModel(lattice, t=1.0, J=6.0)
    >>> antiferromagnet = torch.zeros(16, 3).double()
    >>> antiferromagnet[:, 2] = torch.tensor((-1.0) ** lattice.cells.sum(1))
    >>> levels = torch.linalg.eigvalsh(model.matrix(antiferromagnet))
    >>> round(float(levels[16] - levels[15]), 6)  # a gap of 2J at half filling
    12.0

    References
    ----------
    S. Zhang, PhD thesis (University of Virginia, 2024), ch. 3; R. Ozawa, S. Hayami, Y. Motome, Phys. Rev. Lett. 118,
    147205 (2017), the triangular magnet.
    """

    components = 3
    site_orbitals = 2
    _parts: ClassVar = Hamiltonian._parts | {"t": revived_coupling, "exchange": revived_coupling}

    def __init__(
        self,
        lattice: Lattice,
        *,
        t: Coupling | PairFunction = 1.0,
        J: float = 6.0,
        pauli: bool = True,
        exchange: Coupling | PairFunction = 0.0,
        K: float = 0.0,
        axis: Sequence[float] = (0.0, 0.0, 1.0),
        B: float | Sequence[float] = 0.0,
        k: float = 0.0,
        unit: bool = True,
        twist: tuple[float, ...] | None = None,
    ) -> None:
        checked_lattice(lattice)
        self.t: tuple[float, ...] | PairFunction = t if isinstance(t, PairFunction) else _couplings(t, "t")
        self.J, self.k = number(J, "J"), number(k, "k")
        self.pauli, self.unit = boolean(pauli, "pauli"), boolean(unit, "unit")
        if self.k and self.unit:
            raise ValueError("The stiffness k acts on the length of spins, which unit=True keeps at 1; set unit=False.")
        self.lattice, self.twist = lattice, checked_twist(lattice, twist)
        self.spin_energy = e = SpinEnergy(lattice, J=exchange, K=K, axis=axis, B=B)
        self.exchange, self.K, self.axis, self.B = e.J, e.K, e.axis, e.B
        if isinstance(self.t, tuple) and (any(self.t) or not lattice.disordered):
            for shell in range(1, len(self.t) + 1):
                lattice.bonds(shell)  # refuses a shell that does not exist
        handed = self.twist is not None and bool(np.any(np.abs(np.sin(self.twist)) > 1e-12))
        self.field_type = spin(unit=unit, time_reversal=not handed)
        up, down = 2 * torch.arange(lattice.n_sites), 2 * torch.arange(lattice.n_sites) + 1
        self.rows = torch.stack([up, down, up, down], dim=1).reshape(-1)
        self.columns = torch.stack([up, down, down, up], dim=1).reshape(-1)

    @property
    def J_sigma(self) -> float:
        """The coupling to the Pauli matrices, in front of S·c†σc."""
        return self.J if self.pauli else 0.5 * self.J

    @cached_property
    def constant_elements(self) -> tuple[Tensor, Tensor, Tensor]:
        """The hopping, the same for both spins."""
        if isinstance(self.t, PairFunction):
            coupled = [self.t.bonds(self.lattice)]
        else:
            coupled = [(self.lattice.bonds(s), np.asarray(t)) for s, t in enumerate(self.t, start=1) if t]
        shells = [hopping_elements(self.lattice, bonds, -t, twist=self.twist) for bonds, t in coupled]
        if not shells:
            nowhere = torch.zeros(0, dtype=torch.long)
            return nowhere, nowhere, torch.zeros(0, dtype=torch.complex128)
        rows, columns, values = (torch.cat(x) for x in zip(*shells, strict=True))
        both = torch.arange(2)[:, None]
        return (2 * rows + both).reshape(-1), (2 * columns + both).reshape(-1), values.to(torch.complex128).repeat(2)

    @cached_property
    def constant(self) -> Tensor:  # type: ignore[override]
        """The dense hopping matrix: 340 MB for 48 × 48 sites, and built for solvers of dense matrices only."""
        return dense(*self.constant_elements, self.orbitals)

    def coupling(self, field: Tensor) -> Tensor:
        x, y, z = (-self.J_sigma * field).unbind(-1)
        zero = torch.zeros_like(z)
        real = torch.stack([z, -z, x, x], dim=-1)
        imaginary = torch.stack([zero, zero, -y, y], dim=-1)
        return torch.complex(real, imaginary).flatten(-2)

    def classical_energy(self, field: Tensor) -> Tensor:
        energy = self.spin_energy(field)
        return energy + 0.5 * self.k * field.square().sum((-2, -1)) if self.k else energy

    def spin_density(self, electron_force: Tensor) -> Tensor:
        """⟨c_i† σ c_i⟩ ``(*batch, site, 3)`` from the electrons' field H_i, twice the mean spin of the electrons."""
        if self.J == 0:
            raise ValueError("At J = 0 the field carries no spin density; use the solver's density matrix.")
        return electron_force / self.J_sigma

    def force_error(self, error: Tensor, kind: str = "bound") -> FieldError:
        r"""What an ``error`` ε of elements of ρ ``(*batch,)`` makes of H_i, ``Electrons.error`` and ``.error_kind``.

        With :math:`\mathbf H_i = J_\sigma (2\,\mathrm{Re}\,\rho_{\downarrow\uparrow},
        2\,\mathrm{Im}\,\rho_{\downarrow\uparrow}, \rho_{\uparrow\uparrow} - \rho_{\downarrow\downarrow})` every
        component takes two elements, so that an error of ε in each of them moves it by up to 2 |J_σ| ε. The transverse
        components share one complex element, which leaves

        .. math:: |\delta \mathbf H_i|^2 = J_\sigma^2 \left[ 4 |\delta\rho_{\downarrow\uparrow}|^2
                  + (\delta\rho_{\uparrow\uparrow} - \delta\rho_{\downarrow\downarrow})^2 \right]
                  \le 2 J_\sigma^2 \sum_{\alpha\beta} |\delta\rho_{i\alpha\beta}|^2 \le 8 J_\sigma^2 \epsilon^2 .

        For a ``bound`` these hold at every site. Otherwise ε is the root mean square over the four elements of all
        sites, and 2√2 |J_σ| ε that of the vectors, hence √(8/3) |J_σ| ε that of all components. Attained if the errors
        of ρ↑↑ and ρ↓↓ are opposite; of independent errors two thirds to nine tenths come about.
        """
        choice(kind, "kind", ("bound", "rms", "95 %"))
        component = 2.0 if kind == "bound" else math.sqrt(8 / 3)
        J = abs(self.J_sigma)
        return FieldError(component * J * error, 2 * math.sqrt(2) * J * error)

    def normalised(self, field: Tensor) -> Tensor:
        """Spins of length 1 along ``field`` ``(*batch, site, 3)``; ``ValueError`` for a spin that has no direction."""
        check_field(field, self.lattice.n_sites, self.components, finite=True)
        length = field.norm(dim=-1, keepdim=True)
        if bool((length == 0).any()):
            where = tuple(torch.nonzero(length.squeeze(-1) == 0)[0].tolist())
            raise ValueError(f"The spin at {where} has length 0, and so no direction; give it one before normalising.")
        return field / length


def double_exchange(lattice: Lattice, *, t: float = 1.0, J: float = 6.0, **options: Any) -> SDModel:
    """Nearest-neighbour hopping and a strong coupling J_σ = J, the double-exchange magnet of the square lattice.

    At half filling (μ = 0 exactly on a bipartite lattice) antiferromagnetic with a gap of about 2J; away from it
    ferromagnetic metal and antiferromagnet separate. ``options`` are those of :class:`SDModel`.
    """
    return SDModel(lattice, t=t, J=J, **options)


def skyrmion_magnet(lattice: Lattice, *, B: float = 0.005, **options: Any) -> SDModel:
    r"""The triangular magnet with t₁ = 1, t₃ = -0.85 and J_σ = ½, to be solved at μ = -3.5.

    The Fermi surface nests at Q = (π/3, 0) and its rotations: the ground state is a lattice of skyrmions with Q, of
    charge 2 per magnetic cell at B = 0 and 1 at B = 0.005, commensurate with L a multiple of 12. The hopping enters
    as -t and the exchange as J = 1 times the electron's spin σ/2; with the opposite sign, or with J_σ = 1, this filling
    has no skyrmions.
    """
    checked_lattice(lattice)
    if lattice.dim != 2 or lattice.n_basis != 1 or not _triangular(lattice.vectors):
        raise ValueError(f"The parameters are those of the triangular lattice, not of {lattice!r}.")
    return SDModel(lattice, **{"t": (1.0, 0.0, -0.85), "J": 1.0, "pauli": False, "B": B, **options})


def _triangular(vectors: np.ndarray) -> bool:
    """Whether two vectors of equal length enclose 60 degrees."""
    metric = vectors @ vectors.T / (vectors[0] @ vectors[0])
    return bool(np.allclose(metric, [[1.0, 0.5], [0.5, 1.0]], atol=1e-6))
