"""Reference vectors of every irrep, read from the neighbourhood itself by a template of weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nearsight.descriptors.blocks import _Block, _Layout
from nearsight.groups import PointGroup

Slices = dict[str, tuple[slice, int]]
"""For every irrep but the trivial one, its rows among the vectors v, and its dimension."""


class Reference:
    r"""A template w seen from all sides of the group, and its components in the irreps.

    With the copies X_r of an irrep Γ in the neighbourhood, the overlap of the turned template with the field is

    .. math:: \rho(g) = \sum_j w_j (g^{-1}\Phi)_j = \sum_{\Gamma k\mu} D^\Gamma_{\mu k}(g)\, v^\Gamma_{k\mu},
              \qquad v^\Gamma_{k\mu} = \sum_r (w^T X_r)_k\, f_{r\mu},

    so that every row :math:`v_k` transforms like the coefficients :math:`f_r` themselves. The irrep ``trivial``, which
    is invariant already, is left out. ``weights`` is the matrix from all coefficients to v, ``lift`` the one from v to
    ρ, ``project`` the one from any function on the group back to its components. ``single`` keeps one vector of each
    irrep, a generic combination of its d. Templates are scaled such that independent fields of unit variance give ρ
    unit variance.
    """

    def __init__(
        self,
        blocks: Sequence[_Block],
        group: PointGroup,
        template: np.ndarray,
        *,
        trivial: str | None,
        single: bool = False,
    ) -> None:
        present = {name for block in blocks for name, _ in block.copies} - {trivial}
        self.irreps = [irrep for irrep in group.irreps if irrep.name in present]
        self.slices: Slices = {}
        self.size = 0
        for irrep in self.irreps:
            stop = self.size + (1 if single else irrep.dim) * irrep.dim
            self.slices[irrep.name] = slice(self.size, stop), irrep.dim
            self.size = stop
        keep = {i.name: np.cos(np.arange(1, i.dim + 1.0))[:, None] if single else np.eye(i.dim) for i in self.irreps}
        parts = [np.zeros((self.size, *block.basis.shape[:2])) for block in blocks]
        power = 0.0
        for block, weights in zip(blocks, parts, strict=True):
            w = template[block.members].reshape(len(block.members), -1)
            overlap = np.einsum("ors,os->or", block.basis, w)
            for name, rows in block.rows(group).items():
                if name == trivial:
                    continue
                where, dim = self.slices[name]
                omega = overlap[:, rows].reshape(len(w), -1, dim)  # orbit, copy, k
                power += float((omega**2).sum())
                mixing = np.einsum("ork,mn->kmorn", omega @ keep[name], np.eye(dim))
                weights[where, :, rows] = mixing.reshape(where.stop - where.start, len(w), -1)
        parts = [part.reshape(self.size, part.shape[1] * part.shape[2]) for part in parts]
        self.weights = np.concatenate(parts, axis=1) / np.sqrt(power or 1.0)
        kept = [(i.matrices @ keep[i.name]).transpose(0, 2, 1).reshape(len(group), -1) for i in self.irreps]
        self.lift = np.concatenate(kept, axis=1) if kept else np.zeros((len(group), 0))
        dims = np.concatenate([np.zeros(0), *(np.full(w.stop - w.start, dim) for w, dim in self.slices.values())])
        self.project = dims[:, None] * self.lift.T / len(group)

    def split(self, vectors: Tensor) -> dict[str, Tensor]:
        """v of every irrep ``(k, μ, point)``."""
        return {name: vectors[where].unflatten(0, (-1, dim)) for name, (where, dim) in self.slices.items()}


class Mix(torch.autograd.Function):
    r"""Scalar products of every coefficient with the reference of its irrep, in the rows of the coefficients.

    ``out[r, k] = Σ_μ f[r, μ] v[k, μ]`` for every copy r, or with the transposed v. Rows of the trivial irrep are
    copied, or set to zero with ``trivial=False``; the rows of ``tail`` follow at the end as they are. Together with
    :class:`Overlap` it is closed under differentiation, which keeps every pass in place and every order of derivative
    at hand.
    """

    @staticmethod
    def forward(
        ctx,
        f: Tensor,
        v: Tensor,
        layout: _Layout,
        slices: Slices,
        transposed: bool,
        trivial: bool,
        tail: Tensor | None,
    ) -> Tensor:
        f = f.contiguous()  # a network may hand its gradient over site by site
        ctx.save_for_backward(f, v)
        ctx.rest = layout, slices, transposed, trivial
        result = f.new_empty(len(f) + (0 if tail is None else len(tail)), f.shape[-1])
        if tail is not None:
            result[len(f) :] = tail
        matrices = _matrices(v, slices, transposed)
        for (name, source), (_, target) in zip(layout.windows(f), layout.windows(result), strict=True):
            if name not in matrices:
                target.copy_(source) if trivial else target.zero_()
                continue
            matrix = matrices[name]
            torch.mul(source[:, :, :1], matrix[:, 0], out=target)
            for m in range(1, len(matrix)):
                target.addcmul_(source[:, :, m : m + 1], matrix[:, m])
        return result

    @staticmethod
    def backward(ctx, g: Tensor):
        f, v = ctx.saved_tensors
        layout, slices, transposed, trivial = ctx.rest
        head, tail = g[: len(f)].contiguous(), g[len(f) :]
        df = Mix.apply(head, v, layout, slices, not transposed, trivial, None) if ctx.needs_input_grad[0] else None
        dv = Overlap.apply(head, f, len(v), layout, slices, transposed) if ctx.needs_input_grad[1] else None
        return df, dv, None, None, None, None, tail if ctx.needs_input_grad[6] else None


class Overlap(torch.autograd.Function):
    """``out[k, μ] = Σ_r g[r, k] f[r, μ]`` over the copies of every irrep: the derivative of :class:`Mix` by v."""

    @staticmethod
    def forward(ctx, g: Tensor, f: Tensor, size: int, layout: _Layout, slices: Slices, transposed: bool) -> Tensor:
        g, f = g.contiguous(), f.contiguous()
        ctx.save_for_backward(g, f)
        ctx.rest = layout, slices, transposed
        result = f.new_zeros(size, f.shape[-1])
        matrices = _matrices(result, slices, transposed)
        for (name, left), (_, right) in zip(layout.windows(g), layout.windows(f), strict=True):
            if name in matrices:
                matrix = matrices[name]
                for m in range(len(matrix)):
                    matrix[:, m] += (left * right[:, :, m : m + 1]).sum((0, 1))
        return result

    @staticmethod
    def backward(ctx, h: Tensor):
        g, f = ctx.saved_tensors
        layout, slices, transposed = ctx.rest
        dg = Mix.apply(f, h, layout, slices, transposed, False, None) if ctx.needs_input_grad[0] else None
        df = Mix.apply(g, h, layout, slices, not transposed, False, None) if ctx.needs_input_grad[1] else None
        return dg, df, None, None, None, None


def _matrices(v: Tensor, slices: Slices, transposed: bool) -> dict[str, Tensor]:
    """v of every irrep ``(k, μ, point)``, or with k and μ exchanged."""
    found = {name: v[where].unflatten(0, (-1, dim)) for name, (where, dim) in slices.items()}
    return {name: matrix.transpose(0, 1) for name, matrix in found.items()} if transposed else found


def generic_template(distances: np.ndarray, components: int) -> np.ndarray:
    """Fixed weights ``(neighbour, component)`` in (-1, 1) with no relations among them, larger for near sites.

    Generic numbers, a quadratic Weyl sequence, make the reference vanish only where all coefficients do; near sites
    decide more of the local energy.
    """
    generic = 2 * (np.arange(1, len(distances) * components + 1) ** 2 * (np.sqrt(5) - 1) / 2 % 1) - 1
    return generic.reshape(-1, components) / (1 + distances[:, None])


def wedge(blocks: Sequence[_Block], group: PointGroup, vectors: np.ndarray) -> np.ndarray:
    """One site of every orbit, all from the same wedge of the neighbourhood: 1 for these neighbours, 0 elsewhere.

    Only orbits as large as the group have a site inside each wedge; the others lie on the mirrors. A neighbourhood too
    small to have any such orbit takes them all.
    """
    generic = [block for block in blocks if block.members.shape[1] == len(group)] or blocks
    direction = 0.3 ** np.arange(vectors.shape[1])
    weights = np.zeros(len(vectors))
    for block in generic:
        ahead = (vectors @ direction)[block.members]
        weights[block.members[np.arange(len(ahead)), ahead.argmax(axis=1)]] = 1.0
    return weights
