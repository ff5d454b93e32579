"""Whether a small distortion is rounding or meant, as its digits tell.

It is rounding if some symmetric geometry, rounded to as many digits, gives the typed numbers, and if equal numbers were
typed equal.
"""

from __future__ import annotations

import itertools
from decimal import Decimal

import numpy as np

from nearsight.lattices._space_group import EXACT, SpaceGroup


def is_rounding(
    vectors: np.ndarray,
    basis: np.ndarray,
    new_vectors: np.ndarray,
    new_basis: np.ndarray,
    rotations: np.ndarray,
    group: SpaceGroup,
    nearest: float,
) -> bool:
    """Whether some geometry of this symmetry, rounded to the digits that were typed, gives what was typed."""
    from scipy import sparse
    from scipy.optimize import linprog  # slow to import

    typed = np.concatenate([vectors.ravel(), basis.ravel()])
    exact = np.concatenate([new_vectors.ravel(), new_basis.ravel()])
    order = np.argsort(np.abs(exact))
    equal = np.diff(np.abs(exact[order])) < EXACT * nearest
    if (np.abs(np.diff(np.abs(typed[order])))[equal] > EXACT * nearest).any():
        return False
    freedom = sparse.csr_array(_freedom(new_vectors, new_basis, rotations, group))
    for half in _half_units(typed, nearest):
        # |exact + freedom θ - typed| <= s half, with the smallest s: 1 or less if there is such a geometry.
        matrix = sparse.block_array([[freedom, -half[:, None]], [-freedom, -half[:, None]]]) / half.min()
        rest = np.concatenate([typed - exact, exact - typed]) / half.min()
        cost = np.append(np.zeros(freedom.shape[1]), 1.0)
        bounds = [(None, None)] * freedom.shape[1] + [(0, None)]
        found = linprog(cost, A_ub=matrix, b_ub=rest, bounds=bounds)
        if found.success and found.x[-1] <= 1 + 1e-6:
            return True
    return False


def _freedom(vectors: np.ndarray, basis: np.ndarray, rotations: np.ndarray, group: SpaceGroup) -> np.ndarray:
    """Changes of all numbers that keep the symmetry, as columns: strains, and shifts of free positions."""
    dim, count = vectors.shape[0], len(basis)
    strains = []
    for i, j in itertools.combinations_with_replacement(range(dim), 2):
        strain = np.zeros((dim, dim))
        strain[i, j] = strain[j, i] = 1.0
        strain = (rotations.transpose(0, 2, 1) @ strain @ rotations).mean(axis=0)
        strains.append(np.concatenate([(vectors @ strain).ravel(), ((basis - basis[0]) @ strain).ravel()]))
    columns, seen = [_independent(np.array(strains).T)], np.zeros(count, dtype=bool)
    for b in range(count):
        if seen[b]:
            continue
        images = group.sites[:, group.translations[:, b]]  # (rotation, translation)
        seen[images] = True
        shifts = np.zeros((count, dim, dim))  # site, its shift, for a shift of b along each axis
        np.add.at(shifts, images, rotations.transpose(0, 2, 1)[:, None] / images.size)
        shifts = _independent(shifts.reshape(count * dim, dim)).reshape(count, dim, -1)
        shifts = (shifts - shifts[0]).reshape(count * dim, -1)
        columns.append(np.concatenate([np.zeros((vectors.size, shifts.shape[1])), shifts]))
    return np.concatenate(columns, axis=1)


def _independent(columns: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span the same space."""
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    return u[:, s > 1e-9]


def _half_units(typed: np.ndarray, nearest: float) -> list[np.ndarray]:
    """Half a unit of the last digit of every number, for as many decimals and for as many significant digits.

    Numbers of twelve digits or more were computed, and those two digits shorter than the longest are exact, like ½.
    """
    digits, decimals = np.zeros(len(typed), dtype=int), np.zeros(len(typed), dtype=int)
    for k, value in enumerate(typed):
        number = Decimal(repr(float(value))).normalize()
        digits[k] = len(number.as_tuple().digits) if value else 0
        decimals[k] = -int(number.as_tuple().exponent) if value else 0
    hand = (digits > 0) & (digits < 12)
    exact = np.full(len(typed), EXACT * nearest)
    if not hand.any():
        return [exact]
    longest = int(digits[hand].max())
    rounded = hand & (digits > longest - 2)
    power = np.floor(np.log10(np.abs(typed), where=typed != 0, out=np.zeros(len(typed))) + 1e-12)
    # Zeros of an average over digits are zeros.
    fixed = np.where(rounded, 0.5 * 10.0 ** -float(decimals[hand].max()), exact)
    relative = np.where(rounded, 0.5 * 10.0 ** (power - longest + 1), exact)
    return [np.maximum(fixed, exact), np.maximum(relative, exact)]
