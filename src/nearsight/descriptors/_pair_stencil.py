r"""The bilinear step: scalar products of a field at the centre with shifted channels around it, in adapted coordinates.

.. math:: f_r(p) = \sum_j B_{rj} \sum_a u_a(p)\, w_{c_j a}(p + o_j)

With :math:`w` the spins themselves these are the bonds of the centre, with :math:`w_\delta(p) = S(p) \times S(p +
\delta)` its chiralities: the products of neighbours are formed once for the whole lattice, not once for every centre.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from nearsight.fields.halo import pad_periodic


@dataclass(frozen=True, eq=False)
class PairStencil:
    """Blocks of members on a grid, each a channel and an offset in cells, and the matrices to apply to them.

    For every block: ``channels`` ``(orbit, member, basis)`` and ``offsets`` ``(orbit, member, basis, dim)`` as seen
    from every sublattice, and ``bases`` ``(orbit, row, member)``. A member is a strided window of a padded channel. The
    form is linear in u, in w and in the gradient g: the three maps below are the derivatives of each other, to any
    order, and each is a sum in a fixed order.
    """

    reach: tuple[int, ...]
    channels: tuple[np.ndarray, ...]
    offsets: tuple[np.ndarray, ...]
    bases: tuple[Tensor, ...]
    _starts: dict[tuple[int, ...], list[list[int]]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Number of coefficients of a site."""
        return sum(basis.shape[0] * basis.shape[1] for basis in self.bases)

    def periodic(self, u: Tensor, w: Tensor) -> Tensor:
        """f ``(row, point)`` for u ``(a, basis, batch, *shape)`` and w ``(channel, a, batch, *shape)``, all around.

        Points run over batch, cells and basis.
        """
        return _Rows.apply(u, pad_periodic(w[:, :, None], self.reach, first=4), self)

    def window(self, u: Tensor, w: Tensor) -> Tensor:
        """The same for channels given with a halo as wide as the reach."""
        return _Rows.apply(u, w[:, :, None].contiguous(), self)

    def orbits(self, padded: Tensor, u_shape: torch.Size) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """For every orbit its matrix and, member by member and sublattice by sublattice, windows of the channels."""
        # A view by its known origin takes a fraction of the time of slicing, which small lattices notice.
        strides = padded.stride()
        size, steps = (u_shape[0], *u_shape[2:]), (strides[1], *strides[3:])
        if strides not in self._starts:
            if len(self._starts) > 3:  # batches of many sizes, as in trials of varying number
                self._starts.clear()
            self._starts[strides] = [
                orbit.reshape(-1).tolist()
                for channels, offsets in zip(self.channels, self.offsets, strict=True)
                for orbit in channels * strides[0] + (offsets + np.array(self.reach)) @ np.array(strides[4:])
            ]
        matrices = (matrix for basis in self.bases for matrix in basis)
        for matrix, starts in zip(matrices, self._starts[strides], strict=True):
            yield matrix, [padded.as_strided(size, steps, start) for start in starts]


class _Rows(torch.autograd.Function):
    """u, w to f."""

    @staticmethod
    def forward(ctx, u: Tensor, w: Tensor, stencil: PairStencil) -> Tensor:
        ctx.stencil = stencil
        ctx.save_for_backward(u, w)
        u = u.contiguous()
        points = u[0].numel()
        result = u.new_empty(stencil.rows, points)
        centres = u.unbind(1)
        products = torch.empty_like(centres[0])
        start = 0
        for matrix, views in stencil.orbits(w, u.shape):
            # One orbit at a time: its values stay in the cache between the products and the change of basis.
            values = u.new_empty(matrix.shape[1], points)
            for target, centre, view in zip(_grids(values, u), itertools.cycle(centres), views, strict=False):
                torch.sum(torch.mul(centre, view, out=products), 0, out=target)
            torch.mm(matrix, values, out=result[start : start + len(matrix)])
            start += len(matrix)
        return result

    @staticmethod
    def backward(ctx, g: Tensor):
        u, w = ctx.saved_tensors
        du = _Centres.apply(g, w, u.shape, ctx.stencil) if ctx.needs_input_grad[0] else None
        dw = _Channels.apply(g, u, w.shape, ctx.stencil) if ctx.needs_input_grad[1] else None
        return du, dw, None


class _Centres(torch.autograd.Function):
    """g, w to the derivative by u."""

    @staticmethod
    def forward(ctx, g: Tensor, w: Tensor, shape: torch.Size, stencil: PairStencil) -> Tensor:
        ctx.stencil = stencil
        ctx.save_for_backward(g, w)
        g = g.contiguous()
        result = w.new_zeros(shape)
        centres = result.unbind(1)
        start = 0
        for matrix, views in stencil.orbits(w, shape):
            values = matrix.T @ g[start : start + len(matrix)]
            for value, centre, view in zip(_grids(values, result), itertools.cycle(centres), views, strict=False):
                centre.addcmul_(value, view)
            start += len(matrix)
        return result

    @staticmethod
    def backward(ctx, h: Tensor):
        g, w = ctx.saved_tensors
        dg = _Rows.apply(h, w, ctx.stencil) if ctx.needs_input_grad[0] else None
        dw = _Channels.apply(g, h, w.shape, ctx.stencil) if ctx.needs_input_grad[1] else None
        return dg, dw, None, None


class _Channels(torch.autograd.Function):
    """g, u to the derivative by w."""

    @staticmethod
    def forward(ctx, g: Tensor, u: Tensor, shape: torch.Size, stencil: PairStencil) -> Tensor:
        ctx.stencil = stencil
        ctx.save_for_backward(g, u)
        g, u = g.contiguous(), u.contiguous()
        result = u.new_zeros(shape)
        centres = u.unbind(1)
        start = 0
        for matrix, views in stencil.orbits(result, u.shape):
            values = matrix.T @ g[start : start + len(matrix)]
            for value, centre, view in zip(_grids(values, u), itertools.cycle(centres), views, strict=False):
                view.addcmul_(value, centre)
            start += len(matrix)
        return result

    @staticmethod
    def backward(ctx, h: Tensor):
        g, u = ctx.saved_tensors
        h = h.contiguous()
        dg = _Rows.apply(u, h, ctx.stencil) if ctx.needs_input_grad[0] else None
        du = _Centres.apply(g, h, u.shape, ctx.stencil) if ctx.needs_input_grad[1] else None
        return dg, du, None, None


def _grids(values: Tensor, u: Tensor) -> Sequence[Tensor]:
    """Values ``(member, point)`` of an orbit as grids ``(batch, *shape)``, for every member one of each sublattice."""
    grids = values.view(len(values), *u.shape[2:], u.shape[1])
    return [grid for member in grids.unbind() for grid in member.unbind(-1)]
