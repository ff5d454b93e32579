"""Quadratic electrons in a classical field."""

from __future__ import annotations

import abc
import math
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._machine import check_dense
from nearsight.fields import FieldType, check_field
from nearsight.lattices import Lattice, site_group, site_permutations, torus_group

if TYPE_CHECKING:
    from nearsight.hamiltonians._spin_kernels import SpinTables
    from nearsight.hamiltonians.reduction import Reduction


class Hamiltonian(Described, abc.ABC):
    r"""A model whose electrons are non-interacting in any given classical field Φ,

    .. math:: \mathcal H = \sum_{ab} h_{ab}(\Phi)\, c_a^\dagger c_b + B(\Phi) + V(\Phi).

    The matrix is a constant part (the hopping) plus ``coupling`` values at fixed positions ``(rows, columns)``, so that
    a solver needs to return the density matrix at those positions only, and forces cost no more than the coupling does:

    .. math:: -\frac{\partial \Omega}{\partial \Phi} = -\sum_{ab} \rho_{ba}\, \frac{\partial h_{ab}}{\partial \Phi}
              - \frac{\partial B}{\partial \Phi} .

    ρ makes the thermodynamic potential stationary at fixed h, so only the explicit dependence of h on Φ contributes
    (Hellmann-Feynman), at any temperature and for fixed μ as well as for fixed number of electrons.

    ``B`` (:meth:`background_energy`) is the c-number part of the coupling, V (:meth:`classical_energy`) the energy of
    the field alone. ``degeneracy`` counts identical copies of the electrons (2 for a spin that does not enter h).
    """

    _parts: ClassVar = {"lattice": Lattice.from_config}

    lattice: Lattice
    field_type: FieldType
    components: int
    degeneracy: int = 1
    site_orbitals: ClassVar[int | None] = None
    """Orbitals of every site. A model that builds its matrix when first asked for states them: learned forces move
    lattices whose matrix fits into no memory."""
    constant: Tensor
    """Field-independent part of the matrix ``(orbital, orbital)``, float64 or complex128."""
    rows: Tensor
    columns: Tensor
    """Positions of the field-dependent elements ``(element,)``; both (a, b) and (b, a) are listed if a ≠ b. A position
    may be listed several times: its elements add up."""

    @abc.abstractmethod
    def coupling(self, field: Tensor) -> Tensor:
        """Field-dependent matrix elements ``(*batch, element)``, differentiable in the field."""

    def background_energy(self, field: Tensor) -> Tensor:
        """B(Φ) ``(*batch,)``: what the coupling contributes without electrons; zero unless a model overrides it."""
        return 0.0 * field.sum(dim=(-2, -1))  # differentiable, unlike a new zero

    def classical_energy(self, field: Tensor) -> Tensor:
        """V(Φ) ``(*batch,)``: the energy of the field without electrons; zero unless a model overrides it."""
        return 0.0 * field.sum(dim=(-2, -1))

    @property
    def spin_tables(self) -> SpinTables | None:
        """The terms of the classical energy by site, if it is that of spins with pair couplings and nothing else: its
        fields are then worked out in closed form. None unless a model knows better."""
        return None

    classical_parameters: ClassVar[tuple[str, ...]] = ()
    """Arguments that enter the classical energy alone: exact at any value, with nothing of the electrons to learn."""

    def reduction(self, *, mu: float, kT: float) -> Reduction | None:
        """The electrons at fixed μ by an exact scaling relation from those of fewer parameters, if one is known."""
        return None

    @property
    def orbitals(self) -> int:
        """Size of the matrix, which is not built for it where ``site_orbitals`` is known."""
        return self.constant.shape[-1] if self.site_orbitals is None else self.site_orbitals * self.lattice.n_sites

    def matrix(self, field: Tensor) -> Tensor:
        """h(Φ) as a dense Hermitian matrix ``(*batch, orbital, orbital)``."""
        check_field(field, self.lattice.n_sites, self.components, finite=True)
        n, batch = self.orbitals, field.shape[:-2]
        check_dense(n, math.prod(batch), torch.float64, field.device)  # whether it is complex, only the matrix tells
        constant = self.constant.to(field.device)
        check_dense(n, math.prod(batch), constant.dtype, field.device)
        # Added, not assigned: on a torus two cells wide one element collects the coupling of two bonds.
        flat = constant.reshape(-1).expand(*batch, n * n)
        positions = (self.rows * n + self.columns).to(field.device)
        values = self.coupling(field.double()).to(constant.dtype)
        return flat.index_add(-1, positions, values).reshape(*batch, n, n)

    # --- the same matrix, listed: what a solver of large sparse matrices is given ------------------------------------

    @cached_property
    def constant_elements(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, columns and values of what is not zero in ``constant``, ``(element,)`` each.

        A model of thousands of orbitals overrides it, so that no dense matrix is ever built.
        """
        rows, columns = self.constant.nonzero(as_tuple=True)
        return rows, columns, self.constant[rows, columns]

    @cached_property
    def positions(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of all elements that may differ from zero: those of ``constant``, then of the coupling."""
        rows, columns, _ = self.constant_elements
        return torch.cat([rows, self.rows]), torch.cat([columns, self.columns])

    def elements(self, field: Tensor) -> Tensor:
        """h(Φ) at :attr:`positions` ``(*batch, element)``; what is listed several times adds up."""
        check_field(field, self.lattice.n_sites, self.components, finite=True)
        constant = self.constant_elements[2].to(field.device)
        coupling = self.coupling(field.double()).to(constant.dtype)
        return torch.cat([constant.expand(*coupling.shape[:-1], -1), coupling], dim=-1)

    @cached_property
    def cuts(self) -> Tensor:
        """The cell of every orbital along every axis ``(axis, orbital)``.

        Orbitals of one cell along one axis are a layer, which cuts an open lattice in two and of which two cut a torus:
        a hint for solvers that take a matrix apart. Rows are site · orbitals + orbital, unless a model overrides it.
        """
        return torch.from_numpy(self.lattice.cells.T.copy()).repeat_interleave(
            self.orbitals // self.lattice.n_sites, dim=1
        )

    def check(self, rng: torch.Generator, *, tolerance: float = 1e-12) -> None:
        """Prove on a random field that h is Hermitian and that energies are those of the transformed field.

        The spectrum and the energies of the field must be invariant, h(gΦ) = P_g h(Φ) P_g†, under every operation g of
        the site group that fits the torus (none if an axis is open), and the energy of a model without electrons under
        a random internal operation. ``tolerance`` is relative to the size of the terms. Raises an ``ArithmeticError``
        that names the operation that fails; a twist that favours a direction fails, as it should.
        """
        shape = self.lattice.n_sites, self.components
        field = torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(self.classical_energy(field), field)
        field = field.detach()
        scale = 1 + float((slope * field).abs().sum())
        if self.orbitals:
            matrix = self.matrix(field)
            scale += self.orbitals * float(matrix.abs().max())
            if float((matrix - matrix.mH).abs().max()) > tolerance * scale:
                raise ArithmeticError("The matrix is not Hermitian.")
        before = self._invariants(field)
        for operation, image in self._images(field, rng).items():
            for name, value in self._invariants(image).items():
                change = float((value - before[name]).abs().max())
                if change > tolerance * scale:
                    raise ArithmeticError(f"The {name} changes by {change:.1e} under {operation}.")

    def _invariants(self, field: Tensor) -> dict[str, Tensor]:
        found = {"classical energy": self.classical_energy(field), "background energy": self.background_energy(field)}
        return found | ({"spectrum": torch.linalg.eigvalsh(self.matrix(field))} if self.orbitals else {})

    def _images(self, field: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """The field after every operation of :meth:`check`, by name."""
        images = {}
        if not self.orbitals:
            images["the internal operation"] = field @ self.field_type.internal_operation(self.components, rng).T
        if all(self.lattice.periodic):  # type: ignore[arg-type]
            group, torus = site_group(self.lattice), torus_group(self.lattice)
            laws = self.field_type.representation(group)
            for g, permutation in zip(group.indices(torus), site_permutations(self.lattice, torus), strict=True):
                if self._allows(laws[g]):
                    images[f"operation {g}"] = self.field_type.transform(field, group, g, permutation)
        return images

    def _allows(self, law: np.ndarray) -> bool:
        """Whether the parameters are invariant under an operation of the lattice that acts on a site's field so."""
        return True
