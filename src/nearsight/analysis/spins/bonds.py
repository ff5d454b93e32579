"""Spins of neighbours: how parallel they are, and the regions in which they are."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nearsight.analysis._fields import SpinField, neighbour_mean, relabel, rows, scalar_labels, spin_field
from nearsight.lattices import Lattice


def spin_alignment(spins: SpinField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    """b_i, the mean of S_i·S_j over the nearest neighbours j ``(*batch, site)``; zero for a site without any.

    For unit spins 1 in a ferromagnet and -1 in an antiferromagnet.
    """
    labelled = spin_field(spins, lattice, dims)
    S = np.moveaxis(rows(labelled), -1, 0)
    b = (S * neighbour_mean(S, lattice)).sum(0)
    return relabel(scalar_labels(labelled), b, "b", "bond order $b_i$", site=lattice.n_sites)


def parallel_clusters(spins: SpinField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    """Sites joined by bonds with S_i·S_j > 0: numbers from 1 ``(*batch, site)``, and 0 for sites without such a bond.

    A single reversed spin of an antiferromagnet makes a cluster of five on the square lattice. :func:`cluster_sizes`
    tells how large they are.
    """
    labelled, bonds = spin_field(spins, lattice, dims), lattice.bonds(1)
    S = rows(labelled)
    labels = np.zeros(S.shape[:2], dtype=np.int32)
    for row, s in zip(labels, S, strict=True):
        parallel = (s[bonds.i] * s[bonds.j]).sum(-1) > 0
        i, j = bonds.i[parallel], bonds.j[parallel]
        graph = coo_array((np.ones(len(i), dtype=np.int8), (i, j)), (lattice.n_sites,) * 2).tocsr()
        number = connected_components(graph, directed=False)[1]
        joined = np.unique(np.concatenate([i, j]))
        row[joined] = np.unique(number[joined], return_inverse=True)[1] + 1
    return relabel(scalar_labels(labelled), labels, "cluster", "cluster of parallel spins", site=lattice.n_sites)
