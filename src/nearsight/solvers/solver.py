"""What every electron solver takes and gives."""

from __future__ import annotations

import abc
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Electrons:
    """Non-interacting electrons in thermal equilibrium; every energy counts all ``degeneracy`` copies.

    ``rho`` holds ρ_ab = ⟨c_b† c_a⟩ of one copy at the requested positions ``(*batch, element)``; the rest is ``(*batch,)``.
    ``potential`` is the one whose gradient is the force: the free energy F = Ω + μN at fixed number, Ω at fixed μ.
    """

    rho: Tensor
    mu: Tensor
    number: Tensor
    energy: Tensor
    free_energy: Tensor
    grand_potential: Tensor
    potential: Tensor


class Solver(abc.ABC):
    """Equilibrium of non-interacting electrons. A solver sees matrices, never models."""

    @abc.abstractmethod
    def solve(self, matrix: Tensor, rows: Tensor, columns: Tensor, *, degeneracy: int = 1) -> Electrons:
        """Solve a Hermitian matrix ``(*batch, orbital, orbital)``; ρ is returned at the positions ``(rows, columns)``."""
