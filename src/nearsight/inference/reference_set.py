"""Configurations of every energy a model has, equally many of each, and the errors of a learned energy on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance, integer
from nearsight.hamiltonians import ClassicalModel
from nearsight.inference._flips import change, change_cost, cost_sums, cost_table, pattern_of, tile_codes
from nearsight.sampling import DensityOfStates, ising_levels
from nearsight.sampling._streams import below, kernel, stream, uniform
from nearsight.sampling.samplers import _not_checkerboard

_WALK, _RANDOM = 2**31 + 8, 2**14
"""Number of the random stream of a walk; configurations that fix the constant of an energy."""
_CHUNK = 2**15
"""Configurations whose energies are computed at a time."""
_PATIENCE = 20
"""A walk that needs so many times the sweeps it would if it were perfectly flat, and 10^5, gives up."""


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """``states`` ``(level, configuration, site)``, int8, of a ``model`` at every one of its ``energies`` ``(level,)``.

    Learned energies are judged on it from the ground states to the highest ones, most of which are never seen at any
    temperature. Where a level has fewer states than were asked for, they repeat.

    :func:`reference_set` returns it.
    """

    model: ClassicalModel
    states: Tensor
    energies: np.ndarray

    def __repr__(self) -> str:
        levels, count, _ = self.states.shape
        return f"{levels} energies × {count} configurations of {self.model!r}"


def reference_set(
    model: ClassicalModel, levels: DensityOfStates | None = None, *, per_level: int = 8000, seed: int
) -> ReferenceSet:
    r"""``per_level`` configurations of every energy level of a model, drawn by a walk that is flat in the energy.

    Single changes are accepted with probability min(1, g(E)/g(E')), by the exact numbers of states g, so that all
    levels are visited equally often and the states of a level are equally likely. Nothing is estimated on the way, as
    the method of Wang and Landau does. A configuration is taken after every sweep whose level still wants one: all 63
    levels of 8 × 8 spins take seconds.

    Parameters
    ----------
    model: with energies that are multiples of some step, apart from the lowest.
    levels: its exact density of states; by default that of :func:`~nearsight.sampling.ising_levels`, for Ising models
        on even square tori without field. :func:`~nearsight.sampling.enumerate_states` makes it for any small model.
    seed: whole number >= 0.

    References
    ----------
    B. A. Berg, T. Neuhaus, Phys. Rev. Lett. 68, 9 (1992) (flat walks in the energy).
    """
    instance(model, ClassicalModel, "model", "A classical model such as Ising(lattice) has energy levels.")
    per_level, seed = integer(per_level, "per_level", least=1), integer(seed, "seed", least=0)
    if levels is None:
        reason = _not_checkerboard(model) or ("it has a field" if model.h else None)  # type: ignore[attr-defined]
        if reason:
            raise ValueError(f"Pass levels=, from enumerate_states, where the levels are not those of Beale: {reason}.")
        levels = ising_levels(*model.lattice.shape, J=model.J[0])  # type: ignore[attr-defined]
    instance(levels, DensityOfStates, "levels", "ising_levels and enumerate_states make it.")
    if levels.sites != model.lattice.n_sites:
        raise ValueError(f"levels are those of {levels.sites} sites, but {model!r} has {model.lattice.n_sites}.")
    place, step = _even_steps(levels.energies)
    log_g = np.full(place[-1] + 1, np.inf)
    log_g[place] = levels.entropies
    number = np.full(place[-1] + 1, -1)
    number[place] = np.arange(len(place))
    cost, kind = cost_table(model)
    rng = stream(seed, _WALK)[:, 0].copy()
    spins = model.random_states(torch.Generator().manual_seed(seed)).numpy()
    first = (float(model.energy(torch.from_numpy(spins))) - levels.energies[0]) / step
    shift = cost / step
    if abs(first - round(first)) > 1e-6 or np.abs(shift - np.rint(shift)).max(initial=0.0) > 1e-6:
        raise ValueError(f"levels are not those of {model!r}: a change of it costs what is no difference of them.")
    states = np.zeros((len(place), per_level, len(spins)), np.int8)
    full = _walk(
        states, spins, tile_codes(model.tiles, spins), round(first), kind.astype(np.int32),
        np.rint(shift).astype(np.int32), cost_sums(model), step, model.n_states, log_g, number,
        _PATIENCE * per_level * len(place) + 10**5, rng,
    )  # fmt: skip
    if not full:
        raise ValueError(
            f"A walk does not reach every level by changes of single sites: are levels those of {model!r}?"
        )
    if not np.allclose(model.energy(torch.from_numpy(states[:, 0])), levels.energies, atol=1e-6 * step):
        raise ValueError(f"levels are not those of {model!r}, whose energies differ from them.")
    return ReferenceSet(model, torch.from_numpy(states), levels.energies)


def _even_steps(energies: np.ndarray) -> tuple[np.ndarray, float]:
    """The place of every level in steps of one size, above the lowest."""
    gaps = np.diff(energies)
    step = float(gaps.min()) if len(gaps) else 1.0
    for _ in range(64):
        left = gaps - step * np.floor(gaps / step + 1e-9)
        if left.max(initial=0.0) < 1e-6 * step:
            break
        step = float(left[left > 1e-6 * step].min())
    place = np.rint((energies - energies[0]) / step).astype(np.int64)
    if place[-1] > 2**24:
        raise ValueError(
            "Energies are no multiples of a step; the walk needs discrete levels, as equal couplings have."
        )
    return place, step


@kernel
def _walk(states, spins, codes, level, kind, shift, sums, step, q, log_g, number, patience, rng):
    """Fill the states of every level ``(level, configuration, site)``; whether that was possible.

    What a change costs is in ``shift``, in steps, or added up where that has no column.
    """
    sites, wanted, tabled, index = len(spins), states.shape[1], shift.shape[1] > 0, sums[0]
    count = np.zeros(len(states), np.int64)
    full, sweeps = 0, 0
    while full < len(states) and sweeps < patience:
        sweeps += 1
        for _ in range(sites):
            i = below(rng, sites)
            a = spins[i]
            offset = 0 if q == 2 else below(rng, q - 1)
            b = (a + 1 + offset) % q
            if tabled:
                new = level + shift[kind[i], (pattern_of(spins, index, i, q) * q + a) * (q - 1) + offset]
            else:
                new = level + round(change_cost(spins, codes, i, b, sums) / step)
            if 0 <= new < len(log_g) and uniform(rng) < math.exp(min(log_g[level] - log_g[new], 0.0)):
                change(spins, codes, i, b, sums)
                level = new
        k = number[level]
        if count[k] < wanted:
            states[k, count[k]] = spins
            count[k] += 1
            full += count[k] == wanted
    return full == len(states)


@dataclass(frozen=True, eq=False)
class EnergyErrors:
    """Errors of an energy on a :class:`ReferenceSet`, in the units of its model.

    ``rmse``: root mean square over all configurations, with the constant fixed by random configurations; ``best``: the
    same with the constant that makes it smallest. ``constant``: what was subtracted. ``bias`` and ``spread``
    ``(level,)``: mean error and its standard deviation among the configurations of a level.

    :func:`energy_errors` returns them.
    """

    rmse: float
    best: float
    constant: float
    energies: np.ndarray
    bias: np.ndarray
    spread: np.ndarray


def energy_errors(
    energy: ClassicalModel | Callable[[Tensor], Tensor], reference: ReferenceSet, *, seed: int = 0
) -> EnergyErrors:
    r"""How far an energy is from that of the model of a reference set, over all levels,

    .. math:: \text{RMSE}^2 = \langle (\tilde E - C - E)^2 \rangle, \qquad
              C = \langle \tilde E - E \rangle_{\text{random}} .

    An energy learned from a distribution has an unknown constant. It is fixed as Sprague et al. do, by the mean energy
    of random configurations, known exactly (0 for Ising spins without field); taken of the difference to the exact
    energy, over 2^14 configurations drawn from ``seed``, it has next to no noise.

    Parameters
    ----------
    energy: a model, or a function of states ``(*batch, site)`` that returns energies ``(*batch,)``.
    reference: made by :func:`reference_set`.
    """
    instance(reference, ReferenceSet, "reference", "reference_set makes it.")
    if not isinstance(energy, ClassicalModel) and not callable(energy):
        raise TypeError(
            f"energy must be a ClassicalModel or a function of states that returns their energies, got {energy!r}."
        )
    function = energy.energy if isinstance(energy, ClassicalModel) else energy
    rng = torch.Generator().manual_seed(integer(seed, "seed", least=0))
    random = reference.model.random_states(rng, _RANDOM)
    constant = float((_evaluated(function, random) - reference.model.energy(random)).mean())
    levels, count, sites = reference.states.shape
    error = _evaluated(function, reference.states.reshape(-1, sites)).reshape(levels, count)
    error = error - torch.from_numpy(reference.energies)[:, None] - constant
    return EnergyErrors(
        float(error.square().mean().sqrt()),
        float(error.std(correction=0)),
        constant,
        reference.energies,
        error.mean(1).numpy(),
        error.std(1, correction=0).numpy(),
    )


def _evaluated(energy: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """Energies ``(configuration,)``, float64, a chunk at a time."""
    with torch.no_grad():
        chunks = [torch.as_tensor(energy(part)).double() for part in states.split(_CHUNK)]
    result = torch.cat([x.reshape(-1) for x in chunks])
    if len(result) != len(states):
        raise ValueError(f"energy must return one number per configuration: {len(states)}, got {len(result)}.")
    if not torch.isfinite(result).all():
        raise ValueError(f"energy is not finite for {int((~torch.isfinite(result)).sum())} of {len(states)} states.")
    return result
