"""Simulated annealing: towards the ground state by slow cooling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import integer
from nearsight.hamiltonians import ClassicalModel
from nearsight.sampling._abreast import anneal_abreast
from nearsight.sampling._two_states import LaneKernel
from nearsight.sampling.sampler import _real_temperatures
from nearsight.sampling.samplers import HeatBath


class Annealed(NamedTuple):
    """The lowest state found ``(site,)``, int8, its energy, and the lowest energy of every run ``(run,)``.

    When many runs share the lowest energy, it is likely to be that of the ground state.

    :func:`anneal` returns it.
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
    walk = _walk_abreast if isinstance(chains._code, LaneKernel) else _walk
    states, energies = (torch.from_numpy(x) for x in walk(chains, temperatures))
    best = int(torch.argmin(energies))
    return Annealed(states[best].clone(), float(energies[best]), energies)


def _walk(chains: HeatBath, temperatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest states ``(run, site)`` that the chains passed while they cooled, and their energies."""
    energies, states = chains.measure()[0].copy(), chains.states.numpy()
    for kT in temperatures.tolist():
        chains.kT = kT
        chains.sweep()
        energy = chains.measure()[0]
        lower = energy < energies
        if lower.any():
            energies[lower], states[lower] = energy[lower], chains.states.numpy()[lower]
    return states, energies


def _walk_abreast(chains: HeatBath, temperatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same in one compiled loop."""
    code = chains._code
    assert isinstance(code, LaneKernel)
    code.place(chains._arrays)
    energies, kept = np.full(chains.chains, np.inf), np.empty((len(code.spins), chains.chains), np.int8)
    # Temperatures take the place of chains in the tables: there is one of all chains at every step.
    odds = code.odds(temperatures)
    first, rest = (np.ascontiguousarray(x.transpose(2, 0, 1)) for x in (odds.first, odds.rest))
    schedule = odds._replace(first=first, rest=rest)
    anneal_abreast(code.spins, code.bonds, code.tables, code.streams, schedule, energies, kept)
    return np.ascontiguousarray((kept.T + 1) >> 1), energies
