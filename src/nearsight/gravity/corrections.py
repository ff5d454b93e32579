"""What theories beyond general relativity add to the phase of an inspiral."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nearsight._validation import choice, instance, number, numbers
from nearsight.gravity.constants import KILOMETRE, SOLAR_MASS
from nearsight.gravity.waveforms import Masses, Source, masses

BODIES = ("black hole", "neutron star")


def scalar_charge(chi: Tensor) -> Tensor:
    r"""Dimensionless scalar charge of a black hole with spin χ,

    .. math:: s = \frac{2 (\sqrt{1 - \chi^2} - 1 + \chi^2)}{\chi^2} = \frac{2 w}{1 + w}, \qquad w = \sqrt{1 - \chi^2} ;

    the second form has no 0/0 at χ = 0, where s = 1.
    """
    root = torch.sqrt(1 - chi**2)
    return 2 * root / (1 + root)


def small_coupling_bound(mass: float | Tensor, zeta: float = 0.5) -> float | Tensor:
    r"""Largest :math:`\sqrt\alpha` in km at which a black hole of ``mass`` (M_sun, source frame) keeps
    :math:`16 \pi \alpha^2 / m^4 < \zeta`, so that the correction is a small one."""
    return (zeta / (16 * math.pi)) ** 0.25 * mass * SOLAR_MASS / KILOMETRE


@dataclass(frozen=True)
class GaussBonnet:
    r"""Einstein-dilaton-Gauss-Bonnet gravity at small coupling (shift-symmetric scalar Gauss-Bonnet): scalar dipole
    radiation speeds up the inspiral.

    Action :math:`\int\! \sqrt{-g}\, [R / 16\pi - (\nabla\phi)^2 / 2 + \alpha \phi R_{GB}^2]`. With
    :math:`v = (\pi M f)^{1/3}`, charges :math:`a_A = 4 \sqrt\pi\, \alpha s_A / m_A^2` (:func:`scalar_charge` of black
    holes, 0 of neutron stars), :math:`B = \tfrac{5}{96} (a_1 - a_2)^2`, :math:`\delta = (m_1 - m_2) / M` and
    :math:`y = (a_1 m_2 + a_2 m_1) / M`,

    .. math:: \delta\Psi = -\frac{3}{224 \eta} v^{-7} \Big\{ B + \tfrac74 v^2 \Big[ B \Big( \tfrac{659}{168}
              + \tfrac{17}{3} \eta - \tfrac{68}{15} \eta \Big) + \tfrac16 \big( y^2 + \delta\, y\, (a_1 - a_2) \big)
              \Big] - 15 \pi B v^3 \Big\} - \frac{a_1 a_2}{64 \eta} v^{-5} ,

    the terms of -1PN, 0PN and 0.5PN without spin-orbit parts. Those of 1PN to 2PN are not known to us: give them as
    ``coefficients``, if you have them. For two black holes of nearly equal mass dipole radiation nearly cancels and 0PN
    exceeds -1PN.

    Parameter of a source besides masses and spins: ``sqrt_alpha`` (km), to be kept below
    :func:`small_coupling_bound` of the lightest black hole. Masses are those of the waveform, as detected: give
    √α (1 + z) for a source at redshift z.

    Parameters
    ----------
    bodies: what the heavier and the lighter body are, "black hole" or "neutron star".
    orders: which post-Newtonian orders are included, of -1, 0 and 0.5.
    coefficients: further terms :math:`(\alpha^2 / M^4)\, c_i\, v^{-5 + 2 i}` by their order i, one number each.
    end: above this fraction of the frequency of the innermost stable orbit the correction goes on linearly in f, a mere
        shift of time, because the expansion holds for the inspiral only.

    Examples
    --------
    >>> import torch
    >>> from nearsight.gravity import GaussBonnet
    >>> source = dict(chirp_mass=5.0, mass_ratio=0.5, chi_1=0.0, chi_2=0.0)
    >>> source = {name: torch.tensor(value).double() for name, value in source.items()}
    >>> f = torch.tensor([30.0, 60.0]).double()
    >>> one, two = (GaussBonnet().phase(f, source | {"sqrt_alpha": torch.tensor(a).double()}) for a in (1.0, 2.0))
    >>> (two / one).round(decimals=6).tolist(), bool(one[0] < one[1] < 0)  # δΨ ∝ α², largest early on
    ([16.0, 16.0], True)

    References
    ----------
    K. Yagi, L. C. Stein, N. Yunes, T. Tanaka, Phys. Rev. D 85, 064022 (2012); N. Yunes, K. Yagi, F. Pretorius, Phys.
    Rev. D 94, 084002 (2016). The other two orders follow from energy and flux with two scalar charges; for one charge
    they are those of N. Sennett, S. Marsat, A. Buonanno, Phys. Rev. D 94, 084003 (2016).
    """

    bodies: tuple[str, str] = ("black hole", "black hole")
    orders: Sequence[float] = (-1.0, 0.0, 0.5)
    coefficients: Mapping[float, float] = field(default_factory=dict)
    end: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.bodies, tuple | list) or len(self.bodies) != 2:
            raise ValueError(f"bodies must name two, the heavier first, got {self.bodies!r}.")
        for body in self.bodies:
            choice(body, "bodies", BODIES)
        if self.bodies == ("neutron star", "neutron star"):
            raise ValueError("Neutron stars have no scalar charge; one of the bodies must be a black hole.")
        for order in numbers(self.orders, "orders"):
            choice(order, "orders", (-1.0, 0.0, 0.5))
        instance(self.coefficients, Mapping, "coefficients", "Give numbers by their orders, such as {1.0: 12.3}.")
        for order, coefficient in self.coefficients.items():
            number(order, "an order of coefficients")
            number(coefficient, f"coefficients[{order}]")
        number(self.end, "end", above=0)

    def charges(self, binary: Masses, source: Source) -> tuple[Tensor, Tensor]:
        """a₁ and a₂ ``(*batch, 1)``."""
        alpha = (KILOMETRE * source["sqrt_alpha"][..., None]) ** 2
        found = []
        for mass, chi, body in zip(binary, ("chi_1", "chi_2"), self.bodies, strict=True):
            charge = scalar_charge(source[chi][..., None]) if body == "black hole" else torch.zeros_like(mass)
            found.append(4 * math.sqrt(math.pi) * alpha * charge / mass**2)
        return found[0], found[1]

    def phase(self, frequencies: Tensor, source: Source) -> Tensor:
        """δΨ ``(*batch, frequency)`` in rad."""
        binary = masses(source)
        return _continued(self.powers(binary, source), frequencies, binary, self.end)

    def powers(self, binary: Masses, source: Source) -> dict[float, Tensor]:
        """Coefficients ``(*batch, 1)`` of δΨ by powers of v."""
        ratio = binary.symmetric_ratio
        a1, a2 = self.charges(binary, source)
        dipole = 5 / 96 * (a1 - a2) ** 2
        mixed = (a1 * binary.second + a2 * binary.first) / binary.total
        inner = dipole * (659 / 168 + 17 / 15 * ratio)  # 17/3 - 68/15 = 17/15
        inner = inner + (mixed**2 + binary.difference * mixed * (a1 - a2)) / 6
        terms = {
            -1.0: dipole * -3 / (224 * ratio),
            0.0: inner * -3 / (128 * ratio) - a1 * a2 / (64 * ratio),
            0.5: dipole * 45 * math.pi / (224 * ratio),
        }
        powers = {-5 + 2 * order: terms[float(order)] for order in self.orders}
        scale = (KILOMETRE * source["sqrt_alpha"][..., None] / binary.total) ** 4
        for order, coefficient in self.coefficients.items():
            powers[-5 + 2 * order] = powers.get(-5 + 2 * order, 0.0) + coefficient * scale
        return powers


@dataclass(frozen=True)
class PostEinsteinian:
    r"""Parametrised post-Einsteinian phases of several orders at once, for any theory,

    .. math:: \delta\Psi = \sum_k \beta_k\, u^{b_k}, \qquad u = (\pi \mathcal M f)^{1/3} .

    Parameters of a source besides the masses: ``beta_b`` for every exponent b, such as ``beta_-7``.

    Parameters
    ----------
    exponents: b_k; -7 is -1PN, -5 is 0PN, -3 is 1PN.
    end: as in :class:`GaussBonnet`.

    Examples
    --------
    >>> import torch
    >>> from nearsight.gravity import PostEinsteinian
    >>> dipole = PostEinsteinian((-7.0,))
    >>> source = dict(chirp_mass=torch.tensor(5.0).double(), mass_ratio=torch.tensor(0.8).double())
    >>> phase = dipole.phase(torch.tensor([30.0, 60.0]).double(), source | {"beta_-7": torch.tensor(1e-6).double()})
    >>> round(float(phase[1] / phase[0]), 4), round(2 ** (-7 / 3), 4)
    (0.1984, 0.1984)

    References
    ----------
    N. Yunes, F. Pretorius, Phys. Rev. D 80, 122003 (2009).
    """

    exponents: Sequence[float] = (-7.0,)
    end: float = 1.0

    def __post_init__(self) -> None:
        if not numbers(self.exponents, "exponents") or len(set(self.exponents)) < len(tuple(self.exponents)):
            raise ValueError(f"exponents must be different numbers, at least one, got {self.exponents!r}.")
        number(self.end, "end", above=0)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the β_k."""
        return tuple(f"beta_{b:g}" for b in self.exponents)

    def phase(self, frequencies: Tensor, source: Source) -> Tensor:
        """δΨ ``(*batch, frequency)`` in rad."""
        binary = masses(source)
        return _continued(self.powers(binary, source), frequencies, binary, self.end)

    def powers(self, binary: Masses, source: Source) -> dict[float, Tensor]:
        """Coefficients ``(*batch, 1)`` of δΨ by powers of v."""
        named = zip(self.exponents, self.parameters, strict=True)
        # u = η^{1/5} v
        return {b: source[name][..., None] * binary.symmetric_ratio ** (b / 5) for b, name in named}


def _continued(powers: Mapping[float, Tensor], frequencies: Tensor, binary: Masses, end: float) -> Tensor:
    """Σ c_p v^p up to ``end`` of the innermost stable orbit, its tangent in f above."""
    last = end * binary.innermost
    v = binary.speed(torch.minimum(frequencies, last))
    beyond = torch.clamp(frequencies / last - 1, min=0)  # dv^p/df = p v^p / 3 f
    return sum(c * v**p * (1 + p / 3 * beyond) for p, c in powers.items())  # type: ignore[return-value]
