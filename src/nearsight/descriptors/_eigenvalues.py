"""The correlation matrix of a neighbourhood and its sorted eigenvalues, with derivatives where they cross."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nearsight.descriptors._contraction import Contraction, Variables


class Eigenvalues(Contraction):
    r"""Eigenvalues of the correlation matrix, the largest first:

    .. math:: C_{00} = \Phi_0^2, \quad C_{rr} = \frac{\Phi_r^2}{R_r^2}, \quad C_{0r} = \frac{\Phi_0\Phi_r}{R_r^2},
              \quad C_{rs} = \frac{\Phi_r\Phi_s}{R_r R_s R_{rs}},

    where 0 is the centre, :math:`R_r` the distance from it and :math:`R_{rs}` that of two neighbours (Zhang, Zhang,
    Chern 2022, eq. 65). Several components on a site are correlated with those of other sites only.

    C is similar to itself under a change of sign of any single variable, so that **the eigenvalues depend on**
    :math:`\Phi_r^2` **alone**: they describe positive fields (occupations, distortions of one sign), and no others.

    Sorted eigenvalues are Lipschitz continuous in C. They are smooth where they are simple; where m of them meet, each
    has a kink and only symmetric functions of the m are smooth. The gradient of each of them is then defined as the
    gradient of their mean, P/m with the projector P on their common eigenspace. It is finite, transforms with the
    group, and does not depend on the eigenvectors that a library happens to choose. One evaluation diagonalises one
    matrix for every site, about 1 ms for 89 sites.
    """

    smooth = False

    def __init__(self, variables: Variables, eps: float) -> None:
        super().__init__(variables, eps)
        if variables.mixing:
            raise ValueError(
                f"mode='eigenvalues' would depend on the lengths of {variables.field_type.name} alone, because its "
                f"components turn into each other; mode='lifted' keeps their directions."
            )
        if variables.field_type.values == "+-1":
            raise ValueError(
                f"The correlation matrix depends on the squares of the field, and {variables.field_type.name} = ±1 "
                f"everywhere; take mode='lifted'."
            )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"λ{k + 1}" for k in range(self.variables.layout.variables))

    def arrays(self) -> dict[str, np.ndarray]:
        variables = self.variables
        size, vectors = variables.components, variables.vectors / variables.unit
        separation = np.linalg.norm(vectors[:, None] - vectors, axis=-1)
        np.fill_diagonal(separation, 1.0)
        distance = np.linalg.norm(vectors, axis=1)
        distance[distance == 0] = 1.0
        kernel = 1 / (distance[:, None] * distance * separation)
        # A site has no distance from itself by which its components could be correlated.
        same = np.kron(np.eye(len(vectors)), np.ones((size, size)) - np.eye(size))
        return {"kernel": np.kron(kernel, np.ones((size, size))) * (1 - same), "values": variables.basis.T}

    def contract(self, f: Tensor, constants: dict[str, Tensor]) -> Tensor:
        phi = (constants["values"] @ f).T
        correlations = phi[:, :, None] * constants["kernel"] * phi[:, None, :]
        return SortedEigenvalues.apply(correlations).T


class SortedEigenvalues(torch.autograd.Function):
    """Eigenvalues ``(*batch, n)`` of symmetric matrices, in descending order.

    The gradient of an eigenvalue within rounding of others is the mean of theirs. It can be differentiated once more,
    which is the second derivative as long as no eigenvalues meet, and that of the mean where they do.
    """

    @staticmethod
    def forward(ctx, matrices: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(matrices)
        values, vectors = values.flip(-1), vectors.flip(-1)
        ctx.save_for_backward(matrices, values, vectors)
        return values

    @staticmethod
    def backward(ctx, gradient: Tensor):
        matrices, values, vectors = ctx.saved_tensors
        return _Spectral.apply(gradient, matrices, values, vectors)


class _Spectral(torch.autograd.Function):
    r"""The matrices :math:`\sum_k \bar g_k\, x_k x_k^T`, where :math:`\bar g` is g averaged over equal eigenvalues."""

    @staticmethod
    def forward(ctx, gradient: Tensor, matrices: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
        mean = cluster_mean(values)
        averaged = (mean @ gradient[..., None])[..., 0]
        ctx.save_for_backward(averaged, mean, values, vectors)
        return (vectors * averaged[..., None, :]) @ vectors.mT

    @staticmethod
    @once_differentiable
    def backward(ctx, change: Tensor):
        averaged, mean, values, vectors = ctx.saved_tensors
        inner = vectors.mT @ (change + change.mT) @ vectors / 2
        by_gradient = (mean @ inner.diagonal(dim1=-2, dim2=-1)[..., None])[..., 0]
        # First-order perturbation theory of the projectors: only different eigenvalues mix.
        apart = mean == 0
        gaps = torch.where(apart, values[..., :, None] - values[..., None, :], 1.0)
        slopes = torch.where(apart, (averaged[..., :, None] - averaged[..., None, :]) / gaps, 0.0)
        return by_gradient, vectors @ (slopes * inner) @ vectors.mT, None, None


def cluster_mean(values: Tensor) -> Tensor:
    """The matrices ``(*batch, n, n)`` that average over eigenvalues that agree within rounding; ``values`` descend."""
    scale = values.abs().amax(-1, keepdim=True)
    gaps = values[..., :-1] - values[..., 1:]
    # Rounding moves an eigenvalue by some eps · scale; gaps below this leave no digit of the eigenvectors.
    starts = gaps > torch.finfo(values.dtype).eps ** 0.75 * scale
    cluster = torch.nn.functional.pad(starts, (1, 0)).cumsum(-1)
    same = (cluster[..., :, None] == cluster[..., None, :]).to(values.dtype)
    return same / same.sum(-1, keepdim=True)
