"""The potential that the particles of a configuration, and the electrons between them, make for one more particle."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from scipy.optimize import brentq
from scipy.special import expit
from torch import Tensor

from nearsight.analysis._fields import (
    SiteField,
    neighbour_mean,
    occupation_field,
    relabel,
    relabel_all,
    site_field,
)
from nearsight.analysis.order import sublattice_sign
from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import Lattice
from nearsight.moves import MoveEnergies
from nearsight.solvers import FermiPoles, fermi_poles

POLE_ERROR = 1e-10
"""Of the Fermi function; free energies are as good, times the number of electrons that one site moves."""

WORKING_SET = 2**22
"""Complex numbers in memory at once."""

ORDER, RADIUS = 12, 0.15
"""Terms of a Taylor series in μ, and how far it reaches as a fraction of the distance to the poles: 0.15¹³ = 2e-11."""


def particle_potential(
    field: SiteField,
    model: FalicovKimball,
    *,
    kT: float,
    mu: float | None = None,
    number: float | None = None,
    dims: tuple[str, ...] | None = None,
) -> xr.Dataset:
    r"""Potential of a test particle among frozen ones, from its exact equilibrium distribution,

    .. math:: V_i = -kT \ln \nu_i, \qquad \nu_i = \frac{e^{-F_i/kT}}{\sum_{j\ \mathrm{empty}} e^{-F_j/kT}},

    with F_i the free energy of the electrons when the test particle is on the empty site i. A random walk of the test
    particle would visit i with this frequency ν_i in the end (:func:`walked_potential`); one diagonalisation of each
    configuration gives all F_i at once (:func:`insertion_energies`), whatever the barriers between the sites.

    Parameters
    ----------
    field: the frozen particles, 0 or 1 per site ``(*batch, site)``.
    model: its lattice, hopping and repulsion U.
    kT: temperature of the electrons and of the test particle.
    mu, number: exactly one: chemical potential, or number of electrons.

    Returns
    -------
    A Dataset ``(*batch, site)`` with ``V`` and ``F``, the free energy (the grand potential at given μ) minus
    that without the test particle. Both are infinite on occupied sites. 900 sites take 0.3 s on one core at given
    μ, 1.3 s at given number.

    References
    ----------
    S. Zhang, PhD thesis (University of Virginia, 2024), sec. 2.4, fig. 2.9.
    """
    lattice = model.lattice
    labelled = occupation_field(field, lattice, dims)
    rows = labelled.values.reshape(-1, lattice.n_sites)
    F = np.full(rows.shape, np.inf)
    for k, row in enumerate(rows):
        empty = np.flatnonzero(row == 0)
        if not len(empty):
            raise ValueError(f"Configuration {k} has no empty site for a test particle.")
        F[k, empty] = insertion_energies(
            model.matrix(torch.from_numpy(row)[:, None]),
            model.U,
            kT=kT,
            mu=mu,
            number=number,
            sites=empty,
            degeneracy=model.degeneracy,
        )
    lowest = F.min(axis=1, keepdims=True)
    V = F - lowest + kT * np.log(np.exp((lowest - F) / kT).sum(axis=1, keepdims=True))
    named = {"V": (V, "potential of a test particle", "t"), "F": (F, "free energy of a test particle", "t")}
    return relabel_all(labelled, named, site=lattice.n_sites)


def insertion_energies(
    matrix: Tensor,
    U: float,
    *,
    kT: float,
    mu: float | None = None,
    number: float | None = None,
    sites: np.ndarray | None = None,
    degeneracy: int = 1,
) -> np.ndarray:
    r"""The cost of a potential U on one site for free electrons, for every site in turn, from one diagonalisation.

    The potential has rank one, so that with :math:`G(\zeta) = (\zeta - h)^{-1}` and the poles of
    :func:`~nearsight.solvers.poles.fermi_poles`

    .. math:: \Delta\Omega_i = c_0 U + 2\,\mathrm{Re} \sum_p w_p\, kT \ln[1 - U G_{ii}(\mu + kT z_p)] ,

    exact but for the error of the poles (10⁻¹⁰). The principal logarithm is the right one: the imaginary part of
    :math:`G_{ii}` does not change sign on the way from 0 to U. At a fixed number of electrons every site gets
    the chemical potential μ_i at which :math:`N_i(\mu_i) = N`, between μ and μ + U, and ΔF = Ω_i + μ_i N minus the same
    without the potential.

    Parameters
    ----------
    matrix: a Hermitian matrix h ``(site, site)`` of one copy of the electrons.
    kT: temperature above 0.
    mu, number: exactly one: the chemical potential, or the number of electrons of all ``degeneracy`` copies.
    sites: where to put the potential; everywhere if not given.

    Returns
    -------
    ``(site,)``: ΔΩ at given μ, ΔF at given number. Costs one ``eigh``, and for N electrons levels and P poles N² P
    operations at given μ and a few times that at given number.
    """
    if (mu is None) == (number is None):
        raise ValueError("Give either number= (fixed number of electrons) or mu= (grand canonical), not both.")
    if not kT > 0:
        raise ValueError(f"The poles of the Fermi function need a temperature kT > 0, got {kT}.")
    h = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
    levels, psi = torch.linalg.eigh(h)
    eps, weights = levels.numpy(), psi.abs().square().numpy()
    weights = weights if sites is None else weights[sites]
    if mu is not None:
        return degeneracy * _Insertion(eps, weights, U, kT, mu).at(np.full(len(weights), mu)).omega
    wanted = float(number) / degeneracy  # type: ignore[arg-type]
    if not 0 < wanted < len(eps):
        raise ValueError(
            f"{number:g} electrons do not fit into {degeneracy * len(eps)} states; give 0 < number < that."
        )
    reach = 50 * kT + 1e-9 * float(np.abs(eps).max())
    mu0 = brentq(lambda x: expit((x - eps) / kT).sum() - wanted, eps[0] - reach, eps[-1] + reach, xtol=1e-14)
    electrons = _Insertion(eps, weights, U, kT, mu0)
    own = electrons.chemical_potentials(wanted)
    omega = electrons.at(own).omega
    # ln(1 + eˣ) by logaddexp; both grand potentials without U at the two chemical potentials.
    without = -kT * np.array([np.logaddexp(0.0, (x - eps) / kT).sum() for x in (mu0, *own)])
    return degeneracy * (omega + without[1:] - without[0] + (own - mu0) * wanted)


class _Response(NamedTuple):
    omega: np.ndarray
    """ΔΩ ``(site,)``."""
    number: np.ndarray
    """ΔN = -∂ΔΩ/∂μ."""
    slope: np.ndarray
    """∂ΔN/∂μ."""


class _Insertion:
    """A potential U on single sites of electrons with levels ``eps`` and weights |ψ_i|² ``(site, level)``, about μ0."""

    def __init__(self, eps: np.ndarray, weights: np.ndarray, U: float, kT: float, mu0: float) -> None:
        self.eps, self.weights, self.U, self.kT, self.mu0 = eps, weights, U, kT, mu0
        # Levels move by at most U, and so does μ. Bounds in powers of two: other configurations share the poles.
        reach = max(mu0 - eps[0] + abs(U), eps[-1] - mu0 + abs(U), kT) / kT
        y = 2.0 ** float(np.ceil(np.log2(reach)))
        self.poles: FermiPoles = fermi_poles(y, y, tol=POLE_ERROR)

    @cached_property
    def powers(self) -> np.ndarray:
        """Σ_n |ψ_in|² g_pn^(k+1) with g = 1/(μ0 + kT z_p - ε_n), ``(power k, site, pole)``, by one matrix product."""
        g = 1.0 / (self.mu0 + self.kT * self.poles.z[:, None] - self.eps)
        powers = np.cumprod(np.broadcast_to(g, (ORDER + 3, *g.shape)), axis=0).reshape(-1, len(self.eps))
        sums = self.weights @ powers.real.T + 1j * (self.weights @ powers.imag.T)
        return np.moveaxis(sums.reshape(len(self.weights), ORDER + 3, -1), 1, 0)

    def at(self, mu: np.ndarray) -> _Response:
        """Every site at its own chemical potential."""
        x = -(mu - self.mu0)[:, None]
        if np.abs(x).max() < RADIUS * self.kT * self.poles.z.imag.min():
            # 1/(ζ + δ - ε) = Σ_k (-δ)^k g^(k+1): a large lattice shifts μ by little, and no level has to be seen again.
            G, dG, ddG = (np.zeros_like(self.powers[0]) for _ in range(3))
            for k in range(ORDER, -1, -1):
                G = x * G + self.powers[k]
                dG = x * dG - (k + 1) * self.powers[k + 1]
                ddG = x * ddG + (k + 1) * (k + 2) * self.powers[k + 2]
            return self._sum(G, dG, ddG)
        parts = []
        chunk = max(1, WORKING_SET // (len(self.poles.z) * len(self.eps)))
        for start in range(0, len(mu), chunk):
            block = slice(start, start + chunk)
            zeta = mu[block, None] + self.kT * self.poles.z
            g = 1.0 / (zeta[..., None] - self.eps)
            w = self.weights[block, None]
            parts.append(self._sum((w * g).sum(-1), -(w * g**2).sum(-1), 2 * (w * g**3).sum(-1)))
        return _Response(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _sum(self, G: np.ndarray, dG: np.ndarray, ddG: np.ndarray) -> _Response:
        """Sums over the poles from G_ii and its first two derivatives ``(site, pole)``."""
        U, w = self.U, self.poles.w * self.kT
        q = 1.0 - U * G
        omega = self.poles.c0 * U + 2 * (np.log(q) @ w).real
        number = 2 * (U * dG / q @ w).real
        slope = 2 * ((U * ddG / q + (U * dG / q) ** 2) @ w).real
        return _Response(omega, number, slope)

    def chemical_potentials(self, wanted: float) -> np.ndarray:
        """μ_i ``(site,)`` with N_i(μ_i) = wanted, by Newton steps inside the bracket from μ0 to μ0 + U."""
        low, high = (np.full(len(self.weights), self.mu0 + shift) for shift in sorted((0.0, self.U)))
        mu = np.full(len(self.weights), self.mu0)
        response = self.at(mu)
        for _ in range(60):
            f = expit((mu[:, None] - self.eps) / self.kT)
            excess = f.sum(1) - wanted + response.number
            # F is stationary in μ: an excess of 1e-8 electrons changes it by less than rounding.
            if np.abs(excess).max() < 1e-8 or np.max(high - low) < 1e-13:
                break
            low, high = np.where(excess < 0, mu, low), np.where(excess > 0, mu, high)
            with np.errstate(divide="ignore", invalid="ignore"):
                newton = mu - excess / ((f * (1 - f)).sum(1) / self.kT + response.slope)
            mu = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
            response = self.at(mu)
        return mu


def walked_potential(
    field: Tensor,
    moves: MoveEnergies,
    start: int,
    *,
    kT: float,
    attempts: int,
    rng: torch.Generator,
    discard: int = 0,
) -> xr.DataArray:
    """V_i = -kT ln ν_i with ν_i the fraction of the attempts after which the particle that began on ``start`` is on i.

    The particle walks by Metropolis steps in random directions among the others, which do not move; the energies of its
    moves may be exact or learned. Sites that it never visited have an infinite potential: barriers of many kT
    are not crossed in any affordable number of attempts, and V is wrong before they are. For exact electrons
    :func:`particle_potential` needs no walk.

    Parameters
    ----------
    field: all particles ``(site, 1)``, the walker included.
    attempts: number of attempted moves; ``discard`` more come before them and are not counted.
    """
    hops = moves.hops
    walk = moves.start_walk(field)
    walker = np.flatnonzero(walk.positions == start)
    if not len(walker):
        raise ValueError(f"There is no particle on site {start} that could walk; put one there.")
    if attempts < 1 or discard < 0:
        raise ValueError(f"attempts must be positive and discard not negative, got {attempts} and {discard}.")
    total = discard + attempts
    direction = torch.randint(hops.directions, (total,), generator=rng).numpy()
    u = torch.rand(total, generator=rng, dtype=torch.float64).numpy()
    accepted = walk.attempt(np.full(total, walker[0]), direction, -kT * np.log1p(-u)).accepted
    # Between two accepted moves the walker stays; a visit lasts until the next one.
    steps = np.flatnonzero(accepted)
    sites = [start]
    for d in direction[steps]:
        sites.append(int(hops.targets[sites[-1], d]))
    ends = np.clip(np.r_[steps, total], discard, total)
    stay = np.diff(np.r_[discard, ends])
    visits = np.bincount(sites, stay, moves.lattice.n_sites)
    with np.errstate(divide="ignore"):
        V = -kT * np.log(visits / attempts)
    attrs = {"long_name": "potential of a walking particle", "units": "t"}
    return xr.DataArray(V, dims="site", attrs=attrs, name="V")


def staggered_barrier(
    V: SiteField, lattice: Lattice, *, outside: SiteField | None = None, dims: tuple[str, ...] | None = None
) -> xr.DataArray:
    r"""ΔV_AB = |⟨V⟩_A - ⟨V⟩_B|: how much higher one sublattice of a bipartite lattice lies than the other.

    The means are over the sites where V is finite: a test particle has no potential on occupied ones, most of which are
    on one sublattice, so that the sums over N/2 sites each of the thesis (eq. 2.7) are not comparable.

    Parameters
    ----------
    V: potential ``(*batch, site)``, infinite on occupied sites.
    outside: the particles that make V, 0 or 1. The empty sites beside a particle are then left out as well: the
        sites within a patch, on which a test particle would sit among nearest neighbours, are on one sublattice,
        and raise its mean whether or not the potential reaches beyond the patch.
    """
    values = V if isinstance(V, xr.DataArray) else np.asarray(V, dtype=float)
    finite = np.isfinite(values)
    labelled = site_field(xr.where(finite, values, 0.0, keep_attrs=True), lattice, dims)
    known = site_field(finite, lattice, dims).values > 0.5
    if outside is not None:
        near = occupation_field(outside, lattice, dims).values
        known &= (near + neighbour_mean(near, lattice)) == 0
    colour = sublattice_sign(lattice)
    means = []
    for side in (1.0, -1.0):
        mine = known & (colour == side)
        count = mine.sum(-1)
        if not count.all():
            raise ValueError("A sublattice has no site to average V over; leave more sites empty.")
        means.append((labelled.values * mine).sum(-1) / count)
    unit = labelled.attrs.get("units", "t")
    return relabel(labelled, np.abs(means[0] - means[1]), "barrier", "staggered barrier", unit)
