"""The student before training."""

from __future__ import annotations

import torch

from nearsight import descriptors, forcefields, networks
from nearsight.forcefields import LocalForceField
from nearsight.hamiltonians import Holstein
from nearsight.studies.holstein.config import Config


def untrained(config: Config, model: Holstein, *, seed: int) -> LocalForceField:
    """Electrons with initial weights drawn from ``seed``.

    Two exact properties of the teacher are built in: a fixed number of electrons makes the force sum to a constant, and
    at half filling the energy is even in Q.
    """
    options = config.network
    rng = torch.Generator().manual_seed(seed)
    mean_force = None if config.filling is None else model.g * model.degeneracy * (config.filling - 0.5)
    if options.kind == "descriptor":
        descriptor = descriptors.Irreps(model.lattice, model.field_type, cutoff=options.cutoff)
        return forcefields.LearnedForceField(descriptor, networks.MLP(options.widths, rng=rng), mean_force=mean_force)
    network = networks.GroupCNN(
        model.lattice,
        model.field_type,
        channels=options.channels,
        radii=options.radii,
        scales=options.scales,
        parity="odd" if config.half_filled else None,
        head=options.head,
        rng=rng,
    )
    return forcefields.ConvolutionalForceField(model.lattice, network, mean_force=mean_force)
