"""Named configurations, from seconds to hours."""

from __future__ import annotations

from nearsight.studies.ising_blocks.config import Config, Data, Front, Fronts, Network, Temperatures
from nearsight.training import PropertyFitOptions

QUICK = Config()
"""A laptop: minutes on two cores."""

PAPER = Config(
    length=320,
    training=Data(temperatures=Temperatures(nearest=0.005, near=20), snapshots=625),
    testing=Data(temperatures=Temperatures(number=16, nearest=0.002, farthest=0.8, near=30), snapshots=125),
    sides=(8, 16, 32, 64),
    energy_sides=(32, 64),
    fronts=Fronts(
        network=Network(steps=2000),
        irreps=Front(widths=(256, 128, 64, 32, 16), learning_rate=1e-3, steps=4000),
        moments=Front(widths=(16, 16), learning_rate=1e-2, steps=2000),
    ),
    fit=PropertyFitOptions(batch_size=64, validate_every=200, validation=0.1, average=0.998),
    sampled=16384,
    most=8,
)
"""The lattice and the number of snapshots of the paper (50,000 and 9,500); two to three hours on two cores."""

TINY = Config(
    length=24,
    training=Data(temperatures=Temperatures(number=4, nearest=0.06, farthest=0.6, near=3), snapshots=6),
    testing=Data(temperatures=Temperatures(number=5, nearest=0.05, farthest=0.8, near=4), snapshots=3),
    sides=(3, 4, 8),
    energy_sides=(4, 6),
    fronts=Fronts(
        network=Network(channels=2, widths=(16,), steps=30),
        irreps=Front(widths=(16,), learning_rate=1e-2, steps=30),
        moments=Front(widths=(8,), learning_rate=1e-2, steps=30),
    ),
    fit=PropertyFitOptions(batch_size=12, validate_every=10, checkpoint_every=10, average=0.9),
    scaling_from=3,
    sampled=128,
    tested=9,
    samples=20,
)
"""Seconds: shows that the machinery works, and nothing about physics."""

PRESETS = {"quick": QUICK, "paper": PAPER, "tiny": TINY}
