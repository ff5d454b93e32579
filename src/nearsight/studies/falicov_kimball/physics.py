"""The model, its exact moves, and the quench that exact and learned energies are both put through."""

from __future__ import annotations

from pathlib import Path

import torch
import xarray as xr
from torch import Tensor

from nearsight.dynamics import At, HopMonteCarlo, simulate
from nearsight.forcefields import ExactMoves, MoveEnergies
from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import Lattice, square
from nearsight.parallel import threads
from nearsight.studies.falicov_kimball.config import Config

TALLIES = ("accepted", "evaluated")


def falicov_kimball(config: Config, length: int) -> FalicovKimball:
    return FalicovKimball(square(length), **config.model.model_dump())


def exact(config: Config, length: int) -> ExactMoves:
    """Free energies of c electrons at fixed number."""
    return ExactMoves(falicov_kimball(config, length), kT=config.kT, filling=config.filling)


def scheme(config: Config, energies: MoveEnergies, screen: MoveEnergies | None = None) -> HopMonteCarlo:
    """One step is one attempt of every f electron."""
    return HopMonteCarlo(energies, kT=config.kT, rule=config.rule, screen=screen)


def scattered(config: Config, lattice: Lattice, replicas: int, rng: torch.Generator) -> Tensor:
    """f electrons on random sites ``(replica, site, 1)``, the same number in every replica."""
    particles = round(config.f_density * lattice.n_sites)
    order = torch.rand(replicas, lattice.n_sites, generator=rng, dtype=torch.float64).argsort(-1)
    return (order.argsort(-1) < particles).double()[..., None]


def quench(rule: HopMonteCarlo, steps: tuple[int, ...], field: Tensor, path: Path, seed: int) -> xr.Dataset:
    """Quenches from given positions, run, gone on with, or read if they are there.

    ``field`` (record, replica, site, component) and what the scheme counts, at the given steps.
    """
    with threads(1):
        trajectory = simulate(
            None,
            rule,
            field,
            steps=steps[-1],
            record=At(steps, fields=("field", *TALLIES)),
            rng=torch.Generator().manual_seed(seed),
            path=path,
            resume=True,
        )
        return trajectory.data[["field", *TALLIES]].load()
