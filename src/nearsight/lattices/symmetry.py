"""The point group of a site or of any other centre, found from the geometry, and how it permutes sites."""

from __future__ import annotations

import itertools

import numpy as np

from nearsight._validation import instance, number
from nearsight.groups import PointGroup
from nearsight.lattices.lattice import Centre, Lattice, _within, checked_lattice
from nearsight.lattices.neighbourhood import Neighbourhood

TOLERANCE = 1e-6


def site_group(lattice: Lattice, *, centre: Centre = 0, radius: float | None = None) -> PointGroup:
    """All rotations and reflections about a centre that map the infinite lattice (with its species) onto itself.

    The centre is a site or the coordinates of any other point, such as :func:`bond_centre` or :func:`plaquette_centre`.
    A larger radius must give the same group, which excludes the accidental symmetry of small clusters. A point cloud
    has the identity alone.
    """
    if checked_lattice(lattice).disordered:
        return PointGroup(np.eye(lattice.dim)[None])
    return PointGroup(matching_operations(lattice, centre, centre, radius=radius))


def matching_operations(lattice: Lattice, a: Centre, b: Centre, *, radius: float | None = None) -> np.ndarray:
    """All orthogonal h ``(operation, dim, dim)`` that carry the surroundings of centre a onto those of centre b.

    Candidates are the maps h = F' F⁻¹ between the shortest independent vectors F around a and every set of images F'
    around b with the same Gram matrix; h survives if it maps the neighbourhood of ``radius``, with its species, onto
    that of b. The result is empty if the centres are inequivalent.
    """
    radius = None if radius is None else number(radius, "radius", above=0)
    if radius is None:
        radius = 3.01 * lattice._nearest + float(np.linalg.norm(lattice.vectors, axis=1).max())
    found = _operations(lattice, a, b, radius)
    larger = _operations(lattice, a, b, radius + lattice._nearest)
    if len(found) != len(larger):
        raise ValueError(
            f"The neighbourhood of radius {radius} has accidental symmetry ({len(found)} operations, {len(larger)} one "
            f"shell further out). Pass a larger radius."
        )
    return found


def _operations(lattice: Lattice, a: Centre, b: Centre, radius: float) -> np.ndarray:
    around, onto = _within(lattice, radius, a), _within(lattice, radius, b)
    species = np.asarray(lattice.species)
    labels, onto_labels = species[around.sublattice], species[onto.sublattice]
    none = np.zeros((0, lattice.dim, lattice.dim))
    if len(around) != len(onto):
        return none
    # In units of the shortest distance, for which the tolerances are made.
    vectors, targets = around.vectors / lattice._nearest, onto.vectors / lattice._nearest
    distances, onto_distances = np.linalg.norm(vectors, axis=1), np.linalg.norm(targets, axis=1)
    frame: list[int] = []
    for k in range(len(around)):
        if np.linalg.matrix_rank(vectors[[*frame, k]], tol=TOLERANCE) == len(frame) + 1:
            frame.append(k)
        if len(frame) == lattice.dim:
            break
    if len(frame) < lattice.dim:
        raise ValueError(f"A radius of {radius:.6g} holds no {lattice.dim} independent neighbours; pass a larger one.")
    base = vectors[frame]
    images = [targets[(onto_labels == labels[k]) & (np.abs(onto_distances - distances[k]) < TOLERANCE)] for k in frame]
    frames = np.array(list(itertools.product(*images))).reshape(-1, lattice.dim, lattice.dim)
    gram = frames @ frames.transpose(0, 2, 1)
    frames = frames[np.abs(gram - base @ base.T).max(axis=(1, 2), initial=0) < TOLERANCE]
    operations = []
    for target in frames:
        g = np.linalg.solve(base, target).T  # g base_k = target_k as columns
        arrival = _find_points(vectors @ g.T, targets)
        if (arrival >= 0).all() and (onto_labels[arrival] == labels).all():
            operations.append(g)
    return np.array(operations) if operations else none


