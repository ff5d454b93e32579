"""A sparse matrix as a chain of blocks, each coupled to the next alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_array

SMALLEST = 64
"""Neighbouring blocks are merged up to this size: below it a step costs its overhead, not its arithmetic."""


@dataclass(frozen=True, eq=False)
class BlockChain:
    r"""An order of the orbitals in which a matrix is block tridiagonal,

    .. math:: h = \begin{pmatrix} A_0 & C_0 & & \\ C_0^\dagger & A_1 & C_1 & \\ & C_1^\dagger & A_2 & \ddots \\
              & & \ddots & \ddots \end{pmatrix} .

    The blocks are layers of equal distance, in steps of the matrix, from a first block. If that is a layer of a torus
    as wide as one column of cells, its left and right neighbours fall into one block, and so on to the opposite side:
    the ring is folded into a chain of half its length. On an open lattice the first block is an edge. The first block
    is chosen among the ``cuts`` of the pattern and the ends of its graph, so that Σ n³, the cost of elimination, is
    least.

    ``block`` and ``local`` tell the block of every orbital and its place in it ``(orbital,)``; ``sizes`` are those of
    the blocks.
    """

    block: Tensor
    local: Tensor
    sizes: tuple[int, ...]
    _tables: dict[tuple[str, torch.device], Tables] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, rows: Tensor, columns: Tensor, size: int, cuts: Tensor | None = None) -> BlockChain:
        """The cheapest chain for elements at ``(rows, columns)`` of a matrix with ``size`` orbitals."""
        from scipy.sparse import csr_array  # imported when needed: the door of the library stays light

        i, j = rows.cpu().numpy(), columns.cpu().numpy()
        ones = np.ones(2 * len(i), dtype=np.int32)
        graph = csr_array((ones, (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(size, size))
        candidates = [_merged(_levels(graph, first)) for first in _first_blocks(graph, cuts)]
        level = min(candidates, key=lambda level: (np.bincount(level).astype(float) ** 3).sum())
        sizes = np.bincount(level)
        order = np.argsort(level, kind="stable")
        local = np.empty(size, dtype=np.int64)
        local[order] = np.arange(size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return cls(torch.from_numpy(level.astype(np.int64)), torch.from_numpy(local), tuple(sizes.tolist()))

    def __repr__(self) -> str:
        return f"BlockChain of {len(self.sizes)} blocks, {min(self.sizes)} to {max(self.sizes)} orbitals"

    @property
    def flops(self) -> float:
        """Real operations of one elimination with selected inversion: 24 n³ for every block."""
        return 24.0 * sum(float(n) ** 3 for n in self.sizes)

    def holds(self, rows: Tensor, columns: Tensor) -> bool:
        """Whether all these positions lie in diagonal blocks or in couplings of adjacent ones."""
        block = self.block.to(rows.device)
        return bool(((block[rows] - block[columns]).abs() <= 1).all())

    def tables(self, name: str, rows: Tensor, columns: Tensor, device: torch.device) -> Tables:
        """Where each of the listed elements lies in the chain, on a device; computed once for each ``name``."""
        known = self._tables.get((name, device))
        if known is None or known.rows is not rows or known.columns is not columns:
            known = Tables.of(self, rows, columns, device)
            self._tables[name, device] = known
        return known


@dataclass(frozen=True, eq=False)
class Tables:
    """Elements sorted by blocks: for every block those inside it, above it (from k to k + 1) and below it.

    Each is a triple of tensors: which of the listed elements, and the local row and column.
    """

    rows: Tensor
    columns: Tensor
    inside: list[tuple[Tensor, Tensor, Tensor]]
    above: list[tuple[Tensor, Tensor, Tensor]]
    below: list[tuple[Tensor, Tensor, Tensor]]

    @classmethod
    def of(cls, chain: BlockChain, rows: Tensor, columns: Tensor, device: torch.device) -> Tables:
        r, c = rows.cpu(), columns.cpu()
        first, step = torch.minimum(chain.block[r], chain.block[c]), chain.block[c] - chain.block[r]
        lists = []
        for kind in (0, 1, -1):
            mine = (step == kind).nonzero().squeeze(-1)
            mine = mine[torch.argsort(first[mine], stable=True)]
            counts = torch.bincount(first[mine], minlength=len(chain.sizes)).tolist()
            parts = mine.split(counts)
            lists.append([(e.to(device), chain.local[r[e]].to(device), chain.local[c[e]].to(device)) for e in parts])
        return cls(rows, columns, *lists)


def _first_blocks(graph: csr_array, cuts: Tensor | None) -> Iterator[np.ndarray]:
    """Masks of orbitals to begin with: the layers of every family of cuts, and an end of the graph."""
    for labels in [] if cuts is None else cuts.cpu().numpy():
        yield labels == 0
    # From any orbital to one farthest away, and from there again: an end, as far as a few steps can tell.
    end = 0
    for _ in range(3):
        end = int(_levels(graph, np.arange(graph.shape[0]) == end).argmax())
    yield np.arange(graph.shape[0]) == end


def _levels(graph: csr_array, first: np.ndarray) -> np.ndarray:
    """Distance of every orbital from the first ones, in steps; separate parts of the matrix follow one another."""
    level = np.where(first, 0, -1)
    frontier, depth = first, 0
    while True:
        frontier = (graph @ frontier.astype(np.int32) > 0) & (level < 0)
        depth += 1
        if not frontier.any():
            missing = np.flatnonzero(level < 0)
            if not len(missing):
                return level
            frontier = np.zeros(len(level), dtype=bool)
            frontier[missing[0]] = True
        level[frontier] = depth


def _merged(level: np.ndarray) -> np.ndarray:
    """Levels joined with the next ones while a block stays small."""
    sizes = np.bincount(level)
    names, size, name = np.empty(len(sizes), dtype=np.int64), 0, 0
    for k, n in enumerate(sizes):
        if size and size + n > SMALLEST:
            size, name = 0, name + 1
        names[k], size = name, size + n
    return names[level]
