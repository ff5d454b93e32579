r"""Typed digits: the exactly symmetric geometry that rounded vectors and positions stand for.

Graphene typed as 2.46 and 1.42 is a honeycomb lattice up to 2·10⁻⁴ of a bond, and has neither three equal bonds nor a
three-fold axis. The operations {W | t} that map such a crystal onto itself within a wide tolerance form its space
group; averaged over it, the metric and the positions are symmetric to rounding,

.. math:: \bar G = \frac{1}{|S|} \sum_W W G W^T, \qquad
          \bar y_{\pi(b)} = \frac{1}{|S|} \sum_{\{W|t\}} \big[ y_b W - (n_b - \bar n) \big] ,

with the metric G of the primitive vectors (rows) and the fractional positions y_b, counted from their mean: an
operation carries site b to site π(b) of the cell n_b. In this frame no translation t is left in the average, which
therefore is exact. The positions are those of a strain without rotation, turned until axes of symmetry that lie along
the coordinate axes, or at 30, 45 or 60 degrees to them, do so exactly.

Whether a small distortion is rounding or meant is read from the digits: it is rounding if some symmetric geometry,
rounded to as many digits, gives the typed numbers, and if equal numbers were typed equal.
"""

from __future__ import annotations

import itertools
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nearsight.lattices.reduction import _whole_numbers, reduced, shortest

TYPED = 0.01
"""How far typed positions may lie from symmetric ones, in units of the shortest distance: a unit of three digits."""
EXACT = 1e-9
"""Positions that agree to this, in units of the shortest distance, agree up to rounding of the arithmetic."""


class Operations(NamedTuple):
    """Operations {W | t} of a crystal: a site with fractional coordinates x goes to x W + t."""

    W: np.ndarray
    """``(operation, dim, dim)``, whole numbers, in a reduced basis."""
    sites: np.ndarray
    """π(b), ``(operation, basis)``."""
    cells: np.ndarray
    """n_b, ``(operation, basis, dim)``."""
    misfit: np.ndarray
    """By how much an operation fails to map the crystal onto itself, a length ``(operation,)``."""

    def where(self, chosen: np.ndarray) -> Operations:
        return Operations(*(x[chosen] for x in self))


class Symmetrised(NamedTuple):
    vectors: np.ndarray
    basis: np.ndarray
    moved: float
    """The largest shift of a site or of a primitive vector, in units of the shortest distance; 0 if there is none."""
    rounding: bool
    """Whether the typed numbers are the new ones, rounded."""


def shortest_distance(vectors: np.ndarray, basis: np.ndarray) -> float:
    """Distance of the two closest sites of an infinite lattice; 0 if two sites lie on one point."""
    rows = reduced(vectors)
    turns = _whole_numbers(np.linalg.norm(rows, axis=1).min() * np.linalg.norm(np.linalg.inv(rows), axis=0))
    least = float(np.linalg.norm(turns[turns.any(axis=1)] @ rows, axis=1).min())
    first, second = np.triu_indices(len(basis), 1)
    pairs = np.linalg.norm(shortest(basis[second] - basis[first], rows), axis=1)
    return min(least, float(pairs.min(initial=np.inf)))


def symmetrised(vectors: np.ndarray, basis: np.ndarray, species: tuple[int, ...]) -> Symmetrised:
    """The symmetric geometry within :data:`TYPED` of this one, with site 0 where it is; itself if it is exact."""
    return _symmetrised(vectors.tobytes(), basis.tobytes(), len(vectors), species)


