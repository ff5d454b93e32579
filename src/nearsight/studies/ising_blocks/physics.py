"""The Ising model of the study: temperatures, labels, exact energies, stored snapshots."""

from __future__ import annotations

import numpy as np

from nearsight.fields import SpinStore
from nearsight.hamiltonians import Ising
from nearsight.lattices import square
from nearsight.sampling import Snapshots, critical_temperature, ising_torus
from nearsight.studies.ising_blocks.config import Config, Temperatures
from nearsight.studies.run import Run

TC = critical_temperature("square")
PARTS = ("training", "testing")
DIGITS = 6
"""Temperatures are rounded to this many digits, so that they read as they were meant."""


def model(config: Config) -> Ising:
    return Ising(square(config.length))


def ladder(temperatures: Temperatures) -> np.ndarray:
    """The temperatures of a grid, ascending."""
    even = np.linspace(temperatures.low, temperatures.high, temperatures.number)
    near = np.geomspace(temperatures.nearest, temperatures.farthest, temperatures.near)
    return np.unique(np.round(np.concatenate([even, TC - near, TC + near]), DIGITS))


def phase(kT: np.ndarray) -> np.ndarray:
    """The label of the paper: 0 in the ferromagnet, 1 in the paramagnet."""
    return (np.asarray(kT) > TC).astype(float)


def exact_energy(config: Config, kT: np.ndarray) -> np.ndarray:
    """Energy per site of the L × L torus (Kaufman)."""
    return ising_torus(config.length, config.length, kT).energy


def snapshots(run: Run, part: str) -> Snapshots:
    """The columns of a set of snapshots: temperatures, energies."""
    return Snapshots.open(run.path / f"{part}.zarr")


def spins(run: Run, config: Config, part: str) -> SpinStore:
    """The same snapshots where blocks are cut from, mapped from disk."""
    return SpinStore.open(run.path / f"{part}.npy", config.length)
