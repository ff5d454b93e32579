"""Holes in an antiferromagnet: what it costs to add one, and what it gains by making its surroundings ferromagnetic."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from nearsight.studies.double_exchange.config import Config
from nearsight.studies.double_exchange.physics import antiferromagnet, magnet, with_disc

RADII = (-1.0, 0.0, 1.5, 2.0, 2.9, 3.2)
"""Of the discs whose spins are made parallel; -1 for none. 0 reverses one spin, which makes five sites parallel."""


def bubbles(config: Config) -> xr.Dataset:
    """Energy per hole of 1, 2, ... holes in a ferromagnetic disc of an antiferromagnet, at kT = 0 ``(radius, holes)``.

    Less the energy of the half-filled antiferromagnet; the disc points against the spin in its middle, so that the
    outermost spins join up with the antiferromagnet around as well as they can.
    """
    model = magnet(config, config.ground.bubble_length)
    lattice = model.lattice
    start = antiferromagnet(lattice)
    holes = np.arange(1, config.ground.holes + 1)
    reference = 0.0
    rows = []
    radii = [r for r in RADII if 2 * r < config.ground.bubble_length - 1]
    for radius in radii:
        spins = start if radius < 0 else with_disc(start, lattice, 0, radius, -start[0])
        spectrum = torch.linalg.eigvalsh(model.matrix(spins)).numpy()
        filled = np.concatenate([[0.0], np.cumsum(spectrum)])
        if radius < 0:
            reference = filled[lattice.n_sites]
        rows.append((filled[lattice.n_sites - holes] - reference) / holes)
    return xr.Dataset(
        {"energy": (("radius", "holes"), np.stack(rows), {"long_name": "energy per hole", "units": "t"})},
        coords={"radius": ("radius", radii, {"units": "a"}), "holes": ("holes", holes)},
    )