@lru_cache(maxsize=64)
def _symmetrised(vectors_: bytes, basis_: bytes, dim: int, species: tuple[int, ...]) -> Symmetrised:
    vectors, basis = (np.frombuffer(b).reshape(-1, dim) for b in (vectors_, basis_))
    nearest = shortest_distance(vectors, basis)
    same = Symmetrised(vectors, basis, 0.0, True)
    B = reduced(vectors)
    crystal = _Crystal(B, basis @ np.linalg.inv(B), np.unique(np.asarray(species), return_inverse=True)[1], nearest)
    rotations, strain = _rotations(B, nearest)
    if crystal.exact(rotations, strain):
        return same
    found = _operations(crystal, rotations, strain)
    tolerance = TYPED * nearest
    while not _closed(inside := found.where(found.misfit <= tolerance)):
        tolerance /= 2
    if inside.misfit.max() <= EXACT * nearest:
        return same
    new_B, positions = _average(B, basis, inside)
    inverse = np.linalg.inv(new_B)
    turn = _alignment(inverse @ inside.W @ new_B, 4 * float(inside.misfit.max()) / nearest)
    new_vectors = np.rint(vectors @ np.linalg.inv(B)) @ new_B @ turn
    new_basis = (positions - positions[0]) @ turn + basis[0]
    for array in (new_vectors, new_basis):
        array[np.abs(array) < 1e-14 * np.abs(new_vectors).max()] = 0.0
    shifts = np.concatenate([new_vectors - vectors, new_basis - basis])
    turned = np.linalg.inv(new_B @ turn) @ inside.W @ (new_B @ turn)
    rounding = _is_rounding(vectors, basis, new_vectors, new_basis, turned, inside.sites, nearest)
    return Symmetrised(new_vectors, new_basis, float(np.linalg.norm(shifts, axis=1).max()) / nearest, rounding)


def _rotations(B: np.ndarray, nearest: float) -> tuple[np.ndarray, np.ndarray]:
    """All W ``(rotation, dim, dim)`` that keep the metric of a reduced basis within the wide tolerance, and strains."""
    tolerance, dim = TYPED * nearest, len(B)
    turns = np.array(list(itertools.product(range(-2, 3), repeat=dim)), dtype=float)
    images, length = turns @ B, np.linalg.norm(B, axis=1)
    choices = [turns[np.abs(np.linalg.norm(images, axis=1) - n) <= tolerance] for n in length]
    picks = np.stack(np.meshgrid(*(np.arange(len(c)) for c in choices), indexing="ij"), -1).reshape(-1, dim)
    W = np.stack([c[k] for c, k in zip(choices, picks.T, strict=True)], axis=1)
    change = np.abs(W @ B @ B.T @ W.transpose(0, 2, 1) - B @ B.T) / (length[:, None] + length)
    strain = change.max(axis=(1, 2))
    kept = (strain <= tolerance) & (np.abs(np.abs(np.linalg.det(W)) - 1) < 0.5)
    return W[kept], strain[kept]


