"""Named configurations, from seconds to hours."""

from __future__ import annotations

from nearsight.studies.holstein.config import Comparison, Config, Large, Network
from nearsight.training import FitOptions, NearEquilibrium, Random, Recipe, Relaxing, Thermal


def quenched(trajectories: int, snapshots: int) -> Thermal:
    """The quench of the study itself, at temperatures around its own: where the student will be asked."""
    return Thermal(
        trajectories=trajectories,
        snapshots=snapshots,
        kT=(0.05, 0.2),
        amplitude=(0.3, 0.8),
        dt=0.2,
        damping=0.3,
        mass=1.0,
        burn_in=0,
        every=8,
    )


def ordered(trajectories: int, snapshots: int, steps: int = 100) -> NearEquilibrium:
    """The checkerboard, relaxed and shaken by as much as temperature does."""
    return NearEquilibrium(
        trajectories=trajectories,
        snapshots=snapshots,
        wavevector=(0.5, 0.5),
        amplitude=(1.0, 2.5),
        shake=(0.02, 0.5),
        dt=0.1,
        steps=steps,
    )


QUICK = Config(
    recipe=Recipe(
        random=Random(trajectories=36, snapshots=4, amplitude=(0.2, 2.0)),
        thermal=quenched(36, 10),
        relaxing=Relaxing(trajectories=28, snapshots=8, dt=0.1),
        near_equilibrium=ordered(16, 5),
    ),
    fit=FitOptions(steps=11000, learning_rate=1e-2, weight_decay=0.1),
)
"""A laptop: the whole study in minutes on two cores."""

PAPER = Config(
    length=30,
    recipe=Recipe(
        random=Random(trajectories=100, snapshots=5, amplitude=(0.2, 2.0)),
        thermal=quenched(100, 15),
        relaxing=Relaxing(trajectories=75, snapshots=8, dt=0.1),
        near_equilibrium=ordered(50, 5),
    ),
    network=Network(channels=8, radii=(2.3, 1.5, 1.5, 1.5)),
    fit=FitOptions(steps=40000, learning_rate=1e-2, weight_decay=0.1, threads=None),
    comparison=Comparison(length=30, quenches=48, duration=30.0, records=10),
    large=Large(length=1000, duration=1000.0, records=40),
)
"""The lattice and the number of snapshots of the paper; hours on a workstation, most of it diagonalisation."""

TINY = Config(
    length=6,
    recipe=Recipe(
        random=Random(trajectories=3, snapshots=2),
        thermal=quenched(3, 3),
        relaxing=Relaxing(trajectories=3, snapshots=4, steps=10),
        near_equilibrium=ordered(3, 2, steps=10),
    ),
    fit=FitOptions(steps=150, validate_every=50, checkpoint_every=5),
    comparison=Comparison(length=6, quenches=20, duration=2.0, records=4, speed_length=6),
    large=Large(length=12, duration=4.0, records=6, fit_from=1.0, guard=10.0),
)
"""Seconds: shows that the machinery works, and nothing about physics."""

PRESETS = {"quick": QUICK, "paper": PAPER, "tiny": TINY}
