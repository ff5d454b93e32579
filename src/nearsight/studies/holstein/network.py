"""The student before training."""

from __future__ import annotations

import torch

from nearsight import descriptors, forcefields, networks
from nearsight.forcefields import LocalForceField
from nearsight.hamiltonians import Holstein
from nearsight.studies.holstein.config import Config


def untrained(config: Config, model: Holstein, *, seed: int) -> LocalForceField:
    """Electrons with initial weights drawn from ``seed``.

    At half filling the teacher's energy is even in Q, and so is the student's.
    """
    options = config.network
    rng = torch.Generator().manual_seed(seed)
    if options.kind == "descriptor":
        descriptor = descriptors.Irreps(model.lattice, model.field_type, cutoff=options.cutoff)
        return forcefields.LearnedForceField(descriptor, networks.MLP(options.widths, rng=rng))
    network = networks.GroupCNN(
        model.lattice,
        model.field_type,
        channels=options.channels,
        radii=options.radii,
        scales=options.scales,
        parity="odd" if config.mu == 0 else None,
        head=options.head,
        rng=rng,
    )
    return forcefields.ConvolutionalForceField(model.lattice, network)
