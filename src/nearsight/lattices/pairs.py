"""Pairs of sites within a distance, on any lattice or point cloud, at a cost linear in the number of sites."""

from __future__ import annotations

import numpy as np

from nearsight._validation import instance, number
from nearsight.lattices.images import nearest_image
from nearsight.lattices.lattice import Lattice, checked_lattice
from nearsight.lattices.neighbourhood import Bonds


def bonds_within(lattice: Lattice, cutoff: float, *, sites: slice = slice(None)) -> Bonds:
    """Every pair of sites with ``0 < |r| <= cutoff`` once, repeated images included.

    On a torus a pair is joined by as many bonds as it has images within the cutoff, and a site to its own images: the
    torus stands for the infinite crystal of its repetitions, whatever the cutoff, also beyond half the period. For
    the nearest image of every pair alone: :func:`nearest_image_bonds`. The neighbours are found in cell lists.

    ``sites``: only the pairs whose first site i, the smaller of the two, is among these: more pairs than memory holds
    come part by part.

    >>> from nearsight.lattices import bonds_within, square
    >>> len(bonds_within(square(4), 1.0)), len(bonds_within(square(4), 1.5))
    (32, 64)
    >>> [len(bonds_within(square(4), 1.0, sites=slice(k, k + 6))) for k in (0, 6, 12)]
    [17, 11, 4]
    """
    cutoff, sites = number(cutoff, "cutoff", above=0), instance(sites, slice, "sites", "slice(0, 100) for the first.")
    return checked_lattice(lattice)._bonds_within(cutoff, sites)


def nearest_image_bonds(lattice: Lattice) -> Bonds:
    """Every pair of different sites once, joined by its nearest image; O(N²) pairs.

    ``ValueError`` for a lattice with pairs that have several images at the same, smallest distance: one of them would
    be chosen at random, and break the symmetry. Random positions have none.
    """
    return checked_lattice(lattice)._nearest_image_bonds()


def pair_list(
    positions: np.ndarray,
    periods: np.ndarray,
    periodic: np.ndarray,
    cutoff: float,
    sites: slice = slice(None),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sites i, j ``(pair,)`` and windings ``(pair, dim)`` of all pairs within a cutoff, each once, i < j where they
    differ; ``sites``: only pairs whose i is among them.

    j's image lies at ``positions[j] + winding @ periods``. Along periodic axes sites are brought into the cell, and
    those within the cutoff of its faces are repeated outside.
    """
    from nearsight.lattices import _cells

    inverse = np.linalg.inv(periods)
    turns = np.where(periodic, np.floor(positions @ inverse), 0.0).astype(np.int64)
    points, owner, shift = _images(positions - turns @ periods, periods, inverse, periodic, cutoff)
    # In this order the images of a site, and those found within the cutoff of another one, ascend by site and winding.
    order = np.lexsort((*shift.T, owner))
    points, owner, shift = points[order], owner[order], shift[order]
    leading = shift[np.arange(len(owner)), (shift != 0).argmax(1)]
    home = np.flatnonzero(~shift.any(1))[sites]
    place, members, starts, shape = _cells.bins(points, cutoff)
    ends, found = np.zeros(len(home) + 1, dtype=np.int64), np.empty(0, dtype=np.int64)
    table = (points, owner, leading > 0, home, place, members, starts, shape, _cells.around(points.shape[1]), cutoff)
    _cells.list_pairs(*table, ends, found)
    if ends[-1]:
        found = np.empty(ends[-1], dtype=np.int64)
        _cells.list_pairs(*table, ends, found)
    i, j = owner[home].repeat(np.diff(ends)), owner[found]
    return i, j, shift[found] - turns[j] + turns[i]


def _images(
    inside: np.ndarray, periods: np.ndarray, inverse: np.ndarray, periodic: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points in the cell and their images within the cutoff of its faces, the site of each, and its winding."""
    count, dim = inside.shape
    # Faces of axis k are 1/|b_k| apart, with the reciprocal vectors b_k as columns of the inverse.
    depth = (cutoff + 1e-9 * np.abs(periods).max()) * np.linalg.norm(inverse, axis=0)
    points, owner, shift = inside, np.arange(count), np.zeros((count, dim), dtype=np.int64)
    for k in np.flatnonzero(periodic):  # axis by axis: images of images are images
        along = points @ inverse[:, k]
        reach = int(np.ceil(depth[k]))
        parts = [(points, owner, shift)]
        for n in (*range(-reach, 0), *range(1, reach + 1)):
            keep = (along + n >= -depth[k]) & (along + n < 1 + depth[k])
            moved = shift[keep].copy()
            moved[:, k] += n
            parts.append((points[keep] + n * periods[k], owner[keep], moved))
        points, owner, shift = (np.concatenate(x) for x in zip(*parts, strict=True))
    return points, owner, shift


def lattice_bonds(lattice: Lattice, cutoff: float, sites: slice = slice(None)) -> Bonds:
    """:func:`bonds_within` of one periodic or open arrangement of sites."""
    periods = lattice.vectors * np.asarray(lattice.shape)[:, None]
    positions, flags = lattice.positions, np.asarray(lattice.periodic, dtype=bool)
    i, j, winding = pair_list(positions, periods, flags, cutoff + lattice.tolerance, sites)
    return Bonds(i, j, positions[j] + winding.astype(float) @ periods - positions[i], winding)


def lattice_nearest_images(lattice: Lattice) -> Bonds:
    """:func:`nearest_image_bonds` of one periodic or open arrangement of sites."""
    i, j = np.triu_indices(lattice.n_sites, 1)
    straight = lattice.positions[j] - lattice.positions[i]
    displacement = nearest_image(straight, lattice)
    periods = lattice.vectors * np.asarray(lattice.shape)[:, None]
    winding = np.rint((displacement - straight) @ np.linalg.inv(periods)).astype(np.int64)
    if not lattice.disordered:
        _refuse_ties(lattice, displacement)
    return Bonds(i, j, displacement, winding)


def _refuse_ties(lattice: Lattice, displacement: np.ndarray) -> None:
    """A pair whose reversed displacement has another nearest image has two of one length."""
    back = nearest_image(-displacement + 1e-7 * lattice.spacing * _generic(lattice.dim), lattice)
    if len(displacement) and np.abs(back + displacement).max() > 1e-3 * lattice.spacing:
        raise ValueError(
            f"{lattice!r} has pairs of sites with several nearest images, half a period away; give a cutoff, and every "
            f"image within it counts."
        )


def _generic(dim: int) -> np.ndarray:
    """A direction that no crystal has."""
    return np.sqrt([2.0, 3.0, 5.0, 7.0, 11.0])[:dim] if dim <= 5 else np.sqrt(np.arange(2.0, dim + 2.0))
