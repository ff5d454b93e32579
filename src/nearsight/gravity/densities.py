"""Prior densities of one parameter, each with its map to the unit interval and back."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import choice, number
from nearsight.gravity.constants import SOLAR_MASS
from nearsight.gravity.corrections import BODIES, small_coupling_bound
from nearsight.gravity.waveforms import Source, masses


class Density(Described, abc.ABC):
    """A probability density p on [low, high], with its distribution function u(x) and the inverse of that."""

    low: float
    high: float

    @abc.abstractmethod
    def log_density(self, x: Tensor) -> Tensor:
        """ln p inside of the range, where alone it is asked for."""

    @abc.abstractmethod
    def to_unit(self, x: Tensor) -> Tensor:
        """u(x) in [0, 1]."""

    @abc.abstractmethod
    def from_unit(self, u: Tensor) -> Tensor:
        """x(u)."""


@dataclass(frozen=True, repr=False)
class Power(Density):
    r"""A power law, :math:`p \propto x^k` on 0 ≤ ``low`` < ``high`` (0 < ``low`` for k ≤ -1).

    ``exponent`` 2 puts sources uniformly into a Euclidean volume by their distance, 1 is the density of the chirp mass
    for component masses that are uniform (with :class:`ComponentRatio`), -1 is uniform in the logarithm.

    Examples
    --------
    >>> import torch
    >>> from nearsight.gravity import Power
    >>> round(float(Power(2, 0, 100).from_unit(torch.tensor(0.5))), 2)  # half of a volume: 2^(-1/3) of the radius
    79.37
    """

    exponent: float
    low: float
    high: float

    def __post_init__(self) -> None:
        number(self.exponent, "exponent")
        number(self.low, "low", **({"above": 0.0} if self.exponent <= -1 else {"least": 0.0}))  # type: ignore[arg-type]
        number(self.high, "high", above=self.low)

    def log_density(self, x: Tensor) -> Tensor:
        k = self.exponent
        norm = math.log(self.high / self.low) if k == -1 else (self.high ** (k + 1) - self.low ** (k + 1)) / (k + 1)
        return k * torch.log(x) - math.log(norm)

    def to_unit(self, x: Tensor) -> Tensor:
        if self.exponent == -1:
            return torch.log(x / self.low) / math.log(self.high / self.low)
        low, high = (end ** (self.exponent + 1) for end in (self.low, self.high))
        return (x ** (self.exponent + 1) - low) / (high - low)

    def from_unit(self, u: Tensor) -> Tensor:
        if self.exponent == -1:
            return self.low * (self.high / self.low) ** u
        low, high = (end ** (self.exponent + 1) for end in (self.low, self.high))
        return (low + (high - low) * u) ** (1 / (self.exponent + 1))


@dataclass(frozen=True, repr=False)
class Uniform(Density):
    """The same density everywhere between ``low`` and ``high``.

    Examples
    --------
    >>> import torch
    >>> from nearsight.gravity import Uniform
    >>> mass = Uniform(2.0, 4.0)
    >>> float(mass.log_density(torch.tensor(3.0)).exp()), float(mass.to_unit(torch.tensor(2.5)))
    (0.5, 0.25)
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        number(self.high, "high", above=number(self.low, "low"))

    def log_density(self, x: Tensor) -> Tensor:
        return torch.full_like(x, -math.log(self.high - self.low))

    def to_unit(self, x: Tensor) -> Tensor:
        return (x - self.low) / (self.high - self.low)

    def from_unit(self, u: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * u


@dataclass(frozen=True, repr=False)
class Sine(Density):
    """p ∝ sin x within [0, π]: inclinations of randomly oriented binaries.

    Examples
    --------
    >>> import math, torch
    >>> from nearsight.gravity import Sine
    >>> round(float(Sine().to_unit(torch.tensor(math.pi / 3))), 4)  # a quarter of all binaries within 60 degrees
    0.25
    """

    low: float = 0.0
    high: float = math.pi

    def __post_init__(self) -> None:
        number(self.high, "high", above=number(self.low, "low", least=0.0), most=math.pi)

    def log_density(self, x: Tensor) -> Tensor:
        return torch.log(torch.sin(x)) - math.log(math.cos(self.low) - math.cos(self.high))

    def to_unit(self, x: Tensor) -> Tensor:
        return (math.cos(self.low) - torch.cos(x)) / (math.cos(self.low) - math.cos(self.high))

    def from_unit(self, u: Tensor) -> Tensor:
        return torch.acos(math.cos(self.low) + (math.cos(self.high) - math.cos(self.low)) * u)


@dataclass(frozen=True, repr=False)
class Cosine(Density):
    """p ∝ cos x within [-π/2, π/2]: declinations of an isotropic sky.

    Examples
    --------
    >>> import math, torch
    >>> from nearsight.gravity import Cosine
    >>> round(float(Cosine().to_unit(torch.tensor(math.pi / 6))), 4)  # three quarters of the sky south of +30 degrees
    0.75
    """

    low: float = -math.pi / 2
    high: float = math.pi / 2

    def __post_init__(self) -> None:
        number(self.high, "high", above=number(self.low, "low", least=-math.pi / 2), most=math.pi / 2)

    def log_density(self, x: Tensor) -> Tensor:
        return torch.log(torch.cos(x)) - math.log(math.sin(self.high) - math.sin(self.low))

    def to_unit(self, x: Tensor) -> Tensor:
        return (torch.sin(x) - math.sin(self.low)) / (math.sin(self.high) - math.sin(self.low))

    def from_unit(self, u: Tensor) -> Tensor:
        return torch.asin(math.sin(self.low) + (math.sin(self.high) - math.sin(self.low)) * u)


@dataclass(frozen=True, repr=False)
class ComponentRatio(Density):
    r"""The mass ratio if both component masses are uniform, at given chirp mass: :math:`p \propto q^{-6/5} (1 +
    q)^{2/5}`.

    With ``chirp_mass=Power(1, ...)`` it makes the density of (m₁, m₂) uniform, because :math:`dm_1\, dm_2 =
    \mathcal M\, q^{-6/5} (1 + q)^{2/5}\, d\mathcal M\, dq`. The distribution function is a table of 4097 entries,
    linear in ln q between them, and so is the density: it differs from the power laws by 10⁻⁶.

    Examples
    --------
    >>> import torch
    >>> from nearsight.gravity import ComponentRatio
    >>> p = ComponentRatio(0.1).log_density(torch.tensor([0.5, 1.0]).double()).exp()
    >>> round(float(p[0] / p[1]), 4), round(2**1.2 * 0.75**0.4, 4)
    (2.0477, 2.0477)
    """

    low: float
    high: float = 1.0

    def __post_init__(self) -> None:
        number(self.high, "high", above=number(self.low, "low", above=0.0), most=1.0)

    @cached_property
    def _table(self) -> tuple[Tensor, Tensor]:
        """ln q at equal steps, and u there."""
        edges = np.linspace(math.log(self.low), math.log(self.high), 4097)
        nodes, weights = np.polynomial.legendre.leggauss(5)
        half = (edges[1] - edges[0]) / 2
        inner = np.exp(edges[:-1, None] + half * (1 + nodes))
        steps = (inner**-0.2 * (1 + inner) ** 0.4 * weights).sum(1)
        return torch.from_numpy(edges), torch.from_numpy(np.concatenate([[0.0], np.cumsum(steps) / steps.sum()]))

    def log_density(self, x: Tensor) -> Tensor:
        edges, u = (t.to(x.device) for t in self._table)
        bin_ = self._bin(torch.log(x), edges)
        return torch.log((u[bin_ + 1] - u[bin_]) / (edges[1] - edges[0])) - torch.log(x)

    def to_unit(self, x: Tensor) -> Tensor:
        edges, u = (t.to(x.device) for t in self._table)
        return _interpolated(torch.log(x), edges, u, self._bin(torch.log(x), edges))

    def from_unit(self, u: Tensor) -> Tensor:
        edges, table = (t.to(u.device) for t in self._table)
        ln_q = _interpolated(u, table, edges, self._bin(u, table))
        return torch.exp(ln_q).clamp(self.low, self.high)

    @staticmethod
    def _bin(x: Tensor, edges: Tensor) -> Tensor:
        return (torch.searchsorted(edges, x.contiguous(), right=True) - 1).clamp(0, len(edges) - 2)


def _interpolated(x: Tensor, places: Tensor, values: Tensor, bin_: Tensor) -> Tensor:
    part = (x - places[bin_]) / (places[bin_ + 1] - places[bin_])
    return values[bin_] + part * (values[bin_ + 1] - values[bin_])


@dataclass(frozen=True, repr=False)
class Coupling:
    r"""The Einstein-dilaton-Gauss-Bonnet coupling :math:`\sqrt\alpha` from zero to what the theory of small coupling
    bears.

    At given masses the range ends at :func:`small_coupling_bound` of the lightest black hole, where
    :math:`16 \pi \alpha^2 / m^4` = ``zeta``, or at ``most`` if that is less. The density is normalised at every mass,
    so the coupling does not change the prior of masses. Masses and coupling are those of the waveform; redshift drops
    out of the bound.

    Parameters
    ----------
    variable: what is uniform, "sqrt_alpha" or "alpha_squared"; the second, :math:`p \propto \alpha^{3/2}`, is uniform
        in the size of the phase. Bounds depend on the choice: state it (:meth:`Prior.log_ratio` changes it).
    most: √α in km that is not exceeded at any mass.
    zeta: the largest 16π α²/m⁴.
    bodies: as in :class:`GaussBonnet`.

    Examples
    --------
    >>> import torch
    >>> from nearsight.gravity import Coupling, small_coupling_bound
    >>> masses = torch.tensor([5.0 * 2**-0.2, 1.0]).double()  # chirp mass and ratio of two black holes of 5 M_sun
    >>> most = Coupling().range(dict(zip(("chirp_mass", "mass_ratio"), masses)))
    >>> round(float(most), 3), round(float(small_coupling_bound(5.0)), 3)  # √α in km
    (2.332, 2.332)
    """

    variable: str = "sqrt_alpha"
    most: float = math.inf
    zeta: float = 0.5
    bodies: tuple[str, str] = ("black hole", "black hole")

    def __post_init__(self) -> None:
        choice(self.variable, "variable", ("sqrt_alpha", "alpha_squared"))
        number(self.most, "most", above=0.0, finite=False)
        number(self.zeta, "zeta", above=0.0, most=1.0)
        if not isinstance(self.bodies, tuple | list) or len(self.bodies) != 2:
            raise ValueError(f"bodies must name two, the heavier first, got {self.bodies!r}.")
        for body in self.bodies:
            choice(body, "bodies", BODIES)
        if "black hole" not in self.bodies:
            raise ValueError("Neutron stars have no scalar charge; one of the bodies must be a black hole.")

    def config(self) -> dict[str, object]:
        """Class and arguments in plain data."""
        most = self.most if math.isfinite(self.most) else None
        return {"variable": self.variable, "most": most, "zeta": self.zeta, "bodies": list(self.bodies)}

    @property
    def power(self) -> int:
        """k of p ∝ √α^{k - 1}, so that u = (√α / range)^k."""
        return 1 if self.variable == "sqrt_alpha" else 4

    def range(self, source: Source) -> Tensor:
        """The largest √α in km ``(*batch,)`` at the masses of a source."""
        binary = masses(source)
        lightest = binary.second if self.bodies[1] == "black hole" else binary.first
        return torch.as_tensor(small_coupling_bound(lightest[..., 0] / SOLAR_MASS, self.zeta)).clamp(max=self.most)
