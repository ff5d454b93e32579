"""Squared transforms over the whole zone and sums over shells, compiled; imported when needed."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def whole_zone(modes: np.ndarray, place: np.ndarray, opposite: np.ndarray, scale: float, full: np.ndarray) -> None:
    """|A|² × scale of the modes ``(batch, row, n // 2 + 1)`` of real numbers into ``full`` ``(batch, row, n)``, where n
    ascends from -n/2. Row r goes to ``place[r]``, and that of minus its wave vector to ``opposite[r]``."""
    n = full.shape[2]
    middle, most = n // 2, (n + 1) // 2
    power = np.empty(modes.shape[2])
    for b in range(modes.shape[0]):
        for r in range(modes.shape[1]):
            row = modes[b, r]
            for k in range(row.size):
                power[k] = scale * (row[k].real * row[k].real + row[k].imag * row[k].imag)
            right, left = full[b, place[r]], full[b, opposite[r]]
            for k in range(most):
                right[middle + k] = power[k]
            for k in range(middle):
                left[k] = power[middle - k]


@numba.njit(nogil=True, cache=True)
def shell_sums(rows: np.ndarray, shell: np.ndarray, sums: np.ndarray) -> None:
    """Adds the values ``(row, place)`` to those of their ``shell`` ``(place,)`` in ``sums`` ``(row, shell)``."""
    # Neighbours are often of one shell: four sums side by side, so that no addition waits for the one before.
    part = np.zeros((4, sums.shape[1]))
    places = rows.shape[1]
    whole = places - places % 4
    for r in range(rows.shape[0]):
        part[:] = 0.0
        row = rows[r]
        for i in range(0, whole, 4):
            part[0, shell[i]] += row[i]
            part[1, shell[i + 1]] += row[i + 1]
            part[2, shell[i + 2]] += row[i + 2]
            part[3, shell[i + 3]] += row[i + 3]
        for i in range(whole, places):
            part[0, shell[i]] += row[i]
        for s in range(sums.shape[1]):
            sums[r, s] += (part[0, s] + part[1, s]) + (part[2, s] + part[3, s])
