"""Stage 2: exact dynamics on a small lattice at a fixed number of electrons."""

from __future__ import annotations

import numpy as np

from nearsight.lattices import square
from nearsight.studies.double_exchange.config import Config
from nearsight.studies.double_exchange.physics import discs, disordered, exact
from nearsight.studies.magnets import trajectories
from nearsight.studies.magnets.motion import scheme
from nearsight.studies.run import Run

SECONDS = 0.02
"""One exact field of 12 × 12 sites by diagonalisation on one core."""


def generate(run: Run, config: Config) -> None:
    """All trajectories in parallel, then their snapshots in ``data.zarr``."""
    wanted, lattice = config.trajectories, square(config.length)
    starts = {
        "random": disordered(lattice, wanted.random, run.rng("data", "random")),
        "perturbed": discs(config, lattice, wanted.perturbed, run.rng("data", "perturbed")),
    }
    cost = SECONDS * (config.length / 12) ** 6
    trajectories.generate(run, exact(config, config.length), scheme(config), starts, steps(config), cost=cost)


def steps(config: Config) -> tuple[int, ...]:
    """The recorded steps of a trajectory, from the first to the last."""
    last = max(1, round(config.trajectories.duration / config.dynamics.dt))
    spaced = np.linspace(0, 1, config.trajectories.snapshots) ** 2 * last
    return tuple(sorted({round(step) for step in spaced}))