def _find_points(points: np.ndarray, among: np.ndarray, *, tolerance: float = 1e-5) -> np.ndarray:
    """Which of ``among`` ``(n, dim)`` each of ``points`` ``(m, dim)`` coincides with, ``(m,)``; -1 where none does.

    Coordinates are compared, never rounded: of two that agree to rounding one may lie on either side of a half digit.
    """
    codes = np.zeros((2, max(len(points), len(among))), dtype=np.int64)
    for x, y in zip(points.T, among.T, strict=True):
        values = np.sort(y)
        values = values[np.concatenate([[True], np.diff(values) > tolerance])]  # one of every group of equal ones
        for row, coordinate in zip(codes, (x, y), strict=True):
            nearest = np.searchsorted((values[1:] + values[:-1]) / 2, coordinate)
            row[: len(coordinate)] = row[: len(coordinate)] * len(values) + nearest
    wanted, known = codes[0, : len(points)], codes[1, : len(among)]
    order = np.argsort(known)
    found = order[np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)]
    return np.where(np.abs(among[found] - points).max(axis=1) < 2 * tolerance, found, -1)


def neighbour_permutations(neighbourhood: Neighbourhood, group: PointGroup) -> np.ndarray:
    """``p[g, k]``: the neighbour at which neighbour k arrives under g, i.e. ``vectors[p[g, k]] = g vectors[k]``."""
    instance(neighbourhood, Neighbourhood, "neighbourhood", "lattice.neighbourhood(2.0) makes one.")
    instance(group, PointGroup, "group", "site_group(lattice) makes one.")
    return np.array([neighbour_map(neighbourhood, neighbourhood, g, name=repr(group)) for g in group.matrices])


def neighbour_map(a: Neighbourhood, b: Neighbourhood, g: np.ndarray, *, name: str = "The operation") -> np.ndarray:
    """``p[k]``: the neighbour of centre b at which neighbour k of centre a arrives under g."""
    moved = a.vectors @ g.T
    found = _find_points(moved, b.vectors, tolerance=10 * b.tolerance)
    if (found < 0).any():
        missing = tuple((moved[found < 0][0].round(5) + 0.0).tolist())
        raise ValueError(f"{name} does not map this neighbourhood onto itself (no site at {missing}).")
    return found


def torus_group(lattice: Lattice, *, centre: Centre = 0) -> PointGroup:
    """The operations about a centre that map the finite torus onto itself as well.

    The whole group of the centre for equal numbers of cells; D2 for a rectangle of the square lattice.
    """
    group = site_group(lattice, centre=centre)
    return group.subgroup(np.array([_fits(lattice, g) for g in group.matrices]))


def _fits(lattice: Lattice, g: np.ndarray) -> bool:
    """Whether an operation maps the periods of the torus to periods."""
    shape = np.asarray(lattice.shape)
    integer = np.linalg.inv(lattice.vectors).T @ g @ lattice.vectors.T  # g in cell coordinates (columns)
    torus = integer * shape[None] / shape[:, None]
    return np.allclose(torus, np.round(torus), atol=TOLERANCE)


def site_permutations(lattice: Lattice, group: PointGroup, *, centre: Centre = 0) -> np.ndarray:
    """``p[g, i]``: the site at which site i arrives under g about a centre of the finite, periodic lattice.

    The centre is a site index or a position. Operations that do not fit the shape (a quarter turn of a rectangle) are
    refused; :func:`torus_group` has those that do.
    """
    checked_lattice(lattice)
    instance(group, PointGroup, "group", "site_group(lattice) makes one.")
    if lattice.disordered and len(group) == 1:
        return np.arange(lattice.n_sites)[None]
    if not all(lattice.periodic):  # type: ignore[arg-type]
        raise ValueError("Only a fully periodic lattice is invariant about every site; make all axes periodic.")
    point, shift = lattice.locate(centre)
    origin = point + shift @ lattice.vectors
    inverse = np.linalg.inv(lattice.vectors)
    result = np.full((len(group), lattice.n_sites), -1, dtype=np.int64)
    for k, g in enumerate(group.matrices):
        if not _fits(lattice, g):
            raise ValueError(
                f"{lattice!r} is not invariant under every operation of {group}; use equal numbers of cells, or "
                f"torus_group(lattice)."
            )
        moved = (lattice.positions - origin) @ g.T + origin
        for b in range(lattice.n_basis):
            cells = (moved - lattice.basis[b]) @ inverse
            on = np.all(np.abs(cells - np.round(cells)) < TOLERANCE, axis=1)
            result[k, on] = lattice.index(np.round(cells[on]).astype(int), b)
    if (result < 0).any():
        where = f"site {centre}" if isinstance(centre, int | np.integer) else f"the point {centre}"
        raise ValueError(f"{group.name} is not the symmetry about {where}; take site_group(lattice, centre=...).")
    return result
