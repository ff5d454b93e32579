"""The spectrum of a sparse matrix without its diagonalisation: its ends, and its shape."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nearsight._validation import instance, integer
from nearsight.solvers.sparse import SparseMatrix

STEPS = 40
"""Ends of the spectrum are then known to a fraction of a per cent of its width."""

SMALL = 96
"""Matrices up to this size are diagonalised: that is no dearer."""


class Spectrum(NamedTuple):
    """``lowest`` and ``highest`` ``(*batch,)`` enclose all levels; levels ``energy`` with weights ``weight``
    ``(*batch, level)``, which add up to 1, have the density of states of the matrix up to the noise of a few random
    vectors.

    :func:`spectrum` returns it.
    """

    lowest: Tensor
    highest: Tensor
    energy: Tensor
    weight: Tensor


def spectrum(matrix: SparseMatrix, *, vectors: int = 1) -> Spectrum:
    """Ends and density of states of Hermitian matrices, from ``vectors`` random ones.

    The ends are those of Gershgorin's discs where they are closer, and of Lanczos' otherwise: the extremal Ritz values,
    moved outwards by their residuals. Always the same random vectors, so that equal matrices have equal answers.

    References
    ----------
    L. Lin, Y. Saad, C. Yang, SIAM Rev. 58, 34 (2016).
    """
    instance(matrix, SparseMatrix, "matrix", "Pass SparseMatrix.of(matrix).").check()
    vectors = integer(vectors, "vectors", least=1)
    if matrix.size <= SMALL:
        levels = torch.linalg.eigvalsh(matrix.dense())
        return Spectrum(levels[..., 0], levels[..., -1], levels, torch.full_like(levels, 1 / matrix.size))
    batch = matrix.values.shape[:-1]
    values = matrix.values.reshape(-1, matrix.values.shape[-1])
    theta, weight, residual = _ritz(matrix, values, vectors)
    diagonal = matrix.diagonal().reshape(len(values), -1)
    rows = matrix.pattern.rows.to(values.device)
    radius = torch.zeros_like(diagonal).index_add(-1, rows, values.abs()) - diagonal.abs()
    discs = (diagonal - radius).amin(-1), (diagonal + radius).amax(-1)
    lowest = torch.maximum((theta - residual).flatten(1).amin(-1), discs[0])
    highest = torch.minimum((theta + residual).flatten(1).amax(-1), discs[1])
    return Spectrum(
        lowest.reshape(batch),
        highest.reshape(batch),
        theta.reshape(*batch, -1),
        (weight / vectors).reshape(*batch, -1),
    )


def _ritz(matrix: SparseMatrix, values: Tensor, vectors: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ritz values, their weights in the first vector, and residuals, ``(replica, vector, step)`` each."""
    rows, columns = (x.to(values.device) for x in (matrix.pattern.rows, matrix.pattern.columns))
    by_element = values.mT[:, :, None]

    def apply(x: Tensor) -> Tensor:
        return torch.zeros_like(x).index_add_(0, rows, by_element * x[columns])

    n, replicas, steps = matrix.size, len(values), min(STEPS, matrix.size)
    rng = torch.Generator().manual_seed(0)
    v = torch.randn(n, 1, vectors, generator=rng, dtype=torch.float64).to(values).expand(n, replicas, vectors)
    basis = (v / torch.linalg.vector_norm(v, dim=0)).unsqueeze(0)
    alpha, beta = [], []
    for step in range(steps):
        w = apply(basis[-1])
        alpha.append((basis[-1].conj() * w).sum(0).real)
        for _ in range(2):  # twice is enough to keep the basis orthogonal
            w = w - (basis * (basis.conj() * w).sum(1, keepdim=True)).sum(0)
        norm = torch.linalg.vector_norm(w, dim=0)
        beta.append(norm)
        if step + 1 < steps:
            # A vector of norm zero has explored all that it can reach: its further levels get no weight.
            basis = torch.cat([basis, (w / norm.clamp_min(1e-300) * (norm > 1e-10)).unsqueeze(0)])
    T = torch.diag_embed(torch.stack(alpha, -1))
    off = torch.stack(beta[:-1], -1) * (torch.stack(beta[:-1], -1) > 1e-10)
    T = T + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    theta, s = torch.linalg.eigh(T)
    return theta, s[..., 0, :].square(), beta[-1][..., None] * s[..., -1, :].abs()
