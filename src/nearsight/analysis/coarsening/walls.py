"""Walls between domains: their length and direction, and fields as a function of the distance from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.spatial import cKDTree

from nearsight.analysis._fields import SiteField, relabel, relabel_all, site_field, units_of
from nearsight.lattices import Lattice
from nearsight.lattices.images import periods
from nearsight.lattices.reduction import image_shifts

CORNER = np.sqrt(0.5)
"""Length of a wall that cuts a corner, in units of a: from one bond's midpoint to that of a bond at a right angle."""


def wall_shape(sigma: SiteField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.Dataset:
    r"""Length and direction of the walls between domains σ = ±1 of a square lattice.

    A wall joins the midpoints of the bonds between unlike neighbours. Within a plaquette it goes straight through
    (length 1, along x or y), cuts a corner (length 1/√2, diagonal), or cuts two where + and - meet crosswise. Every
    plaquette is counted once, so that the fractions are statistics of local directions, not of whole walls:

    - straight walls along the axes give a diagonal fraction of 0, straight walls along the diagonals 1;
    - walls of no preferred direction give exactly ½, smooth ones whatever their shape. A straight line at an angle
      0 ≤ θ ≤ π/4 to an axis has lengths cos θ - sin θ straight and √2 sin θ diagonal for every unit, whose means over
      θ are equal.

    ``along_x + along_y - diagonal`` is the mean of cos 4θ weighed with the length: 1, -1 and 0 in these three cases.
    The length is exact for walls along the axes and the diagonals, and too long by a factor 8(√2 - 1)/π = 1.055 for
    walls without preferred direction.

    Pass a smoothed sign (:func:`ising_sign`): single flipped sites count as small diagonal loops of length 2√2.

    Returns
    -------
    A Dataset ``(*batch)`` with ``length``, wall per area in 1/a, and the fractions of it ``along_x``, ``along_y``,
    ``diagonal``, NaN where there is no wall.
    """
    labelled = site_field(sigma, lattice, dims)
    grid = _signs(labelled, lattice)
    corners = [grid]
    for axis, open_axis in zip((-2, -1), ~np.broadcast_to(lattice.periodic, 2), strict=True):
        moved = [np.roll(c, -1, axis) for c in corners]
        corners += moved
        if open_axis:
            keep = np.arange(lattice.shape[axis] - 1)
            corners = [np.take(c, keep, axis) for c in corners]
    here, right, up, across = corners
    ends = here == across
    crosswise = ends & (right == up) & (here != right)
    along_y = (here == up) & (right == across) & (here != right)
    along_x = (here == right) & (up == across) & (here != up)
    corner = (here * right * up * across) < 0
    area = (-2, -1)
    parts = {
        "along_x": along_x.sum(area).astype(float),
        "along_y": along_y.sum(area).astype(float),
        "diagonal": CORNER * (corner.sum(area) + 2.0 * crosswise.sum(area)),
    }
    length = sum(parts.values())
    named = {"length": (length / np.prod(here.shape[-2:]), "wall length per area", "1/a")}
    with np.errstate(invalid="ignore"):
        for name, part in parts.items():
            label = name.replace("_", " ") if name != "diagonal" else "along diagonals"
            named[name] = part / length, f"fraction of walls {label}", "1"
    return relabel_all(labelled, named)


def wall_distance(sigma: SiteField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    """Distance of every site from the nearest wall: to the nearest site of the other sign, minus half a bond.

    Sites beside a wall are ½ away from it (in units of the bond). Infinite where there is only one domain.
    """
    labelled = site_field(sigma, lattice, dims)
    signs = np.where(labelled.values.reshape(-1, lattice.n_sites) < 0, -1, 1)
    bonds, half = lattice.bonds(1), 0.5 * lattice.shell_distances[0]
    # Sites in one cell of the reduced periods differ by less than one of each.
    rows = periods(lattice)
    points = lattice.positions - np.floor(lattice.positions @ np.linalg.pinv(rows)) @ rows
    images = image_shifts(rows, 1.0)
    distance = np.full(signs.shape, np.inf)
    for row, sign in zip(distance, signs, strict=True):
        broken = sign[bonds.i] != sign[bonds.j]
        beside = np.unique(np.concatenate([bonds.i[broken], bonds.j[broken]]))
        for side in (-1, 1):
            across = points[beside[sign[beside] == -side]]
            mine = sign == side
            if len(across):
                tree = cKDTree((across[:, None] + images).reshape(-1, lattice.dim))
                row[mine] = tree.query(points[mine])[0] - half
    return relabel(labelled, distance, "distance", "distance from the nearest wall", "a", site=lattice.n_sites)


def wall_profile(
    field: SiteField,
    sigma: SiteField,
    lattice: Lattice,
    *,
    edges: Sequence[float] = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0),
    dims: tuple[str, ...] | None = None,
) -> xr.Dataset:
    r"""A field as a function of the distance from the nearest wall, with the mean of its configuration subtracted,

    .. math:: \Delta(d) = \langle s_i \rangle_{d_i = d} - \langle s_i \rangle .

    For the density of electrons it shows where added charge or holes go: holes on the walls give Δ < 0 at the first
    distance. ``spread`` is the standard deviation at that distance: walls that hold electrons in some segments and
    holes in others spread without shifting.

    Parameters
    ----------
    field, sigma: site fields of equal shape; σ = ±1 labels the domains.
    edges: bins of the distance, half open on the right; sites farther away are left out.

    Returns
    -------
    A Dataset ``(*batch, distance)`` with ``deviation``, ``spread``, the mean distance as ``at`` and the number of
    ``sites``; NaN where a bin is empty. To average over replicas, weigh with ``sites``.
    """
    labelled = site_field(field, lattice, dims)
    distance = wall_distance(sigma, lattice, dims=dims)
    if distance.shape != labelled.shape:
        raise ValueError(f"field and sigma must have the same shape, got {labelled.shape} and {distance.shape}.")
    bounds = np.asarray(edges, dtype=float)
    if bounds.ndim != 1 or len(bounds) < 2 or np.any(np.diff(bounds) <= 0):
        raise ValueError(f"edges must be at least two ascending distances, got {edges}.")
    d = distance.values.reshape(-1, lattice.n_sites)
    s = labelled.values.reshape(-1, lattice.n_sites)
    s = s - s.mean(-1, keepdims=True)
    bins, rows = len(bounds) - 1, np.arange(len(s))[:, None]
    # A distance of exactly 1 or 2 belongs to the upper bin, also after rounding.
    which = np.searchsorted(bounds, d + lattice.tolerance, side="right") - 1
    inside = (which >= 0) & (which < bins)
    flat = (rows * bins + which)[inside]
    count, total, square, far = (
        np.bincount(flat, w, len(s) * bins).astype(float) for w in (None, s[inside], s[inside] ** 2, d[inside])
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, at = total / count, far / count
        spread = np.sqrt(np.maximum(square / count - mean**2, 0.0))
    named = {
        "deviation": (mean, "deviation from the mean", units_of(labelled)),
        "spread": (spread, "standard deviation", units_of(labelled)),
        "at": (at, "mean distance", "a"),
        "sites": (count, "sites", "1"),
    }
    at_walls = ("distance", 0.5 * (bounds[1:] + bounds[:-1]), {"long_name": "distance from the wall", "units": "a"})
    return relabel_all(labelled, named, distance=bins).assign_coords(distance=at_walls)


def _signs(sigma: xr.DataArray, lattice: Lattice) -> np.ndarray:
    a = lattice.vectors
    plane = lattice.dim == 2 and lattice.n_basis == 1
    if not plane or not np.allclose(a @ a.T, a[0, 0] ** 2 * np.eye(2), atol=1e-9 * abs(a[0, 0]) ** 2):
        raise ValueError(f"Walls have directions on the square lattice, not on {lattice!r}; use wall_density.")
    return np.where(sigma.values.reshape(-1, *lattice.shape) < 0, -1, 1)
