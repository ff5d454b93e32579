"""Phase separation of a lattice gas: lengths of the patches of checkerboard and of the super-clusters."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nearsight.analysis._fields import SiteField, described, site_field
from nearsight.analysis.clusters.checkerboard import checkerboard_clusters, cluster_sizes
from nearsight.analysis.clusters.sublattices import polarity, sublattice_field
from nearsight.analysis.order import sublattice_sign, wall_density
from nearsight.analysis.structure._reciprocal import momentum_dims, reciprocal_vectors, zone_distance
from nearsight.analysis.structure.correlations import correlation
from nearsight.analysis.structure.intensities import structure_factor
from nearsight.analysis.structure.lengths import correlation_length, crossing_length
from nearsight.lattices import Lattice


def checkerboard_length(field: SiteField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    r"""Length ℓ of the patches of checkerboard from the peak of the structure factor of the particles at Q = (π, π),

    .. math:: \ell = \frac{\sum_{\mathbf k} S(\mathbf k)}{\sum_{\mathbf k} S(\mathbf k)\, |\mathbf k - \mathbf Q|} ,

    the sums over the wave vectors that are nearer to Q than to Γ (one half for those between). A patch is the
    checkerboard times its outline, :math:`n_i = \tfrac12 (1 \pm e^{i \mathbf Q \cdot \mathbf r_i})\, \theta_i`, so
    that its outline shows twice, around Q and around Γ: over the whole zone the second copy, at a distance of 4.4/a
    whatever the size of the patch, would keep ℓ below 0.45 a. Particles placed at random have ℓ = 0.59 a on the square
    lattice.

    On other bipartite lattices Q is the wave vector at which the sublattices alternate; where they alternate within
    the cell (honeycomb, diamond) the staggered field is summed over the whole zone about Γ.
    """
    labelled = site_field(field, lattice, dims)
    colour = sublattice_sign(lattice)
    deviation = labelled.values - labelled.values.mean(-1, keepdims=True)
    if not deviation.any(-1).all():
        raise ValueError("A configuration is uniform and has no checkerboard of any length; leave it out.")
    S = structure_factor(labelled.copy(data=deviation * colour), lattice)
    names = momentum_dims(S, lattice)
    near = zone_distance(lattice)
    grid = colour.reshape(*lattice.shape, lattice.n_basis)[..., 0]
    turns = [grid.take(1 % n, axis).flat[0] < 0 for axis, n in enumerate(lattice.shape)]
    if any(turns):
        far = zone_distance(lattice, 0.5 * np.array(turns) @ reciprocal_vectors(lattice))
        S = S * xr.DataArray(np.where(np.isclose(near, far), 0.5, near < far), dims=names)
    return described(correlation_length(S, lattice), "l", "length of the checkerboard", "a")


def phase_separation(field: SiteField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.Dataset:
    r"""The numbers that follow phase separation, for every configuration of particles ``(*batch, site)``.

    - ``mean_size``, ``weighted_size``: mean number of particles in a cluster of checkerboard, over clusters and over
      particles (:func:`cluster_sizes`); ``ordered``, the fraction of particles in clusters of two or more.
    - ``cluster_length``: √⟨s⟩, and ``l``, the length from the peak at (π, π) (:func:`checkerboard_length`).
    - ``L``: length of the super-clusters, :math:`L^{-1} = \sum_k S |\mathbf k| / \sum_k S` of the sublattice field σ
      (:func:`sublattice_field`), infinite where one sublattice has all of the lattice. The measure of the thesis; the
      k⁻³ tail of sharp walls puts a logarithm of the lattice constant into it: it grows more slowly than domains do.
    - ``R``: distance at which the correlation of σ has fallen to half its height, which has no such logarithm and is
      the length to test dynamical scaling with; NaN where it does not fall that far.
    - ``phi``: ⟨σ⟩, with its sign; ``walls``: nearest-neighbour bonds between unlike σ, as a fraction of all.
    """
    labelled = site_field(field, lattice, dims)
    sizes = cluster_sizes(checkerboard_clusters(labelled, lattice), lattice)
    sigma = sublattice_field(labelled, lattice)
    L = correlation_length(structure_factor(sigma, lattice), lattice)
    R = crossing_length(correlation(sigma, lattice), level=0.5)
    return xr.Dataset(
        {
            "mean_size": sizes.mean_size,
            "weighted_size": sizes.weighted_size,
            "ordered": sizes.ordered,
            "cluster_length": sizes.length,
            "l": checkerboard_length(labelled, lattice),
            "L": L.assign_attrs(long_name="length of the super-clusters"),
            "R": R.assign_attrs(long_name="half height of the correlation of super-clusters"),
            "phi": polarity(sigma),
            "walls": wall_density(sigma, lattice),
        }
    )
