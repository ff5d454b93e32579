"""Selected inversion of a block-tridiagonal matrix, and the branch of its determinant."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import torch
from torch import Tensor

from nearsight.solvers.block_chain import BlockChain, Tables

LEAF = 32
"""Matrices up to this size are inverted by LAPACK, larger ones by halves: matrix products run several times faster."""


class Coupled(NamedTuple):
    """The block C between two adjacent blocks, a sparse matrix, and its conjugate transpose; one for each replica, or
    one for all."""

    up: list[Tensor]
    down: list[Tensor]


class Inverse(NamedTuple):
    """What elimination finds of G = (h - ζ)⁻¹, for every ζ ``(replica, pole, ...)``.

    ``log_det``, ``trace``: Σ ln(ε_n - ζ), each logarithm with its principal branch, and Tr G, complex128.
    ``elements``, ``transposed``: G_ab and G_ba at the positions asked for ``(..., element)``.
    ``rounding``: an estimate of what rounding has done to elements of G.
    """

    log_det: Tensor
    trace: Tensor
    elements: Tensor
    transposed: Tensor
    rounding: Tensor


class Blocks(NamedTuple):
    """Matrices taken apart: A_k ``(replica, n_k, n_k)`` and C_k. ``shared``: all replicas have the same C_k."""

    diagonal: list[Tensor]
    coupled: list[Coupled]
    shared: bool

    def of(self, first: int, last: int) -> Blocks:
        """Those of the replicas from ``first`` up to ``last``."""
        c = self.coupled if self.shared else [Coupled(c.up[first:last], c.down[first:last]) for c in self.coupled]
        return Blocks([a[first:last] for a in self.diagonal], c, self.shared)


def take_apart(chain: BlockChain, where: Tables, values: Tensor) -> Blocks:
    """The blocks of Hermitian matrices with ``values`` ``(replica, element)`` at the listed positions."""
    elements = torch.cat([e for e, _, _ in where.above])
    hops = values[:, elements]
    shared = bool((hops == hops[:1]).all())
    diagonal, coupled = [], []
    for k, n in enumerate(chain.sizes):
        element, row, column = where.inside[k]
        flat = values.new_zeros(len(values), n * n).index_add(1, row * n + column, values[:, element])
        diagonal.append(flat.reshape(-1, n, n))
        if k + 1 < len(chain.sizes):
            element, row, column = where.above[k]
            index, shape = torch.stack([row, column]), (n, chain.sizes[k + 1])
            c = [_sparse(index, v, shape) for v in (values[:1] if shared else values)[:, element]]
            d = [_sparse(index.flip(0), v.conj(), shape[::-1]) for v in (values[:1] if shared else values)[:, element]]
            coupled.append(Coupled(c, d))
    return Blocks(diagonal, coupled, shared)


def eliminate(blocks: Blocks, zeta: Tensor, wanted: Tables) -> Inverse:
    r"""G = (h - ζ)⁻¹ at the ``wanted`` positions, for energies ζ ``(replica, pole)`` with Im ζ > 0.

    Gaussian elimination by blocks and back substitution for the diagonal blocks of the inverse,

    .. math:: g_k = (A_k - \zeta - C_{k-1}^\dagger g_{k-1} C_{k-1})^{-1}, \qquad
              G_{kk} = g_k + g_k C_k G_{k+1,k+1} C_k^\dagger g_k, \qquad
              G_{k,k+1} = -g_k C_k G_{k+1,k+1} .

    No pivoting is needed, nor wanted: -Im(h - ζ) is positive, and Schur complements inherit that from the whole matrix.
    So does every pivot of elimination without pivoting: it lies in the lower half-plane, and the sum of principal
    logarithms of all pivots is the logarithm of the determinant on the branch Σ ln(ε_n - ζ).

    Three products of n × n matrices per block and ζ, since the inverse costs as much as one.
    """
    batch = zeta.shape
    count, last = zeta.numel(), len(blocks.diagonal) - 1
    g: list[Tensor] = []
    leaves: list[Tensor] = []
    for k, a in enumerate(blocks.diagonal):
        n = a.shape[-1]
        s = a.unsqueeze(1).repeat(1, batch[1], 1, 1).reshape(count, n, n)
        s.diagonal(dim1=-2, dim2=-1).sub_(zeta.reshape(-1, 1))
        if k:
            down = blocks.coupled[k - 1].down
            s -= _apply(down, _apply(down, g[-1]).mH).mH
        g.append(_invert(s, leaves))

    number = sum(len(e) for part in (wanted.inside, wanted.above, wanted.below) for e, _, _ in part)
    elements, transposed = (zeta.new_zeros(count, number) for _ in range(2))
    trace = torch.zeros(count, dtype=torch.complex128, device=zeta.device)
    full = g[last]
    for k in range(last, -1, -1):
        if k < last:
            up = blocks.coupled[k].up
            half = _apply(up, full)  # C G
            if len(wanted.above[k][0]) or len(wanted.below[k][0]):
                # Rows of g and columns of C G suffice: the positions are few.
                other = _apply(up, full.mH).mH  # G C†
                for (e, row, column), over, under in (
                    (wanted.above[k], elements, transposed),
                    (wanted.below[k], transposed, elements),
                ):
                    here, there = (row, column) if over is elements else (column, row)
                    over[:, e] = -(g[k][:, here, :] * half.mT[:, there, :]).sum(-1)
                    under[:, e] = -(other[:, there, :] * g[k].mT[:, here, :]).sum(-1)
            full = torch.baddbmm(g[k], g[k] @ _apply(up, half.mH).mH, g[k])
        e, row, column = wanted.inside[k]
        if len(e):
            elements[:, e], transposed[:, e] = full[:, row, column], full[:, column, row]
        trace += full.diagonal(dim1=-2, dim2=-1).to(torch.complex128).sum(-1)
    log_det, elements, transposed = _log_det(leaves), elements.to(torch.complex128), transposed.to(torch.complex128)
    log_det, trace, elements, transposed = (x.unflatten(0, batch) for x in (log_det, trace, elements, transposed))
    return Inverse(log_det, trace, elements, transposed, _rounding(blocks, g, zeta))


def _sparse(index: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.sparse_coo_tensor(index, values, shape, check_invariants=False).coalesce()


def _apply(c: list[Tensor], x: Tensor) -> Tensor:
    """C x for x ``(batch, n, m)``, with one C for the whole batch or one for each replica in it."""
    parts = []
    for matrix, y in zip(c, x.chunk(len(c)), strict=True):
        flat = y.transpose(0, 1).reshape(y.shape[1], -1)  # no copy for a batch of one
        parts.append((matrix @ flat).unflatten(1, (len(y), -1)).transpose(0, 1))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _invert(a: Tensor, leaves: list[Tensor]) -> Tensor:
    """a⁻¹ ``(batch, n, n)`` by halves; the Schur complements of the smallest size go to ``leaves``."""
    n = a.shape[-1]
    if n <= LEAF:
        leaves.append(a.clone())  # a view would keep the whole block in memory
        return torch.linalg.inv(a)
    m = n // 2
    p = _invert(a[:, :m, :m], leaves)
    left = a[:, m:, :m] @ p
    q = _invert(torch.baddbmm(a[:, m:, m:], left, a[:, :m, m:], alpha=-1), leaves)
    right = (p @ a[:, :m, m:]) @ q
    result = torch.empty_like(a)
    result[:, m:, m:] = q
    result[:, :m, m:] = -right
    result[:, :m, :m] = torch.baddbmm(p, right, left)
    result[:, m:, :m] = -(q @ left)
    return result


def _log_det(leaves: list[Tensor]) -> Tensor:
    """Σ ln of all pivots ``(batch,)``, by elimination of all Schur complements of one size at once."""
    by_size: dict[int, list[Tensor]] = defaultdict(list)
    for leaf in leaves:
        by_size[leaf.shape[-1]].append(leaf)
    total = torch.zeros(len(leaves[0]), dtype=torch.complex128, device=leaves[0].device)
    for n, group in by_size.items():
        a = torch.stack(group).to(torch.complex128)
        for _ in range(n):
            pivot = a[..., 0, 0]
            total += torch.log(pivot).sum(0)
            a = a[..., 1:, 1:] - (a[..., 1:, 0] / pivot[..., None])[..., :, None] * a[..., None, 0, 1:]
    return total


def _rounding(blocks: Blocks, g: list[Tensor], zeta: Tensor) -> Tensor:
    """How much rounding has changed rows of G ``(replica, pole)``: the largest element of G r over the size of x.

    r = x - (h - ζ) y is the residual of y = G x, for one random x, and G r the correction that a refinement of y would
    make. Its elements are random sums over the errors of a row, several times those of single elements; the largest is
    taken because they pile up where a part of the lattice that is eliminated first has a level in a gap of the whole.
    """
    rng = torch.Generator().manual_seed(0)  # any x will do, and the same always
    x = [torch.randn(a.shape[-1], generator=rng, dtype=torch.float64) for a in blocks.diagonal]
    x = [part.to(zeta)[:, None].expand(zeta.numel(), -1, 1) for part in x]
    y = _substitute(blocks, g, x)
    r = []
    for k, a in enumerate(blocks.diagonal):
        h = (a @ y[k].reshape(*zeta.shape, -1).mT).mT.reshape(y[k].shape) - zeta.reshape(-1, 1, 1) * y[k]
        if k:
            h = h + _apply(blocks.coupled[k - 1].down, y[k - 1])
        if k + 1 < len(g):
            h = h + _apply(blocks.coupled[k].up, y[k + 1])
        r.append(x[k] - h)
    correction = torch.cat(_substitute(blocks, g, r), dim=1)
    return correction.abs().amax((-2, -1)).double().reshape(zeta.shape)


def _substitute(blocks: Blocks, g: list[Tensor], x: list[Tensor]) -> list[Tensor]:
    """G x from the inverses g_k, block by block, for x_k ``(batch, n_k, 1)``."""
    y, c = [x[0]], blocks.coupled
    for k in range(1, len(g)):
        y.append(x[k] - _apply(c[k - 1].down, g[k - 1] @ y[-1]))
    y[-1] = g[-1] @ y[-1]
    for k in range(len(g) - 2, -1, -1):
        y[k] = g[k] @ (y[k] - _apply(c[k].up, y[k + 1]))
    return y
