"""The model, its teacher, its student, and the quench both are put through."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nearsight.dynamics import Langevin
from nearsight.forcefields import ClassicalForceField, ExactForceField, FixedNumber, ForceField, SumForceField
from nearsight.hamiltonians import JahnTeller
from nearsight.lattices import Lattice, square
from nearsight.solvers import Dense
from nearsight.studies.jahn_teller.config import Config

NUMBER_TOLERANCE = 1e-4
"""Allowed error of the mean electron force at fixed number, far below that of a learned force."""


def jahn_teller(config: Config, length: int, *, periodic: bool = False) -> JahnTeller:
    """With the symmetric coupling: Q¹ is measured from its value at half filling, and half filling is μ = 0."""
    twist = None if periodic or config.twist == 0 else (config.twist, config.twist)
    return JahnTeller(square(length), symmetric=True, twist=twist, **config.model.model_dump())


def quenched(config: Config, length: int, filling: float) -> ExactForceField:
    """Exact electrons at fixed number, and springs: the teacher of the quenches."""
    return ExactForceField(jahn_teller(config, length), Dense(filling=filling, kT=config.electron_kT))


def at_zero_mu(config: Config, length: int) -> ExactForceField:
    """Exact electrons at μ = 0, and springs: what the student learns."""
    return ExactForceField(jahn_teller(config, length), Dense(mu=0.0, kT=config.electron_kT))


def held(config: Config, electrons: ForceField, filling: float) -> SumForceField:
    """Learned electrons at fixed number, and springs."""
    per_site = config.model.lam * (2 * filling - 1)
    springs = ClassicalForceField(jahn_teller(config, electrons.lattice.shape[0]))
    return FixedNumber(electrons, per_site, tolerance=NUMBER_TOLERANCE) + springs


def tau(config: Config) -> float:
    """τ0 = √(mass/K) in units of ħ/t: the unit of all times of the study."""
    return math.sqrt(config.quench.mass / config.model.K)


def scheme(config: Config) -> Langevin:
    quench, unit = config.quench, tau(config)
    return Langevin(dt=quench.dt * unit, kT=quench.kT, damping=quench.damping * quench.mass / unit, mass=quench.mass)


def hot(config: Config, lattice: Lattice, replicas: int, rng: torch.Generator) -> Tensor:
    """Fields from which a quench starts: independent Gaussian noise in every mode ``(replica, site, 3)``, float64."""
    return config.quench.amplitude * torch.randn(replicas, lattice.n_sites, 3, generator=rng, dtype=torch.float64)


def density(model: JahnTeller, field: Tensor, force: Tensor) -> Tensor:
    """⟨n_i⟩ ``(*batch, site)`` of records: the total force less that of the springs is the electrons'."""
    field = field.double()
    return model.density(force.double() - ClassicalForceField(model)(field).force)
