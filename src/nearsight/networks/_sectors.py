r"""Group convolutions on a processor with a fraction of their multiplications.

A point group holds reflections that commute: a subgroup A of 2, 4 or 8 elements with a² = 1 (in D4 and D6 the identity,
the rotation by π and two mirrors). Regular features split into sectors, one for each of its characters χ = ±1,

.. math:: \hat f_\chi(x, t) = \sum_{a \in A} \chi(a)\, f(x, a t)

with one t for every coset A t. Moving the lattice by an a in A multiplies a sector by χ(a). The sector χ' of what a
convolution makes of the neighbours at a r, an orbit of A, is therefore

.. math::
    \hat f'_{\chi'}(x) = \sum_{\text{orbits}} \sum_\chi \hat K_{\chi' \chi}(r)
        \sum_{a} \chi'(a)\, \chi(a)\, \hat f_\chi(x + a r) .

There is one matrix for an orbit where the plain sum has one for each of its members, and the number of multiplications
falls by |A|; additions of whole rows of sites are what that costs. On one core the layers of a network of spins on the
triangular lattice (48 channels, 19 neighbours) run three times faster than by the convolution of torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._multilinear import Trilinear
from nearsight.groups import PointGroup
from nearsight.lattices import Neighbourhood, neighbour_permutations

AT_ONCE = 256
"""Sites whose surroundings are multiplied at once: they fill the cache and no more."""


def commuting_reflections(group: PointGroup) -> list[int]:
    """The largest subgroup of commuting elements with a² = 1.

    Element number i is the product of those generators whose binary digits i has, so that i xor j is the product of i
    and j, and the characters are χ_j(i) = -1 to the power of the number of digits that i and j share.
    """
    table = group.table
    involutions = [g for g in range(1, len(group)) if table[g, g] == 0]
    best = [0]
    for first in involutions:
        found = [0, first]
        for g in involutions:
            if g not in found and all(table[g, a] == table[a, g] for a in found):
                found += [int(table[a, g]) for a in found]
        best = max(best, found, key=len)
    return best


class Sectors:
    """How a neighbourhood falls into orbits of the commuting reflections of a group, and the group into cosets.

    ``inputs`` and ``outputs`` are features per operation; with ``lifting`` the inputs are numbers per site that no
    operation changes, such as the components of a spin.
    """

    def __init__(
        self, neighbourhood: Neighbourhood, group: PointGroup, inputs: int, outputs: int, *, lifting: bool
    ) -> None:
        elements = commuting_reflections(group)
        self.order, self.inputs, self.outputs, self.lifting = len(elements), inputs, outputs, lifting
        self.reach, self.cells = neighbourhood.reach, neighbourhood.cells
        cosets: dict[frozenset[int], np.ndarray] = {}
        for t in range(len(group)):
            members = group.table[elements, t]
            cosets.setdefault(frozenset(members.tolist()), members)
        self.member = np.array(list(cosets.values()))
        """``member[t, a]`` is the operation a t."""
        self.sources = 1 if lifting else self.order
        self.features = inputs * (1 if lifting else len(cosets))
        digits = np.arange(self.order)
        shared = np.bitwise_count(digits[:, None] & digits)
        self.characters = 1 - 2 * (shared.astype(int) % 2)
        moved = neighbour_permutations(neighbourhood, group)
        self._orbits(moved[elements])
        # Which of the free numbers make the matrix K[g, g'] of the first member of every orbit: that of g⁻¹ g' and of
        # the neighbour that g takes there.
        g = self.member.flatten()
        self.neighbour = np.argsort(moved, axis=1)[:, self.places[:, 0]][g]
        self.relative = group.table[group.inverse][g][:, g]

    def _orbits(self, moved: np.ndarray) -> None:
        """``moved[i, k]``: where reflection i takes neighbour k."""
        shape = (0, self.order)
        self.size, self.places = np.zeros(0, dtype=int), np.zeros(shape, dtype=int)
        self.mode, self.slot = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
        self.filled = np.zeros(self.order, dtype=int)
        """How many sums over an orbit every sector of the output looks at."""
        for k in range(moved.shape[1]):
            if k in self.places[np.arange(self.order) < self.size[:, None]]:
                continue
            still = np.flatnonzero(moved[:, k] == k)
            generators: list[int] = []
            covered = set(still.tolist())
            for i in range(self.order):
                if i not in covered:
                    generators.append(i)
                    covered |= {i ^ c for c in covered}
            members = [0]
            for i in generators:
                members += [i ^ c for c in members]
            # Only characters that do not tell apart what arrives at one place, in the order of the members' digits.
            allowed = np.flatnonzero((self.characters[:, still] == 1).all(1))
            digits = (self.characters[allowed][:, generators] < 0) @ (1 << np.arange(len(generators)))
            mode = allowed[np.argsort(digits)]
            slot = self.filled[mode] if self.lifting else self.filled[0] + np.arange(len(mode))
            if self.lifting:
                self.filled[mode] += 1
            else:
                self.filled += len(mode)
            rest = (0, self.order - len(members))
            self.size = np.append(self.size, len(members))
            for name, row in (("places", moved[members, k]), ("mode", mode), ("slot", slot)):
                setattr(self, name, np.vstack([getattr(self, name), np.pad(row, rest)]))

    @property
    def columns(self) -> int:
        """Numbers over which a sector of the output is a sum. Where one needs fewer than others, the rest is 0."""
        return int(self.filled.max()) * self.features

    def kernel(self, weight: Tensor) -> Tensor:
        """From free numbers ``(out, in, |G| or 1, neighbour)`` to ``(sector, out · coset, column)``; differentiable."""
        device, cosets = weight.device, len(self.member)
        signs = torch.as_tensor(self.characters, dtype=weight.dtype, device=device)
        neighbour, relative = (torch.from_numpy(x).to(device) for x in (self.neighbour, self.relative))
        if self.lifting:
            w = weight[:, :, 0, neighbour].unflatten(2, (cosets, self.order))  # out, in, t, a, orbit
            K = torch.einsum("xa,citao->xocti", signs, w)[:, None] / self.order
        else:
            w = weight[:, :, relative[..., None], neighbour[:, None]]
            w = w.unflatten(3, (cosets, -1)).unflatten(2, (cosets, -1))  # out, in, t, a, u, b, orbit
            K = torch.einsum("xa,yb,citaubo->xyoctiu", signs, signs, w).flatten(-2) / self.order**2
        return self._arranged(K)

    def _arranged(self, K: Tensor) -> Tensor:
        """From ``(sector, sector of the input, orbit, out, coset, feature)`` to the columns that windows have."""
        orbit = np.full((self.order, int(self.filled.max())), -1)
        source = np.zeros_like(orbit)
        for o, m in enumerate(self.size):
            for mode, slot in zip(self.mode[o, :m], self.slot[o, :m], strict=True):
                for s in range(self.sources):
                    orbit[s ^ mode, slot], source[s ^ mode, slot] = o, s
        sector = np.arange(self.order)[:, None]
        index = (torch.from_numpy(x).to(K.device) for x in (sector, source, orbit))
        known = torch.from_numpy(orbit >= 0).to(K)
        placed = K[tuple(index)] * known[:, :, None, None, None]  # sector, slot, out, coset, feature
        return placed.movedim(1, 3).flatten(3).flatten(1, 2)

    # --- the form ⟨g, K h⟩ and its three derivatives ------------------------------------------------------------------

    def __call__(self, h: Tensor, kernel: Tensor) -> Tensor:
        """``(batch, in or in·|G|, *shape)`` to ``(batch, out·|G|, *shape - 2 reach)``; any derivative."""
        return Trilinear.apply((self._transposed, self._weighted, self._convolved), 2, None, h, kernel, None)

    def _convolved(self, h: Tensor, kernel: Tensor, _: torch.Size | None) -> Tensor:
        from nearsight.networks._sector_kernels import from_sectors

        rows = _Rows.of(tuple(h.shape[2:]), self)
        result = h.new_empty(len(h), self.outputs * self.member.size, *rows.inner)
        windows = self._windows(h, rows)
        products = {n: h.new_empty(self.order, kernel.shape[1], n) for n in windows}
        features = result.view(len(h), self.outputs, self.member.size, -1).numpy()
        for planes, out in zip(self._planes(h), features, strict=True):
            for part in rows.parts:
                seen, product = windows[part.length], products[part.length]
                self._look(planes, rows, part, seen)
                torch.bmm(kernel, seen, out=product)
                from_sectors(product.numpy(), self.member, rows.stride, part.width, part.first, out)
        return result

    def _transposed(self, kernel: Tensor, g: Tensor, shape: torch.Size) -> Tensor:
        """The adjoint of :meth:`_convolved` for inputs of this shape: their gradient, from that of the result."""
        from nearsight.networks._sector_kernels import from_sectors, spread

        grid = tuple(shape[2:])
        rows = _Rows.of(grid, self)
        windows = self._windows(g, rows)
        across, sites = kernel.mT.contiguous(), math.prod(grid)
        operations = 1 if self.lifting else self.member.size
        result = g.new_empty(shape)
        features = result.view(len(g), self.inputs, operations, sites).numpy()
        for back, out in zip(self._back(g, rows), features, strict=True):
            planes = np.zeros((self.sources, self.features, sites), dtype=out.dtype)
            for part in rows.parts:
                seen = windows[part.length]
                torch.bmm(across, back[..., part.back : part.back + part.length], out=seen)
                spread(seen.numpy(), part.start, self.size, rows.shift, self.mode, self.slot, planes)
            if self.lifting:
                out[:, 0] = planes[0]
            else:
                from_sectors(planes, self.member, sites, sites, 0, out)
        return result

    def _weighted(self, h: Tensor, g: Tensor, _: torch.Size) -> Tensor:
        """Gradient by the kernel of the sum of ``g`` times :meth:`_convolved`."""
        rows = _Rows.of(tuple(h.shape[2:]), self)
        windows = self._windows(h, rows)
        total = h.new_zeros(self.order, self.outputs * len(self.member), self.columns)
        for planes, back in zip(self._planes(h), self._back(g, rows), strict=True):
            for part in rows.parts:
                seen = windows[part.length]
                self._look(planes, rows, part, seen)
                total.baddbmm_(back[..., part.back : part.back + part.length], seen.mT)
        return total

    def _back(self, g: Tensor, rows: _Rows) -> Iterator[Tensor]:
        """The sectors of a gradient, with zeros between its rows where the grid has its halo."""
        padded = torch.nn.functional.pad(g, (0, rows.stride - rows.inner[-1]))
        return map(torch.from_numpy, self._split(padded, self.outputs))

    def _planes(self, h: Tensor) -> Iterator[np.ndarray]:
        """What :func:`look` reads, for one entry of the batch after the other."""
        return iter(h.contiguous().flatten(2)[:, None].numpy()) if self.lifting else self._split(h, self.inputs)

    def _split(self, h: Tensor, channels: int) -> Iterator[np.ndarray]:
        from nearsight.networks._sector_kernels import to_sectors

        for features in h.contiguous().view(len(h), channels, self.member.size, -1).numpy():
            planes = np.empty((self.order, channels * len(self.member), features.shape[-1]), dtype=features.dtype)
            to_sectors(features, self.member, planes)
            yield planes

    def _look(self, planes: np.ndarray, rows: _Rows, part: _Part, windows: Tensor) -> None:
        from nearsight.networks._sector_kernels import look

        look(planes, part.start, self.size, rows.shift, self.mode, self.slot, windows.numpy())

    def _windows(self, like: Tensor, rows: _Rows) -> dict[int, Tensor]:
        """Memory for what the sites of a part see, by their number; where a sector sees less than others it is 0."""
        windows = {}
        for n in {part.length for part in rows.parts}:
            windows[n] = like.new_empty(self.order, self.columns, n)
            for sector, filled in zip(windows[n], self.filled.tolist(), strict=True):
                sector[filled * self.features :] = 0.0
        return windows


class _Part(NamedTuple):
    """Sites of the result that are made together: whole rows with the halo between them, or a piece of one row."""

    start: int
    """In the grid."""
    length: int
    width: int
    """Of a row."""
    first: int
    """In the result."""
    back: int
    """In the result with the halo between its rows."""


@dataclass(frozen=True)
class _Rows:
    """The inner sites of a grid part by part, and how far from each of them in memory its neighbours lie."""

    inner: tuple[int, ...]
    stride: int
    shift: np.ndarray
    parts: tuple[_Part, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], sectors: Sectors) -> _Rows:
        return _rows(shape, sectors.reach, sectors.cells.tobytes(), sectors.places.tobytes(), sectors.order)


@lru_cache(maxsize=256)
def _rows(shape: tuple[int, ...], reach: tuple[int, ...], cells: bytes, places: bytes, order: int) -> _Rows:
    inner = tuple(n - 2 * r for n, r in zip(shape, reach, strict=True))
    if min(inner) < 1:
        raise RuntimeError(f"A grid of {shape} has no site whose neighbours up to {reach} cells away are all there.")
    strides = np.cumprod([1, *shape[:0:-1]])[::-1]
    stride, width = shape[-1], inner[-1]
    count = inner[-2] if len(inner) > 1 else 1
    pieces = [slice(x, min(x + AT_ONCE, width)) for x in range(0, width, AT_ONCE)]
    together = max(1, AT_ONCE // stride)
    parts = []
    for block, corner in enumerate(np.ndindex(*inner[:-2])):
        origin = int(np.dot(reach, strides) + np.dot(corner, strides[: len(corner)]))
        for row in range(0, count, together):
            rows = min(together, count - row)
            for piece in pieces:
                columns = piece.stop - piece.start
                parts.append(
                    _Part(
                        start=origin + row * stride + piece.start,
                        length=(rows - 1) * stride + columns,
                        width=columns,
                        first=(block * count + row) * width + piece.start,
                        back=(block * count + row) * stride + piece.start,
                    )
                )
    offsets = np.frombuffer(cells, dtype=np.int64).reshape(-1, len(shape)) @ strides
    return _Rows(inner, stride, offsets[np.frombuffer(places, dtype=np.int64).reshape(-1, order)], tuple(parts))
