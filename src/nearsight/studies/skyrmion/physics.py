"""The model, its teacher, the textures it starts from, and the motion exact and learned fields are both put through."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nearsight.fields import random_spins, skyrmion_lattice
from nearsight.forcefields import ClassicalForceField, ExactForceField, ForceField, SumForceField
from nearsight.hamiltonians import SDModel, skyrmion_magnet
from nearsight.lattices import Lattice, triangular
from nearsight.solvers import Poles
from nearsight.studies.skyrmion.config import Config

Q = (math.pi / 3, 0.0)
"""The wave vector at which the Fermi surface nests, in units of 1/a; with its rotations, that of the skyrmions."""
CELL_SITES = 48
"""Sites of one magnetic unit cell, which holds one skyrmion of charge n_sk = 1 or 2."""


def magnet(config: Config, length: int, *, B: float | None = None, twist: tuple[float, float] | None = None) -> SDModel:
    m = config.model
    return skyrmion_magnet(triangular(length), t=(m.t1, 0.0, m.t3), J=m.J, B=m.B if B is None else B, twist=twist)


def exact(config: Config, length: int, *, B: float | None = None) -> ExactForceField:
    """Electrons from a few resolvents, and the field: the teacher."""
    return ExactForceField(
        magnet(config, length, B=B), Poles(mu=config.model.mu, kT=config.electron_kT, tol=config.solver_tol)
    )


def zeeman(config: Config, lattice: Lattice) -> ClassicalForceField:
    """The field along z, which no student learns."""
    return ClassicalForceField(magnet(config, lattice.shape[0]).on(lattice))


def in_field(config: Config, electrons: ForceField) -> SumForceField:
    """Learned electrons and the field along z."""
    return electrons + zeeman(config, electrons.lattice)


def disordered(lattice: Lattice, replicas: int, rng: torch.Generator) -> Tensor:
    """Random spins ``(replica, site, 3)``, float64."""
    return random_spins(lattice, rng, replicas)


def perturbed_skyrmions(
    config: Config, lattice: Lattice, replicas: int, rng: torch.Generator, *, widest: bool = False
) -> Tensor:
    """Lattices of skyrmions whose amplitude, magnetisation and phase differ from site to site ``(replica, site, 3)``.

    Each replica has a width of its own (with ``widest`` the largest) and winding of either sense; cores point down,
    against the field.
    """
    low, high = config.dynamics.spread
    fields = []
    for _ in range(replicas):
        width, coin = torch.rand(2, generator=rng, dtype=torch.float64).tolist()
        spread = high if widest else low + (high - low) * width
        noise = spread * torch.randn(3, lattice.n_sites, generator=rng, dtype=torch.float64)
        amplitude, magnetisation, phase = noise.numpy()
        fields.append(
            skyrmion_lattice(
                lattice,
                Q,
                amplitude=1.0 + amplitude,
                magnetisation=0.5 + magnetisation,
                phase=phase,
                vorticity=1 if coin < 0.5 else -1,
            )
        )
    return torch.stack(fields)
