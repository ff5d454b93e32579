"""The first Brillouin zone: its boundary, its points of high symmetry, paths between them, and how to fold into it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nearsight.analysis.structure._reciprocal import check_wave_vector, distance_to, reduced_vectors
from nearsight.lattices import Lattice, crystal_class

ON_BOUNDARY = 1e-9
"""Wave numbers that agree to this, in units of the inverse shortest distance, are equal."""


@lru_cache(maxsize=16)
def _nearest_reciprocal(lattice: Lattice) -> np.ndarray:
    """The reciprocal vectors that can bound the first zone or bring a vector into it, zero first, ``(n, dim)``.

    Those no longer than the sum of the lengths of a reduced basis, so that skewed primitive vectors do no harm.
    """
    b = reduced_vectors(lattice)
    span = range(-2, 3)
    vectors = np.array(list(itertools.product(span, repeat=lattice.dim))) @ b
    lengths = np.linalg.norm(vectors, axis=1)
    keep = lengths <= np.linalg.norm(b, axis=1).sum() + ON_BOUNDARY / lattice.spacing
    vectors = vectors[keep][np.argsort(lengths[keep], kind="stable")]
    vectors.setflags(write=False)
    return vectors


def fold(k: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Wave vectors ``(..., dim)`` brought into the first Brillouin zone by reciprocal vectors.

    Of several images on the boundary the one with the largest last component, then the largest one before it, is
    taken, so that equal wave vectors stay equal.
    """
    b = reduced_vectors(lattice)
    k = np.asarray(k, dtype=float)
    fraction = k @ np.linalg.inv(b)
    images = ((fraction - np.round(fraction)) @ b)[..., None, :] + _nearest_reciprocal(lattice)
    length = np.linalg.norm(images, axis=-1)
    candidate = length <= length.min(-1, keepdims=True) + ON_BOUNDARY / lattice.spacing
    for axis in reversed(range(lattice.dim)):
        value = np.where(candidate, images[..., axis], -np.inf)
        candidate &= value >= value.max(-1, keepdims=True) - 1e-7 / lattice.spacing
    return np.take_along_axis(images, candidate.argmax(-1)[..., None, None], -2).squeeze(-2)


def zone_boundary(lattice: Lattice) -> np.ndarray:
    """Corners of the first Brillouin zone of a two-dimensional lattice, anticlockwise, ``(corner, 2)``."""
    if lattice.dim != 2:
        raise ValueError(f"Zones are drawn for lattices of two dimensions, got {lattice!r}.")
    unit = 1.0 / lattice.spacing
    G = _nearest_reciprocal(lattice)[1:] / unit
    corners = []
    for a, b in itertools.combinations(range(len(G)), 2):
        pair = G[[a, b]]
        if abs(np.linalg.det(pair)) > ON_BOUNDARY:
            corner = np.linalg.solve(pair, 0.5 * (pair**2).sum(1))
            # A corner lies no nearer to any other reciprocal vector than to Γ.
            if np.all(G @ corner <= 0.5 * (G**2).sum(1) + ON_BOUNDARY):
                corners.append(corner)
    points = np.array(corners)
    points = points[np.argsort(np.arctan2(points[:, 1], points[:, 0] - 1e-12), kind="stable")]
    return points[np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1) > 1e-6] * unit


def symmetry_points(lattice: Lattice) -> dict[str, np.ndarray]:
    """Points of high symmetry of a lattice in the plane by their names.

    Γ X M for a square zone, Γ K M for a hexagonal one (triangular, honeycomb, kagome), with K at the corner nearest to
    the x axis and M the middle of an edge next to it; Γ X S Y for a rectangular zone. On any other zone name your own
    points: ``symmetry_path(lattice, [("Γ", (0, 0)), ("A", k)])``.
    """
    corners = zone_boundary(lattice)
    middles = 0.5 * (corners + np.roll(corners, -1, axis=0))
    edges = np.linalg.norm(middles, axis=1)
    gamma = np.zeros(2)
    if len(corners) == 6 and np.ptp(edges) < 1e-6 / lattice.spacing:
        K = _along_x(corners)
        return {"Γ": gamma, "K": K, "M": _near(middles, K)}
    if len(corners) == 4:
        X = _along_x(middles)
        if np.ptp(edges) < 1e-6 / lattice.spacing:
            return {"Γ": gamma, "X": X, "M": _near(corners, X)}
        S = _near(corners, X)
        return {"Γ": gamma, "X": X, "S": S, "Y": S - X}
    raise ValueError(
        f"The zone of {lattice!r} is neither square, rectangular nor a regular hexagon; pass the points of the path as "
        f"(name, k) pairs."
    )


@dataclass(frozen=True, eq=False)
class Path:
    """Wave vectors along straight lines between named points: ``k`` ``(point, dim)``, ``distance`` along the path.

    ``ticks`` are the distances of the named points, ``labels`` their names.

    :func:`symmetry_path` returns it.
    """

    k: np.ndarray
    distance: np.ndarray
    ticks: np.ndarray
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.k)


