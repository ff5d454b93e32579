"""Topological charge of spins in the plane, and the skyrmions that carry it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nearsight.analysis._fields import (
    SpinField,
    binned,
    described,
    relabel,
    relabel_all,
    rows,
    scalar_labels,
    spin_field,
)
from nearsight.analysis.spins.plaquettes import Plaquettes, plaquettes
from nearsight.lattices import Lattice

ANTIPARALLEL = 1e-8
"""Unit vectors whose sum is shorter than this are opposite: the arc between them is lost in rounding."""


def charge_density(spins: SpinField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    r"""Topological charge of every plaquette, ``(*batch, plaquette)``: the solid angle of its spins over 4π.

    .. math:: \tan\frac{\Omega_{ijk}}{2} = \frac{\mathbf S_i \cdot (\mathbf S_j \times \mathbf S_k)}
              {1 + \mathbf S_i \cdot \mathbf S_j + \mathbf S_j \cdot \mathbf S_k + \mathbf S_k \cdot \mathbf S_i},
              \qquad q = \frac{1}{4\pi} \sum_{\triangle} \Omega_\triangle, \quad -2\pi < \Omega_\triangle < 2\pi,

    with the corners of every triangle anticlockwise. Lengths of spins do not matter. On a smooth texture q is
    S·(∂ₓS × ∂_yS)/4π times the area. Where spins of one triangle lie nearly on a great circle around the sphere, a
    small motion changes Ω by 4π: there, in disordered states, q tells the branch of the formula and little else; on
    squares and hexagons it then also depends on how they are cut into triangles. Between antiparallel spins the arc
    that bounds Ω is chosen through the z axis (x for spins near z), the same one for both triangles at that edge, so
    that sums stay whole and collinear spins of either sign have none. The density of an antiferromagnet is that of its
    staggered spins.

    References
    ----------
    B. Berg, M. Lüscher, Nucl. Phys. B 190, 412 (1981).
    """
    labelled = spin_field(spins, lattice, dims)
    faces = plaquettes(lattice)
    S = rows(labelled)
    length = np.linalg.norm(S, axis=-1, keepdims=True)
    if not (length > 0).all():
        raise ValueError("A spin of length zero has no direction, so the texture has no charge.")
    a, b, c = ((S / length)[:, corner] for corner in faces.triangles.T)
    volume = np.einsum("...k,...k->...", a, np.cross(b, c))
    angle = 2 * np.arctan2(volume, 1 + (a * b).sum(-1) + (b * c).sum(-1) + (c * a).sum(-1))
    for p, q, r in ((a, b, c), (b, c, a), (c, a, b)):
        opposite = np.nonzero(np.linalg.norm(p + q, axis=-1) < ANTIPARALLEL)
        angle[opposite] = _lune(p[opposite], r[opposite])
    charge = binned(angle / (4 * np.pi), faces.owner, len(faces))
    return _on_plaquettes(labelled, charge, faces, "q", "topological charge")


def _lune(p: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Solid angle of the triangle p, -p, r, whose arc from p to -p passes through the z axis (or the x axis).

    The limit of the formula for p + εe, -p + εe, r with e the part of that axis normal to p: volume and denominator
    are 2ε (p × e)·r and 2ε e·r. For r = ±p nothing is enclosed.
    """
    # Decided alike for p and -p, whatever their rounding.
    axis = np.where(np.abs(p[:, 2:]) < 0.9173, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    e = axis - (axis * p).sum(-1, keepdims=True) * p
    across = r - (r * p).sum(-1, keepdims=True) * p
    angle = 2 * np.arctan2((np.cross(p, e) * across).sum(-1), (e * across).sum(-1))
    return np.where(np.linalg.norm(across, axis=-1) < ANTIPARALLEL, 0.0, angle)


def topological_charge(spins: SpinField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    """The sum of :func:`charge_density`, ``(*batch)``: how often the spins wrap around the sphere.

    An integer to rounding on a periodic lattice, whatever the spins. It changes sign under reversal of all spins and
    under reflections of the lattice, and is untouched by rotations of either. A skyrmion whose core points down in a
    background that points up has charge -1 if its spins turn with the direction around it (vorticity +1).
    """
    return described(charge_density(spins, lattice, dims=dims).sum("plaquette"), "Q", "topological charge")


def count_skyrmions(
    spins: SpinField,
    lattice: Lattice,
    *,
    axis: Sequence[float] = (0.0, 0.0, -1.0),
    level: float = 0.0,
    dims: tuple[str, ...] | None = None,
) -> xr.Dataset:
    r"""Skyrmion cores, counted by the sign of their charge.

    A core is a cluster of sites, connected by nearest-neighbour bonds, with S·n > ``level``, n being the ``axis`` along
    which cores point (down, in a field along +z). A core whose rim lies at that level wraps (1 - level)/2 of the sphere
    per unit of winding, which tells its winding from its charge: the mean of the charge of all plaquettes that touch
    it, and of the shares in them of its own sites, which comes out right down to cores of one site. Stripes and bubbles
    without winding are "trivial".

    Returns
    -------
    A Dataset with ``positive``, ``negative`` and ``trivial``, ``(*batch)``. Cores of |winding| > 1 count once.
    """
    n = np.asarray(axis, dtype=float)
    if n.shape != (3,) or not np.isfinite(n).all() or not n.any():
        raise ValueError(f"axis must be three finite numbers, not all zero, got {axis}.")
    if not -1 < level < 1:
        raise ValueError(f"level is a component of a unit spin between -1 and 1, got {level}.")
    labelled = spin_field(spins, lattice, dims)
    S, faces, bonds = rows(labelled), plaquettes(lattice), lattice.bonds(1)
    charge = charge_density(labelled, lattice).values.reshape(len(S), len(faces))
    real = faces.corners >= 0
    share = np.broadcast_to(1 / faces.size[:, None], real.shape)[real]
    site, face = faces.corners[real], np.nonzero(real)[0]
    counts = np.zeros((3, len(S)), dtype=np.int64)
    for row, (spin, q) in enumerate(zip(S, charge, strict=True)):
        core = spin @ (n / np.linalg.norm(n)) > level
        joined = core[bonds.i] & core[bonds.j]
        ends = bonds.i[joined], bonds.j[joined]
        graph = coo_array((np.ones(len(ends[0])), ends), shape=(lattice.n_sites,) * 2)
        label = connected_components(graph, directed=False)[1]
        clusters, of_core = np.unique(label[core], return_inverse=True)
        own = np.bincount(of_core, np.bincount(site, share * q[face], lattice.n_sites)[core], len(clusters))
        # Every plaquette once for every core among its corners.
        pairs = np.unique(np.stack([label[site], face])[:, core[site]], axis=1)
        touched = np.bincount(np.searchsorted(clusters, pairs[0]), q[pairs[1]], len(clusters))
        winding = np.rint((own + touched) / (1 - level))
        counts[:, row] = (winding > 0).sum(), (winding < 0).sum(), (winding == 0).sum()
    kinds = zip(("positive", "negative", "trivial"), counts, strict=True)
    return relabel_all(scalar_labels(labelled), {kind: (n, f"cores of {kind} charge", "1") for kind, n in kinds})


def scalar_chirality(spins: SpinField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    """χ = S_i·(S_j × S_k) of every plaquette, corners anticlockwise, ``(*batch, plaquette)``.

    A larger polygon is cut into triangles from each of its corners in turn, and χ is the mean over them of the sum of
    the triangles, so that no diagonal is preferred. On smooth textures χ is twice the solid angle of the plaquette, 8π
    times its topological charge; unlike the charge it is a polynomial of the spins, without branches in disordered
    states. It is odd under reversal of all spins and under reflections of the lattice.
    """
    labelled = spin_field(spins, lattice, dims)
    faces = plaquettes(lattice)
    S = rows(labelled)
    chi = np.zeros((len(S), len(faces)))
    for n in np.unique(faces.size):
        whole = np.flatnonzero(faces.size == n)
        ring = faces.corners[whole, :n]
        for first in range(n):
            a = S[:, ring[:, first]]
            for step in range(1, n - 1):
                b, c = (S[:, ring[:, (first + step + m) % n]] for m in (0, 1))
                chi[:, whole] += np.einsum("...k,...k->...", a, np.cross(b, c)) / n
    return _on_plaquettes(labelled, chi, faces, "chi", "scalar chirality")


def _on_plaquettes(
    like: xr.DataArray, values: np.ndarray, faces: Plaquettes, name: str, long_name: str
) -> xr.DataArray:
    """Values ``(batch, plaquette)`` with the labels of a spin field, and the centres as coordinates x, y."""
    result = relabel(scalar_labels(like), values, name, long_name, plaquette=len(faces))
    return result.assign_coords(x=("plaquette", faces.centres[:, 0]), y=("plaquette", faces.centres[:, 1]))
