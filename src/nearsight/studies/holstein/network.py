"""The student before training."""

from __future__ import annotations

import torch

from nearsight import descriptors, forcefields, networks
from nearsight.forcefields import ForceField
from nearsight.hamiltonians import Holstein
from nearsight.studies.holstein.config import Config


def untrained(config: Config, model: Holstein, *, seed: int) -> ForceField:
    """Electrons with initial weights drawn from ``seed``; the caller's random numbers stay as they are."""
    options = config.network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if options.kind == "descriptor":
            descriptor = descriptors.Irreps(model.lattice, model.field_type, cutoff=options.cutoff)
            return forcefields.LearnedForceField(descriptor, networks.MLP(options.widths))
        network = networks.GroupCNN(model.lattice, model.field_type, channels=options.channels, layers=options.layers)
        return forcefields.ConvolutionalForceField(model.lattice, network, head=options.head)
