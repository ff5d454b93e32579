"""Scalar chirality of spins around the plaquettes of a plane lattice."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nearsight.analysis.plaquettes import Plaquettes, plaquettes
from nearsight.analysis.site_field import relabel
from nearsight.analysis.spin_field import SpinField, rows, spin_field
from nearsight.lattices import Lattice


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
    return on_plaquettes(labelled, chi, faces, "scalar chirality").rename("chi")


def on_plaquettes(labelled: xr.DataArray, values: np.ndarray, faces: Plaquettes, name: str) -> xr.DataArray:
    """Values ``(batch, plaquette)`` with the labels of a spin field, and the centres as coordinates x, y."""
    like = labelled.isel(component=0, drop=True)
    result = relabel(like, values, {"plaquette": len(faces)}, long_name=name, units="1")
    return result.assign_coords(x=("plaquette", faces.centres[:, 0]), y=("plaquette", faces.centres[:, 1]))
