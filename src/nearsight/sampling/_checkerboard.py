"""Checkerboard updates of Ising spins on the square torus, one spin a byte.

All sites of one colour of the checkerboard have their neighbours on the other, so that a whole colour is updated at
once. Both colours are stored compactly, row by row, with a ghost column at either end that repeats the other end: site
(x, y) is element (x, 1 + y // 2) of colour (x + y) % 2, its neighbours are elements of the other colour at the same
place, above, below, and one to the left or right, and loops over a row contain no test.
"""

from __future__ import annotations

import numba
import numpy as np

from nearsight.sampling._streams import U32, kernel

I8 = np.int8

SCALE = 2.0**31
"""Random numbers in :func:`sweep_bytes` have 31 bits."""
RARE = 2**16
"""Odds below RARE/SCALE = 3e-5, those of a spin that turns in the cold, are given by 62 bits, others rounded to 31."""


def split(spins: np.ndarray) -> np.ndarray:
    """Arrays ``(..., Lx, Ly)`` as two colours ``(..., 2, Lx, Ly/2 + 2)``, ghost columns filled."""
    *batch, rows, columns = spins.shape
    grid = np.zeros((*batch, 2, rows, columns // 2 + 2), spins.dtype)
    for colour in (0, 1):
        grid[..., colour, 0::2, 1:-1] = spins[..., 0::2, colour::2]
        grid[..., colour, 1::2, 1:-1] = spins[..., 1::2, 1 - colour :: 2]
    grid[..., 0], grid[..., -1] = grid[..., -2], grid[..., 1]
    return grid


def join(grid: np.ndarray, columns: int) -> np.ndarray:
    """The inverse of :func:`split`; padding beyond Ly/2 elements is left out."""
    half = columns // 2
    spins = np.empty((*grid.shape[:-3], grid.shape[-2], columns), grid.dtype)
    for colour in (0, 1):
        spins[..., 0::2, colour::2] = grid[..., colour, 0::2, 1 : half + 1]
        spins[..., 1::2, 1 - colour :: 2] = grid[..., colour, 1::2, 1 : half + 1]
    return spins


def flip_odds(rule: str, J: float, h: float, kT: float) -> np.ndarray:
    """Probability to reverse a spin s = -1, 1 with the sum n = -4, -2, 0, 2, 4 of its neighbours, ``(2, 5)``."""
    s, n = np.array([[-1.0], [1.0]]), np.arange(-4.0, 5.0, 2.0)
    cost = 2 * s * (J * n + h) / kT
    if rule == "metropolis":
        return np.exp(-np.maximum(cost, 0.0))
    return np.exp(-np.logaddexp(0.0, cost))


def thresholds(odds: np.ndarray) -> np.ndarray:
    """The odds as :func:`sweep_bytes` reads them, ``(2, 10)``: their first 31 binary digits and, below ``RARE``, the 31
    that follow, in entry 5 (s + 1)/2 + (n + 4)/2."""
    scaled = odds * SCALE
    first = np.where(scaled < RARE, np.floor(scaled), np.rint(scaled))
    rest = np.where(scaled < RARE, np.floor((scaled - first) * SCALE), 0.0)
    return np.stack([first, rest]).astype(U32).reshape(2, -1)


@numba.njit(nogil=True)
def _draw_row(a, b, c, d, draw):
    """31 random bits for every column, from the xoshiro128++ generators (a, b, c, d)."""
    for j in range(len(draw)):
        p, q, r, t = a[j], b[j], c[j], d[j]
        # numba widens 32-bit shifts to 64 bits: every one is cut back.
        y = U32(p + t)
        draw[j] = U32(U32(U32(y << U32(7)) | U32(y >> U32(25))) + p) >> U32(1)
        r = U32(r ^ p)
        t = U32(t ^ q)
        b[j] = U32(q ^ r)
        a[j] = U32(p ^ t)
        c[j] = U32(r ^ U32(q << U32(9)))
        d[j] = U32(U32(t << U32(11)) | U32(t >> U32(21)))


@numba.njit(nogil=True)
def _update_row(own, above, below, same, side, draw, table):
    # A chain of selections, and no look-up in the table, is what compilers turn into vector instructions.
    l0, l1, l2, l3, l4 = table[0], table[1], table[2], table[3], table[4]
    h0, h1, h2, h3, h4 = table[5], table[6], table[7], table[8], table[9]
    for j in range(len(draw)):
        s = own[j]
        n = I8(I8(above[j] + below[j]) + I8(same[j] + side[j]))
        low = l0 if n == -4 else (l1 if n == -2 else (l2 if n == 0 else (l3 if n == 2 else l4)))
        high = h0 if n == -4 else (h1 if n == -2 else (h2 if n == 0 else (h3 if n == 2 else h4)))
        own[j] = I8(-s) if draw[j] < (low if s < 0 else high) else s


@numba.njit(nogil=True)
def _lowest(draw):
    lowest = draw[0]
    for j in range(len(draw)):
        lowest = min(lowest, draw[j])
    return lowest


@numba.njit(nogil=True)
def _update_row_exactly(own, above, below, same, side, draw, table, rest, a, b, c, d):
    """As :func:`_update_row`, with a second draw where the first 31 bits are those of the odds and decide nothing."""
    again = np.empty(1, np.uint32)
    for j in range(len(draw)):
        s = own[j]
        entry = (5 if s > 0 else 0) + (above[j] + below[j] + same[j] + side[j] + 4) // 2
        flip = draw[j] < table[entry]
        if draw[j] == table[entry]:
            _draw_row(a[j : j + 1], b[j : j + 1], c[j : j + 1], d[j : j + 1], again)
            flip = again[0] < rest[entry]
        if flip:
            own[j] = I8(-s)


@kernel
def sweep_bytes(grid, state, table, sweeps):
    """``sweeps`` sweeps of one lattice ``grid`` (2, Lx, Ly/2 + 2), int8 of ±1, with one 32-bit stream per column;
    ``table`` is that of :func:`thresholds`."""
    rows, width = grid.shape[1], grid.shape[2] - 2
    draw, first, rest = np.empty(width, np.uint32), table[0], table[1]
    a, b, c, d = state[0], state[1], state[2], state[3]
    for _ in range(sweeps):
        for colour in range(2):
            for x in range(rows):
                _draw_row(a, b, c, d, draw)
                own, other = grid[colour, x], grid[1 - colour, x]
                above = grid[1 - colour, x - 1 if x > 0 else rows - 1, 1:]
                below = grid[1 - colour, x + 1 if x + 1 < rows else 0, 1:]
                # In rows of the colour that start at y = 0 the fourth neighbour is on the left, in others on the right.
                side = 0 if (x + colour) % 2 == 0 else 2
                same, beside = other[1:], other[side:]
                # Below it alone can a draw be the first digits of odds that have more.
                if _lowest(draw) < RARE:
                    _update_row_exactly(own[1:], above, below, same, beside, draw, first, rest, a, b, c, d)
                else:
                    _update_row(own[1:], above, below, same, beside, draw, first)
                own[0], own[width + 1] = own[width], own[1]
