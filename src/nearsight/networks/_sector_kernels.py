"""Loops over the planes of :mod:`nearsight.networks._sectors`, compiled; imported when needed.

A plane holds one feature on all sites. Everything runs along rows of neighbouring sites, which processors add at once.
"""

from __future__ import annotations

import numba

# Multiplications and additions may be joined; nothing is reordered, so that a sum is the same wherever a row begins.
_FAST = {"contract"}


@numba.njit(inline="always")
def _one(a, p):
    for x in range(len(p)):
        p[x] = a[x]


@numba.njit(inline="always")
def _two(a, b, p, q):
    for x in range(len(p)):
        u, v = a[x], b[x]
        p[x] = u + v
        q[x] = u - v


@numba.njit(inline="always")
def _four(a, b, c, d, p, q, r, s):
    for x in range(len(p)):
        t, u = a[x] + b[x], c[x] + d[x]
        v, w = a[x] - b[x], c[x] - d[x]
        p[x] = t + u
        q[x] = v + w
        r[x] = t - u
        s[x] = v - w


@numba.njit(inline="always")
def _sign(i, j):
    """Character j of element i of a group of commuting reflections: -1 to the number of binary digits they share."""
    both = i & j
    odd = 0
    while both:
        odd ^= both & 1
        both >>= 1
    return 1 - 2 * odd


@numba.njit(inline="always")
def _add(a, sign, p):
    if sign > 0:
        for x in range(len(p)):
            p[x] += a[x]
    else:
        for x in range(len(p)):
            p[x] -= a[x]


@numba.njit(inline="always")
def _add_four(a, b, c, d, i, p):
    """Member i of an orbit of four gets back the four sums with its signs."""
    if i == 0:
        for x in range(len(p)):
            p[x] += (a[x] + b[x]) + (c[x] + d[x])
    elif i == 1:
        for x in range(len(p)):
            p[x] += (a[x] - b[x]) + (c[x] - d[x])
    elif i == 2:
        for x in range(len(p)):
            p[x] += (a[x] + b[x]) - (c[x] + d[x])
    else:
        for x in range(len(p)):
            p[x] += (a[x] - b[x]) - (c[x] - d[x])


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def to_sectors(features, member, sectors):
    """From ``(channel, g, site)`` to ``(sector, channel · coset, site)``; ``member[t, a]`` is the operation a t."""
    cosets, order = member.shape
    for c in range(len(features)):
        for t in range(cosets):
            k = c * cosets + t
            f, g = features[c], member[t]
            if order == 2:
                _two(f[g[0]], f[g[1]], sectors[0, k], sectors[1, k])
            elif order == 4:
                p, q, r, s = sectors[0, k], sectors[1, k], sectors[2, k], sectors[3, k]
                _four(f[g[0]], f[g[1]], f[g[2]], f[g[3]], p, q, r, s)
            else:
                for j in range(order):
                    _one(f[g[0]], sectors[j, k])
                    for i in range(1, order):
                        _add(f[g[i]], _sign(i, j), sectors[j, k])


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def from_sectors(sectors, member, stride, width, first, features):
    """The inverse of :func:`to_sectors` but for a factor |A|, into the sites of ``features`` from ``first`` on.

    Of every ``stride`` sites of the sectors the first ``width`` are taken.
    """
    cosets, order = member.shape
    rows = (sectors.shape[2] - width) // stride + 1
    for c in range(len(features)):
        for t in range(cosets):
            k = c * cosets + t
            g = member[t]
            for row in range(rows):
                a, b = row * stride, row * stride + width
                y, z = first + row * width, first + (row + 1) * width
                if order == 2:
                    p, q = features[c, g[0], y:z], features[c, g[1], y:z]
                    _two(sectors[0, k, a:b], sectors[1, k, a:b], p, q)
                elif order == 4:
                    p, q, r, s = (
                        features[c, g[0], y:z],
                        features[c, g[1], y:z],
                        features[c, g[2], y:z],
                        features[c, g[3], y:z],
                    )
                    _four(sectors[0, k, a:b], sectors[1, k, a:b], sectors[2, k, a:b], sectors[3, k, a:b], p, q, r, s)
                else:
                    for i in range(order):
                        _one(sectors[0, k, a:b], features[c, g[i], y:z])
                        for j in range(1, order):
                            _add(sectors[j, k, a:b], _sign(i, j), features[c, g[i], y:z])


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def look(planes, start, size, shift, mode, slot, windows):
    """Write what sites see around them, orbit by orbit: ``windows (sector, place, site)`` for the sites from ``start``.

    ``planes (sector or 1, feature, site)``; ``size`` the members of every orbit, ``shift[o, i]`` how far away member i
    lies, ``mode[o, j]`` the number of the character that comes j-th and ``slot[o, j]`` the place of its sum.
    """
    count, features, _ = planes.shape
    n = windows.shape[2]
    for o in range(len(size)):
        m, d, e, k = size[o], start + shift[o], mode[o], slot[o] * features
        for s in range(count):
            for q in range(features):
                f = planes[s, q]
                if m == 2:
                    _two(
                        f[d[0] : d[0] + n], f[d[1] : d[1] + n],
                        windows[s ^ e[0], k[0] + q], windows[s ^ e[1], k[1] + q],
                    )  # fmt: skip
                elif m == 4:
                    _four(
                        f[d[0] : d[0] + n], f[d[1] : d[1] + n], f[d[2] : d[2] + n], f[d[3] : d[3] + n],
                        windows[s ^ e[0], k[0] + q], windows[s ^ e[1], k[1] + q],
                        windows[s ^ e[2], k[2] + q], windows[s ^ e[3], k[3] + q],
                    )  # fmt: skip
                else:
                    for j in range(m):
                        out = windows[s ^ e[j], k[j] + q]
                        _one(f[d[0] : d[0] + n], out)
                        for i in range(1, m):
                            _add(f[d[i] : d[i] + n], _sign(i, j), out)


@numba.njit(nogil=True, cache=True, fastmath=_FAST)
def spread(windows, start, size, shift, mode, slot, planes):
    """Add to every site what was seen of it: the adjoint of :func:`look`."""
    count, features, _ = planes.shape
    n = windows.shape[2]
    for o in range(len(size)):
        m, d, e, k = size[o], start + shift[o], mode[o], slot[o] * features
        for s in range(count):
            for q in range(features):
                for i in range(m):
                    out = planes[s, q, d[i] : d[i] + n]
                    if m == 4:
                        _add_four(
                            windows[s ^ e[0], k[0] + q], windows[s ^ e[1], k[1] + q],
                            windows[s ^ e[2], k[2] + q], windows[s ^ e[3], k[3] + q],
                            i, out,
                        )  # fmt: skip
                    else:
                        for j in range(m):
                            _add(windows[s ^ e[j], k[j] + q], _sign(i, j), out)
