r"""Functions of a matrix as Chebyshev series: coefficients, damping kernels, and what a finite number of terms costs.

A spectrum inside (centre - halfwidth, centre + halfwidth) is mapped to x in (-1, 1), and there

.. math:: f(x) = \sum_{m=0}^{\infty} c_m T_m(x), \qquad
          c_m \simeq \frac{2 - \delta_{m0}}{N} \sum_{k=0}^{N-1} f(x_k) \cos m\theta_k, \quad
          x_k = \cos\theta_k, \quad \theta_k = \frac{\pi}{N}\left(k + \frac12\right),

a cosine transform. The Fermi function has its poles at :math:`\mu \pm i\pi kT`, so its coefficients fall as
:math:`e^{-\pi m kT / a}` for a half width a, and the error of a finite sum is a number one computes, not guesses.

References
----------
A. Weiße, G. Wellein, A. Alvermann, H. Fehske, Rev. Mod. Phys. 78, 275 (2006).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Kernel = Literal["jackson", "lorentz", "fejer"]
KERNELS = ("jackson", "lorentz", "fejer")

LORENTZ = 4.0
"""Parameter λ of the Lorentz kernel: larger damps more and resolves less."""

DIGITS = 40.0
"""Nodes reach so far that coefficients have decayed by exp(-DIGITS) there: aliasing stays below double precision."""

MOST_MOMENTS = 2**20
"""More moments than this are a sign of a temperature that was mistyped, or of a task for another solver."""

FINER = 4
"""The largest residual is looked for on so many times the nodes of the transforms."""

MOST_NODES = 2**24
"""Nodes of a transform, which holds that many numbers for every matrix."""


def damping(kernel: Kernel | None, moments: int) -> np.ndarray:
    """The factors g_m ``(moment,)`` of a kernel; 1 without one.

    A series cut after M terms rings at a step. ``jackson`` resolves a step as an almost Gaussian one of width πa/M
    and keeps densities positive; ``lorentz`` gives the Lorentzian of a Green function, width 4a/M; ``fejer`` is the
    plain mean of the partial sums.
    """
    m = np.arange(moments)
    if kernel is None:
        return np.ones(moments)
    if kernel == "jackson":
        q = math.pi / (moments + 1)
        return ((moments - m + 1) * np.cos(q * m) + np.sin(q * m) / math.tan(q)) / (moments + 1)
    if kernel == "lorentz":
        return np.sinh(LORENTZ * (1 - m / moments)) / math.sinh(LORENTZ)
    if kernel == "fejer":
        return 1 - m / moments
    raise ValueError(f"kernel must be None or one of {', '.join(KERNELS)}, got {kernel!r}.")


def fermi(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), to all digits on both sides: the occupation of a level x = (μ - ε)/kT below μ."""
    decay = np.exp(-np.abs(x))
    return np.where(x > 0, 1.0, decay) / (1.0 + decay)


def _cosines(values: np.ndarray, kind: int) -> np.ndarray:
    from scipy.fft import dct  # imported when needed: the door of the library stays light

    return dct(values, type=kind, axis=-1)


def nodes(count: int) -> np.ndarray:
    """The Chebyshev nodes x_k ``(count,)``, from +1 down to -1."""
    return np.cos(np.pi * (np.arange(count) + 0.5) / count)


def to_coefficients(values: np.ndarray) -> np.ndarray:
    """c_m ``(*batch, N)`` of the function with ``values`` at the N nodes."""
    c = _cosines(values, 2) / values.shape[-1]
    c[..., 0] *= 0.5
    return c


def to_values(coefficients: np.ndarray, count: int) -> np.ndarray:
    """The series ``(*batch, m)`` at ``count`` nodes."""
    padded = np.zeros((*coefficients.shape[:-1], count))
    padded[..., : coefficients.shape[-1]] = coefficients
    padded[..., 1:] *= 0.5
    return _cosines(padded, 3)


