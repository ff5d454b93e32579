"""Points between the sites that a model may be centred on: midpoints of bonds and centres of plaquettes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nearsight._validation import integer
from nearsight.lattices.lattice import Lattice, _within, checked_lattice


def bond_centre(lattice: Lattice, shell: int = 1) -> np.ndarray:
    """Midpoint of a bond of a neighbour shell ``(dim,)``, in cell 0.

    It is the first bond of ``lattice.bonds(shell)`` on a periodic lattice; nearest-neighbour bonds of the lattices in
    the catalogue are all equivalent. Its group, ``site_group(lattice, centre=bond_centre(lattice))``, is D2 on the
    square, triangular and honeycomb lattices and D3d in diamond. A longer bond may have less symmetry than its
    midpoint, where other bonds cross it: ``group.stabiliser([d / 2, -d / 2])`` keeps what maps the bond d onto itself.
    """
    checked_lattice(lattice)
    bonds = replace(lattice, shape=(1,) * lattice.dim, periodic=True).bonds(shell)
    return lattice.locate(lattice.basis[bonds.i[0]] + bonds.displacement[0] / 2)[0]


def plaquette_centre(lattice: Lattice, *, corners: int | None = None) -> np.ndarray:
    """Centre of the largest hole of a lattice ``(dim,)``, in cell 0: the point farthest from all sites.

    It is the centre of the square and of a triangle (pointing up) on these lattices, of the hexagon of honeycomb and
    kagome, of the cube, of the octahedron in fcc, of a tetrahedron in bcc, and the interstitial of diamond. ``corners``
    asks for the hole that so many sites touch: 3 is the triangle of kagome, 4 the tetrahedron of fcc.
    """
    holes = _holes(checked_lattice(lattice))
    corners = corners if corners is None else integer(corners, "corners", least=2)
    chosen = [hole for hole in holes if corners in (None, hole[1])]
    if not chosen:
        known = sorted({hole[1] for hole in holes})
        raise ValueError(f"{lattice.name} has holes with {', '.join(map(str, known))} corners, none with {corners}.")
    return chosen[0][2]


def _holes(lattice: Lattice) -> list[tuple[float, int, np.ndarray]]:
    """Radius, number of corners and position in cell 0 of every largest empty sphere, the largest first."""
    from scipy.spatial import Voronoi  # slow to import

    inverse = np.linalg.inv(lattice.vectors)
    middle = lattice.vectors.sum(axis=0) / 2
    # A point of cell 0 has a site within half a diagonal, so that farther sites touch no hole in it.
    span = float(np.linalg.norm(lattice.vectors, axis=1).sum())
    around = _within(lattice, 1.5 * span, middle)
    sites = around.vectors + around.centre
    if lattice.dim == 1:
        line = np.sort(sites[:, 0])
        vertices = ((line[1:] + line[:-1]) / 2)[:, None]
    else:
        vertices = Voronoi(sites).vertices
    inside = np.all(np.abs(vertices @ inverse - 0.5) < 0.6, axis=1)
    found: dict[tuple[float, ...], tuple[float, int, np.ndarray]] = {}
    for point in vertices[inside]:
        distance = np.linalg.norm(sites - point, axis=1)
        touching = sites[distance < distance.min() + lattice.tolerance]
        # All corners lie on one sphere: 2 (r_k - r_0)·x = r_k² - r_0², which sharpens the vertex to full precision.
        offsets = touching - touching[0]
        point = touching[0] + np.linalg.lstsq(2 * offsets, (offsets**2).sum(axis=1), rcond=1e-9)[0]
        point = lattice.locate(point)[0]
        key = (-round(float(distance.min() / lattice._nearest), 5), *(np.round(point @ inverse, 5) + 0.0).tolist())
        found.setdefault(key, (float(distance.min()), len(touching), point))
    return [found[key] for key in sorted(found)]
