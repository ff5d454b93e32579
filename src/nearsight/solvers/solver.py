"""What every electron solver takes and gives."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import integer, number
from nearsight.solvers.sparse import SparseMatrix, _positions

ErrorKind = Literal["bound", "rms", "95 %"]
"""What ``Electrons.error`` says of the requested elements of ρ.

``bound``: none is off by more. ``rms``: their root mean square error is no larger, by the density of states that was
resolved. ``95 %``: their root mean square error is no larger in 95 of 100 draws of the probes.
"""


@dataclass(frozen=True)
class Electrons:
    """Electrons, free or in mean field, in a steady state; every energy counts all ``degeneracy`` copies.

    ``rho`` holds ρ_ab = ⟨c_b† c_a⟩ of one copy at the requested positions ``(*batch, element)``; all others are
    ``(*batch,)``.
    ``potential`` is the one whose gradient is the force: the free energy F = Ω + μN at fixed number, Ω at fixed μ. Out
    of equilibrium, between reservoirs that fill differently, there is neither μ nor potential: ``None``.
    ``error`` ``(*batch,)`` is that of the elements of ρ where a solver approximates; ``None``: rounding alone.
    ``error_kind`` says in which sense (:data:`ErrorKind`): ``bound``, ``rms`` or ``95 %``.

    :meth:`Solver.solve` returns them.
    """

    rho: Tensor
    mu: Tensor | None
    number: Tensor
    energy: Tensor
    free_energy: Tensor | None
    grand_potential: Tensor | None
    potential: Tensor | None
    error: Tensor | None = None
    error_kind: ErrorKind = field(default="bound", kw_only=True)


class Solver(Described, abc.ABC):
    """Steady states of electrons, free or in mean field. A solver sees matrices, never models.

    Every solver takes dense and sparse matrices; ``sparse`` tells which it would rather be given.
    """

    sparse: ClassVar[bool] = False
    rng: torch.Generator | None = None
    """Chance of a solver whose answers are estimates."""
    orbitals: int | None = None
    """Orbitals per site, of a solver that was told about sites."""

    @property
    def has_potential(self) -> bool:
        """Whether the force is the gradient of a potential, as in equilibrium."""
        return True

    @property
    def driven(self) -> bool:
        """Whether something depends on time; ``at_time(time)`` is the solver of that moment."""
        return False

    @abc.abstractmethod
    def solve(self, matrix: Tensor | SparseMatrix, rows: Tensor, columns: Tensor, *, degeneracy: int = 1) -> Electrons:
        """Solve a Hermitian matrix ``(*batch, orbital, orbital)``; ρ is returned at the positions ``(rows, columns)``.

        Hermiticity is the caller's promise and is not tested here; ``Hamiltonian.check`` proves it for a model.
        """


def _check_ensemble(kT: float, filling: float | None, mu: float | None) -> tuple[float, float | None, float | None]:
    """Refuse ensembles that do not exist; kT, filling and mu as plain numbers."""
    filling = None if filling is None else number(filling, "filling (electrons per orbital and spin)", above=0, below=1)
    mu = None if mu is None else number(mu, "mu")
    if (filling is None) == (mu is None):
        raise ValueError("Give either filling= (fixed number of electrons) or mu= (grand canonical), not both.")
    return number(kT, "kT", least=0), filling, mu


def _no_electrons(matrix: SparseMatrix, rows: Tensor) -> Electrons:
    """The answer for an empty batch."""
    batch = matrix.values.shape[:-1]
    none = matrix.values.real.new_zeros(batch, dtype=torch.float64)
    dtype = torch.complex128 if matrix.values.is_complex() else torch.float64
    rho = matrix.values.new_zeros((*batch, len(rows)), dtype=dtype)
    return Electrons(rho, none, none, none, none, none, none, none)


def _check_wanted(rows: Tensor, columns: Tensor, size: int, degeneracy: int) -> tuple[Tensor, Tensor, float]:
    """Positions of ρ within matrices of ``size`` orbitals, and the number of copies as a factor."""
    return *_positions(rows, columns, size), float(integer(degeneracy, "degeneracy", least=1))
