"""Checkerboard updates of 64 Ising lattices at once: one word holds the spins of all replicas on a site.

The replicas share a temperature and no random number. One draw for all 64 would be cheaper and wrong: replicas that
meet the same number at the same site coalesce, and 64 copies of one lattice remain. Here every bit compares a random
fraction of its own with the acceptance probability, and 16 neighbouring words do so together in vector registers.

References
----------
L. Jacobs, C. Rebbi, J. Comput. Phys. 41, 203 (1981) (multi-spin coding).
"""

from __future__ import annotations

import numba
import numpy as np

from nearsight.sampling._checkerboard import join, split
from nearsight.sampling._streams import U64, kernel, next64

LANES = 16
"""Words of one row that draw their random bits together; rows of words are padded to a multiple of it."""
REPLICAS = 64
BITS = 52
"""Binary digits of an acceptance probability."""
ONES = U64(2**64 - 1)
ZERO = U64(0)


def pack_replicas(spins: np.ndarray) -> np.ndarray:
    """64 lattices ``(64, Lx, Ly)`` of 0 and 1 as the words of :func:`sweep_words`, ``(2, Lx, 2 + padded Ly/2)``."""
    words: np.ndarray = np.zeros(spins.shape[1:], U64)
    for replica in range(REPLICAS):
        words |= spins[replica].astype(U64) << U64(replica)
    half = words.shape[1] // 2
    grid = np.zeros((2, len(words), -(-half // LANES) * LANES + 2), U64)
    grid[..., : half + 2] = split(words)
    return grid


def unpack_replicas(grid: np.ndarray, columns: int) -> np.ndarray:
    """The 64 lattices of :func:`pack_replicas`, int8."""
    words = join(grid, columns)
    return np.stack([(words >> U64(replica) & U64(1)).astype(np.int8) for replica in range(REPLICAS)])


def digits(odds: float) -> np.ndarray:
    """Binary digits of a probability < 1, the largest first, each as a word of zeros or of ones."""
    whole = round(odds * 2**BITS)
    return np.array([(whole >> (BITS - 1 - k) & 1) * (2**64 - 1) for k in range(BITS)], U64)


def word_digits(rule: str, J: float, kT: float) -> tuple[np.ndarray, np.ndarray]:
    """Digits of the two probabilities of which :func:`sweep_words` composes all others, for bonds |J|.

    Metropolis: both exp(-4|J|/kT), so that both together have exp(-8|J|/kT). Heat bath: p(2) to point against two
    neighbours out of balance, and p(4)/p(2) with p(n) = 1 / (1 + exp(2 n |J| / kT)).
    """
    x = 4 * abs(J) / kT
    if rule == "metropolis":
        return digits(np.exp(-x)), digits(np.exp(-x))
    two, four = np.exp(-np.logaddexp(0.0, x)), np.exp(-np.logaddexp(0.0, 2 * x))
    return digits(two), digits(four / two if two > 0 else 0.0)


HALF = np.array([ONES])
"""The digits of 1/2."""


@numba.njit(nogil=True)
def _bernoulli(a, b, c, d, digit, undecided, result):
    """Every undecided bit of the lanes of ``result`` becomes 1 with the probability that the digits spell.

    Each bit compares a random binary fraction of its own with the probability, digit by digit from the largest, and is
    decided at the first that differs: a block of 64 replicas on 16 lanes is done after about 11 words per lane.
    """
    for l in range(LANES):
        result[l] = ZERO
    for k in range(len(digit)):
        m = digit[k]
        left = ZERO
        for l in range(LANES):
            p, q, r, t = a[l], b[l], c[l], d[l]
            y = p + t
            x = ((y << U64(23)) | (y >> U64(41))) + p
            r ^= p
            t ^= q
            b[l] = q ^ r
            a[l] = p ^ t
            c[l] = r ^ (q << U64(17))
            d[l] = (t << U64(45)) | (t >> U64(19))
            differs = x ^ m
            u = undecided[l]
            result[l] |= u & differs & m
            u &= ~differs
            undecided[l] = u
            left |= u
        if left == ZERO:
            break


@numba.njit(nogil=True)
def _count_unsatisfied(own, above, below, same, side, gauge, none, two, three, four):
    """Which bits have none, exactly two, at least three, four of their bonds unsatisfied."""
    for l in range(LANES):
        s = own[l] ^ gauge
        p, q, r, t = s ^ above[l], s ^ below[l], s ^ same[l], s ^ side[l]
        none[l] = ~(p | q | r | t)
        most = (p & q & (r | t)) | (r & t & (p | q))
        three[l] = most
        two[l] = ((p & q) | (r & t) | ((p | q) & (r | t))) & ~most
        four[l] = p & q & r & t


@kernel
def sweep_words(grid, half, state, first, second, gauge, heat_bath, sweeps):
    """``sweeps`` sweeps of 64 lattices with ``half`` words a row, by Metropolis's rule or a heat bath.

    Metropolis's rule skips one site in 16 (1 - ``TRIED``), in all replicas alike: which ones does not depend on any
    state, and the replicas remain independent at every time.

    ``first`` and ``second`` are those of :func:`word_digits`, ``state`` (4, LANES) the generators, ``gauge`` all ones
    for antiferromagnetic bonds.
    """
    rows = grid.shape[1]
    a, b, c, d = state[0], state[1], state[2], state[3]
    none, two, three, four = np.empty(LANES, U64), np.empty(LANES, U64), np.empty(LANES, U64), np.empty(LANES, U64)
    undecided, common, rare, coin = (
        np.empty(LANES, U64),
        np.empty(LANES, U64),
        np.empty(LANES, U64),
        np.empty(LANES, U64),
    )
    schedule, tried = state[:, 0], np.empty(LANES, U64)
    for _ in range(sweeps):
        for colour in range(2):
            for x in range(rows):
                own, other = grid[colour, x], grid[1 - colour, x]
                above = grid[1 - colour, x - 1 if x > 0 else rows - 1]
                below = grid[1 - colour, x + 1 if x + 1 < rows else 0]
                side = 0 if (x + colour) % 2 == 0 else 2
                for j in range(1, half + 1, LANES):
                    block = own[j:]
                    beside = other[j - 1 + side :]
                    _count_unsatisfied(block, above[j:], below[j:], other[j:], beside, gauge, none, two, three, four)
                    if heat_bath:
                        for l in range(LANES):
                            undecided[l] = ~two[l]
                        _bernoulli(a, b, c, d, first, undecided, common)
                        for l in range(LANES):
                            undecided[l] = common[l] & (none[l] | four[l])
                        _bernoulli(a, b, c, d, second, undecided, rare)
                        for l in range(LANES):
                            undecided[l] = two[l]
                        _bernoulli(a, b, c, d, HALF, undecided, coin)
                        for l in range(LANES):
                            against = common[l] & (rare[l] | ~(none[l] | four[l]))
                            block[l] ^= coin[l] | (~two[l] & (three[l] ^ against))
                    else:
                        bits = next64(schedule)
                        for l in range(LANES):
                            tried[l] = ONES if (bits >> U64(4 * l)) & U64(15) else ZERO
                            undecided[l] = ~(two[l] | three[l]) & tried[l]
                        _bernoulli(a, b, c, d, first, undecided, common)
                        for l in range(LANES):
                            undecided[l] = common[l] & none[l]
                        _bernoulli(a, b, c, d, second, undecided, rare)
                        for l in range(LANES):
                            block[l] ^= tried[l] & (two[l] | three[l] | (common[l] & (rare[l] | ~none[l])))
                own[0], own[half + 1] = own[half], own[1]


@numba.njit(nogil=True)
def _add(planes, l, word, weight):
    """Add 2^weight for every bit of a word to the binary counters of lane ``l``, digit by digit."""
    for k in range(weight, planes.shape[0]):
        planes[k, l], word = planes[k, l] ^ word, planes[k, l] & word


@numba.njit(nogil=True)
def _totals(planes):
    totals = np.zeros(64, np.int64)
    for k in range(planes.shape[0]):
        for l in range(LANES):
            for replica in range(64):
                totals[replica] += np.int64(planes[k, l] >> U64(replica) & U64(1)) << k
    return totals


@kernel
def count(grid, half, gauge):
    """Unsatisfied bonds, spins up, and spins up after those of colour 1 were reversed where ``gauge`` says so, of every
    replica (64,), from counters that hold one digit of 64 numbers a word."""
    rows = grid.shape[1]
    depth = 3
    while 1 << depth <= 4 * rows * (half // LANES + 1):
        depth += 1
    bonds, first, second = np.zeros((depth, LANES), U64), np.zeros((depth, LANES), U64), np.zeros((depth, LANES), U64)
    for x in range(rows):
        own, other = grid[0, x], grid[1, x]
        above, below = grid[1, x - 1 if x > 0 else rows - 1], grid[1, x + 1 if x + 1 < rows else 0]
        side = -1 if x % 2 == 0 else 1
        for j in range(1, half + 1):
            l = (j - 1) % LANES
            s = own[j] ^ gauge
            p, q, r, t = s ^ above[j], s ^ below[j], s ^ other[j], s ^ other[j + side]
            # A full and a half adder: four bits become one number 0..4 of three digits.
            odd, pair = p ^ q ^ r, (p & q) | (r & (p ^ q))
            _add(bonds, l, odd ^ t, 0)
            _add(bonds, l, pair ^ (odd & t), 1)
            _add(bonds, l, pair & odd & t, 2)
            _add(first, l, own[j], 0)
            _add(second, l, other[j], 0)
    up = _totals(second)
    ups = _totals(first) + up
    return _totals(bonds), ups, ups if gauge == ZERO else ups + rows * half - 2 * up
