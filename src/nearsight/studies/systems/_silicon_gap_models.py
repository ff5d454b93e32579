"""The crystal of the study of silicon's gap, the network on blocks, and what needs no configurations."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
import xarray as xr

from nearsight.crystals import (
    Crystal,
    DisplacementBlocks,
    SecondOrder,
    SlaterKoster,
    ThermalDisplacements,
    TightBinding,
    ValenceForceField,
    carbon,
    silicon,
)
from nearsight.descriptors import BlockDisplacements
from nearsight.networks import MLP
from nearsight.properties import PropertyModel
from nearsight.studies.run import Run
from nearsight.training import fit_property

MEV = 1e3
KELVIN = {"long_name": "temperature T", "units": "K"}
EDGE = 4 / 3**0.5
"""Edge of the cubic cell in units of the bond length."""
PATH = {"L": (0.5, 0.5, 0.5), "Γ": (0.0, 0.0, 0.0), "X": (0.5, 0.5, 0.0)}
"""Corners of the path along which bands are drawn, in units of reciprocal vectors."""
STEPS = 40


def crystal(c: Any, length: int) -> Crystal:
    return {"silicon": silicon, "diamond": carbon}[c.crystal](length)


def gap(c: Any, length: int) -> TightBinding:
    """The exact property."""
    return TightBinding(crystal(c, length), getattr(SlaterKoster, c.crystal)())


def thermal(c: Any, length: int) -> ThermalDisplacements:
    cell = crystal(c, length)
    return ThermalDisplacements(getattr(ValenceForceField, c.crystal)().force_constants(cell), cell)


def atoms_of_block(edge: int) -> int:
    """Atoms of diamond in a cube of so many cubic cells about one of them, those on its faces included."""
    place = np.stack(np.meshgrid(*[np.arange(-2 * edge, 2 * edge + 1)] * 3), -1).reshape(-1, 3)  # in quarters of a cell
    even, odd = (place % 2 == 0).all(1) & (place.sum(1) % 4 == 0), (place % 2 == 1).all(1) & (place.sum(1) % 4 == 3)
    return int((even | odd).sum())


# --- the network ------------------------------------------------------------------------------------------------------


def train_network(run: Run, c: Any, displacement: torch.Tensor, shift: np.ndarray) -> None:
    """Fit the network to shifts ``(temperature, configuration)`` in meV."""
    cell = crystal(c, c.length)
    front = BlockDisplacements(cell.lattice, c.network.edge * EDGE * cell.lattice.spacing, temperature=True)
    network = PropertyModel(front, MLP(c.network.widths, rng=run.rng("weights")))
    store = _store(front, cell, c, displacement)
    fit_property(
        network, store, shift.reshape(-1), options=c.network.fit, path=run.path / "fit", resume=True, progress=False
    )
    network.save(run.path / "models" / "network")


def network_shifts(run: Run, c: Any, displacement: torch.Tensor) -> np.ndarray:
    """What the network says of displacements ``(temperature, configuration, site, 3)``, over all blocks, in meV."""
    network = PropertyModel.load(run.path / "models" / "network")
    front: Any = network.front
    store, shape = _store(front, crystal(c, c.length), c, displacement), displacement.shape[:2]
    every = np.broadcast_to(np.arange(store.length)[:, None], (len(store), store.length, 1))
    return network.of_blocks(store, np.arange(len(store))[:, None], every).mean(1).reshape(shape)


def _store(front: BlockDisplacements, cell: Crystal, c: Any, displacement: torch.Tensor) -> DisplacementBlocks:
    heat = np.repeat(c.temperatures, displacement.shape[1])
    return DisplacementBlocks(front, cell, displacement.flatten(0, 1), heat)


# --- without configurations -------------------------------------------------------------------------------------------


def measure_bands(run: Run, c: Any) -> xr.Dataset:
    """Phonons and electrons of the perfect crystal along L - Γ - X."""
    corners = np.array(list(PATH.values()))
    q = np.concatenate([a + np.linspace(0, 1, STEPS + 1)[:, None] * (b - a) for a, b in pairwise(corners)])
    electrons = gap(c, 3).bands(q)
    place = np.cumsum(
        [0.0, *np.linalg.norm(np.diff(q @ np.linalg.inv(crystal(c, 3).lattice.vectors).T, axis=0), axis=1)]
    )
    dims = ("wave", "phonon"), ("wave", "electron")
    return xr.Dataset(
        {
            "phonons": (
                dims[0],
                thermal(c, 3).force_constants.frequencies(q),
                {"long_name": "frequency", "units": "THz"},
            ),
            "electrons": (dims[1], electrons - electrons[STEPS, 3], {"long_name": "energy", "units": "eV"}),
        },
        {"wave": ("wave", place, {"long_name": "wave vector", "units": "1/Å"})},
    )


def measure_sizes(run: Run, c: Any) -> xr.Dataset:
    """Renormalisation to second order and folding of supercells of several sizes."""
    rows = []
    for length in c.sizes:
        exact, source = gap(c, length), thermal(c, length)
        model = SecondOrder.from_gradient(exact)
        shifts = [MEV * (model.mean(source, t) - model.constant) for t in c.temperatures]
        rows.append([MEV * exact.offset, *shifts])
    table, shift = np.array(rows), {"long_name": "shift of the mean gap to second order", "units": "meV"}
    return xr.Dataset(
        {
            "offset": (
                "length",
                table[:, 0],
                {"long_name": "gap of the perfect cell above that of the crystal", "units": "meV"},
            ),
            "shift": (("length", "temperature"), table[:, 1:], shift),
        },
        {
            "length": ("length", list(c.sizes), {"long_name": "cells along an axis", "units": "1"}),
            "temperature": ("temperature", list(c.temperatures), KELVIN),
        },
    )