def derivative(coefficients: np.ndarray) -> np.ndarray:
    """Coefficients of df/dx: c'_m = 2 Σ j c_j over j = m + 1, m + 3, ... (half of it for m = 0)."""
    *batch, size = coefficients.shape
    weighted = np.zeros((*batch, size + 2 - size % 2))
    weighted[..., :size] = 2.0 * np.arange(size) * coefficients
    # Sums over every other order from the highest down.
    tails = np.flip(np.cumsum(np.flip(weighted.reshape(*batch, -1, 2), -2), -2), -2).reshape(weighted.shape)
    slope = tails[..., 1 : size + 1].copy()
    slope[..., 0] *= 0.5
    return slope


@dataclass(frozen=True)
class Band:
    """The interval of energies ``centre ± halfwidth`` that holds the spectrum of every matrix ``(batch,)``."""

    centre: np.ndarray
    halfwidth: np.ndarray

    @classmethod
    def around(cls, lowest: np.ndarray, highest: np.ndarray, *, margin: float) -> Band:
        """A band with ``margin`` times its width to spare on either side."""
        centre = 0.5 * (lowest + highest)
        # A level that stands alone still needs an interval around it, in which its own digits are resolved.
        halfwidth = np.maximum((0.5 + margin) * (highest - lowest), np.maximum(1e-6 * np.abs(centre), 1e-12))
        return cls(centre, halfwidth)

    def energies(self, x: np.ndarray) -> np.ndarray:
        """The energies at x ``(batch, x)``."""
        return self.centre[..., None] + self.halfwidth[..., None] * x


