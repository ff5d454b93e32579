"""Stage 2: exact dynamics on a small lattice, from perturbed skyrmions and from random spins."""

from __future__ import annotations

import numpy as np

from nearsight.lattices import triangular
from nearsight.studies.magnets import trajectories
from nearsight.studies.magnets.motion import scheme
from nearsight.studies.run import Run
from nearsight.studies.skyrmion.config import Config
from nearsight.studies.skyrmion.physics import disordered, exact, perturbed_skyrmions

SECONDS = 0.25
"""One exact field of 24 × 24 sites on one core; 36 × 36 sites take two to three times as long, 48 × 48 five to six."""


def generate(run: Run, config: Config) -> None:
    """All trajectories in parallel, then their snapshots in ``data.zarr``."""
    wanted, lattice = config.trajectories, triangular(config.length)
    starts = {
        "random": disordered(lattice, wanted.random, run.rng("data", "random")),
        "perturbed": perturbed_skyrmions(config, lattice, wanted.perturbed, run.rng("data", "perturbed")),
    }
    cost = SECONDS * (config.length / 24) ** 2.5
    trajectories.generate(run, exact(config, config.length), scheme(config), starts, steps(config), cost=cost)


def steps(config: Config) -> tuple[int, ...]:
    """The recorded steps of a trajectory, from the first to the last."""
    last = max(1, round(config.trajectories.duration / config.dynamics.dt))
    return tuple(sorted({round(step) for step in np.linspace(0, last, config.trajectories.snapshots)}))
