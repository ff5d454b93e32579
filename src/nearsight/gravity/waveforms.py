"""Waveforms of compact binaries in the frequency domain, batched and differentiable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nearsight.gravity.constants import EULER, MEGAPARSEC, SOLAR_MASS

Source = Mapping[str, Tensor]
"""Parameters of binaries by name, tensors ``(*batch,)``; see :class:`TaylorF2`."""


class Polarisations(NamedTuple):
    """Strains h₊ and h× at the detectors' frequencies, complex ``(*batch, frequency)``, in 1/Hz.

    A :class:`Waveform` such as :class:`TaylorF2` returns them.
    """

    plus: Tensor
    cross: Tensor


class Masses(NamedTuple):
    """Masses of a binary ``(*batch, 1)`` in seconds, G m / c³, m₁ ≥ m₂."""

    first: Tensor
    second: Tensor

    @property
    def total(self) -> Tensor:
        """M = m₁ + m₂."""
        return self.first + self.second

    @property
    def symmetric_ratio(self) -> Tensor:
        """η = m₁ m₂ / M², at most 1/4."""
        return self.first * self.second / self.total**2

    @property
    def difference(self) -> Tensor:
        """δ = (m₁ - m₂) / M."""
        return (self.first - self.second) / self.total

    @property
    def innermost(self) -> Tensor:
        """Frequency in Hz of waves from the innermost stable circular orbit, f = 1 / (6^{3/2} π M)."""
        return 1 / (6**1.5 * math.pi * self.total)

    def speed(self, frequencies: Tensor) -> Tensor:
        """v = (π M f)^{1/3} ``(*batch, frequency)`` in units of c."""
        return (math.pi * self.total * frequencies) ** (1 / 3)


def masses(source: Source) -> Masses:
    r"""m₁ and m₂ from the chirp mass and the mass ratio,

    .. math:: m_1 = \mathcal M\, q^{-3/5} (1 + q)^{1/5}, \qquad m_2 = q\, m_1 .
    """
    chirp, ratio = (source[name][..., None] for name in ("chirp_mass", "mass_ratio"))
    first = SOLAR_MASS * chirp * ratio**-0.6 * (1 + ratio) ** 0.2
    return Masses(first, ratio * first)


class PhaseCorrection(Protocol):
    """A theory beyond general relativity, by what it adds to the phase of the inspiral."""

    def phase(self, frequencies: Tensor, source: Source) -> Tensor:
        """δΨ ``(*batch, frequency)`` in rad, zero in general relativity."""


class Waveform(Protocol):
    """A model of the waves: frequencies ``(frequency,)`` in Hz and parameters -> :class:`Polarisations`.

    Time of coalescence, sky position and polarisation angle are those of detectors.
    """

    def __call__(self, frequencies: Tensor, source: Source) -> Polarisations: ...


class Expansion(NamedTuple):
    r"""Strains :math:`\tilde h = A f^{-7/6} \exp(i \sum_k c_k f^{p_k} (\ln f)^{l_k})` below ``end``, with
    h₊ = ½ (1 + cos² ι) h̃ and h× = -i cos ι h̃."""

    terms: tuple[tuple[float, bool], ...]
    """p_k, and whether there is a logarithm."""
    coefficients: Tensor
    """c ``(*batch, term)``, f in Hz."""
    amplitude: Tensor
    """A ``(*batch,)``."""
    end: Tensor
    """``(*batch,)`` in Hz."""

    def functions(self, frequencies: Tensor) -> Tensor:
        """The functions of f ``(term, frequency)`` of which the phase is made."""
        ln = torch.log(frequencies)
        return torch.stack([frequencies**power * (ln if log else 1.0) for power, log in self.terms])


@dataclass(frozen=True)
class TaylorF2:
    r"""Quasi-circular inspiral with spins along the orbital momentum, in the stationary-phase approximation,

    .. math:: \tilde h(f) = -A(f)\, e^{-i [\Psi(f) - \pi/4]}, \qquad
              A = \sqrt{\tfrac{5}{24}}\, \pi^{-2/3} \mathcal M^{5/6} f^{-7/6} / D, \qquad
              \Psi = \frac{3}{128 \eta} v^{-5} \sum_{k=0}^{7} \left(\psi_k + \psi_k^{\ln} \ln v\right) v^k
              - 2 \phi_c + \delta\Psi,

    with :math:`v = (\pi M f)^{1/3}`, the transform :math:`\tilde h = \int h\, e^{-2\pi i f t} dt` and

    .. math:: h_+ = \tfrac12 (1 + \cos^2\iota)\, \tilde h, \qquad h_\times = -i \cos\iota\, \tilde h .

    The series goes to 3.5PN, with spin-orbit terms to 3.5PN and spin-spin terms of black holes to 3PN. Above the
    innermost stable circular orbit the signal is zero.

    Parameters of a source: ``chirp_mass`` (M_sun, as detected), ``mass_ratio`` q = m₂/m₁ ≤ 1, ``chi_1`` and ``chi_2``
    in (-1, 1), ``distance`` (luminosity distance, Mpc), ``inclination`` ι and ``phase`` φ_c (rad).

    Parameters
    ----------
    corrections: what theories beyond general relativity add to Ψ.

    Examples
    --------
    >>> import torch
    >>> from nearsight.gravity import TaylorF2
    >>> source = dict(chirp_mass=30.0, mass_ratio=0.8, chi_1=0.1, chi_2=0.0, distance=400.0, inclination=0.3, phase=0.0)
    >>> source = {name: torch.tensor(value, dtype=torch.float64) for name, value in source.items()}
    >>> plus, cross = TaylorF2()(torch.tensor([20.0, 40.0, 400.0], dtype=torch.float64), source)
    >>> print(f"{abs(plus[0]):.2e} {abs(plus[2]):.2e}")
    9.64e-23 0.00e+00

    References
    ----------
    A. Buonanno et al., Phys. Rev. D 80, 084043 (2009); A. Bohé et al., Class. Quantum Grav. 30, 135009 (2013) and
    32, 195010 (2015); C. K. Mishra et al., Phys. Rev. D 93, 084054 (2016).
    """

    corrections: Sequence[PhaseCorrection] = ()

    def __call__(self, frequencies: Tensor, source: Source) -> Polarisations:
        binary = masses(source)
        ratio, chirp = binary.symmetric_ratio, SOLAR_MASS * source["chirp_mass"][..., None]
        distance = MEGAPARSEC * source["distance"][..., None]
        amplitude = math.sqrt(5 / 24) * math.pi ** (-2 / 3) * chirp ** (5 / 6) / distance * frequencies ** (-7 / 6)
        amplitude = torch.where(frequencies < binary.innermost, amplitude, torch.zeros_like(amplitude))
        phase = 3 / (128 * ratio) * self.series(binary.speed(frequencies), binary, source)
        phase = phase - 2 * source["phase"][..., None] - math.pi / 4
        for correction in self.corrections:
            phase = phase + correction.phase(frequencies, source)
        strain = torch.polar(amplitude, math.pi - phase)
        cosine = torch.cos(source["inclination"])[..., None]
        return Polarisations((1 + cosine**2) / 2 * strain, -1j * cosine * strain)

    def expansion(self, source: Source) -> Expansion | None:
        """The same strain as a sum of powers of f in its phase: much faster for many binaries at the same frequencies.

        None if a correction is no such sum up to the innermost stable orbit.
        """
        if any(getattr(c, "end", 0.0) < 1 or not hasattr(c, "powers") for c in self.corrections):
            return None
        binary = masses(source)
        chi_1, chi_2 = torch.broadcast_tensors(source["chi_1"][..., None], source["chi_2"][..., None])
        plain, logarithm = _coefficients(binary, chi_1, chi_2)
        scale = 3 / (128 * binary.symmetric_ratio)
        speed = (math.pi * binary.total) ** (1 / 3)  # v = speed f^{1/3}
        terms: dict[tuple[float, bool], Tensor] = {}
        for order in range(8):
            ln = logarithm.get(order, torch.zeros_like(speed))
            factor = scale * speed ** (order - 5)
            terms[(order - 5) / 3, False] = factor * (plain[order] + ln * torch.log(speed))
            if order in logarithm:
                terms[(order - 5) / 3, True] = factor * ln / 3
        for correction in self.corrections:
            for power, coefficient in correction.powers(binary, source).items():  # type: ignore[attr-defined]
                term = (power / 3, False)
                terms[term] = terms.get(term, torch.zeros_like(speed)) + coefficient * speed**power
        terms[0.0, False] = terms[0.0, False] - 2 * source["phase"][..., None] - 5 * math.pi / 4
        chirp, distance = SOLAR_MASS * source["chirp_mass"], MEGAPARSEC * source["distance"]
        amplitude = math.sqrt(5 / 24) * math.pi ** (-2 / 3) * chirp ** (5 / 6) / distance
        columns = torch.broadcast_tensors(*terms.values())
        return Expansion(tuple(terms), -torch.cat(columns, -1), amplitude, binary.innermost[..., 0])

    def series(self, v: Tensor, binary: Masses, source: Source) -> Tensor:
        r""":math:`v^{-5} \sum_k (\psi_k + \psi_k^{\ln} \ln v) v^k` of general relativity ``(*batch, frequency)``."""
        plain, logarithm = _coefficients(binary, source["chi_1"][..., None], source["chi_2"][..., None])
        total, ln = torch.zeros_like(v), torch.log(v)
        for order in range(7, -1, -1):
            total = total * v + plain[order] + (logarithm[order] * ln if order in logarithm else 0.0)
        return total / v**5


def _coefficients(binary: Masses, chi_1: Tensor, chi_2: Tensor) -> tuple[list[Tensor | float], dict[int, Tensor]]:
    """ψ_k for k = 0..7, and ψ_k^ln where there is one; masses and spins ``(*batch, 1)``."""
    pi, n, d = math.pi, binary.symmetric_ratio, binary.difference
    x1, x2 = binary.first / binary.total, binary.second / binary.total
    spin = x1**2 * chi_1 + x2**2 * chi_2
    tilt = d * (x2 * chi_2 - x1 * chi_1)
    squares = ((x1, chi_1), (x2, chi_2))

    orbit_5 = (554345 / 1134 + 110 * n / 9) * spin + (13915 / 84 - 10 * n / 3) * tilt
    spins_4 = 79 / 8 * n * chi_1 * chi_2 + sum(81 / 16 * (x * c) ** 2 for x, c in squares)
    spins_6 = (326.75 / 1.12 + 557.5 / 1.8 * n) * n * chi_1 * chi_2
    for x, c in squares:
        quadrupole = 4703.5 / 8.4 + 2935 / 6 * x - 120 * x**2
        own = -4108.25 / 6.72 - 108.5 / 1.2 * x + 125.5 / 3.6 * x**2
        spins_6 = spins_6 + (quadrupole + own) * (x * c) ** 2
    orbit_7 = (-8980424995 / 762048 + 6586595 * n / 756 - 305 * n**2 / 36) * spin
    orbit_7 = orbit_7 - (170978035 / 48384 - 2876425 * n / 672 - 4735 * n**2 / 144) * tilt

    fifth = 5 / 9 * pi * (7729 / 84 - 13 * n) - orbit_5
    sixth: Tensor | float = 11583231236531 / 4694215680 - 640 / 3 * pi**2 - 6848 / 21 * (EULER + math.log(4))
    sixth = sixth + n * (-15737765635 / 3048192 + 2255 / 12 * pi**2) + n**2 * 76055 / 1728 - n**3 * 127825 / 1296
    plain: list[Tensor | float] = [
        1.0,
        0.0,
        5 / 9 * (743 / 84 + 11 * n),
        -16 * pi + 188 / 3 * spin + 25 * tilt,
        5 / 72 * (3058.673 / 7.056 + 5429 / 7 * n + 617 * n**2) - 10 * spins_4,
        fifth,
        sixth + pi / 3 * (3760 * spin + 1490 * tilt) + spins_6,
        pi * (77096675 / 254016 + 378515 / 1512 * n - 74045 / 756 * n**2) + orbit_7,
    ]
    return plain, {5: 3 * fifth, 6: torch.full_like(n, -6848 / 21)}