@dataclass(frozen=True)
class FermiSeries:
    r"""Occupation, energy and grand potential of electrons at a temperature, as series on given bands.

    .. math:: f(\epsilon) = \frac{1}{e^{(\epsilon-\mu)/kT} + 1}, \qquad
              g(\epsilon) = -kT \ln\left(1 + e^{(\mu-\epsilon)/kT}\right), \qquad \frac{dg}{d\epsilon} = f .

    kT = 0 is allowed: the series of a step, which needs a kernel.
    """

    band: Band
    kT: float
    moments: int
    kernel: Kernel | None = None

    @property
    def count(self) -> int:
        """Nodes that resolve both the temperature and the highest moment."""
        return node_count(float(self.band.halfwidth.max()), self.kT, self.moments)

    def occupation(self, mu: np.ndarray) -> np.ndarray:
        """Undamped coefficients of f ``(*batch, count)``; the first ``moments`` are those of the sum."""
        if self.kT > 0:
            distance = mu[..., None] - self.band.energies(nodes(self.count))
            return to_coefficients(fermi(distance / self.kT))
        # The step by its integral: sampled on nodes it would jump whenever μ passes one.
        m = np.arange(1, self.count)
        angle = np.arccos(np.clip((mu - self.band.centre) / self.band.halfwidth, -1, 1))[..., None]
        return np.concatenate([1 - angle / math.pi, -2 * np.sin(m * angle) / (m * math.pi)], axis=-1)

    def response(self, mu: np.ndarray) -> np.ndarray:
        """Coefficients of ∂f/∂μ ``(*batch, count)``, at kT > 0."""
        f = fermi((mu[..., None] - self.band.energies(nodes(self.count))) / self.kT)
        return to_coefficients(f * (1 - f) / self.kT)

    def energy(self, mu: np.ndarray) -> np.ndarray:
        """Coefficients of ε f(ε)."""
        return self.times_energy(self.occupation(mu))

    def times_energy(self, c: np.ndarray) -> np.ndarray:
        """Coefficients of ε times a function, from its own by 2x T_m = T_{m+1} + T_{m-1}."""
        raised = np.zeros_like(c)
        raised[..., 1:] += 0.5 * c[..., :-1]
        raised[..., 1] += 0.5 * c[..., 0]
        raised[..., :-1] += 0.5 * c[..., 1:]
        return self.band.centre[..., None] * c + self.band.halfwidth[..., None] * raised

    def grand_potential(self, mu: np.ndarray) -> np.ndarray:
        """Coefficients of g."""
        if self.kT == 0:
            return self.energy(mu) - mu[..., None] * self.occupation(mu)
        distance = mu[..., None] - self.band.energies(nodes(self.count))
        softened = np.log1p(np.exp(-np.abs(distance) / self.kT))
        return to_coefficients(-np.maximum(distance, 0.0) - self.kT * softened)

    def damped(self, coefficients: np.ndarray, moments: int | None = None) -> np.ndarray:
        """The terms that are summed, with the factors of the kernel."""
        moments = self.moments if moments is None else moments
        return coefficients[..., :moments] * damping(self.kernel, moments)

    def residual(self, mu: np.ndarray, *, of_gradient: bool, finer: int = 1) -> np.ndarray:
        """f minus what the finite sum gives instead ``(*batch, finer * count)``, at so many nodes.

        ``of_gradient``: the sum for g is differentiated, as the gradient of a potential does, instead of summing f.
        """
        full = self.occupation(mu)
        if of_gradient:
            cut = derivative(self.damped(self.grand_potential(mu))) / self.band.halfwidth[..., None]
        else:
            cut = self.damped(full)
        difference = full.copy()
        difference[..., : self.moments] -= cut
        return to_values(difference, finer * self.count)

    def truncation(self, mu: np.ndarray, *, of_gradient: bool, margin: float) -> np.ndarray:
        """The largest residual ``(batch,)``; that of a gradient inside half of the margin, where levels can be.

        The derivatives of T_m grow as m² at the ends of the band. A polynomial of degree n exceeds its largest value at
        N nodes by at most 1/cos(πn/2N) (H. Ehlich, K. Zeller, Math. Z. 86, 41 (1964)): N is 16 M, and what of the
        residual lies beyond n = 2M is small.
        """
        residual = np.abs(self.residual(mu, of_gradient=of_gradient, finer=FINER))
        return (residual * self.inside(of_gradient, margin, finer=FINER)).max(-1) / math.cos(math.pi / (4 * FINER))

    def inside(self, of_gradient: bool, margin: float, *, finer: int = 1) -> np.ndarray:
        """The nodes ``(finer * count,)`` at which a residual is judged: one beyond the last that can be a level."""
        count = finer * self.count
        angle = math.acos(1 / (1 + margin)) - math.pi / count if of_gradient else 0.0
        return np.abs(nodes(count)) <= math.cos(max(angle, 0.0))

    def in_pairs(self) -> FermiSeries:
        """At least as many moments, and an odd number of them: after the first they come in pairs."""
        return replace(self, moments=2 * (self.moments // 2) + 1)

    def resolved(self, accuracy: float, mu: np.ndarray, *, of_gradient: bool, margin: float) -> FermiSeries:
        """The series with as many moments as a truncation error of ``accuracy`` needs, to a tenth.

        Where μ is not known the centre of the band is a safe guess: there the coefficients decay most slowly. Raises a
        ``ValueError`` if they are more than ``MOST_MOMENTS``.
        """
        width = float(self.band.halfwidth.max())
        # From the decay e^(-π m kT / a), before transforms that would be as long.
        needed = math.log(1 + 1 / accuracy) * width / (math.pi * self.kT)
        if needed > MOST_MOMENTS:
            raise ValueError(
                f"kT = {self.kT:g} needs about {needed:.1e} moments on a band of half width {width:.3g}; use Dense or "
                "Poles, or raise kT."
            )
        moments = 0.5 * needed
        while True:
            series = replace(self, moments=max(4, math.ceil(moments))).in_pairs()
            if (series.truncation(mu, of_gradient=of_gradient, margin=margin) <= accuracy).all():
                return series
            moments = 1.1 * series.moments
            if moments > 4 * MOST_MOMENTS:
                raise ArithmeticError(f"The Fermi function at kT = {self.kT:g} is not resolved to {accuracy:g}.")


def node_count(halfwidth: float, kT: float, moments: int) -> int:
    """A power of 2 of at least 4 nodes per moment, dense enough for the poles of f at μ ± iπkT."""
    resolved = DIGITS * halfwidth / (math.pi * kT) if kT > 0 else 0.0
    if resolved > MOST_NODES:
        raise ValueError(
            f"kT = {kT:g} on a band of half width {halfwidth:.3g} is too sharp for any series; use kT=0 with a kernel, "
            "Dense or Poles, or raise kT."
        )
    return 2 ** math.ceil(math.log2(max(4 * moments, resolved, 64)))
