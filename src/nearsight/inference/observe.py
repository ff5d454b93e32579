"""Observations of a model under single-spin Metropolis dynamics, watched every few attempts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from nearsight._validation import instance, integer, number
from nearsight.hamiltonians import ClassicalModel
from nearsight.inference._flips import cost_sums, cost_table, observe_sums, observe_table, tile_codes
from nearsight.inference.observations import Observations
from nearsight.sampling import sample
from nearsight.sampling._streams import TRIED, stream

_WATCHED = 2**31 + 7
"""Number of the random streams, apart from those of the samplers that draw the first states."""


def observe(
    model: ClassicalModel, kT: float, count: int, *, chains: int = 32, period: int = 10, seed: int
) -> Observations:
    r"""``count`` observations of a model in equilibrium under Metropolis's rule, one every ``period`` attempts.

    An attempt proposes another state of one site drawn at random and accepts it with probability
    (15/16) min(1, exp(-ΔE/kT)); one in 16 is skipped, as by :class:`~nearsight.sampling.Metropolis`. Successive
    observations differ in at most ``period`` sites and are strongly correlated, as those of a system under a camera
    are; :func:`examine` measures by how much. Where nearly independent configurations are wanted,
    :func:`~nearsight.sampling.sample` draws them.

    Chains start in equilibrium, from states of their own that :func:`~nearsight.sampling.sample` draws, and have random
    numbers of their own. They run on as many threads as torch has and do not depend on their number.

    Cost: 30 to 40 ns per attempt, of whatever range and disorder the couplings are (their Boltzmann factors are
    tabulated up to 2^20 entries; beyond, and for tiles, an attempt costs the sum over what its site is part of).

    Parameters
    ----------
    model: any :class:`~nearsight.hamiltonians.ClassicalModel`, one that was learned as well as a known one.
    kT: temperature, > 0, in the units of the couplings.
    count: number of observations, in all chains together.
    chains: independent chains, of equal length up to one observation.
    period: attempts between two observations of a chain.
    seed: whole number >= 0.

    Example
    -------
    >>> import nearsight as ns
    >>> ising = ns.hamiltonians.Ising(ns.lattices.square(8))
    >>> ns.inference.observe(ising, kT=1 / 0.4407, count=1000, chains=4, seed=1)
    1000 observations of square, 8 × 8 sites, periodic: 2 states, kT = 2.26912, 4 chains

    References
    ----------
    K. Sprague, J. Carrasquilla, S. Whitelam, I. Tamblyn, Mach. Learn.: Sci. Technol. 2, 02LT02 (2021) (the protocol,
    with 5.12e7 observations in 32 chains, one every 10 attempts).
    """
    instance(model, ClassicalModel, "model", "observe takes a classical model such as Ising(lattice).")
    kT, count = number(kT, "kT", above=0), integer(count, "count", least=1)
    chains, period = integer(chains, "chains", least=1), integer(period, "period", least=1)
    seed = integer(seed, "seed", least=0)
    if chains > count:
        raise ValueError(f"{count} observations cannot come from {chains} chains; pass chains={count} at most.")
    cost, kind = cost_table(model)
    first = sample(model, kT, chains, seed=seed, chains=chains, progress=False).states().numpy()
    length = np.full(chains, count // chains)
    length[: count % chains] += 1
    q, sites = model.n_states, model.lattice.n_sites
    packed = np.empty((count, -(-sites // 8) if q == 2 else sites), np.uint8)
    ends = np.cumsum(length)
    odds = TRIED * np.exp(-np.maximum(cost, 0.0) / kT)
    kind, sums = kind.astype(np.int32), cost_sums(model)

    def watch(chain: int) -> None:
        rows, spins = packed[ends[chain] - length[chain] : ends[chain]], first[chain].copy()
        rng = stream(seed, _WATCHED, chain)[:, 0].copy()
        if odds.shape[1]:
            observe_table(rows, spins, sums[0], kind, odds, q, period, rng)
        else:
            observe_sums(rows, spins, tile_codes(model.tiles, spins), sums, q, 1 / kT, TRIED, period, rng)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(watch, range(chains)))
    return Observations.from_packed(
        model.lattice, packed, n_states=q, kT=kT, chain=np.repeat(np.arange(chains), length)
    )
