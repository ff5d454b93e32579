"""Recursive Green's functions: a matrix as a chain of blocks of which only neighbours are coupled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.solvers.negf._contacts import Green
from nearsight.solvers.sparse import Pattern, SparseMatrix

STREAM, MEMORY = 2**26, 2**31
"""Bytes of blocks in memory at once, on a processor and on a GPU."""


@dataclass(frozen=True, eq=False)
class BlockChain:
    """Orbitals by their distance from the first block, in hops: elements join blocks or neighbours of blocks.

    ``blocks`` are the orbitals of each; ``block`` and ``place`` ``(orbital,)`` where each of them is.
    """

    blocks: tuple[Tensor, ...]
    block: Tensor
    place: Tensor

    @classmethod
    def of(cls, pattern: Pattern, first: Tensor) -> BlockChain:
        from scipy.sparse import csr_array  # imported when needed: the door of the library stays light

        i, j = pattern.rows.cpu().numpy(), pattern.columns.cpu().numpy()
        graph = csr_array((np.ones(len(i), dtype=np.int32), (i, j)), shape=(pattern.size, pattern.size))
        level = np.full(pattern.size, -1)
        front, depth = np.zeros(pattern.size, dtype=bool), 0
        front[first.cpu().numpy()] = True
        while front.any():
            level[front] = depth
            front = (graph @ front.astype(np.int32) > 0) & (level < 0)
            depth += 1
            if not front.any() and (level < 0).any():
                front[np.argmax(level < 0)] = True  # a part of the matrix that is not connected to the others
        blocks = tuple(torch.from_numpy(np.flatnonzero(level == k)) for k in range(depth))
        place = torch.empty(pattern.size, dtype=torch.long)
        for orbitals in blocks:
            place[orbitals] = torch.arange(len(orbitals))
        return cls(blocks, torch.from_numpy(level), place)

    @property
    def memory(self) -> int:
        """Bytes of Green's function on the blocks at one energy, and of what is kept beside it."""
        return 48 * sum(len(b) ** 2 for b in self.blocks)


