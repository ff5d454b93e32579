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

from nearsight._multilinear import Trilinear
from nearsight.fields.halo import pad_periodic


@dataclass(frozen=True, eq=False)
class PairStencil:
    """Blocks of members on a grid, each a channel and an offset in cells, and the matrices to apply to them.

    For every block: ``channels`` ``(orbit, member, basis)`` and ``offsets`` ``(orbit, member, basis, dim)`` as seen
    from every sublattice, and ``bases`` ``(orbit, row, member)``. A member is a strided window of a padded channel. The
    form g·f is linear in u, in w and in the gradient g: its three derivatives are sums in a fixed order.
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

    def __call__(self, u: Tensor, w: Tensor, *, halo: bool) -> Tensor:
        """f ``(row, point)`` for u ``(a, basis, batch, *shape)`` and w ``(channel, a, batch, *shape)``, all around.

        Points run over batch, cells and basis. With ``halo`` the channels have one as wide as the reach.
        """
        w = w[:, :, None] if halo else pad_periodic(w[:, :, None], self.reach, first=4)
        return Trilinear.apply((self._by_centres, self._by_channels, self._by_rows), 2, None, u, w, None)

    def _by_rows(self, u: Tensor, w: Tensor, _: torch.Size | None) -> Tensor:
        """f from u and w."""
        u = u.contiguous()
        points = u[0].numel()
        result = u.new_empty(self.rows, points)
        centres = u.unbind(1)
        products = torch.empty_like(centres[0])
        for rows, matrix, views in self._orbits(w.contiguous(), u.shape):
            # One orbit at a time: its values stay in the cache between the products and the change of basis.
            values = u.new_empty(matrix.shape[1], points)
            for target, centre, view in zip(_grids(values, u), itertools.cycle(centres), views, strict=False):
                torch.sum(torch.mul(centre, view, out=products), 0, out=target)
            torch.mm(matrix, values, out=result[rows])
        return result

    def _by_centres(self, w: Tensor, g: Tensor, shape: torch.Size) -> Tensor:
        result = w.new_zeros(shape)
        for value, centre, view in self._members(g, result, w.contiguous()):
            centre.addcmul_(value, view)
        return result

    def _by_channels(self, u: Tensor, g: Tensor, shape: torch.Size) -> Tensor:
        result = u.new_zeros(shape)
        for value, centre, view in self._members(g, u.contiguous(), result):
            view.addcmul_(value, centre)
        return result

    def _members(self, g: Tensor, u: Tensor, w: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For every member on every sublattice the gradient by its value, and what was multiplied, parts of u and w."""
        g, centres = g.contiguous(), u.unbind(1)
        for rows, matrix, views in self._orbits(w, u.shape):
            yield from zip(_grids(matrix.T @ g[rows], u), itertools.cycle(centres), views, strict=False)

    def _orbits(self, padded: Tensor, u_shape: torch.Size) -> Iterator[tuple[slice, Tensor, list[Tensor]]]:
        """For every orbit its rows, its matrix and, by members and sublattices, windows of the channels."""
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
        row = 0
        for matrix, starts in zip(matrices, self._starts[strides], strict=True):
            yield slice(row, row + len(matrix)), matrix, [padded.as_strided(size, steps, start) for start in starts]
            row += len(matrix)


def _grids(values: Tensor, u: Tensor) -> Sequence[Tensor]:
    """Values ``(member, point)`` of an orbit as grids ``(batch, *shape)``, for every member one of each sublattice."""
    grids = values.view(len(values), *u.shape[2:], u.shape[1])
    return [grid for member in grids.unbind() for grid in member.unbind(-1)]
