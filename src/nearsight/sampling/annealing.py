"""Simulated annealing: towards the ground state by slow cooling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import integer
from nearsight.hamiltonians import ClassicalModel
from nearsight.sampling.sampler import _real_temperatures
from nearsight.sampling.samplers import HeatBath


class Annealed(NamedTuple):
    """The lowest state found ``(site,)``, int8, its energy, and the lowest energy of every run ``(run,)``.

    When many runs share the lowest energy, it is likely to be that of the ground state.
    """

    states: Tensor
    energy: float
    energies: Tensor


def anneal(
    model: ClassicalModel,
    schedule: np.ndarray | tuple[float, float],
    *,
    sweeps: int = 1000,
    runs: int = 16,
    seed: int = 0,
    start: str | Tensor = "random",
) -> Annealed:
    """Cool ``runs`` independent chains by heat-bath sweeps and keep the lowest state that any of them passed.

    Parameters
    ----------
    schedule: temperatures (hot, cold) between which ``sweeps`` steps are spaced with a constant ratio, or an array with
        the temperature of every sweep. Start where the model is disordered and end where nothing moves any more, at
        about a tenth of the smallest energy of an excitation. Slower is better: the energy that remains falls with a
        small power, or only the logarithm, of the number of sweeps in a glass.

    References
    ----------
    S. Kirkpatrick, C. D. Gelatt, M. P. Vecchi, Science 220, 671 (1983).
    """
    if isinstance(schedule, tuple):
        if len(schedule) != 2:
            raise ValueError(
                f"schedule is (hot, cold), or an array with the temperature of every sweep, got {schedule}."
            )
        hot, cold = _real_temperatures(schedule).tolist()
        schedule = np.geomspace(hot, cold, integer(sweeps, "sweeps", least=2))
    temperatures = _real_temperatures(schedule)
    if temperatures.ndim != 1 or not temperatures.size:
        raise ValueError(f"schedule holds the temperature of every sweep, got shape {temperatures.shape}.")
    runs = integer(runs, "runs", least=1)
    chains = HeatBath(model, float(temperatures[0]), chains=runs, seed=seed, start=start, code="single")
    energies, states = chains.energy, chains.states
    for kT in temperatures.tolist():
        chains.kT = kT
        chains.sweep()
        energy = chains.energy
        lower = energy < energies
        if lower.any():
            energies[lower], states[lower] = energy[lower], chains.states[lower]
    best = int(torch.argmin(energies))
    return Annealed(states[best].clone(), float(energies[best]), energies)