def symmetry_path(
    lattice: Lattice, points: Sequence[str | tuple[str, Sequence[float]]] | None = None, *, spacing: float | None = None
) -> Path:
    """A path through the zone, such as ``symmetry_path(lattice, ["Γ", "K", "M", "Γ"])``.

    A quantity of a finite lattice is defined at its own wave vectors; without ``spacing`` the path holds exactly those
    that lie on it. Between them a direct sum such as ``structure_factor_at`` shows the finite lattice through its
    window: with ``spacing`` (in units of 1/a) the path is filled evenly.

    Parameters
    ----------
    points: names out of :func:`symmetry_points`, or (name, k) pairs, which may lie in any zone: the path Γ(0, 0),
        K(4π/3, 0), M(2π, 0) of a triangular lattice is straight. By default once around the irreducible wedge.
    """
    named = symmetry_points(lattice) if points is None or any(isinstance(p, str) for p in points) else {}
    chosen = [*named, "Γ"] if points is None else list(points)
    stops: list[tuple[str, np.ndarray]] = []
    for p in chosen:
        if isinstance(p, str):
            if p not in named:
                raise ValueError(
                    f"{lattice.name} has the points {', '.join(named)}, not {p!r}; pass (name, k) for others."
                )
            stops.append((p, named[p]))
        else:
            stops.append((p[0], check_wave_vector(p[1], lattice)))
    if len(stops) < 2:
        raise ValueError(f"A path joins at least two points, got {len(stops)}.")
    if spacing is not None and not spacing > 0:
        raise ValueError(f"spacing must be a positive distance in reciprocal space, got {spacing}.")
    pieces, travelled, length = [], [], 0.0
    ticks = [0.0]
    for (_, a), (name, b) in itertools.pairwise(stops):
        step = float(np.linalg.norm(b - a))
        if step < ON_BOUNDARY / lattice.spacing:
            raise ValueError(f"Two points of the path in a row are the same, at {name}.")
        t = _allowed(lattice, a, b) if spacing is None else np.linspace(0, 1, int(np.ceil(step / spacing)) + 1)
        pieces.append(a + t[:, None] * (b - a))
        travelled.append(length + t * step)
        length += step
        ticks.append(length)
    k, distance = np.concatenate(pieces), np.concatenate(travelled)
    # The end of one piece is the start of the next.
    new = np.concatenate([[True], np.diff(distance) > ON_BOUNDARY / lattice.spacing])
    return Path(k[new], distance[new], np.array(ticks), tuple(name for name, _ in stops))


def star(Q: Sequence[float], lattice: Lattice) -> np.ndarray:
    """All wave vectors that symmetry makes equivalent to Q, in the first zone ``(arm, dim)``; ±Q among them.

    In the plane they are ordered by their angle, from the x axis anticlockwise.

    Six for a Q on an axis of the triangular lattice. The operations are those of the crystal, and the reversal k → -k,
    under which the intensity of any real field is even.
    """
    q = check_wave_vector(Q, lattice)
    images = crystal_class(lattice).matrices @ q
    folded = fold(np.concatenate([images, -images]), lattice)
    arms: list[np.ndarray] = []
    for arm in folded:
        if not arms or float(distance_to(np.array(arms) - arm, lattice).min()) > 1e-6 / lattice.spacing:
            arms.append(arm)
    result = np.array(arms)
    if lattice.dim != 2:
        return result
    angle = np.arctan2(result[:, 1], result[:, 0])
    # Rounded, or an arm along x may come first or last.
    return result[np.argsort(np.round(angle, 9) % np.round(2 * np.pi, 9))]


def _allowed(lattice: Lattice, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where on the way from a to b, as fractions of it, the wave vectors of the finite lattice lie."""
    start, along = (lattice.vectors @ v * np.asarray(lattice.shape) / (2 * np.pi) for v in (a, b - a))
    axis = int(np.argmax(np.abs(along)))
    first, last = sorted((start[axis], start[axis] + along[axis]))
    t = (np.arange(np.ceil(first - 1e-9), np.floor(last + 1e-9) + 1) - start[axis]) / along[axis]
    index = start + t[:, None] * along
    on = np.all(np.abs(index - np.round(index)) < 1e-6, axis=1)
    if not on.any():
        raise ValueError(
            f"No wave vector of {lattice!r} lies on the way from {a.round(4).tolist()} to {b.round(4).tolist()}; pass "
            f"spacing=, or take another number of cells."
        )
    return np.clip(np.sort(t[on]), 0.0, 1.0)


def _along_x(points: np.ndarray) -> np.ndarray:
    """The point nearest to the positive x axis; of two at equal angles the upper one."""
    angle = np.arctan2(points[:, 1], points[:, 0])
    return points[np.lexsort((-angle, np.round(np.abs(angle), 6)))[0]]


def _near(points: np.ndarray, to: np.ndarray) -> np.ndarray:
    """The point nearest to another; of two at equal distance the upper one."""
    distance = np.linalg.norm(points - to, axis=1) / np.linalg.norm(points, axis=1).max()
    return points[np.lexsort((-points[:, 1], np.round(distance, 6)))[0]]
