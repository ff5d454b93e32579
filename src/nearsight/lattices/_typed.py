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
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nearsight.lattices._digits import is_rounding
from nearsight.lattices._space_group import Crystal, SpaceGroup
from nearsight.lattices.reduction import _whole_numbers, reduced, shortest


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
    crystal = Crystal(B, basis @ np.linalg.inv(B), np.unique(np.asarray(species), return_inverse=True)[1], nearest)
    group = crystal.group()
    if group is None:
        return same
    new_B, positions = _average(crystal, basis, group)
    turn = _alignment(np.linalg.inv(new_B) @ group.W @ new_B, 4 * group.misfit / nearest)
    new_vectors = np.rint(vectors @ np.linalg.inv(B)) @ new_B @ turn
    new_basis = (positions - positions[0]) @ turn + basis[0]
    for array in (new_vectors, new_basis):
        array[np.abs(array) < 1e-14 * np.abs(new_vectors).max()] = 0.0
    shifts = np.concatenate([new_vectors - vectors, new_basis - basis])
    turned = np.linalg.inv(new_B @ turn) @ group.W @ (new_B @ turn)
    rounding = is_rounding(vectors, basis, new_vectors, new_basis, turned, group, nearest)
    return Symmetrised(new_vectors, new_basis, float(np.linalg.norm(shifts, axis=1).max()) / nearest, rounding)


def _average(crystal: Crystal, basis: np.ndarray, group: SpaceGroup) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric vectors, strained but not turned, and positions counted from the mean of the basis."""
    B, W, inverse = crystal.B, group.W, np.linalg.inv(crystal.B)
    metric = (W @ B @ B.T @ W.transpose(0, 2, 1)).mean(axis=0)
    values, frame = np.linalg.eigh(inverse @ metric @ inverse.T)
    strained = B @ (frame * np.sqrt(values)) @ frame.T

    def mean(y: np.ndarray, operations: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        result = np.zeros_like(y)
        for w, sites in operations:
            cells = crystal.fit(w, sites[None])[0][0]
            result[sites] += (y @ w - (cells - cells.mean(axis=0))) / len(operations)
        return result

    y = mean((basis - basis.mean(axis=0)) @ inverse, [(np.eye(len(B)), t) for t in group.translations])
    return strained, mean(y, list(zip(W, group.sites, strict=True))) @ strained


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


def written(vectors: np.ndarray, basis: np.ndarray) -> str:
    """The numbers of a geometry, to type."""
    return f"vectors={_rows(vectors)}, basis={_rows(basis)}"


def _rows(array: np.ndarray) -> str:
    return "[" + ", ".join("[" + ", ".join(repr(float(v) + 0.0) for v in row) + "]" for row in array) + "]"
