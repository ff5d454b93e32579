"""Named configurations, from seconds to days."""

from __future__ import annotations

from nearsight.studies.magnets.config import STUDENTS, Descriptor, ResNet, fitted, taught
from nearsight.studies.skyrmion.config import (
    Comparison,
    Config,
    Dynamics,
    Equivariant,
    GroundStates,
    Large,
    Trajectories,
)

QUICK = Config(students=STUDENTS, fit=fitted(1000), resnet_fit=taught(1000))
"""A laptop: lattices of 36 × 36 and some tens of minutes on two cores, most of them exact electrons."""

PAPER = Config(
    length=48,
    electron_kT=0.01,
    ground=GroundStates(mesh=6, fine_mesh=12, fields=(0.0, 0.0025, 0.005, 0.0075, 0.01, 0.02), steps=250),
    trajectories=Trajectories(perturbed=30, random=30, duration=500.0, snapshots=101),
    dynamics=Dynamics(dt=2.0, damping=0.05),
    equivariant=Equivariant(channels=12, radii=(15.1, 3.1, 2.1)),
    students=STUDENTS,
    resnet=ResNet(channels=(32, 64, 64, 32)),
    descriptor=Descriptor(cutoff=6.0, bond_cutoff=2.0, widths=(256, 128, 64)),
    fit=fitted(10000, batch_size=2, threads=None),
    resnet_fit=taught(200000, threads=None),
    comparison=Comparison(length=48, quenches=50, duration=4000.0, records=10),
    large=Large(
        restored_length=96,
        restored_duration=20000.0,
        quench_length=150,
        quench_duration=10000.0,
        replicas=10,
        records=30,
        growth=(200.0, 2000.0),
    ),
)
"""The lattices, the 60 trajectories and the 50 + 50 quenches of the thesis: two days of exact electrons on one core.
Give it many, and for the network, of which a step takes some 10 s of a core, a GPU: ``--set device=cuda``."""

TINY = Config(
    length=12,
    ground=GroundStates(mesh=1, fine_mesh=1, fields=(0.0, 0.005), steps=3),
    trajectories=Trajectories(perturbed=3, random=3, duration=16.0, snapshots=3),
    equivariant=Equivariant(channels=2, radii=(1.1, 1.1)),
    students=STUDENTS,
    resnet=ResNet(channels=(3,), kernel=3),
    descriptor=Descriptor(cutoff=1.0, bond_cutoff=0.0, widths=(3,)),
    fit=fitted(12, batch_size=2, validate_every=6, checkpoint_every=6),
    resnet_fit=taught(12, batch_size=2, validate_every=6, checkpoint_every=6),
    comparison=Comparison(length=12, quenches=8, duration=16.0, records=3, speed_length=12, receptive_fields=1),
    large=Large(
        restored_length=12,
        restored_duration=40.0,
        quench_length=24,
        quench_duration=60.0,
        records=6,
        growth=(4.0, 60.0),
    ),
)
"""Seconds: shows that the machinery works, and nothing about physics."""

PRESETS = {"quick": QUICK, "paper": PAPER, "tiny": TINY}
