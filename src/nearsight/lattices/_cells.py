"""Loops over the bins of a cell list, compiled; imported when needed, since numba is slow to load."""

from __future__ import annotations

import itertools

import numba
import numpy as np


def bins(points: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points sorted into cubic bins no narrower than ``width``, and no more of them than points.

    Bin of every point along every axis ``(point, dim)``; the points in the order of their bins ``(point,)``; where
    every bin begins in it ``(bin + 1,)``; numbers of bins along the axes ``(dim,)``.
    """
    low, extent = points.min(0), np.ptp(points, axis=0)
    width = max(width, float(extent.max()) / 2**20, np.finfo(float).tiny)
    while np.prod(np.floor(extent / width) + 1) > max(len(points), 1):
        width *= 1.26  # a volume twice as large
    shape = (np.floor(extent / width) + 1).astype(np.int64)
    place = np.minimum(((points - low) / width).astype(np.int64), shape - 1)
    flat = np.ravel_multi_index(tuple(place.T), tuple(shape))
    starts = np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=int(np.prod(shape))))])
    return place, np.argsort(flat, kind="stable"), starts, shape


def around(dim: int) -> np.ndarray:
    """Steps to a bin itself and to those that touch it ``(3^dim, dim)``."""
    return np.array(list(itertools.product((-1, 0, 1), repeat=dim)), dtype=np.int64)


@numba.njit(cache=True, nogil=True)
def list_pairs(
    points: np.ndarray,
    owner: np.ndarray,
    forward: np.ndarray,
    sites: np.ndarray,
    place: np.ndarray,
    members: np.ndarray,
    starts: np.ndarray,
    shape: np.ndarray,
    steps: np.ndarray,
    cutoff: float,
    ends: np.ndarray,
    found: np.ndarray,
) -> None:
    """Points within the cutoff of each of ``sites``, ascending; a pair is listed at the one of its sites that is first.

    Counts them into ``ends`` ``(site + 1,)`` where ``found`` is empty, and lists them where it is not. ``sites`` are
    points in the cell; point p is an image of site ``owner[p]``, and of a site with its own images those ``forward``
    count.
    """
    dim = points.shape[1]
    listing = len(found) > 0
    total = 0
    for s in range(len(sites)):
        x, home = points[sites[s]], place[sites[s]]
        own, begin = owner[sites[s]], total
        for n in range(len(steps)):
            flat, inside = 0, True
            for k in range(dim):
                c = home[k] + steps[n, k]
                inside = inside and 0 <= c < shape[k]
                flat = flat * shape[k] + c
            if not inside:
                continue
            for m in range(starts[flat], starts[flat + 1]):
                p = members[m]
                if owner[p] < own or (owner[p] == own and not forward[p]):
                    continue
                square = 0.0
                for k in range(dim):
                    square += (points[p, k] - x[k]) ** 2
                if square <= cutoff * cutoff:
                    if listing:
                        found[total] = p
                    total += 1
        if listing:
            found[begin:total].sort()
        else:
            ends[s + 1] = total


@numba.njit(cache=True, nogil=True)
def add_in_sequence(
    drawn: np.ndarray,
    kept: np.ndarray,
    count: int,
    heads: np.ndarray,
    following: np.ndarray,
    bins_per_axis: int,
    edge: float,
    periodic: np.ndarray,
    minimum: float,
    steps: np.ndarray,
) -> int:
    """Random sequential addition in a cube: positions drawn are kept, in their order, where none kept is too close.

    ``kept`` ``(site, dim)`` has room for all; ``count`` of them are there, and linked by bin in ``heads``,
    ``following``. Returns how many there are afterwards.
    """
    dim = drawn.shape[1]
    for t in range(len(drawn)):
        if count == len(kept):
            break
        free, own = True, 0
        for n in range(len(steps)):
            flat, inside = 0, True
            for k in range(dim):
                c = min(int(drawn[t, k] / edge * bins_per_axis), bins_per_axis - 1) + steps[n, k]
                if periodic[k]:
                    c = c % bins_per_axis
                inside = inside and 0 <= c < bins_per_axis
                flat = flat * bins_per_axis + c
            if not inside:
                continue
            p = heads[flat]
            while p >= 0 and free:
                square = 0.0
                for k in range(dim):
                    away = abs(drawn[t, k] - kept[p, k])
                    if periodic[k]:
                        away = min(away, edge - away)
                    square += away * away
                free = square > minimum * minimum
                p = following[p]
            if not free:
                break
        if not free:
            continue
        for k in range(dim):
            own = own * bins_per_axis + min(int(drawn[t, k] / edge * bins_per_axis), bins_per_axis - 1)
            kept[count, k] = drawn[t, k]
        following[count] = heads[own]
        heads[own] = count
        count += 1
    return count
