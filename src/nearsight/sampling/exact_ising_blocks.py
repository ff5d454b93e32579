"""Exact probabilities of blocks of spins in a large square Ising lattice: no function of a block can know more."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from nearsight._validation import integer

STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])
BATCH = 2**22
"""Entries of the Pfaffians that are worked out at once."""


class ExactBlocks:
    r"""Probabilities of blocks of l × l Ising spins (J = 1, h = 0) in the middle of a square lattice, without sampling.

    Given the ring of spins on the boundary of a block, the spins outside do not depend on those inside, so that

    .. math:: P(\text{block} \mid T) = \frac{1}{Z(T)}\, e^{-E_\text{block} / kT}\, Z_\text{outside}(\text{ring}; T).

    The second factor is a sum over domain walls outside. They end where neighbours on the ring differ, at places
    :math:`x_1, ..., x_{2n}`, and the lattice outside is planar with all ends on one face: the walls are free fermions,

    .. math:: \frac{Z_\text{outside}(x_1, ..., x_{2n})}{Z_\text{outside}(\text{none})} = \mathrm{Pf}\, G(x_i, x_j),

    where G is the same ratio for two ends: the correlation of two boundary spins of the dual lattice at its dual
    temperature (J. Groeneveld, R. J. Boel, P. W. Kasteleyn, Physica A 93, 138 (1978)). Sums over closed walls and G
    follow from the determinant of the Kac-Ward matrix of that lattice, and G from its inverse: closing a path from
    x_j to x_i by an arc inside the block gives a loop with the sign of its turns.

    The lattice is finite: (box + 1)² spins, those at its edge all equal, up or down. Blocks in the middle of it and on
    a torus differ where the correlation length exceeds their distance from the edge.

    Parameters
    ----------
    side: l ≥ 2. box: plaquettes along an edge of the lattice; by default at least 96, and l on every side of the block.

    Cost: a sparse factorisation of 4 box² directed bonds for each temperature, below a second for box = 96; then
    O(n³) for every block and temperature.

    Examples
    --------
    >>> import numpy as np
    >>> from nearsight.sampling import ExactBlocks
    >>> every = 2 * np.stack(np.unravel_index(np.arange(16), (2,) * 4), axis=1).reshape(16, 2, 2) - 1
    >>> P = np.exp(ExactBlocks(2, box=12).log_probability(every, 2.0))
    >>> round(float(P.sum()), 6), every[P.argmin()].tolist()  # normalised; the rarest block of 2 × 2 spins
    (1.0, [[-1, 1], [1, -1]])

    References
    ----------
    M. Kac, J. C. Ward, Phys. Rev. 88, 1332 (1952).
    """

    def __init__(self, side: int, *, box: int | None = None) -> None:
        side = integer(side, "side, for blocks of 2 or more sites,", least=2)
        box = max(96, 3 * side) if box is None else integer(box, "box")
        if box < side + 2:
            raise ValueError(f"A block of {side} × {side} spins inside the edge needs box ≥ {side + 2}, got {box}.")
        self.side, self.box = side, box
        self._low = (self.box + 1 - self.side) // 2
        self._outside = _Walls(self.box, self._low, self.side)
        self._known: dict[float, tuple[float, np.ndarray]] = {}

    def __repr__(self) -> str:
        return f"ExactBlocks({self.side} × {self.side} spins in a box of {self.box})"

    def log_probability(self, blocks: np.ndarray, kT: float | Sequence[float] | np.ndarray) -> np.ndarray:
        """ln P ``(block, temperature)`` of blocks ``(block, l, l)`` of ±1, or ``(block,)`` for one temperature."""
        blocks = np.asarray(blocks)
        if blocks.ndim != 3 or blocks.shape[1:] != (self.side, self.side) or not (np.abs(blocks) == 1).all():
            raise ValueError(f"Blocks are ±1 of shape (block, {self.side}, {self.side}), got {blocks.shape}.")
        s = blocks.astype(np.int64)
        energy = -(s[:, 1:] * s[:, :-1]).sum((1, 2)) - (s[:, :, 1:] * s[:, :, :-1]).sum((1, 2))
        ring = _ring_values(s)
        # Many blocks share their walls, small ones above all.
        packed = np.packbits(ring != np.roll(ring, -1, axis=1), axis=1)
        unique, place = np.unique(packed, axis=0, return_inverse=True)
        walls = np.unpackbits(unique, axis=1, count=ring.shape[1]).astype(bool)
        temperatures = np.atleast_1d(np.asarray(kT, dtype=float))
        found = np.empty((len(s), len(temperatures)))
        for k, t in enumerate(temperatures.tolist()):
            constant, pairs = self._at(t)
            found[:, k] = constant - energy / t + _log_pfaffians(pairs, walls)[place.reshape(-1)]
        return found if np.ndim(kT) else found[:, 0]

    def _at(self, kT: float) -> tuple[float, np.ndarray]:
        """ln of what does not depend on the block, and G ``(bond of the ring, bond of the ring)``, antisymmetric."""
        if kT not in self._known:
            if not kT > 0:
                raise ValueError(f"Temperatures must be > 0, got {kT}.")
            weight = float(np.exp(-2 / kT))
            outside, pairs = self._outside.solve(weight)
            bonds = 2 * self.side * (self.side - 1)
            self._known[kT] = (-bonds / kT + outside - _closed_walls(self.box, weight) - np.log(2), pairs)
        return self._known[kT]


class _Walls:
    """Domain walls on plaquettes, with a hole: all plaquettes inside a block of ``side`` spins from ``low`` on."""

    def __init__(self, box: int, low: int, side: int) -> None:
        there = np.ones((box, box), bool)
        there[low : low + side - 1, low : low + side - 1] = False
        start = np.argwhere(there)
        tails, heads, directions = [], [], []
        for k, step in enumerate(STEPS):
            end = start + step
            inside = ((end >= 0) & (end < box)).all(1)
            inside[inside] = there[tuple(end[inside].T)]
            tails.append(start[inside] @ [box, 1])
            heads.append(end[inside] @ [box, 1])
            directions.append(np.full(int(inside.sum()), k))
        self.tail, self.head, self.direction = map(np.concatenate, (tails, heads, directions))
        order = np.argsort(self.tail, kind="stable")
        first = np.searchsorted(self.tail[order], np.arange(box * box + 1))
        number = first[self.head + 1] - first[self.head]
        before = np.repeat(np.arange(len(self.tail)), number)
        after = order[first[self.head[before]] + np.arange(len(before)) - np.repeat(np.cumsum(number) - number, number)]
        turn, allowed = _turns(self.direction[before], self.direction[after])
        phase = np.exp(0.25j * np.pi * turn[allowed])
        count = len(self.tail)
        self.steps = sp.csc_matrix((phase, (before[allowed], after[allowed])), shape=(count, count))
        self.exits = _exits(low, side) @ [box, 1, 0] if side > 1 else np.zeros(0, int)
        self.normals = _exits(low, side)[:, 2] if side > 1 else np.zeros(0, int)

    def solve(self, weight: float) -> tuple[float, np.ndarray]:
        """ln of the sum over closed walls of ``weight`` to their length, and G."""
        matrix = sp.identity(self.steps.shape[0], format="csc") - weight * self.steps
        factors = spla.splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.01, options={"SymmetricMode": True})
        # The square root of the determinant: that of the permutations is ±1.
        logarithm = 0.5 * float(np.log(np.abs(factors.U.diagonal())).sum())
        n = len(self.exits)
        if not n:
            return logarithm, np.zeros((0, 0))
        into = np.zeros((self.steps.shape[0], n), complex)
        for a in range(n):
            last = np.flatnonzero(self.head == self.exits[a])
            turn, allowed = _turns(self.direction[last], (self.normals[a] + 2) % 4)
            into[last[allowed], a] = weight * np.exp(0.25j * np.pi * turn[allowed])
        paths = factors.solve(into)
        pairs = np.zeros((n, n))
        for b in range(1, n):
            first = np.flatnonzero(self.tail == self.exits[b])
            turn, allowed = _turns(self.normals[b], self.direction[first])
            sums = np.exp(0.25j * np.pi * turn[allowed]) @ paths[first[allowed], :b]
            # Quarter turns of an arc inside the block that enters at a, to the right, and leaves at b.
            arc = (self.normals[b] - self.normals[:b]) - 2
            pairs[:b, b] = -(np.exp(0.25j * np.pi * arc) * sums).real
        return logarithm, pairs - pairs.T


@functools.lru_cache(maxsize=1024)
def _closed_walls(box: int, weight: float) -> float:
    """ln of the sum over closed walls without a block: the same for blocks of all sides."""
    return _Walls(box, 0, 1).solve(weight)[0]


def _turns(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quarter turns to the left, -1, 0 or 1, and whether a path may take them: it does not turn back."""
    turn = (after - before + 1) % 4 - 1
    return turn, turn != 2


