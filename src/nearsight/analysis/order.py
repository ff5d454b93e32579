"""Staggered order, its sign and sublattices, and the density of walls between domains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import xarray as xr

from nearsight.analysis._fields import SiteField, described, neighbour_mean, relabel, site_field, units_of
from nearsight.fields.textures import _fitting
from nearsight.lattices import Lattice
from nearsight.lattices._two_colours import two_colours

__all__ = [
    "CHECKERBOARD",
    "cdw_order",
    "contrast_order",
    "domain_fraction",
    "global_order",
    "ising_sign",
    "local_amplitude",
    "mean_chord",
    "neighbour_mean",
    "staggered",
    "sublattice_sign",
    "wall_density",
]

CHECKERBOARD = (np.pi, np.pi)
"""Q = (π, π): the wave vector of the charge-density wave of the half-filled square lattice."""


def staggered(
    field: SiteField, lattice: Lattice, Q: Sequence[float] | None = None, *, dims: tuple[str, ...] | None = None
) -> xr.DataArray:
    """s_i exp(iQ·r_i), with r measured from site 0: uniform in a domain that is perfectly ordered at Q.

    Without Q the two sublattices of a bipartite lattice alternate: (π, π) on the square lattice, π on a chain. Real if
    exp(iQ·r) = ±1 on every site, complex otherwise. Refused if Q does not fit a periodic lattice, where the order would
    have a seam (an odd number of cells at Q = (π, π)).
    """
    labelled = site_field(field, lattice, dims)
    values, n = labelled.values * _phase(Q, lattice), lattice.n_sites
    return relabel(labelled, values, "phi", "staggered order parameter", units_of(labelled), site=n)


def cdw_order(
    density: SiteField,
    lattice: Lattice,
    Q: Sequence[float] | None = None,
    *,
    mean: float = 0.5,
    dims: tuple[str, ...] | None = None,
) -> xr.DataArray:
    """Local order parameter of a charge-density wave, φ_i = (n_i - ½) exp(iQ·r_i), within [-½, ½].

    Without Q the two sublattices of a bipartite lattice alternate. ``mean`` replaces ½ where the symmetric filling is
    another number per site (1 for electrons with spin).
    """
    labelled = site_field(density, lattice, dims)
    return staggered(labelled - mean, lattice, Q).assign_attrs(long_name="charge order parameter")


def contrast_order(
    field: SiteField, lattice: Lattice, Q: Sequence[float] | None = None, *, dims: tuple[str, ...] | None = None
) -> xr.DataArray:
    r"""Staggered order from the contrast of a site with its nearest neighbours,

    .. math:: \phi_i = \frac{s_i - \bar s_i}{1 - \gamma(\mathbf Q)}\, e^{i \mathbf Q \cdot \mathbf r_i}, \qquad
              \bar s_i = \frac1z \sum_{j \in nn(i)} s_j, \quad
              \gamma(\mathbf Q) = \frac1z \sum_{j \in nn(i)} e^{i \mathbf Q \cdot (\mathbf r_i - \mathbf r_j)} .

    A uniform background drops out, and a slow one almost: for the orbital order of a Jahn-Teller model pass the mode
    Q^x; no mean value has to be known, as :func:`cdw_order` needs it. In perfect order s = δ exp(-iQ·r) it is δ.

    Parameters
    ----------
    Q: wave vector of the order. If not given, the order alternates between the two sublattices of a bipartite lattice
        (site 0 in the + sublattice), so that γ = -1: Q = (π, π) on the square lattice, and the order of the honeycomb
        lattice that has no wave vector of its own.

    References
    ----------
    S. Zhang, PhD thesis (University of Virginia, 2024), eq. (7.70). The definition there lacks 1/(1 - γ) = ½, with
    which φ = δ in the ordered state, as the text says.
    """
    labelled = site_field(field, lattice, dims)
    phase = _phase(Q, lattice)
    gamma = (phase * neighbour_mean(np.conj(phase), lattice)).real
    if Q is not None and np.ptp(gamma) > 1e-6:
        raise ValueError(
            f"Not all sites of {lattice!r} have the same γ at Q = {tuple(np.round(Q, 4).tolist())}. "
            f"Use periodic boundaries, or leave out Q for the alternating order of a bipartite lattice."
        )
    if abs(1.0 - gamma[0]) < 1e-6:
        raise ValueError(
            "At this Q neighbours are equal: there is no contrast. Use staggered(field - mean, lattice, Q)."
        )
    phi = (labelled.values - neighbour_mean(labelled.values, lattice)) * phase / (1.0 - gamma[0])
    return relabel(labelled, phi, "phi", "order parameter", units_of(labelled), site=lattice.n_sites)


def local_amplitude(phi: SiteField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    """½ |φ_i + mean of φ over the nearest neighbours of i|: how strongly a neighbourhood is ordered, whatever the sign.

    With φ of the density it shows patches of charge order: uniform in them, zero outside, and noise of variance s²
    per site leaves s √((1 + 1/z)/(2π)) on average instead of s √(2/π).
    """
    labelled = site_field(phi, lattice, dims)
    values = 0.5 * np.abs(labelled.values + neighbour_mean(labelled.values, lattice))
    return relabel(labelled, values, "amplitude", "local amplitude", units_of(labelled), site=lattice.n_sites)


def global_order(phi: xr.DataArray) -> xr.DataArray:
    """|Φ| = |Σ_i φ_i| / N: zero for many domains, the amplitude of the order for one."""
    return described(abs(phi.mean("site")), "Phi", "global order parameter", units_of(phi))


def ising_sign(
    phi: SiteField, lattice: Lattice, *, smooth: bool = True, dims: tuple[str, ...] | None = None
) -> xr.DataArray:
    """σ_i = ±1: which of the two degenerate orders a site belongs to; 0 where there is none.

    With ``smooth`` the sign is that of φ_i plus the mean of φ over its nearest neighbours, so that one strongly
    fluctuating site does not count as a domain.
    """
    labelled = site_field(phi, lattice, dims)
    if np.iscomplexobj(labelled.values):
        raise ValueError("An Ising sign needs a real order parameter; at this Q the order has more than two domains.")
    values = labelled.values
    if smooth:
        values = values + neighbour_mean(values, lattice)
    return relabel(labelled, np.sign(values).astype(np.int8), "sigma", "domain", site=lattice.n_sites)


def domain_fraction(sigma: xr.DataArray) -> xr.DataArray:
    """Fraction of the sites with σ = +1: near ½ while domains of both kinds compete, 0 or 1 when one has won."""
    return described((sigma > 0).mean("site"), "fraction", "fraction of + domains")


def wall_density(sigma: SiteField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    """Fraction of the nearest-neighbour bonds that join opposite domains, which falls as 1/L as domains grow."""
    labelled = site_field(sigma, lattice, dims)
    bonds = lattice.bonds(1)
    broken = (labelled.values[..., bonds.i] * labelled.values[..., bonds.j] < 0).mean(-1)
    return relabel(labelled, broken, "walls", "domain walls per bond")


def mean_chord(sigma: SiteField, lattice: Lattice, *, dims: tuple[str, ...] | None = None) -> xr.DataArray:
    r"""Size of domains as the mean distance between walls along lines of nearest-neighbour bonds of length b,

    .. math:: \ell = b / \rho ,

    with the fraction ρ of bonds that join opposite domains (:func:`wall_density`). Stripes of width w give 2w on the
    square lattice, where half of all lines run along them; the whole of it grows as the size of self-similar domains,
    without the logarithm that :func:`~nearsight.analysis.correlation_length` holds. Infinite where there are no walls.

    Parameters
    ----------
    sigma: signs of the domains ``(*batch, site)``, as of :func:`ising_sign`.
    lattice, dims: as of :func:`wall_density`.

    >>> import numpy as np, nearsight as ns
    >>> stripes = np.repeat([1.0, 1.0, 1.0, -1.0, -1.0, -1.0], 6)
    >>> float(ns.analysis.mean_chord(stripes, ns.lattices.square(6)))
    6.0

    References
    ----------
    E. E. Underwood, Quantitative Stereology (Addison-Wesley, 1970): mean intercept length.
    """
    walls = wall_density(sigma, lattice, dims=dims)
    with np.errstate(divide="ignore"):
        return described(float(lattice.shell_distances[0]) / walls, "chord", "mean chord of domains", "a")


def _phase(Q: Sequence[float] | None, lattice: Lattice) -> np.ndarray:
    """exp(iQ·r) from site 0, real where it is ±1 on every site; without Q the sign of the sublattice."""
    if Q is None:
        return sublattice_sign(lattice)
    phase = np.exp(1j * (lattice.positions - lattice.positions[0]) @ _fitting(Q, lattice))
    return np.round(phase.real, 9) if np.allclose(phase.imag, 0.0, atol=1e-9) else phase


@lru_cache(maxsize=16)
def sublattice_sign(lattice: Lattice) -> np.ndarray:
    """±1 on every site such that nearest neighbours differ; +1 on site 0 (on the first site of every separate piece).

    Refused for a lattice with odd rings: triangular, kagome, or a torus with an odd number of cells around.
    """
    bonds = lattice.bonds(1)
    colour = two_colours(bonds.i, bonds.j, lattice.n_sites)
    if colour is None:
        raise ValueError(
            f"{lattice!r} has rings of an odd number of neighbours and no two sublattices. Use an even number of "
            f"cells, or give the wave vector of the order."
        )
    colour.setflags(write=False)
    return colour
