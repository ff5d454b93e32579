"""What is believed about a binary before the strain is seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from nearsight._description import plain
from nearsight._validation import generator, instance, integer, number
from nearsight.gravity.densities import Coupling, Density
from nearsight.gravity.waveforms import Source

REQUIRED = (
    "chirp_mass", "mass_ratio", "chi_1", "chi_2", "distance", "inclination", "phase", "ra", "dec", "psi", "time"
)  # fmt: skip
LIMITS = {
    "chirp_mass": (0.0, math.inf, True),
    "mass_ratio": (0.0, 1.0, False),
    "chi_1": (-1.0, 1.0, True),
    "chi_2": (-1.0, 1.0, True),
    "distance": (0.0, math.inf, True),
}
"""Where waveforms are defined: above the first, up to the second number, which is excluded itself if True."""

Parameter = Density | Coupling | float


class Prior:
    r"""Independent densities of the parameters of a binary, and one that depends on the masses: the coupling.

    .. math:: p(\theta) = \prod_k p_k(\theta_k) \; p\big(\sqrt\alpha \,\big|\, \mathcal M, q\big)

    Every parameter is told by a :class:`Density`, or by a number if it is known. Free ones are the columns of θ, in the
    order given. The coupling ``sqrt_alpha`` is a :class:`Coupling`, which ends where the theory does; no other density
    is taken for it.

    Parameters
    ----------
    parameters: densities or numbers by name: ``chirp_mass`` (M_sun, as detected), ``mass_ratio`` q = m₂/m₁, ``chi_1``,
        ``chi_2``, ``distance`` (Mpc), ``inclination``, ``phase``, ``ra``, ``dec``, ``psi`` (rad), ``time`` of
        coalescence at the centre of the Earth in s after the start of the data, and those of corrections.
    marginal: densities, by name, of parameters that are integrated out: they are drawn by a simulator and no columns
        of θ.

    Examples
    --------
    >>> import math, torch
    >>> from nearsight.gravity import Coupling, Power, Prior, Uniform
    >>> known = dict(chi_1=0.0, chi_2=0.0, inclination=0.4, ra=1.0, dec=-0.5, psi=0.2, time=60.0)
    >>> free = dict(chirp_mass=Uniform(2.4, 2.9), mass_ratio=Uniform(0.1, 0.5), distance=Power(2, 100, 600))
    >>> coupling = Coupling(bodies=("black hole", "neutron star"))
    >>> prior = Prior(free | known | dict(sqrt_alpha=coupling), marginal=dict(phase=Uniform(0, 2 * math.pi)))
    >>> prior.names
    ('chirp_mass', 'mass_ratio', 'distance', 'sqrt_alpha')
    >>> theta = prior.sample(5, torch.Generator().manual_seed(1))
    >>> tuple(theta.shape), bool(prior.log_density(theta).isfinite().all())
    ((5, 4), True)
    """

    def __init__(self, parameters: Mapping[str, Parameter], marginal: Mapping[str, Density] | None = None) -> None:
        instance(parameters, Mapping, "parameters", "Give densities or numbers by name.")
        instance(marginal or {}, Mapping, "marginal", "Give densities by name.")
        self.parameters, self.marginal = dict(parameters), dict(marginal or {})
        for name, integrated in self.marginal.items():
            instance(integrated, Density, f"marginal[{name!r}]", "What is known is a number among the parameters.")
        twice, missing = set(self.parameters) & set(self.marginal), set(REQUIRED) - {*parameters, *(marginal or {})}
        if twice or missing:
            raise ValueError(
                f"Every parameter must be told once; {', '.join(sorted(missing or twice))} "
                f"{'missing: give a density or a number' if missing else 'given twice'}."
            )
        for name, density in {**self.parameters, **self.marginal}.items():
            if name == "sqrt_alpha" and isinstance(density, Density):
                raise ValueError("sqrt_alpha must be a Coupling, whose range ends at small coupling, or a number.")
            if not isinstance(density, Density | Coupling):
                self.parameters[name] = number(density, name)
            elif isinstance(density, Coupling) and name != "sqrt_alpha":
                raise ValueError(f"A Coupling is the density of sqrt_alpha, not of {name}.")
            _within(name, density)
        self.names = tuple(name for name, d in self.parameters.items() if isinstance(d, Density | Coupling))
        self.fixed = {name: float(d) for name, d in self.parameters.items() if name not in self.names}  # type: ignore[arg-type]
        if not self.names:
            raise ValueError("A prior needs at least one free parameter; all are numbers.")
        if self.fixed.get("sqrt_alpha", 0.0) < 0:
            raise ValueError(f"sqrt_alpha must not be negative, got {self.fixed['sqrt_alpha']:g}.")

    def __repr__(self) -> str:
        free = ", ".join(f"{name}={self.parameters[name]!r}" for name in self.names)
        return f"Prior({free}; {len(self.fixed)} known, {', '.join(self.marginal) or 'none'} integrated out)"

    def config(self) -> dict[str, Any]:
        """The prior in plain data."""
        told = ("parameters", self.parameters), ("marginal", self.marginal)
        return {kind: {name: plain(density) for name, density in of.items()} for kind, of in told}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The prior that :meth:`config` described."""
        made: dict[str, dict[str, Any]] = {"parameters": {}, "marginal": {}}
        for kind, densities in made.items():
            for name, told in config[kind].items():
                if isinstance(told, Mapping) and name == "sqrt_alpha":
                    most = math.inf if told["most"] is None else told["most"]
                    densities[name] = Coupling(**{**told, "most": most, "bodies": tuple(told["bodies"])})
                else:
                    densities[name] = Density.from_config(told) if isinstance(told, Mapping) else told
        return cls(**made)

    def known(self, **values: float) -> Prior:
        """The same prior with some parameters known, such as ``known(sqrt_alpha=0.0)``: general relativity."""
        if unknown := [name for name in values if name not in self.parameters]:
            raise ValueError(f"{unknown[0]} is none of the parameters {', '.join(self.parameters)}.")
        return Prior({**self.parameters, **values}, self.marginal)

    def source(self, theta: Tensor, others: Source | None = None) -> dict[str, Tensor]:
        """Parameters by name, ``(*batch,)`` each, for waveforms and detectors, from θ ``(*batch, parameter)``.

        What is integrated out has the values in ``others``, by default the medians.
        """
        theta = torch.as_tensor(theta)
        if theta.shape[-1:] != (len(self.names),):
            raise ValueError(f"theta must have {len(self.names)} columns ({', '.join(self.names)}), got {theta.shape}.")
        one = torch.ones_like(theta[..., 0])
        half = torch.tensor(0.5, dtype=theta.dtype, device=theta.device)
        found = {name: value * one for name, value in self.fixed.items()}
        found |= {name: density.from_unit(half) * one for name, density in self.marginal.items()}
        found |= dict(zip(self.names, theta.unbind(-1), strict=True))
        return found | {name: torch.as_tensor(value).to(theta) for name, value in (others or {}).items()}

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """n independent draws ``(n, parameter)``, float64, on the device of ``rng``."""
        n = integer(n, "n", least=1)
        generator(rng)
        shape = (n, len(self.names))
        return self.from_unit(torch.rand(shape, generator=rng, dtype=torch.float64, device=rng.device))

    def nuisances(self, n: int, rng: torch.Generator) -> dict[str, Tensor]:
        """n independent draws of what is integrated out, by name."""
        u = torch.rand(len(self.marginal), n, generator=rng, dtype=torch.float64, device=rng.device)
        return {name: density.from_unit(row) for (name, density), row in zip(self.marginal.items(), u, strict=True)}

    def to_unit(self, theta: Tensor) -> Tensor:
        """Coordinates u in the unit cube, in which the prior is uniform; of the same shape, differentiable."""
        source, columns = self.source(theta), []
        for name, density in ((name, self.parameters[name]) for name in self.names):
            if isinstance(density, Coupling):
                columns.append((source[name] / density.range(source)) ** density.power)
            else:
                columns.append(density.to_unit(source[name]))  # type: ignore[union-attr]
        return torch.stack(columns, -1)

    def from_unit(self, u: Tensor) -> Tensor:
        """θ of coordinates in the unit cube, the inverse of :meth:`to_unit`."""
        densities = [(k, self.parameters[name]) for k, name in enumerate(self.names)]
        columns = {k: density.from_unit(u[..., k]) for k, density in densities if isinstance(density, Density)}
        for k, density in densities:
            if isinstance(density, Coupling):
                columns[k] = torch.zeros_like(u[..., k])
                source = self.source(torch.stack([columns[j] for j in range(len(densities))], -1))
                columns[k] = density.range(source) * u[..., k] ** (1 / density.power)
        return torch.stack([columns[k] for k in range(len(densities))], -1)

    def to_normal(self, theta: Tensor, largest: float) -> Tensor:
        """z = Φ⁻¹(u), standard normal under the prior, cut off at ± ``largest``."""
        return torch.special.ndtri(self.to_unit(theta)).clamp(-largest, largest)

    def from_normal(self, z: Tensor) -> Tensor:
        """θ of normal coordinates."""
        return self.from_unit(torch.special.ndtr(z))

    @property
    def middle(self) -> Tensor:
        """θ ``(parameter,)`` in the middle of the unit cube, float64."""
        return self.from_unit(torch.full((len(self.names),), 0.5, dtype=torch.float64))

    def log_density(self, theta: Tensor) -> Tensor:
        """ln p(θ) ``(*batch,)``, -inf outside of the prior and beyond small coupling."""
        source = self.source(theta)
        total = torch.zeros_like(theta[..., 0])
        inside = torch.ones_like(total, dtype=torch.bool)
        # Masses come first: at masses outside of the prior the range of the coupling may not exist.
        for name in sorted(self.names, key=lambda name: isinstance(self.parameters[name], Coupling)):
            density, x = self.parameters[name], source[name]
            if isinstance(density, Coupling):
                within = torch.where(inside, density.range(source).nan_to_num(1.0), torch.ones_like(x))
                allowed = (x >= 0) & (x <= within)
                power = density.power
                term = math.log(power) - power * torch.log(within)
                if power > 1:
                    term = term + (power - 1) * torch.log(x.clamp(min=0.0))
            else:
                assert isinstance(density, Density)
                allowed = (x >= density.low) & (x <= density.high)
                term = density.log_density(
                    torch.where(allowed, x, torch.full_like(x, (density.low + density.high) / 2))
                )
            inside = inside & allowed
            total = total + term
        return torch.where(inside, total, torch.full_like(total, -math.inf))

    def log_prob(self, theta: Tensor) -> Tensor:
        """:meth:`log_density`, under the name that proposals have for it."""
        return self.log_density(theta)

    def log_ratio(self, other: Prior, theta: Tensor) -> Tensor:
        """ln of the weights ``(*batch,)`` that turn samples under this prior into samples under another.

        Two priors of the same parameters, such as those uniform in √α and in α²; where only the other has support there
        are no samples to be weighted.
        """
        if instance(other, Prior, "other").names != self.names:
            raise ValueError(f"Priors must have the same parameters, got {self.names} and {other.names}.")
        return other.log_density(theta) - self.log_density(theta)


def _within(name: str, density: Parameter) -> None:
    """Masses, spins and distances must be such as waveforms know."""
    low, high, open_ = LIMITS.get(name, (-math.inf, math.inf, False))
    ends = (density.low, density.high) if isinstance(density, Density) else (density, density)
    if isinstance(density, Coupling) or name not in LIMITS:
        return
    if not (ends[0] > low and (ends[1] < high if open_ else ends[1] <= high)):  # type: ignore[operator]
        raise ValueError(
            f"{name} must lie above {low:g} and {'below' if open_ else 'not above'} {high:g}, where the waveform is "
            f"defined; got {ends[0]:g} to {ends[1]:g}."
        )
