"""Thermodynamic potentials of one matrix and its neighbours, as functions of the chemical potential."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.polynomial import chebyshev

from nearsight._validation import instance, number, numbers
from nearsight.solvers.dense import Dense
from nearsight.solvers.poles.fermi_poles import FermiPoles, _raised, fermi_poles

NARROW, WIDE = 0.2, 1.0
"""Smallest and largest half-width of a window in units of kT."""

ELECTRONS = 1.5
"""The half-width covers changes of the number of electrons at fixed μ up to this, where NARROW and WIDE allow it."""

MOST_NODES = 16

REFERENCE_NODES = 24
"""Ω of the levels themselves is a polynomial of this many terms, exact to rounding in the widest window."""

BLOCK = 8
"""Green's functions of so many pairs of orbitals are computed together."""

GRID = 1.25
"""Intervals of the pole expansion are rounded up to powers of this, so that nearby μ share one fit."""


def _check_changes(
    electrons: Dense, bounds: tuple[float, float], tolerance: float
) -> tuple[tuple[float, float], float]:
    """Refuse electrons, bounds of the levels and a tolerance (energy) with which no change can be weighed."""
    if instance(electrons, Dense, "electrons").kT <= 0:
        raise ValueError("The Fermi function has poles at kT > 0 only; give a temperature.")
    lowest, highest = numbers(bounds, "bounds", length=2)
    if lowest >= highest:
        raise ValueError(f"bounds are the lowest and the highest level there may be, got {lowest:g} and {highest:g}.")
    return (lowest, highest), number(tolerance, "tolerance", above=0)


