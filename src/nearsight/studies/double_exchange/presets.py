"""Named configurations, from seconds to days."""

from __future__ import annotations

from nearsight.studies.double_exchange.config import (
    Comparison,
    Config,
    Dynamics,
    GroundStates,
    Large,
    Trajectories,
)
from nearsight.studies.magnets.config import STUDENTS, Descriptor, Equivariant, ResNet, fitted, taught

QUICK = Config(students=STUDENTS, fit=fitted(2000), resnet_fit=taught(1000))
"""A laptop: lattices of 12 × 12 and a quarter of an hour on two cores."""

HALF = QUICK.model_copy(update={"filling": 0.5})
"""The same at half filling, where there are no holes and one phase."""

PAPER = Config(
    length=30,
    filling=0.485,
    students=STUDENTS,
    ground=GroundStates(mesh=960, waves=80, random_length=30, bubble_length=24, holes=10),
    trajectories=Trajectories(random=40, perturbed=10, duration=1000.0, snapshots=70),
    dynamics=Dynamics(dt=0.5, radius=(1.0, 8.0)),
    equivariant=Equivariant(channels=8, radii=(5.1, 3.1, 2.1)),
    resnet=ResNet(channels=(32, 64, 64, 32)),
    descriptor=Descriptor(cutoff=6.0, bond_cutoff=2.0, widths=(256, 128, 64)),
    fit=fitted(40000, threads=None),
    resnet_fit=taught(200000, threads=None),
    comparison=Comparison(length=30, quenches=40, duration=1000.0, records=10, receptive_fields=4),
    large=Large(length=150, duration=10000.0, replicas=10, records=30, growth=(200.0, 5000.0)),
)
"""The lattice of 30 × 30 sites and the 3500 snapshots of the theory of descriptors, the filling of Zhang and Chern, and
a lattice of 150 × 150: days of exact electrons on one core. Give it many."""

TINY = Config(
    length=6,
    filling=17 / 36,
    ground=GroundStates(mesh=8, waves=4, random_length=6, random=3, bubble_length=6, holes=2),
    trajectories=Trajectories(random=3, perturbed=3, duration=8.0, snapshots=3),
    dynamics=Dynamics(radius=(1.0, 2.0)),
    equivariant=Equivariant(channels=2, radii=(1.1, 1.1)),
    students=STUDENTS,
    resnet=ResNet(channels=(3,), kernel=3),
    descriptor=Descriptor(cutoff=1.0, bond_cutoff=0.0, widths=(3,)),
    fit=fitted(12, batch_size=2, validate_every=6, checkpoint_every=6),
    resnet_fit=taught(12, batch_size=2, validate_every=6, checkpoint_every=6),
    comparison=Comparison(length=6, quenches=8, duration=8.0, records=3, speed_length=6, receptive_fields=1),
    large=Large(length=12, duration=30.0, records=6, growth=(2.0, 30.0)),
)
"""Seconds: shows that the machinery works, and nothing about physics."""

PRESETS = {"quick": QUICK, "half": HALF, "paper": PAPER, "tiny": TINY}
