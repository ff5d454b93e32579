"""Exact force fields: electrons from a solver, springs from the model."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from nearsight._validation import instance
from nearsight.forcefields.forcefield import ForceField, Forces, SumForceField
from nearsight.forcefields.gradients import _slope, wanted
from nearsight.hamiltonians import Hamiltonian
from nearsight.solvers import Electrons, Pattern, Solver, SparseMatrix

PARTS = {"model": Hamiltonian.from_config, "solver": Solver.from_config}

CHUNK = 2**24
"""Matrix elements diagonalised at once: larger batches are cut, which bounds the memory at no cost in speed."""


class ElectronForceField(ForceField):
    r"""What the electrons do to the field, from the density matrix by Hellmann-Feynman.

    The energy is the free energy at fixed filling (or the grand potential at fixed μ) plus the background of the
    coupling, and the force is minus its gradient, exactly:

    .. math:: F = -\sum_{ab} \rho_{ba}\, \partial h_{ab}/\partial \Phi - \partial B/\partial \Phi .

    Electrons driven out of equilibrium (:class:`nearsight.solvers.NEGF`) exert the same force by their density matrix,
    but it is no gradient, and there is no energy.

    The energy can be differentiated by the field once. Derivatives of the force are the response of the electrons:
    :func:`nearsight.analysis.directional_derivative`.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.Holstein(ns.lattices.square(4))
    >>> electrons = ns.forcefields.ElectronForceField(model, ns.solvers.Dense(kT=0.1, filling=0.5))
    >>> field = torch.randn(16, 1, generator=torch.Generator().manual_seed(1)).double()
    >>> step = torch.zeros_like(field)
    >>> step[3] = 1e-4
    >>> slope = (electrons(field + step).energy - electrons(field - step).energy) / 2e-4
    >>> bool(abs(slope + electrons(field).force[3, 0]) < 1e-6)  # the force is minus the slope of the free energy
    True
    """

    _parts: ClassVar = PARTS

    def __init__(self, model: Hamiltonian, solver: Solver) -> None:
        super().__init__()
        instance(model, Hamiltonian, "model")
        instance(solver, Solver, "solver")
        if solver.orbitals is not None and solver.orbitals * model.lattice.n_sites != model.orbitals:
            raise ValueError(
                f"{type(model).__name__} has {model.orbitals} orbitals on {model.lattice.n_sites} sites, and the "
                f"solver was told of {solver.orbitals} per site: {type(solver).__name__}(..., orbitals=...)."
            )
        self.model, self.solver = model, solver
        self.lattice, self.components, self.field_type = model.lattice, model.components, model.field_type

    @property
    def rng(self) -> torch.Generator | None:
        return self.solver.rng

    @property
    def _follows_time(self) -> bool:  # type: ignore[override]
        return self.solver.driven

    @cached_property
    def _pattern(self) -> Pattern:
        return Pattern(*self.model.positions, self.model.orbitals, self.model.cuts)

    def electrons(self, field: Tensor) -> Electrons:
        """The solver's full answer for one field or a batch; a solver of sparse matrices never sees a dense one.

        Its numbers are not differentiable: the energy of the force field is, by a field that requires a gradient.
        """
        if wanted(field):
            raise ValueError(
                "The electrons of a field that requires a gradient would lose it: take the energy of the force field, "
                "whose gradient is minus its force, or pass field.detach()."
            )
        model = self.model
        matrix = SparseMatrix(self._pattern, model.elements(field)) if self.solver.sparse else model.matrix(field)
        return self.solver.solve(matrix, model.rows, model.columns, degeneracy=model.degeneracy)

    def evaluate(self, field: Tensor) -> Forces:
        if not field.numel():
            none = field.new_zeros(field.shape[:-2]) if self.solver.has_potential else None
            return Forces(torch.zeros_like(field), none)
        flat = field.detach().double().reshape(-1, *field.shape[-2:])
        # Solvers of sparse matrices bound what they hold themselves.
        size = len(flat) if self.solver.sparse else max(1, CHUNK // self.model.orbitals**2)
        pieces = [self._solve(chunk) for chunk in flat.split(size)]
        force = torch.cat([f for f, _ in pieces]).reshape(field.shape).to(field.dtype)
        energies = [e for _, e in pieces if e is not None]
        energy = torch.cat(energies).reshape(field.shape[:-2]).to(field.dtype) if energies else None
        return Forces(force, energy)

    def _solve(self, field: Tensor) -> tuple[Tensor, Tensor | None]:
        answer = self.electrons(field)
        with torch.enable_grad():
            leaf = field.requires_grad_()
            h = self.model.coupling(leaf)
            bound = (h * answer.rho.conj()).real if answer.rho.is_complex() or h.is_complex() else h * answer.rho
            explicit = self.model.degeneracy * bound.sum(-1)
            background = self.model.background_energy(leaf)
            (gradient,) = torch.autograd.grad((explicit + background).sum(), leaf)
        potential = answer.potential
        return -gradient, None if potential is None else potential + background.detach()


class ClassicalForceField(ForceField):
    """The classical energy of a model (springs, exchange, anisotropy) and its gradient.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.Holstein(ns.lattices.square(4), k=1.0, kappa=0.25)
    >>> force, energy = ns.forcefields.ClassicalForceField(model)(torch.ones(16, 1))
    >>> float(force[0, 0]), float(energy)  # -(k + 4κ) Q, and (k/2 + 2κ) Q² per site
    (-2.0, 16.0)
    """

    _parts: ClassVar = PARTS

    def __init__(self, model: Hamiltonian) -> None:
        super().__init__()
        self.model = instance(model, Hamiltonian, "model")
        self.lattice, self.components, self.field_type = model.lattice, model.components, model.field_type

    def evaluate(self, field: Tensor) -> Forces:
        keep = wanted(field)
        tables = None if keep or field.device.type != "cpu" else self.model.spin_tables
        if tables is not None:
            from nearsight.hamiltonians._spin_kernels import spin_forces

            return Forces(*spin_forces(field, tables))
        with torch.enable_grad():
            leaf = field if keep else field.detach().requires_grad_()
            energy = self.model.classical_energy(leaf)
            gradient = _slope(energy, leaf, keep=keep)
        return Forces(-gradient, energy if keep else energy.detach())


class ExactForceField(SumForceField):
    """Electrons and classical energy of a model, exact: what every learned force field is fitted to.

    ``exact.electrons`` and ``exact.classical`` are the two parts; a learned one usually replaces the first and adds
    the second, ``learned = LearnedForceField(...) + exact.classical``.

    Raises ``ValueError`` for a field of the wrong shape or with NaN.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(4)
    >>> model = ns.hamiltonians.Holstein(lattice, t=0.0, g=1.5, k=1.0, kappa=0.0)
    >>> exact = ns.ExactForceField(model, ns.solvers.Dense(kT=0.0, filling=0.5))
    >>> wave = torch.tensor((-1.0) ** lattice.cells.sum(1))[:, None]
    >>> force, energy = exact(0.75 * wave)  # without hopping the charges ±½ balance the springs at |Q| = g/2k
    >>> bool(force.abs().max() < 1e-12), round(float(energy) / 16, 6)  # and gain g²/8k per site
    (True, -0.28125)
    """

    _parts: ClassVar = PARTS

    def __init__(self, model: Hamiltonian, solver: Solver) -> None:
        super().__init__(ElectronForceField(model, solver), ClassicalForceField(model))
        self.model, self.solver = model, solver

    @property
    def electrons(self) -> ElectronForceField:
        return self.parts[0]  # type: ignore[return-value]

    @property
    def classical(self) -> ClassicalForceField:
        return self.parts[1]  # type: ignore[return-value]