class _Crystal(NamedTuple):
    """A reduced basis, fractional positions, their species, and sites of the rarest one, to which site 0 of it goes."""

    B: np.ndarray
    x: np.ndarray
    kinds: np.ndarray
    nearest: float

    @property
    def rarest(self) -> np.ndarray:
        return np.flatnonzero(self.kinds == np.argmin(np.bincount(self.kinds)))

    def match(self, W: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray, float] | None:
        """Where every site goes if W carries the first of the rarest sites to ``target``; None if some go nowhere."""
        moved = self.x @ W
        moved += self.x[target] - moved[self.rarest[0]]
        few = self._misses(moved[:6], self.kinds[:6])[2]
        if len(self.x) > 6 and few.min(axis=1).max() > 3 * TYPED * self.nearest:
            return None
        difference, cells, distance = self._misses(moved, self.kinds)
        sites = distance.argmin(axis=1)
        if len(set(sites.tolist())) < len(sites):
            return None
        every = np.arange(len(sites))
        rest = difference[every, sites] - cells[every, sites]
        misfit = float(np.linalg.norm((rest - rest.mean(axis=0)) @ self.B, axis=1).max())
        return (sites, cells[every, sites], misfit) if misfit <= TYPED * self.nearest else None

    def _misses(self, moved: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        difference = moved[:, None] - self.x
        cells = np.rint(difference)
        distance = np.linalg.norm((difference - cells) @ self.B, axis=-1)
        distance[kinds[:, None] != self.kinds] = np.inf
        return difference, cells, distance

    def exact(self, rotations: np.ndarray, strain: np.ndarray) -> bool:
        """Whether every operation within the wide tolerance holds to rounding.

        It does if all pure translations do and one operation of every W: others of that W differ by a translation.
        """
        for w, s in zip(rotations, strain, strict=True):
            identity = np.array_equal(w, np.eye(len(w)))
            for target in self.rarest:
                found = self.match(w, int(target))
                if found is not None and max(s, found[2]) > EXACT * self.nearest:
                    return False
                if found is not None and not identity:
                    break
        return True


def _operations(crystal: _Crystal, rotations: np.ndarray, strain: np.ndarray) -> Operations:
    """All {W | t} within the wide tolerance."""
    rows: list[tuple[np.ndarray, ...]] = []
    for w, s in zip(rotations, strain, strict=True):
        for target in crystal.rarest:
            found = crystal.match(w, int(target))
            if found is not None:
                rows.append((w, *found[:2], np.array(max(s, found[2]))))
    return Operations(*(np.array(column) for column in zip(*rows, strict=True)))


def _closed(operations: Operations) -> bool:
    """Whether the product of any two operations is one of them."""
    keys = {(*w.ravel(), *p) for w, p in zip(operations.W, operations.sites, strict=True)}
    for w, p in zip(operations.W, operations.sites, strict=True):
        products = np.concatenate([(operations.W @ w).reshape(len(keys), -1), p[operations.sites]], axis=1)
        if any(tuple(row) not in keys for row in products):
            return False
    return True


def _average(B: np.ndarray, basis: np.ndarray, operations: Operations) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric vectors, strained but not turned, and positions counted from the mean of the basis."""
    W, inverse = operations.W, np.linalg.inv(B)
    metric = (W @ B @ B.T @ W.transpose(0, 2, 1)).mean(axis=0)
    values, frame = np.linalg.eigh(inverse @ metric @ inverse.T)
    strained = B @ (frame * np.sqrt(values)) @ frame.T
    y = (basis - basis.mean(axis=0)) @ inverse
    images = y @ W - (operations.cells - operations.cells.mean(axis=1, keepdims=True))
    mean = np.zeros_like(y)
    for sites, image in zip(operations.sites, images, strict=True):
        mean[sites] += image / len(W)
    return strained, mean @ strained


def _alignment(rotations: np.ndarray, slack: float) -> np.ndarray:
    """The small rotation R, acting on rows, after which axes of symmetry lie along special directions."""
    dim = rotations.shape[-1]
    if dim == 1:
        return np.eye(1)
    axes = []
    for g in rotations:
        fixed = g if dim == 2 else g * np.sign(np.linalg.det(g))
        values, vectors = np.linalg.eigh(fixed + fixed.T)
        if abs(values[-1] - 2) < 1e-6 and values[-2] < 2 - 1e-6:
            axes.append(vectors[:, -1])
    special = _special_directions(dim)
    pairs = []
    for axis in axes:
        target = special[np.argmax(special @ axis)]
        pairs.append((float(np.linalg.norm(target - axis)), axis, target))
    pairs = sorted((p for p in pairs if p[0] <= slack), key=lambda p: p[0])
    if not pairs:
        return np.eye(dim)
    _, n, s = pairs[0]
    if dim == 2:
        return np.stack([n, [-n[1], n[0]]]).T @ np.stack([s, [-s[1], s[0]]])
    others = [(a, b) for _, a, b in pairs if abs(a @ n) < 0.99]
    # With one axis alone, what lies across it is turned as little as possible.
    a, b = others[0] if others else (v := np.eye(3)[np.argmin(np.abs(n))], v)
    return _frame(n, a).T @ _frame(s, b)


def _frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    across = second - (second @ first) * first
    across /= np.linalg.norm(across)
    return np.stack([first, across, np.cross(first, across)])


def _special_directions(dim: int) -> np.ndarray:
    """Directions at multiples of 30 and 45 degrees in the coordinate planes, and the diagonals of space."""
    angles = np.deg2rad(sorted({*range(0, 360, 30), *range(0, 360, 45)}))
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    circle[np.abs(circle) < 1e-12] = 0.0
    if dim < 3:
        return circle if dim == 2 else np.array([[1.0], [-1.0]])
    planes = [np.insert(circle, k, 0.0, axis=1) for k in range(3)]
    return np.concatenate([*planes, np.array(list(itertools.product((-1, 1), repeat=3))) / np.sqrt(3)])


# --- are they digits? -------------------------------------------------------------------------------------------------


def _is_rounding(
    vectors: np.ndarray,
    basis: np.ndarray,
    new_vectors: np.ndarray,
    new_basis: np.ndarray,
    rotations: np.ndarray,
    sites: np.ndarray,
    nearest: float,
) -> bool:
    """Whether some geometry of this symmetry, rounded to the digits that were typed, gives what was typed."""
    from scipy.optimize import linprog  # slow to import

    typed = np.concatenate([vectors.ravel(), basis.ravel()])
    exact = np.concatenate([new_vectors.ravel(), new_basis.ravel()])
    order = np.argsort(np.abs(exact))
    equal = np.diff(np.abs(exact[order])) < EXACT * nearest
    if (np.abs(np.diff(np.abs(typed[order])))[equal] > EXACT * nearest).any():
        return False
    freedom = _freedom(new_vectors, new_basis, rotations, sites)
    for half in _half_units(typed, nearest):
        # |exact + freedom θ - typed| <= s half, with the smallest s: 1 or less if there is such a geometry.
        matrix = np.block([[freedom, -half[:, None]], [-freedom, -half[:, None]]]) / half.min()
        rest = np.concatenate([typed - exact, exact - typed]) / half.min()
        cost = np.append(np.zeros(freedom.shape[1]), 1.0)
        bounds = [(None, None)] * freedom.shape[1] + [(0, None)]
        found = linprog(cost, A_ub=matrix, b_ub=rest, bounds=bounds)
        if found.success and found.x[-1] <= 1 + 1e-6:
            return True
    return False


def _freedom(vectors: np.ndarray, basis: np.ndarray, rotations: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """Changes of all numbers that keep the symmetry, as columns: strains, and shifts of free positions."""
    dim, count = vectors.shape[0], len(basis)
    columns = []
    for i, j in itertools.combinations_with_replacement(range(dim), 2):
        strain = np.zeros((dim, dim))
        strain[i, j] = strain[j, i] = 1.0
        strain = (rotations.transpose(0, 2, 1) @ strain @ rotations).mean(axis=0)
        columns.append(np.concatenate([(vectors @ strain).ravel(), ((basis - basis[0]) @ strain).ravel()]))
    for b, k in itertools.product(range(count), range(dim)):
        shift = np.zeros((count, dim))
        for g, p in zip(rotations, sites, strict=True):
            shift[p[b]] += g[k] / len(rotations)
        columns.append(np.concatenate([np.zeros(vectors.size), (shift - shift[0]).ravel()]))
    u, s, _ = np.linalg.svd(np.array(columns).T, full_matrices=False)
    return u[:, s > 1e-9 * max(s[0], 1e-300)]


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


def written(vectors: np.ndarray, basis: np.ndarray) -> str:
    """The numbers of a geometry, to type."""
    return f"vectors={_rows(vectors)}, basis={_rows(basis)}"


def _rows(array: np.ndarray) -> str:
    return "[" + ", ".join("[" + ", ".join(repr(float(v) + 0.0) for v in row) + "]" for row in array) + "]"
