r"""Lattices of translations: short vectors that span them, and the shortest of all equivalent displacements.

For periods :math:`\mathbf p_i` (reduced, but any will do) with Gram-Schmidt vectors :math:`\mathbf p_i^\perp` and
reciprocal ones :math:`\mathbf p_i^*`, no point is farther from the lattice of periods than
:math:`\rho = \tfrac12 (\sum_i |\mathbf p_i^\perp|^2)^{1/2}` (Babai). The nearest period :math:`\sum_i n_i \mathbf p_i`
of a point :math:`\sum_i c_i \mathbf p_i` therefore has :math:`|n_i - c_i| \le \rho\, |\mathbf p_i^*|`, which bounds the
search on any torus, however thin or skewed; reduction keeps the bound at one or two.

References
----------
L. Babai, Combinatorica 6, 1 (1986).
"""

from __future__ import annotations

import itertools

import numpy as np


def shortest(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The shortest ``v + Σ_i n_i rows[i]`` with whole n_i for each of ``vectors`` ``(..., dim)``."""
    given = np.asarray(vectors, dtype=float)
    if not len(rows):
        return given.copy()
    rows = reduced(rows)
    start = given.reshape(-1, given.shape[-1])
    start = start - np.round(start @ np.linalg.pinv(rows)) @ rows
    best, length = start.copy(), (start**2).sum(-1)
    for shift in image_shifts(rows, 0.5):
        moved = start + shift
        square = (moved**2).sum(-1)
        nearer = square < length * (1 - 1e-12)  # of equally short images the first, on every machine
        best[nearer], length[nearer] = moved[nearer], square[nearer]
    return best.reshape(given.shape)


def image_shifts(rows: np.ndarray, spread: float) -> np.ndarray:
    """The translations ``(n, dim)`` among which is the nearest one of every point with ``|c_i| <= spread``."""
    if not len(rows):
        return np.zeros((1, rows.shape[1]))
    radius = 0.5 * float(np.linalg.norm(np.linalg.qr(rows.T)[1].diagonal()))
    return _whole_numbers(spread + radius * np.linalg.norm(np.linalg.pinv(rows), axis=0)) @ rows


def reduced(vectors: np.ndarray) -> np.ndarray:
    """Rows that span the same lattice, as short as pairwise reduction makes them."""
    b = np.array(vectors, dtype=float)
    changed = True
    while changed:
        changed = False
        for i, j in itertools.permutations(range(len(b)), 2):
            n = np.round(b[i] @ b[j] / (b[j] @ b[j]) - np.sign(b[i] @ b[j]) * 1e-9)
            if n:
                b[i] -= n * b[j]
                changed = True
    return b


def _whole_numbers(bound: np.ndarray) -> np.ndarray:
    """All rows of whole numbers up to ``bound`` in size, the row of zeros first."""
    ranges = [sorted(range(-int(n), int(n) + 1), key=abs) for n in np.floor(bound + 1e-9)]
    return np.array(list(itertools.product(*ranges)), dtype=float)