class ChainGreen:
    r"""G(ε) = (ε - h + iΓ)⁻¹ of matrices ``(replica, element)`` on a chain, at energies of some replicas at once.

    With the part g_k of Green's function of the chain from block k to the end alone,

    .. math:: g_k = (\epsilon - h_{kk} + i\Gamma - h_{k,k+1}\, g_{k+1} h_{k+1,k})^{-1}, \qquad
              G_{kk} = g_k + g_k h_{k,k-1} G_{k-1,k-1} h_{k-1,k}\, g_k ,

    and G_{ks} = g_k (h_{k,k-1} G_{k-1,s} + y_k) in the columns s, where y sums up what reaches k from behind it.
    """

    def __init__(self, matrix: SparseMatrix, gamma: Tensor, chain: BlockChain) -> None:
        self.chain, self.gamma = chain, gamma
        self.real = not matrix.values.is_complex()
        values = matrix.values.reshape(-1, matrix.values.shape[-1])
        self.device = values.device
        block, place = chain.block.to(self.device), chain.place.to(self.device)
        i, j = matrix.pattern.rows.to(self.device), matrix.pattern.columns.to(self.device)
        self.orbitals = [b.to(self.device) for b in chain.blocks]
        sizes = [len(b) for b in chain.blocks]

        def dense(k: int, m: int) -> Tensor:
            here = ((block[i] == k) & (block[j] == m)).nonzero().squeeze(-1)
            flat = values.new_zeros(len(values), sizes[k] * sizes[m])
            flat.index_add_(1, place[i[here]] * sizes[m] + place[j[here]], values[:, here])
            return flat.view(-1, sizes[k], sizes[m]).to(torch.complex128)

        self.inside = [dense(k, k) for k in range(len(sizes))]
        self.ahead = [_Coupling.of(dense(k, k + 1)) for k in range(len(sizes) - 1)]

    @property
    def together(self) -> int:
        """Energies worked on at once."""
        room = MEMORY if self.device.type == "cuda" else STREAM
        return max(1, room // self.chain.memory)

    def at(self, energies: Tensor, replica: Tensor, sites: Tensor) -> Green:
        """Energies ``(energy,)`` of the replicas ``(energy,)``, columns at ``sites`` ``(column,)``."""
        pairs = zip(energies.split(self.together), replica.split(self.together), strict=True)
        parts = [self._sweep(e, r, sites) for e, r in pairs]
        return Green(*(torch.cat(x) for x in zip(*parts, strict=True)))

    def _sweep(self, energies: Tensor, replica: Tensor, sites: Tensor) -> Green:
        count, last = len(energies), len(self.orbitals) - 1
        alone: list[Tensor] = [energies] * (last + 1)  # g_k
        back: list[Tensor] = [energies] * (last + 1)  # g_k h_{k,k-1}
        for k in range(last, -1, -1):
            orbitals = self.orbitals[k]
            m = self.inside[k][replica].neg()
            m.diagonal(dim1=-2, dim2=-1).add_(energies[:, None] + 1j * self.gamma[orbitals])
            if k < last:
                m -= self.ahead[k].times(back[k + 1], replica)
            alone[k] = torch.linalg.inv(m)
            if k:
                back[k] = self.ahead[k - 1].after(alone[k], replica)
        diagonal = energies.new_zeros(count, len(self.gamma), dtype=torch.complex128)
        columns = diagonal.new_zeros(count, len(self.gamma), len(sites))
        sources = self._sources(alone, replica, sites)
        g = x = alone[0]
        for k, orbitals in enumerate(self.orbitals):
            if k:
                right = back[k].mT if self.real else self.ahead[k - 1].times(alone[k], replica)
                g = torch.baddbmm(alone[k], back[k] @ g, right)
                x = back[k] @ x if k >= len(sources) else torch.baddbmm(alone[k] @ sources[k], back[k], x)
            else:
                x = alone[0] @ sources[0]
            diagonal[:, orbitals] = g.diagonal(dim1=-2, dim2=-1)
            columns[:, orbitals] = x
        return Green(diagonal, columns)

    def _sources(self, alone: list[Tensor], replica: Tensor, sites: Tensor) -> list[Tensor]:
        """y_k ``(energy, orbital, column)`` for every block before or among those that hold sites."""
        where = self.chain.block.to(self.device)[sites]
        place = self.chain.place.to(self.device)[sites]
        reach = int(where.max()) if len(sites) else 0
        sources: list[Tensor] = []
        for k in range(reach, -1, -1):
            y = alone[k].new_zeros(len(replica), len(self.orbitals[k]), len(sites))
            here = (where == k).nonzero().squeeze(-1)
            y[:, place[here], here] = 1
            if sources:
                y += self.ahead[k].times(alone[k + 1] @ sources[0], replica)
            sources.insert(0, y)
        return sources


@dataclass(frozen=True, eq=False)
class _Coupling:
    """h_{k,k+1} ``(replica, row, column)``; where no row has more than one element, ``column`` tells which it is."""

    values: Tensor
    column: Tensor | None

    @classmethod
    def of(cls, dense: Tensor) -> _Coupling:
        there = (dense != 0).any(0)
        if bool((there.sum(-1) <= 1).all()):
            column = there.int().argmax(-1)
            return cls(dense.gather(2, column.expand(len(dense), -1)[..., None]).squeeze(-1), column)
        return cls(dense, None)

    def times(self, x: Tensor, replica: Tensor) -> Tensor:
        """h_{k,k+1} x."""
        values = self.values[replica]
        return values @ x if self.column is None else values[..., None] * x[:, self.column]

    def after(self, x: Tensor, replica: Tensor) -> Tensor:
        """x h_{k+1,k}."""
        values = self.values[replica]
        return x @ values.mH if self.column is None else x[..., self.column] * values.conj()[:, None]
