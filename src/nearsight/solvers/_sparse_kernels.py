"""Loops over the rows of sparse matrices, compiled; imported when needed, since numba is slow to load.

Complex columns are stored as all real parts followed by all imaginary parts, real ones as they are; matrices are CSR,
``crow, col, values`` for the real elements and ``icrow, icol, ivalues`` for the imaginary ones. Replicas follow each
other in blocks of ``size`` rows.
"""

from __future__ import annotations

import numba
import numpy as np

# Sums may be reordered into vector registers; NaN and infinity keep their meaning, because they reveal a bad bound.
_FAST = {"contract", "reassoc", "nsz"}


@numba.njit(inline="always")
def _row(crow, col, values, icrow, icol, ivalues, x, i, scale, keep, out, half):
    """out = scale (A x)_i + keep out for all columns."""
    width = len(out)
    e, end = crow[i], crow[i + 1]
    # Several rows of x at a time: out is then loaded and stored a fraction as often.
    if e + 6 <= end:
        a, b, c = scale * values[e], scale * values[e + 1], scale * values[e + 2]
        d, f, g = scale * values[e + 3], scale * values[e + 4], scale * values[e + 5]
        p, q, r, s, t, u = x[col[e]], x[col[e + 1]], x[col[e + 2]], x[col[e + 3]], x[col[e + 4]], x[col[e + 5]]
        for k in range(width):
            out[k] = a * p[k] + b * q[k] + c * r[k] + d * s[k] + f * t[k] + g * u[k] + keep * out[k]
        e += 6
    else:
        for k in range(width):
            out[k] *= keep
    while e + 4 <= end:
        a, b, c, d = scale * values[e], scale * values[e + 1], scale * values[e + 2], scale * values[e + 3]
        p, q, r, s = x[col[e]], x[col[e + 1]], x[col[e + 2]], x[col[e + 3]]
        for k in range(width):
            out[k] += a * p[k] + b * q[k] + c * r[k] + d * s[k]
        e += 4
    while e < end:
        a, p = scale * values[e], x[col[e]]
        for k in range(width):
            out[k] += a * p[k]
        e += 1
    for e in range(icrow[i], icrow[i + 1]):
        a, p = scale * ivalues[e], x[icol[e]]
        for k in range(half):
            out[k] -= a * p[half + k]
            out[half + k] += a * p[k]


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def step(crow, col, values, icrow, icol, ivalues, current, previous, scale, keep, size, sums):
    """previous = scale A current + keep previous; |previous|² and Re⟨previous|current⟩ of every replica."""
    width = current.shape[1]
    half = width // 2
    for b in range(len(sums)):
        square, product = 0.0, 0.0
        for i in range(b * size, (b + 1) * size):
            own, out = current[i], previous[i]
            _row(crow, col, values, icrow, icol, ivalues, current, i, scale, keep, out, half)
            ss, sp = out[0] * out[0], out[0] * own[0]
            for k in range(1, width):
                ss += out[k] * out[k]
                sp += out[k] * own[k]
            square += ss
            product += sp
        sums[b, 0] = square
        sums[b, 1] = product


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def reverse(crow, col, values, icrow, icol, ivalues, current, previous, beta, after, c, size):
    """:meth:`SparseProducts.reverse` row by row."""
    width = current.shape[1]
    half = width // 2
    one, two = values.dtype.type(1), values.dtype.type(2)
    for b in range(len(c)):
        c0, c1, c2 = c[b, 0], c[b, 1], c[b, 2]
        for i in range(b * size, (b + 1) * size):
            own, old, out = current[i], previous[i], after[i]
            for k in range(width):
                out[k] = c0 * own[k] + c1 * old[k] - out[k]
            _row(crow, col, values, icrow, icol, ivalues, beta, i, two, one, out, half)
            _row(crow, col, values, icrow, icol, ivalues, current, i, two, -one, old, half)
            for k in range(width):
                out[k] += c2 * old[k]


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def correlate(x, y, where, c, total, size, half):
    """:meth:`SparseProducts.correlate`; ``half`` is the number of complex columns, 0 for real ones."""
    width = x.shape[1]
    for b in range(len(total)):
        for p in range(where.shape[1]):
            i, j = b * size + where[0, p], b * size + where[1, p]
            xi, xj, yi, yj = x[i], x[j], y[i], y[j]
            re = xi[0] * yj[0] + yi[0] * xj[0]
            for k in range(1, width):
                re += xi[k] * yj[k] + yi[k] * xj[k]
            total[b, p, 0] += c[b] * re
            if half and i != j:
                im = xi[half] * yj[0] - xi[0] * yj[half] + yi[half] * xj[0] - yi[0] * xj[half]
                for k in range(1, half):
                    im += xi[half + k] * yj[k] - xi[k] * yj[half + k] + yi[half + k] * xj[k] - yi[k] * xj[half + k]
                total[b, p, 1] += c[b] * im


@numba.njit(cache=True)
def greedy_colours(crow: np.ndarray, col: np.ndarray, distance: int) -> np.ndarray:
    """Labels such that orbitals within ``distance`` steps of the graph differ: each takes the smallest free label."""
    size = len(crow) - 1
    colours = np.full(size, -1, np.int64)
    reached = np.full(size, -1, np.int64)
    taken = np.full(size + 1, -1, np.int64)
    queue = np.empty(size, np.int64)
    for i in range(size):
        reached[i] = i
        queue[0] = i
        start, end = 0, 1
        for _ in range(distance):
            stop = end
            for q in range(start, stop):
                for e in range(crow[queue[q]], crow[queue[q] + 1]):
                    j = col[e]
                    if reached[j] != i:
                        reached[j] = i
                        queue[end] = j
                        end += 1
                        if colours[j] >= 0:
                            taken[colours[j]] = i
            start = stop
        label = 0
        while taken[label] == i:
            label += 1
        colours[i] = label
    return colours
