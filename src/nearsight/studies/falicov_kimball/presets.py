"""Named configurations, from seconds to hours."""

from __future__ import annotations

from nearsight.studies.falicov_kimball.config import Barrier, Comparison, Config, Large, Network, Trajectories
from nearsight.training import MoveFitOptions

QUICK = Config()
"""A laptop: minutes on two cores."""

PAPER = Config(
    length=30,
    trajectories=Trajectories(number=24, duration=300.0, snapshots=10),
    network=Network(radius=5.0, channels=24, widths=(32,)),
    fit=MoveFitOptions(steps=6000),
    comparison=Comparison(length=30, runs=100, duration=300.0, records=12, screened=10),
    large=Large(length=150, replicas=10, duration=3000.0, records=30),
)
"""The lattices of the thesis and its 100 + 100 quenches; hours on two cores."""

TINY = Config(
    length=8,
    trajectories=Trajectories(number=8, duration=4.0, snapshots=3),
    network=Network(radius=2.0, channels=3, widths=(4,)),
    fit=MoveFitOptions(steps=20, batch_size=4, hops=8, validate_every=10, checkpoint_every=10),
    comparison=Comparison(length=8, runs=20, duration=4.0, records=3, screened=2, speed_length=8),
    large=Large(length=16, replicas=3, duration=6.0, records=6, speed_lengths=(8, 16)),
    barrier=Barrier(length=12, configurations=8),
)
"""Seconds: shows that the machinery works, and nothing about physics."""

PRESETS = {"quick": QUICK, "paper": PAPER, "tiny": TINY}
