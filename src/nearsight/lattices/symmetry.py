"""The point group of a site, found from the geometry, and how it permutes the sites of a finite lattice."""

from __future__ import annotations

import itertools

import numpy as np

from nearsight.groups import PointGroup
from nearsight.lattices.lattice import Lattice, Neighbourhood

TOLERANCE = 1e-6


def site_group(lattice: Lattice, *, centre: int = 0, radius: float | None = None) -> PointGroup:
    """All rotations and reflections about a site that map the infinite lattice (with its species) onto itself.

    Candidates are the maps g = F' F⁻¹ between the shortest independent vectors F of the neighbourhood and every set of
    images F' with the same Gram matrix; g survives if it maps the neighbourhood of ``radius`` onto itself.  A larger
    radius must give the same group, which excludes the accidental symmetry of small clusters.
    """
    if radius is None:
        radius = 3.01 * lattice._nearest + float(np.linalg.norm(lattice.vectors, axis=1).max())
    found = _operations(lattice, centre, radius)
    larger = _operations(lattice, centre, radius + lattice._nearest)
    if len(found) != len(larger):
        raise ValueError(
            f"The neighbourhood of radius {radius} has accidental symmetry ({len(found)} operations, {len(larger)} one "
            f"shell further out). Pass a larger radius."
        )
    return PointGroup(found)


def _operations(lattice: Lattice, centre: int, radius: float) -> np.ndarray:
    neighbourhood = lattice.neighbourhood(radius, centre=centre)
    vectors = neighbourhood.vectors[1:]
    labels = np.asarray(lattice.species)[neighbourhood.sublattice[1:]]
    frame: list[int] = []
    for k in range(len(vectors)):
        if np.linalg.matrix_rank(vectors[[*frame, k]], tol=TOLERANCE) == len(frame) + 1:
            frame.append(k)
        if len(frame) == lattice.dim:
            break
    if len(frame) < lattice.dim:
        raise ValueError(f"A radius of {radius:.6g} holds no {lattice.dim} independent neighbours; pass a larger one.")
    base = vectors[frame]
    lengths = np.linalg.norm(vectors, axis=1)
    images = [
        [
            v
            for v, label, length in zip(vectors, labels, lengths, strict=True)
            if label == labels[k] and abs(length - lengths[k]) < TOLERANCE
        ]
        for k in frame
    ]
    keys = {(*np.round(v, 5) + 0.0, s) for v, s in zip(vectors, labels, strict=True)}
    operations = []
    for image in itertools.product(*images):
        target = np.array(image)
        if not np.allclose(target @ target.T, base @ base.T, atol=TOLERANCE):
            continue
        g = np.linalg.solve(base, target).T  # g base_k = target_k as columns
        moved = vectors @ g.T
        if all((*np.round(v, 5) + 0.0, s) in keys for v, s in zip(moved, labels, strict=True)):
            operations.append(g)
    return np.array(operations)


def neighbour_permutations(neighbourhood: Neighbourhood, group: PointGroup) -> np.ndarray:
    """``p[g, k]``: the neighbour at which neighbour k arrives under g, i.e. ``vectors[p[g, k]] = g vectors[k]``."""
    lookup = {tuple(np.round(v, 5) + 0.0): k for k, v in enumerate(neighbourhood.vectors)}
    try:
        return np.array(
            [[lookup[tuple(np.round(v, 5) + 0.0)] for v in neighbourhood.vectors @ g.T] for g in group.matrices]
        )
    except KeyError as missing:
        raise ValueError(f"{group} does not map this neighbourhood onto itself (no site at {missing}).") from None


def site_permutations(lattice: Lattice, group: PointGroup, *, centre: int = 0) -> np.ndarray:
    """``p[g, i]``: the site at which site i arrives under g about site ``centre`` of the finite, periodic lattice.

    Operations that do not fit the shape (a quarter turn of a rectangle) are refused.
    """
    if not all(lattice.periodic):  # type: ignore[arg-type]
        raise ValueError("Only a fully periodic lattice is invariant about every site; make all axes periodic.")
    origin = lattice.positions[centre]
    inverse = np.linalg.inv(lattice.vectors)
    result = np.full((len(group), lattice.n_sites), -1, dtype=np.int64)
    for k, g in enumerate(group.matrices):
        integer = inverse.T @ g @ lattice.vectors.T  # g in cell coordinates (columns)
        torus = integer * np.asarray(lattice.shape)[None] / np.asarray(lattice.shape)[:, None]
        if not np.allclose(torus, np.round(torus), atol=TOLERANCE):
            raise ValueError(
                f"{lattice!r} is not invariant under every operation of {group}; use equal numbers of cells."
            )
        moved = (lattice.positions - origin) @ g.T + origin
        for b in range(lattice.n_basis):
            cells = (moved - lattice.basis[b]) @ inverse
            on = np.all(np.abs(cells - np.round(cells)) < TOLERANCE, axis=1)
            result[k, on] = lattice.index(np.round(cells[on]).astype(int), b)
    if (result < 0).any():
        raise ValueError(f"{group.name} is not the symmetry about site {centre}; take site_group(lattice, centre=...).")
    return result
