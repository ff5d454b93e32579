"""Named configurations, from seconds to a day."""

from __future__ import annotations

from nearsight.studies.jahn_teller.config import Comparison, Config, Large, Network, Quench
from nearsight.training import FitOptions, NearEquilibrium, Random, Recipe, Relaxing, Thermal

TAU = 1.1574**-0.5
"""τ0 at the default K, in units of ħ/t: recipes know nothing of the model."""


def quenched(trajectories: int, snapshots: int, every: int = 7) -> Thermal:
    """The quench of the study itself, at temperatures around its own: where the student will be asked."""
    return Thermal(
        trajectories=trajectories,
        snapshots=snapshots,
        kT=(0.001, 0.05),
        amplitude=(0.2, 0.4),
        dt=0.3 * TAU,
        damping=0.25 / TAU,
        mass=1.0,
        burn_in=0,
        every=every,
    )


def relaxing(trajectories: int, snapshots: int, steps: int = 100) -> Relaxing:
    return Relaxing(
        trajectories=trajectories, snapshots=snapshots, amplitude=(0.05, 0.6), dt=0.2, damping=0.5, steps=steps
    )


def ordered(trajectories: int, snapshots: int, steps: int = 60) -> NearEquilibrium:
    """The checkerboard of all modes, relaxed and shaken by as much as temperature does."""
    return NearEquilibrium(
        trajectories=trajectories,
        snapshots=snapshots,
        wavevector=(0.5, 0.5),
        amplitude=(0.2, 0.5),
        shake=(0.01, 0.2),
        dt=0.2,
        damping=0.5,
        steps=steps,
    )


QUICK = Config(
    recipe=Recipe(
        random=Random(trajectories=24, snapshots=4, amplitude=(0.1, 0.6)),
        thermal=quenched(40, 13),
        relaxing=relaxing(20, 8, steps=60),
        near_equilibrium=ordered(8, 5),
    ),
    fit=FitOptions(steps=8000, learning_rate=1e-2, weight_decay=0.1),
    quench=Quench(dt=0.1),
)
"""A laptop: the whole study in minutes on two cores."""

PAPER = Config(
    length=30,
    twist=0.0,
    electron_kT=0.01,
    recipe=Recipe(
        random=Random(trajectories=170, snapshots=5, amplitude=(0.1, 0.6)),
        thermal=quenched(30, 20, every=14),
        relaxing=relaxing(10, 5),
        near_equilibrium=ordered(40, 10),
    ),
    network=Network(channels=12, radii=(2.3, 2.3, 1.5, 1.5)),
    fit=FitOptions(steps=60000, learning_rate=1e-2, weight_decay=0.1, threads=None),
    comparison=Comparison(length=30, quenches=40, duration=30.0, records=10),
    large=Large(length=100, replicas=40, duration=200.0, records=40),
)
"""The lattice, the snapshots (1700 random, 1300 relaxing, 800 near equilibrium, in halves for the two fillings), the
quenches of the thesis; about a day on a workstation, most of it diagonalisation."""

TINY = Config(
    length=6,
    recipe=Recipe(
        random=Random(trajectories=3, snapshots=2, amplitude=(0.1, 0.6)),
        thermal=quenched(3, 3, every=5),
        relaxing=relaxing(3, 4, steps=10),
        near_equilibrium=ordered(3, 2, steps=10),
    ),
    network=Network(channels=3, radii=(1.5, 1.5)),
    fit=FitOptions(steps=150, validate_every=50, checkpoint_every=5),
    quench=Quench(dt=0.2),
    comparison=Comparison(length=6, quenches=20, duration=3.0, records=4, speed_length=6),
    large=Large(length=12, duration=6.0, records=8, fit=(0.5, 6.0), guard=10.0),
)
"""Seconds: shows that the machinery works, and nothing about physics."""

PRESETS = {"quick": QUICK, "paper": PAPER, "tiny": TINY}
