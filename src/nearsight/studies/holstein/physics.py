"""The model, its teacher, and the quench that teacher and student are both put through."""

from __future__ import annotations

import torch
from torch import Tensor

from nearsight.dynamics import Langevin
from nearsight.forcefields import ClassicalForceField, ExactForceField, FixedNumber, SumForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import Lattice, square
from nearsight.solvers import Dense
from nearsight.studies.holstein.config import Config


def holstein(config: Config, length: int) -> Holstein:
    return Holstein(square(length), **config.model.model_dump())


def teacher(config: Config, length: int) -> ExactForceField:
    """Exact electrons at fixed μ, and springs: what the student learns."""
    return ExactForceField(holstein(config, length), Dense(mu=config.mu, kT=config.kT))


def quenched(config: Config, length: int) -> ExactForceField:
    """Exact electrons in the ensemble of the quenches, and springs."""
    if config.filling is None:
        return teacher(config, length)
    return ExactForceField(holstein(config, length), Dense(filling=config.filling, kT=config.kT))


def held(config: Config, learned: SumForceField) -> SumForceField:
    """The student, with its electrons in the ensemble of the quenches."""
    if config.filling is None:
        return learned
    electrons, *springs = learned.parts
    per_site = config.model.g * config.model.spins * (config.filling - 0.5)
    return SumForceField(FixedNumber(electrons, per_site), *springs)  # type: ignore[arg-type]


def scheme(config: Config) -> Langevin:
    quench = config.quench
    return Langevin(dt=quench.dt, kT=config.kT, damping=quench.damping, mass=quench.mass)


def hot(config: Config, lattice: Lattice, replicas: int, rng: torch.Generator) -> Tensor:
    """Fields from which a quench starts: independent Gaussian noise on every site ``(replica, site, 1)``, float64."""
    return config.quench.amplitude * torch.randn(replicas, lattice.n_sites, 1, generator=rng, dtype=torch.float64)


def density(model: Holstein, field: Tensor, force: Tensor) -> Tensor:
    """⟨n_i⟩ ``(*batch, site)`` of records: the total force less that of the springs is the electrons'."""
    field = field.double()
    return model.density(force.double() - ClassicalForceField(model)(field).force)
