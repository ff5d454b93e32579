"""What every electron solver takes and gives."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Electrons:
    """Non-interacting electrons in thermal equilibrium; every energy counts all ``degeneracy`` copies.

    ``rho`` holds ρ_ab = ⟨c_b† c_a⟩ of one copy at the requested positions ``(*batch, element)``; all others are
    ``(*batch,)``.
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
        """Solve a Hermitian matrix ``(*batch, orbital, orbital)``; ρ is returned at the positions ``(rows, columns)``.

        Hermiticity is the caller's promise and is not tested here; ``Hamiltonian.check`` proves it for a model.
        """


def check_matrix(matrix: Tensor) -> Tensor:
    """Refuse what is not a batch of finite square matrices: eigensolvers report it late and say little."""
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.shape[-1] == 0:
        raise ValueError(f"A solver takes matrices of shape (*batch, orbital, orbital), got {tuple(matrix.shape)}.")
    if not bool(torch.isfinite(matrix).all()):
        bad = int((~torch.isfinite(matrix)).sum())
        raise ValueError(
            f"The matrix holds {bad} NaN or infinite elements; look for them in the field it was made from."
        )
    return matrix