def _exits(low: int, side: int) -> np.ndarray:
    """The plaquettes outside the bonds of the ring, counter-clockwise, and the direction out ``(bond, 3)``."""
    high = low + side - 1
    way = [
        *((high, y, 0) for y in range(low, high)),
        *((x, high, 1) for x in range(high - 1, low - 1, -1)),
        *((low - 1, y, 2) for y in range(high - 1, low - 1, -1)),
        *((x, low - 1, 3) for x in range(low, high)),
    ]
    return np.array(way)


def _ring_values(s: np.ndarray) -> np.ndarray:
    """Spins on the boundary ``(block, bond of the ring)``, each the first of its bond."""
    last = s.shape[1] - 1
    sides = s[:, last, :last], s[:, :0:-1, last], s[:, 0, :0:-1], s[:, :last, 0]
    return np.concatenate(sides, axis=1)


def _log_pfaffians(pairs: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """ln Pf of G between the walls of every ring ``(ring,)``: half the logarithm of a determinant."""
    number = walls.sum(1)
    found = np.zeros(len(walls))
    for n in np.unique(number[number > 0]).tolist():
        rows = np.flatnonzero(number == n)
        places = np.nonzero(walls[rows])[1].reshape(-1, n)
        size = max(1, BATCH // n**2)
        for k in range(0, len(rows), size):
            p = places[k : k + size]
            found[rows[k : k + size]] = 0.5 * np.linalg.slogdet(pairs[p[:, :, None], p[:, None, :]])[1]
    return found
