"""The model, its exact moves, and the quench that exact and learned energies are both put through."""

from __future__ import annotations

import torch
from torch import Tensor

from nearsight.dynamics import HopMonteCarlo
from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import Lattice, square
from nearsight.moves import ExactMoves, MoveEnergies
from nearsight.studies.falicov_kimball.config import Config

TALLIES = ("accepted", "evaluated")
KEPT = ("field", *TALLIES)
"""What is recorded of a quench: the positions, and what the scheme counts."""


def falicov_kimball(config: Config, length: int) -> FalicovKimball:
    return FalicovKimball(square(length), **config.model.model_dump())


def exact(config: Config, length: int) -> ExactMoves:
    """Energies of c electrons at fixed number."""
    return ExactMoves(falicov_kimball(config, length), kT=config.kT, filling=config.filling, energy=config.energy)


def scheme(config: Config, energies: MoveEnergies, screen: MoveEnergies | None = None) -> HopMonteCarlo:
    """One step is one attempt of every f electron."""
    return HopMonteCarlo(energies, kT=config.kT, rule=config.rule, screen=screen)


def scattered(config: Config, lattice: Lattice, replicas: int, rng: torch.Generator) -> Tensor:
    """f electrons on random sites ``(replica, site, 1)``, the same number in every replica."""
    particles = round(config.f_density * lattice.n_sites)
    order = torch.rand(replicas, lattice.n_sites, generator=rng, dtype=torch.float64).argsort(-1)
    return (order.argsort(-1) < particles).double()[..., None]


def exact_seconds(length: int, duration: float) -> float:
    """A guess of what one exact quench takes: 0.6 s a unit of time on 900 sites, and the cube of the sites beyond."""
    return 0.6 * duration * (length / 30) ** 6
