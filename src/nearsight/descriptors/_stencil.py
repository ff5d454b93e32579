"""The linear step on whole lattices: coefficients of every site at once, and the adjoint of that map."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from nearsight._multilinear import Linear
from nearsight.descriptors.blocks import _Block
from nearsight.fields.halo import pad_periodic
from nearsight.lattices import Neighbourhood

TABLE = 2**21
"""Values read through one index table. Longer tables fall out of the cache, and slices become the faster way."""

CHUNK = 2**14
"""Points whose values are copied at once, so that they are still in the cache when they are multiplied."""


@dataclass(frozen=True, eq=False)
class Stencil:
    r"""Blocks on a periodic grid: which values of the field to take around every site, and the products to apply.

    On large lattices the field is padded once by the reach of the neighbourhood. Every neighbour of one sublattice is
    then a shifted slice of it, which needs no table in memory. On small ones, where issuing one copy per neighbour
    costs more than the copies, all values are read through one index table. Either way the adjoint is a sum in a fixed
    order: the gradient is the same to the last bit in every run, on a GPU too.

    Parameters
    ----------
    shape: cells along every axis.
    around: the neighbourhood of every sublattice, all in one order.
    frames: matrices ``(frame, basis, component, component)`` that show the components on every sublattice as a centre
        of sublattice 0 would see them in the same place; the first frame is the identity.
    frame: the frame of the centres of every sublattice.
    blocks: orbits of neighbours; ``bases`` are their matrices as tensors.
    """

    shape: tuple[int, ...]
    around: tuple[Neighbourhood, ...]
    frames: Tensor
    frame: tuple[int, ...]
    blocks: Sequence[_Block]
    bases: tuple[Tensor, ...]
    _tables: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __call__(self, values: Tensor, *, halo: bool = False) -> Tensor:
        """Coefficients ``(row, point)`` of a field ``(batch, *shape, basis, component)``, periodic along every axis.

        With ``halo`` those of the inner cells of a field that is given with a halo as wide as the reach.
        """
        if halo:
            return self._slices(self._turned(values).contiguous())
        return (self.read if values[..., 0].numel() * self.size <= TABLE else self.sliced)(values)

    def read(self, values: Tensor) -> Tensor:
        """through through an index table."""
        flat, batch = self._turned(values).reshape(-1), len(values)
        return Linear.apply(flat, partial(self._look_up, batch), partial(self._look_up_adjoint, batch))

    def sliced(self, values: Tensor) -> Tensor:
        """through by slices of the padded field."""
        return self._slices(pad_periodic(self._turned(values), self.reach, first=4))

    def _slices(self, padded: Tensor) -> Tensor:
        return Linear.apply(padded, self._sum_slices, partial(self._sum_slices_adjoint, padded.shape))

    def _turned(self, values: Tensor) -> Tensor:
        """The field as every frame sees it, ``(frame, component, basis, batch, *shape)``."""
        grid = values.movedim((-1, -2), (0, 1))
        return torch.einsum("fsij,js...->fis...", self.frames, grid) if len(self.frames) > 1 else grid[None]

    @property
    def reach(self) -> tuple[int, ...]:
        """How many cells away a neighbour can lie, along every axis."""
        return tuple(max(r) for r in zip(*(around.reach for around in self.around), strict=True))

    @property
    def rows(self) -> int:
        """Number of coefficients of a site."""
        return sum(basis.shape[0] * basis.shape[1] for basis in self.bases)

    @property
    def size(self) -> int:
        """Number of values in a neighbourhood."""
        return sum(basis.shape[0] * basis.shape[2] for basis in self.bases)

    # --- lists of sites -----------------------------------------------------------------------------------------------

    def chosen(
        self, field: Tensor, centres: Tensor, site: Tensor | None = None, change: Tensor | None = None
    ) -> Tensor:
        """Coefficients ``(row, point)`` around ``centres`` ``(n,)`` of a field ``(batch, site, component)``.

        Points run over batch and centres. With ``site`` ``(n,)`` and ``change`` ``(batch, n, component)``, as they are
        once ``change`` has been added to the field at ``site``, for every centre on its own.
        """
        neighbours = self._lookup(centres, self._slots)
        values = field.movedim(-1, 0).index_select(2, neighbours.flatten()).unflatten(2, neighbours.shape)
        values = values.movedim(2, 0)  # slot, component, batch, centre
        if site is not None and change is not None:
            values = torch.where((neighbours == site)[:, None, None], values + change.movedim(-1, 0), values)
        if len(self.frames) > 1:
            slots = self._slots
            frames = [self.frames[f][a.sublattice[slots]] for f, a in zip(self.frame, self.around, strict=True)]
            values = torch.einsum("nsij,sjbn->sibn", torch.stack(frames)[centres % len(self.around)], values)
        rows = values.reshape(self.size, -1)
        parts = rows.split([basis.shape[0] * basis.shape[2] for basis in self.bases])
        products = [b @ part.unflatten(0, (len(b), -1)) for b, part in zip(self.bases, parts, strict=True)]
        return torch.cat([product.flatten(0, 1) for product in products])

    def neighbours(self, sites: Tensor) -> Tensor:
        """Site indices of the neighbours of some sites ``(*sites, neighbour)``, around the torus."""
        found = self._lookup(sites.reshape(-1), np.arange(len(self.around[0])))
        return found.long().T.unflatten(0, sites.shape)

    def _lookup(self, centres: Tensor, order: np.ndarray) -> Tensor:
        """Site indices ``(neighbour, centre)`` of the neighbours numbered in ``order``."""
        centres = centres.int()  # half the traffic of long integers
        sublattice = centres % len(self.around)
        result = torch.empty(len(order), len(centres), dtype=torch.int32, device=centres.device)
        for b, around in enumerate(self.around):
            here = slice(None) if len(self.around) == 1 else torch.nonzero(sublattice == b).squeeze(-1)
            cell, stride = centres[here] // len(self.around), len(self.around)
            index = torch.as_tensor(around.sublattice[order], device=centres.device).int()[:, None]
            for axis in reversed(range(len(self.shape))):
                length, reach = self.shape[axis], self.reach[axis]
                # Few neighbours differ along one axis: wrap these, then copy.
                steps = torch.arange(-reach, reach + 1, device=centres.device, dtype=torch.int32)[:, None]
                wrapped = (cell % length + steps) % length * stride
                columns = torch.as_tensor(around.cells[order, axis] + reach, device=centres.device)
                index = index + wrapped.index_select(0, columns)
                cell, stride = cell // length, stride * length
            result[:, here] = index
        return result

    @cached_property
    def _slots(self) -> np.ndarray:
        """The neighbours in the order of the blocks."""
        return np.concatenate([block.members.ravel() for block in self.blocks])

    # --- slices -----------------------------------------------------------------------------------------------------

    def _sum_slices(self, padded: Tensor) -> Tensor:
        """Coefficients from a padded field ``(frame, component, basis, batch, *shape)``, one orbit at a time."""
        padded = padded.contiguous()
        shape = self._inner(padded.shape)
        result = padded.new_empty(self.rows, math.prod(shape) * len(self.around))
        buffer = padded.new_empty(0)
        for *span, where in self._chunks(shape):
            for rows, matrix, sites in self._views(padded, (span[0], span[1])):
                if buffer.shape != (matrix.shape[1], where.stop - where.start):
                    buffer = padded.new_empty(matrix.shape[1], where.stop - where.start)
                for site, target in zip(sites, _sites(buffer, sites), strict=True):
                    for centre, value in enumerate(site):
                        target[..., centre].copy_(value)
                torch.mm(matrix, buffer, out=result[rows, where])
        return result

    def _sum_slices_adjoint(self, shape: torch.Size, coefficients: Tensor) -> Tensor:
        padded = coefficients.new_zeros(shape)
        coefficients = coefficients.contiguous()
        for *span, where in self._chunks(self._inner(shape)):
            for rows, matrix, sites in self._views(padded, (span[0], span[1])):
                values = matrix.T @ coefficients[rows, where]
                for site, source in zip(sites, _sites(values, sites), strict=True):
                    for centre, target in enumerate(site):
                        target += source[..., centre]
        return padded

    def _inner(self, padded: torch.Size) -> tuple[int, ...]:
        """Batch and cells without the halo."""
        return padded[3], *(n - 2 * r for n, r in zip(padded[4:], self.reach, strict=True))

    def _chunks(self, shape: Sequence[int]) -> Iterator[tuple[slice, slice, slice]]:
        """Parts of a grid ``(batch, *shape)``: the range of the batch, of the first axis, and the points they are."""
        batch, first = shape[:2]
        layer = math.prod(shape[2:]) * len(self.around)
        rows = min(first, max(1, CHUNK // layer))
        together = max(1, CHUNK // (layer * first))
        for b, x in itertools.product(range(0, batch, together), range(0, first, rows)):
            b_stop, x_stop = min(b + together, batch), min(x + rows, first)
            points = slice((b * first + x) * layer, ((b_stop - 1) * first + x_stop) * layer)
            yield slice(b, b_stop), slice(x, x_stop), points

    def _views(self, padded: Tensor, span: tuple[slice, slice]) -> Iterator[tuple[slice, Tensor, list[list[Tensor]]]]:
        """For every orbit its rows, its matrix and, for its sites and every sublattice of the centre, the slice.

        All slices have one shape ``(component, batch, *shape)`` and the same strides; only their origin differs.
        """
        strides, (batch, first) = padded.stride(), span
        inner = [n - 2 * r for n, r in zip(padded.shape[4:], self.reach, strict=True)]
        size = padded.shape[1], batch.stop - batch.start, first.stop - first.start, *inner[1:]
        step = strides[1], *strides[3:]
        corner = padded.storage_offset() + batch.start * strides[3] + first.start * strides[4]
        origins = np.stack(
            [
                corner + f * strides[0] + a.sublattice * strides[2] + (a.cells + np.array(self.reach)) @ strides[4:]
                for f, a in zip(self.frame, self.around, strict=True)
            ],
            axis=-1,
        )
        row = 0
        for block, basis in zip(self.blocks, self.bases, strict=True):
            for matrix, orbit in zip(basis, origins[block.members].tolist(), strict=True):
                sites = [[padded.as_strided(size, step, origin) for origin in site] for site in orbit]
                yield slice(row, row + len(matrix)), matrix, sites
                row += len(matrix)

    # --- index tables -----------------------------------------------------------------------------------------------

    def _look_up(self, batch: int, flat: Tensor) -> Tensor:
        """Coefficients of a flat field through the index table."""
        values = flat.index_select(0, self.tables(batch)[0]).view(self.size, -1)
        result = flat.new_empty(self.rows, values.shape[-1])
        _multiply(self.bases, values, result)
        return result

    def _look_up_adjoint(self, batch: int, coefficients: Tensor) -> Tensor:
        _, reverse = self.tables(batch)
        values = coefficients.new_zeros(self.size * coefficients.shape[-1] + 1)
        _multiply([b.mT for b in self.bases], coefficients.contiguous(), values[:-1].view(self.size, -1))
        return values.index_select(0, reverse.flatten()).view(reverse.shape).sum(0)

    def tables(self, batch: int) -> tuple[Tensor, Tensor]:
        """Positions ``(value * point)`` in the flat field to read from, and ``(count, element)`` to sum in the adjoint.

        An element that is read less often than others points behind the end of the values, at a zero.
        """
        if batch not in self._tables:
            if 1 not in self._tables:
                self._tables[1] = self._single_tables()
            if len(self._tables) > 2:  # the last batch of an epoch, and trials of varying number
                del self._tables[next(key for key in self._tables if key > 1)]
            if batch > 1:
                self._tables[batch] = self._batched_tables(batch)
        return self._tables[batch]

    def _single_tables(self) -> tuple[Tensor, Tensor]:
        cells = math.prod(self.shape)
        components, basis = self.frames.shape[-1], len(self.around)
        grid = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), axis=-1)
        # element = ((frame · components + component) · basis + sublattice) · cells + cell
        table = np.empty((len(self.around[0]), components, *self.shape, basis), dtype=np.int64)
        for centre, around in enumerate(self.around):
            target = (grid + around.cells.reshape(-1, *(1,) * len(self.shape), len(self.shape))) % self.shape
            cell = np.ravel_multi_index(tuple(np.moveaxis(target, -1, 0)), self.shape)
            for c in range(components):
                line = (self.frame[centre] * components + c) * basis + around.sublattice
                table[:, c, ..., centre] = line.reshape(-1, *(1,) * len(self.shape)) * cells + cell
        table = table.reshape(len(table), -1)[self._slots].ravel()
        elements = len(self.frames) * components * basis * cells
        order = np.argsort(table, kind="stable")
        count = np.bincount(table, minlength=elements)
        turn = np.arange(len(table)) - np.repeat(np.cumsum(count) - count, count)
        reverse = np.full((count.max(), elements), len(table))
        reverse[turn, table[order]] = order
        device = self.frames.device
        return torch.as_tensor(table, device=device).int(), torch.as_tensor(reverse, device=device).int()

    def _batched_tables(self, batch: int) -> tuple[Tensor, Tensor]:
        table, reverse = self._tables[1]
        cells = math.prod(self.shape)
        points = cells * len(self.around)
        replica = torch.arange(batch, device=table.device, dtype=table.dtype)[:, None]
        rows = table.view(-1, 1, points)
        forward = rows // cells * (batch * cells) + replica * cells + rows % cells
        # An element (…, replica, cell) is read at the points of its own replica.
        lines = reverse.view(len(reverse), -1, 1, cells)
        backward = lines // points * (batch * points) + replica * points + lines % points
        backward = torch.where(lines == len(table), batch * len(table), backward)
        return forward.flatten(), backward.flatten(1)


def _multiply(matrices: Sequence[Tensor], values: Tensor, out: Tensor) -> None:
    """Block by block, the products of every orbit's matrix with its rows."""
    start = stop = 0
    for matrix in matrices:
        orbits, height, width = matrix.shape
        source = values[start : start + orbits * width].unflatten(0, (orbits, width))
        torch.bmm(matrix, source, out=out[stop : stop + orbits * height].unflatten(0, (orbits, height)))
        start, stop = start + orbits * width, stop + orbits * height


def _sites(values: Tensor, sites: list[list[Tensor]]) -> Tensor:
    """Values ``(site · component, point)`` of an orbit as ``(site, component, batch, *shape, basis)``."""
    return values.view(len(sites), *sites[0][0].shape, len(sites[0]))


def gather(blocks: Sequence[_Block], bases: Sequence[Tensor], values: Tensor) -> Tensor:
    """Coefficients ``(row, point)`` from explicit neighbourhoods ``(point, neighbour, component)``."""
    points, _, components = values.shape
    result = []
    for block, basis in zip(blocks, bases, strict=True):
        orbits, sites = block.members.shape
        chosen = values[:, torch.as_tensor(block.members, device=values.device)]
        chosen = chosen.reshape(points, orbits, sites * components).permute(1, 2, 0)
        result.append(torch.bmm(basis, chosen).flatten(0, 1))
    return torch.cat(result)