class _MuInterpolation:
    r"""Chemical potentials near that of a matrix with known levels, and how Ω and F follow from a few of them.

    At fixed μ there is one node, μ itself. At fixed number N of electrons, F is the Legendre transform

    .. math:: F = \max_\mu\, [\Omega(\mu) + \mu N],

    and a change of the matrix moves the maximum by about δμ = -ΔN/κ, κ = ∂N/∂μ. Ω of the reference is known at any μ
    from its levels. The change ΔΩ(μ) is known at the nodes and interpolated between them; it is analytic up to a
    distance πkT from the real axis, so a window of half-width h ≪ πkT needs few nodes, whose number follows from the
    tolerance. Expanding to second order about μ would give the familiar

    .. math:: \Delta F \simeq \Delta\Omega + \frac{(\delta + \Delta N)^2 - \delta^2}{2\kappa},

    where δ is the excess of electrons at that μ before the change.

    Parameters
    ----------
    electrons: temperature and ensemble. levels: of the reference, ascending, ``(level,)``.
    bounds: between which all levels lie before and after any change.
    tolerance: error of a change of the potential (energy) by one or two orbitals; of k, k/2 times that.
    centre: μ in the middle; that of the reference if left out.
    """

    def __init__(
        self,
        electrons: Dense,
        levels: np.ndarray,
        bounds: tuple[float, float],
        tolerance: float,
        centre: float | None = None,
    ) -> None:
        kT = electrons.kT
        slack = 1e-9 * (1.0 + abs(bounds[0]) + abs(bounds[1]))
        if levels[0] < bounds[0] - slack or levels[-1] > bounds[1] + slack:
            raise ArithmeticError(
                f"The levels reach from {levels[0]:.6g} to {levels[-1]:.6g}, beyond the bounds {bounds}; widen those."
            )
        self.kT, self.levels = kT, levels
        self.grand = electrons.filling is None
        self.number = math.nan if electrons.filling is None else electrons.filling * len(levels)
        self.centre = float(electrons._chemical_potential(torch.from_numpy(levels))[0]) if centre is None else centre
        if self.grand:
            self.half, nodes = 0.0, 1
        else:
            self.half = min(max(ELECTRONS / max(self._stiffness(), 1e-300), NARROW * kT), WIDE * kT)
            # Chebyshev interpolation converges as the axes of the ellipse through the singularity of f, ±iπkT.
            sharpness = math.pi * kT / self.half
            rate = sharpness + math.hypot(sharpness, 1.0)
            nodes = min(max(math.ceil(math.log(10.0 * kT / tolerance) / math.log(rate)), 2), MOST_NODES)
        self.nodes = nodes
        x = np.cos(math.pi * (np.arange(nodes) + 0.5) / nodes)
        self.mu = self.centre + self.half * x
        self._expand = np.linalg.inv(np.vander(x, nodes, increasing=True))
        self.reference = self._reference()
        """Coefficients of Ω(μ) + μN of the reference in powers of (μ - centre)/half; Ω alone at fixed μ. The first one
        is F, at fixed μ Ω, of the reference if the window is centred on it."""
        self.poles = self._poles(bounds, tolerance)
        self.energies = (self.mu[:, None] + kT * self.poles.z).reshape(-1)
        """Where Green's functions are needed ``(node · pole,)``, complex."""
        self._basis, self._mix = self._resolvents(tolerance / (kT * (bounds[1] - bounds[0])))

    def _stiffness(self) -> float:
        """κ = ∂N/∂μ of the reference at the centre."""
        f = 0.5 * (1.0 - np.tanh(0.5 * (self.levels - self.centre) / self.kT))
        return float((f * (1 - f)).sum()) / self.kT

    def _omega(self, mu: np.ndarray) -> np.ndarray:
        """Ω of the reference at any μ."""
        return -self.kT * np.logaddexp(0.0, (np.asarray(mu)[..., None] - self.levels) / self.kT).sum(-1)

    def _reference(self) -> np.ndarray:
        if self.grand:
            return self._omega(np.array([self.centre]))
        x = chebyshev.chebpts1(REFERENCE_NODES)
        mu = self.centre + self.half * x
        return chebyshev.cheb2poly(chebyshev.chebfit(x, self._omega(mu) + mu * self.number, REFERENCE_NODES - 1))

    def _poles(self, bounds: tuple[float, float], tolerance: float) -> FermiPoles:
        below, above = (self.mu.max() - bounds[0]) / self.kT, (bounds[1] - self.mu.min()) / self.kT
        # ΔΩ = -∫ ξ f dε with the spectral shift ξ, in [-1, 1] for a hop and [0, 1] for one level: what f is off by
        # counts at most once over the whole band.
        return fermi_poles(
            _raised(below, GRID), _raised(above, GRID), tol=min(max(tolerance / (bounds[1] - bounds[0]), 1e-12), 1e-3)
        )

    def _resolvents(self, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
        """1/(ζ - ε) ``(level, 2 · energy)`` as a product of two matrices.

        The same poles at nearby μ, and resolvents far from the axis, are almost linearly dependent: half as many
        functions of ε span them.
        """
        resolvent = 1.0 / (self.energies - self.levels[:, None])
        u, size, v = np.linalg.svd(np.hstack([resolvent.real, resolvent.imag]), full_matrices=False)
        kept = int((size > 0.01 * tolerance).sum())
        return np.ascontiguousarray(u[:, :kept] * size[:kept]), np.ascontiguousarray(v[:kept])

    def green(self, products: np.ndarray) -> np.ndarray:
        """G_ab(ζ) = Σ_n ψ_an ψ*_bn / (ζ - ε_n) from the products ``(pair, level)``: ``(pair, 2 · energy)``.

        All real parts, then all imaginary parts, of what each of them contributes where the products are complex.
        The number of pairs is a multiple of ``BLOCK``: matrix products of one shape give each pair the same bits
        whatever else is computed in the same call.
        """
        blocks = products.reshape(-1, BLOCK, products.shape[-1])
        return (blocks @ self._basis @ self._mix).reshape(len(products), -1)

    def change_of_omega(self, log_determinant: np.ndarray, trace: np.ndarray | float) -> np.ndarray:
        r"""ΔΩ at the nodes ``(*batch, node)``, from ln det(1 - ΔV G) ``(*batch, energy)`` and Tr ΔV ``(*batch,)``.

        .. math:: \Delta\Omega = c_0 \mathrm{Tr}\,\Delta V
                  + 2 kT\, \mathrm{Re} \sum_p w_p \ln\det(1 - \Delta V G(\zeta_p))

        is exact for the rational function that stands for f.
        """
        poles = self.poles
        split = log_determinant.reshape(*log_determinant.shape[:-1], self.nodes, len(poles.z))
        return 2.0 * self.kT * (split @ poles.w).real + poles.c0 * np.asarray(trace)[..., None]

    def coefficients(self, change: np.ndarray) -> np.ndarray:
        """Coefficients in x ``(*batch, power)`` of the changed Ω + μN, from ΔΩ at the nodes."""
        total = np.broadcast_to(self.reference, (*change.shape[:-1], len(self.reference))).copy()
        total[..., : self.nodes] += change @ self._expand.T
        return total

    def potential(self, change: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """F, or Ω at fixed μ, from ΔΩ at the nodes ``(*batch, node)``; the place x of its μ; whether that is inside."""
        from nearsight.solvers.updates._green_kernels import maximum

        coefficients = self.coefficients(change)
        if self.grand:
            return coefficients[..., 0], np.zeros(change.shape[:-1]), np.ones(change.shape[:-1], dtype=bool)
        flat = [maximum(c) for c in coefficients.reshape(-1, coefficients.shape[-1])]
        value, x, inside = (np.array(column).reshape(change.shape[:-1]) for column in zip(*flat, strict=True))
        return value, x, inside

    def expansion(self, change: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """ΔΩ and ΔN ``(*batch,)`` at the centre, and κ = ∂N/∂μ of the reference there, at fixed number."""
        coefficients = change @ self._expand.T
        return coefficients[..., 0], -coefficients[..., 1] / self.half, self._stiffness()
