"""The linear step: the field around every site, orbit by orbit, in symmetry-adapted coordinates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.groups import PointGroup
from nearsight.lattices import Neighbourhood, neighbour_permutations


@dataclass(frozen=True, eq=False)
class Block:
    """Orbits of neighbours with the same number of sites and the same irreps, handled by one batched product.

    ``members`` are neighbour indices ``(orbit, site)``. ``basis`` ``(orbit, row, site * component)`` turns the values
    on an orbit into coefficients; its rows run over the irreps in ``copies`` (name and number of copies), then over
    the copies, then over the components of the irrep.
    """

    members: np.ndarray
    basis: np.ndarray
    copies: tuple[tuple[str, int], ...]

    def rows(self, group: PointGroup) -> dict[str, slice]:
        """The rows that belong to each irrep."""
        stops = list(itertools.accumulate(count * group.irrep(name).dim for name, count in self.copies))
        return {name: slice(a, b) for (name, _), a, b in zip(self.copies, [0, *stops], stops, strict=False)}


def symmetry_blocks(neighbourhood: Neighbourhood, group: PointGroup, law: np.ndarray) -> list[Block]:
    """Decompose a field with on-site matrices ``law`` ``(order, component, component)`` around a centre.

    The sites of one orbit are images of each other under the group. An orbit is often smaller than its shell: on the
    square lattice the twelve sites at distance 5 are orbits of four and of eight.
    """
    permutations = neighbour_permutations(neighbourhood, group)
    components = law.shape[-1]
    kinds: dict[tuple[int, tuple[tuple[str, int], ...]], list[tuple[np.ndarray, np.ndarray]]] = {}
    for first in np.flatnonzero(permutations.min(axis=0) == np.arange(len(neighbourhood))):
        sites = np.unique(permutations[:, first])
        arrival = np.searchsorted(sites, permutations[:, sites])  # within the orbit
        moves = np.eye(len(sites))[arrival].transpose(0, 2, 1)
        size = len(sites) * components
        action = np.einsum("gij,gab->giajb", moves, law).reshape(len(group), size, size)
        copies = group.decompose(action)
        # (copies, size, dim) -> rows: copy by copy, component by component.
        basis = np.concatenate([x.transpose(0, 2, 1).reshape(-1, size) for x in copies.values()])
        kind = len(sites), tuple((name, len(x)) for name, x in copies.items())
        kinds.setdefault(kind, []).append((sites, basis))
    return [
        Block(np.array([sites for sites, _ in orbits]), np.array([basis for _, basis in orbits]), copies)
        for (_, copies), orbits in kinds.items()
    ]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the coefficients of every irrep stand among all rows ``(row, point)``: block by block, orbit by orbit."""

    variables: int
    pieces: tuple[tuple[str, int, int, int, slice, int], ...]

    @classmethod
    def of(cls, blocks: Sequence[Block], group: PointGroup) -> Layout:
        pieces = []
        start = 0
        for block in blocks:
            orbits, rows = block.basis.shape[:2]
            for name, where in block.rows(group).items():
                pieces.append((name, start, orbits, rows, where, group.irrep(name).dim))
            start += orbits * rows
        return cls(start, tuple(pieces))

    def views(self, flat: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Name and view ``(orbit, copy, component, point)`` of the coefficients of every irrep in every block."""
        for name, start, orbits, rows, where, dim in self.pieces:
            block = flat[start : start + orbits * rows].unflatten(0, (orbits, rows))
            yield name, block[:, where].unflatten(1, (-1, dim))


@dataclass(frozen=True, eq=False)
class Stencil:
    """Blocks on a periodic grid: which shifted copies of the field to take, and the products to apply to them.

    The field is padded once by the reach of the neighbourhood. Every neighbour is then a contiguous slice of it, which
    is faster than index tables, needs none in memory, and makes the adjoint a sum over the same slices: the gradient is
    the same to the last bit in every run, on a GPU too.
    """

    shape: tuple[int, ...]
    reach: tuple[int, ...]
    offsets: tuple[np.ndarray, ...]  # for every block, cells (orbit, site, dim)
    bases: tuple[Tensor, ...]

    def coefficients(self, grid: Tensor) -> Tensor:
        """Coefficients ``(row, point)`` of all blocks, for a grid ``(component, batch, *shape)``."""
        return _Analyse.apply(grid, self)

    def slices(self, block: int) -> Iterator[list[tuple[slice, ...]]]:
        """For every orbit of a block, the slices of the padded grid at which its sites lie."""
        for orbit in self.offsets[block].tolist():
            spans = [zip(cell, self.reach, self.shape, strict=True) for cell in orbit]
            yield [(slice(None), slice(None), *(slice(r + n, r + n + size) for n, r, size in span)) for span in spans]


class _Analyse(torch.autograd.Function):
    """Grid to coefficients. The map is linear, so the backward pass is its adjoint, itself differentiable."""

    @staticmethod
    def forward(ctx, grid: Tensor, stencil: Stencil) -> Tensor:
        ctx.stencil = stencil
        components, batch = grid.shape[:2]
        padded = grid
        for axis, (length, reach) in enumerate(zip(stencil.shape, stencil.reach, strict=True), start=2):
            index = torch.arange(-reach, length + reach, device=grid.device) % length
            padded = padded.index_select(axis, index)
        points = batch * math.prod(stencil.shape)
        result = grid.new_empty(sum(b.shape[0] * b.shape[1] for b in stencil.bases), points)
        start = 0
        for block, basis in enumerate(stencil.bases):
            rows, size = basis.shape[1:]
            # One orbit at a time: its values stay in the cache between the copy and the product.
            values = grid.new_empty(size // components, components, batch, *stencil.shape)
            for o, slices in enumerate(stencil.slices(block)):
                for target, where in zip(values, slices, strict=True):
                    target.copy_(padded[where])
                torch.mm(basis[o], values.view(size, points), out=result[start : start + rows])
                start += rows
        return result

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Synthesise.apply(gradient, ctx.stencil), None


class _Synthesise(torch.autograd.Function):
    """Coefficients to grid: the adjoint of :class:`_Analyse`."""

    @staticmethod
    def forward(ctx, coefficients: Tensor, stencil: Stencil) -> Tensor:
        ctx.stencil = stencil
        components = stencil.bases[0].shape[-1] // stencil.offsets[0].shape[1]
        points = coefficients.shape[-1]
        batch = points // math.prod(stencil.shape)
        lengths = [length + 2 * reach for length, reach in zip(stencil.shape, stencil.reach, strict=True)]
        padded = coefficients.new_zeros(components, batch, *lengths)
        start = 0
        for block, basis in enumerate(stencil.bases):
            rows, size = basis.shape[1:]
            values = coefficients.new_empty(size, points)
            sources = values.view(size // components, components, batch, *stencil.shape)
            for o, slices in enumerate(stencil.slices(block)):
                torch.mm(basis[o].T, coefficients[start : start + rows], out=values)
                for source, where in zip(sources, slices, strict=True):
                    padded[where] += source
                start += rows
        for axis, (length, reach) in enumerate(zip(stencil.shape, stencil.reach, strict=True), start=2):
            padded = _fold(padded, axis, length, reach)
        return padded

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Analyse.apply(gradient, ctx.stencil), None


def _fold(padded: Tensor, axis: int, length: int, reach: int) -> Tensor:
    """Add the halo of a padded axis to the sites it was copied from; the halo may wrap more than once."""
    shape = list(padded.shape)
    shape[axis] = length
    result = padded.new_zeros(shape)
    position = -reach
    while position < length + reach:
        target = position % length
        count = min(length - target, length + reach - position)
        result.narrow(axis, target, count).add_(padded.narrow(axis, position + reach, count))
        position += count
    return result


def gather(blocks: Sequence[Block], bases: Sequence[Tensor], values: Tensor) -> Tensor:
    """Coefficients ``(row, point)`` from explicit neighbourhoods ``(point, neighbour, component)``."""
    points, _, components = values.shape
    result = []
    for block, basis in zip(blocks, bases, strict=True):
        orbits, sites = block.members.shape
        chosen = values[:, torch.as_tensor(block.members, device=values.device)]
        chosen = chosen.reshape(points, orbits, sites * components).permute(1, 2, 0)
        result.append(torch.bmm(basis, chosen).flatten(0, 1))
    return torch.cat(result)
