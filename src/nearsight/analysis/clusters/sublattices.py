"""The sublattice of the nearest particle: an Ising field of the particles of a bipartite lattice."""

from __future__ import annotations

import numba
import numpy as np
import xarray as xr

from nearsight.analysis._fields import SiteField, described, occupation_field, relabel
from nearsight.analysis.order import sublattice_sign
from nearsight.lattices import Lattice


def sublattice_field(field: SiteField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    r"""σ_i = +1 (-1) if the particle nearest to site i is on the A (B) sublattice, that of site 0 being A.

    Distances are Euclidean, to the nearest image along periodic axes, and exact. If several particles are equally near,
    σ is the sign of the sum of their sublattices: the majority, and 0 if there is none, so that no site
    and no direction is preferred and the exchange of the sublattices by a translation gives σ → -σ, moved along. On
    square, cubic, honeycomb, diamond and bcc lattices there are no such ties: sites at equal distance from a site
    belong to one sublattice (on the square lattice :math:`d^2 = x^2 + y^2` has the parity of x + y), and σ = ±1.

    Domains of σ are the super-clusters of the checkerboard. Their length is that of any Ising field:
    ``correlation_length(structure_factor(sigma, lattice), lattice)``.

    Parameters
    ----------
    field: 0 or 1 per site ``(*batch, site)``, at least one particle in every configuration.
    lattice: a bipartite one; others are refused.

    Returns
    -------
    int8 ``(*batch, site)``. The cost is the number of sites looked at before a particle is found: about 0.3 s for 100
    configurations of 150 × 150 sites with 0.19 particles per site.

    References
    ----------
    S. Zhang, PhD thesis (University of Virginia, 2024), sec. 2.4.
    """
    labelled = occupation_field(field, lattice, dims)
    colour = sublattice_sign(lattice).astype(np.int8)
    occupied = labelled.values.reshape(-1, lattice.n_sites) > 0.5
    empty = int((~occupied.any(axis=1)).sum())
    if empty:
        raise ValueError(f"{empty} configurations hold no particle, so that none is nearest; leave them out.")
    sigma = np.zeros(occupied.shape, dtype=np.int8)
    done = np.zeros(occupied.shape, dtype=bool)
    cells, shape = lattice.cells, np.asarray(lattice.shape)
    periodic = np.broadcast_to(np.asarray(lattice.periodic), lattice.dim).copy()
    radius = 6.0 * float(lattice.shell_distances[0])
    while not done.all():
        for b in range(lattice.n_basis):
            around = lattice.neighbourhood(radius, centre=b)
            d = around.distances
            shell = np.cumsum(np.r_[0, np.diff(d) > lattice.tolerance])
            # The outermost shell may be cut by rounding; it is complete in the next, larger neighbourhood.
            inner = shell < shell[-1]
            offsets, sublattice, shell = around.cells[inner], around.sublattice[inner], shell[inner]
            _search(occupied, colour, cells, b, offsets, sublattice, shell, shape, periodic, sigma, done)
        radius *= 2.0
    return relabel(labelled, sigma, "sigma", "sublattice of the nearest particle", site=lattice.n_sites)


@numba.njit(nogil=True, cache=True)
def _search(occupied, colour, cells, basis, offsets, sublattice, shell, shape, periodic, sigma, done):
    """σ of the sites of one basis index whose nearest particle lies within the offsets, shell by shell outwards."""
    n_basis = occupied.shape[1] // np.prod(shape)
    dim = len(shape)
    for site in range(basis, occupied.shape[1], n_basis):
        neighbours = np.empty(len(offsets), np.int64)
        known = 0
        for row in range(len(occupied)):
            if done[row, site]:
                continue
            total, found = 0, -1
            for k in range(len(offsets)):
                if found >= 0 and shell[k] != found:
                    break
                if k == known:
                    index, inside = 0, True
                    for axis in range(dim):
                        x, n = cells[site, axis] + offsets[k, axis], shape[axis]
                        if x < 0 or x >= n:
                            inside = inside and periodic[axis]
                            x = x % n
                        index = index * n + x
                    neighbours[k] = index * n_basis + sublattice[k] if inside else -1
                    known += 1
                j = neighbours[k]
                if j >= 0 and occupied[row, j]:
                    found = shell[k]
                    total += colour[j]
            if found >= 0:
                sigma[row, site] = (total > 0) - (total < 0)
                done[row, site] = True


def polarity(sigma: xr.DataArray) -> xr.DataArray:
    """φ = ⟨σ_i⟩ of every configuration, between -1 and 1: the broken symmetry of the sublattices, with its sign.

    Its magnitude is :func:`global_order`. It is not conserved: a particle changes sublattice with every hop.
    """
    return described(sigma.mean("site"), "phi", "sublattice order")
