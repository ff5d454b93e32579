"""What observations are worth: how many are independent, and which symmetries they show."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from nearsight._validation import instance, integer
from nearsight.inference._symmetries import SymmetryTest, symmetry_tests
from nearsight.inference.observations import Observations
from nearsight.sampling import AutocorrelationTime, agreement, autocorrelation_time

_LENGTH = 2**12
"""Rows of a chain in which an autocorrelation time is measured, as far apart as the memory asks for."""
_ENOUGH = 100.0
"""A series must be so many autocorrelation times long for its time to be believed."""


@dataclass(frozen=True, eq=False)
class Examination:
    """What :func:`examine` found; ``print`` tells it in words.

    Attributes
    ----------
    correlation: correlation between successive rows of a chain, of the order parameter and of the bonds.
    memory: integrated autocorrelation time of the slower of the two, in rows.
    effective: number of independent observations that tell an average as precisely, and its standard error.
    reliable: whether chains are long enough (100 autocorrelation times in all) for ``memory`` to be believed.
    chains_agree: p-value that the halves of all chains come from one distribution, as in equilibrium.
    constant_sites: sites that are in one state throughout, which no coupling can be learned for.
    unseen_states: states that occur nowhere.
    symmetries: translations, point group, and permutations of the states, each a :class:`SymmetryTest`.
    """

    observations: Observations
    correlation: dict[str, float]
    memory: AutocorrelationTime
    effective: tuple[float, float]
    reliable: bool
    chains_agree: float
    constant_sites: np.ndarray
    unseen_states: np.ndarray
    symmetries: tuple[SymmetryTest, ...]

    def __str__(self) -> str:
        number, error = self.effective
        successive = ", ".join(f"{value:.4f} ({name})" for name, value in self.correlation.items())
        lines = [
            repr(self.observations),
            f"correlation of successive rows: {successive or 'none, all are independent'}",
            f"independent observations: {number:.0f} ± {error:.0f}, autocorrelation time {self.memory.tau:.3g} ± "
            f"{self.memory.error:.2g} rows",
        ]
        if not self.reliable:
            lines.append(
                "  chains are too short for their autocorrelation time to be known: take the number as an upper bound"
            )
        if self.chains_agree < 0.002:
            lines.append(
                f"  parts of the data differ (p = {self.chains_agree:.2g}): they are not all from one equilibrium"
            )
        if len(self.constant_sites):
            lines.append(f"sites that never change: {_listed(self.constant_sites)}")
        if len(self.unseen_states):
            lines.append(f"states that never occur: {_listed(self.unseen_states)}")
        return "\n".join([*lines, *map(str, self.symmetries)])


def examine(observations: Observations, *, seed: int = 0, rows: int = 2**20, draws: int = 999) -> Examination:
    r"""Correlations in time, effective number, constant sites, and symmetries of observations, tested not assumed.

    The effective number is N / 2τ with the integrated autocorrelation time τ of the slower of two averages that carry
    couplings: the order parameter (the magnetisation, or the fraction of each state) and the fraction of nearest
    neighbours in equal states. Rows that are chains of their own are independent.

    A symmetry is tested by randomisation. The data are cut into up to 64 stretches that are independent of each other,
    chains or pieces of chains four autocorrelation times apart; each is turned by an operation of its own, drawn at
    random, as often as ``draws``; if the data are symmetric, deviations of densities and correlations from their
    symmetric averages are then as large as before. p-values are uniform for symmetric data, however correlated within
    stretches, provided that the dynamics has the symmetry, too. Below 0.002 the symmetry is called violated: by the
    Hamiltonian, or by chains that did not explore it, as an ordered magnet does not under local dynamics.

    Cost: seconds for 5e7 observations of 8 × 8 spins, of which ``rows`` at most are compared for symmetries.

    Parameters
    ----------
    seed: of the random operations. rows: observations looked at in the tests. draws: randomisations; the smallest
        p-value is 1 / (draws + 1).

    Example
    -------
    >>> import nearsight as ns
    >>> ising = ns.hamiltonians.Ising(ns.lattices.square(4))
    >>> seen = ns.inference.observe(ising, kT=4.0, count=40000, chains=8, seed=3)
    >>> found = ns.inference.examine(seen)
    >>> [test.name for test in found.symmetries]
    ['translations', 'point group D4', 'spin inversion']
    """
    instance(observations, Observations, "observations", "observe and load_observations make them.")
    rng = np.random.default_rng(integer(seed, "seed", least=0))
    rows, draws = integer(rows, "rows", least=1), integer(draws, "draws", least=19)
    seen, q = observations, observations.n_states
    averages: dict[str, Callable[[Observations, np.ndarray], np.ndarray]] = {
        **({"magnetisation": _fraction(1)} if q == 2 else {f"fraction of state {a}": _fraction(a) for a in range(q)}),
        "bonds": _bonds(seen),
    }
    runs = _runs(seen)
    length = min(end - start for start, end in runs)
    slowest, correlation, reliable, agree = AutocorrelationTime(0.5, 0.0, 0), {}, True, 1.0
    if length >= 8:
        for name, average in averages.items():
            tau = _memory(seen, runs, length, average)
            if np.isnan(tau.tau):
                continue
            correlation[name] = _successive(seen, runs, length, average)
            if tau.tau > slowest.tau:
                slowest = tau
        reliable = len(runs) * length >= _ENOUGH * slowest.tau and length >= 2 * slowest.tau
        agree = min(1.0, len(averages) * min(_halves(seen, runs, length, x) for x in averages.values()))
    number = len(seen) / (2 * slowest.tau) if length >= 8 else float(len(seen))
    counts = _counts(seen)
    return Examination(
        seen,
        correlation,
        slowest,
        (number, number * slowest.error / slowest.tau),
        bool(reliable),
        agree,
        np.flatnonzero((counts > 0).sum(1) <= 1),
        np.flatnonzero(counts.sum(0) == 0),
        symmetry_tests(seen, slowest.tau if length >= 8 else 0.0, rows=rows, draws=draws, rng=rng),
    )


def _fraction(state: int) -> Callable[[Observations, np.ndarray], np.ndarray]:
    """Fraction of the sites seen that are in a state, of every row."""

    def average(seen: Observations, rows: np.ndarray) -> np.ndarray:
        there = seen.states(rows).numpy() == state
        if seen.missing is None:
            return there.mean(1)
        known = ~seen.missing[rows]
        return (there & known).sum(1) / np.maximum(known.sum(1), 1)

    return average


def _bonds(seen: Observations) -> Callable[[Observations, np.ndarray], np.ndarray]:
    """Fraction of the nearest neighbours, both seen, that are in equal states, of every row."""
    bonds = seen.lattice.bonds(1)

    def average(seen: Observations, rows: np.ndarray) -> np.ndarray:
        states = seen.states(rows).numpy()
        same = states[:, bonds.i] == states[:, bonds.j]
        if seen.missing is None:
            return same.mean(1)
        known = ~seen.missing[rows]
        both = known[:, bonds.i] & known[:, bonds.j]
        return (same & both).sum(1) / np.maximum(both.sum(1), 1)

    return average


def _runs(seen: Observations) -> list[tuple[int, int]]:
    """First row and end of every chain."""
    edges = [0, *(np.flatnonzero(np.diff(seen.chain)) + 1).tolist(), len(seen)]
    return list(itertools.pairwise(edges))


def _series(
    seen: Observations,
    runs: list[tuple[int, int]],
    length: int,
    stride: int,
    average: Callable[[Observations, np.ndarray], np.ndarray],
) -> np.ndarray:
    """An average of rows ``stride`` apart ``(chain, time)``, of at most 64 chains."""
    times = np.arange(0, length, stride)[:_LENGTH]
    return np.stack([average(seen, start + times) for start, _ in runs[:64]])


def _memory(
    seen: Observations,
    runs: list[tuple[int, int]],
    length: int,
    average: Callable[[Observations, np.ndarray], np.ndarray],
) -> AutocorrelationTime:
    """Autocorrelation time in rows, of rows as far apart as leaves its series long enough."""
    stride = 1
    while True:
        series = _series(seen, runs, length, stride, average)
        tau = autocorrelation_time(series)
        if np.isnan(tau.tau) or stride * _LENGTH >= length or series.shape[1] >= _ENOUGH * tau.tau:
            return AutocorrelationTime(tau.tau * stride, tau.error * stride, tau.window * stride)
        stride *= 4


def _successive(
    seen: Observations,
    runs: list[tuple[int, int]],
    length: int,
    average: Callable[[Observations, np.ndarray], np.ndarray],
) -> float:
    """Correlation of an average between successive rows, about the mean over the whole length of the chains."""
    wide = _series(seen, runs, length, max(length // _LENGTH, 1), average)
    close = _series(seen, runs, min(length, _LENGTH), 1, average)
    change = np.diff(close, axis=1)
    return float(1 - (change**2).mean() / (2 * wide.var()))


def _halves(
    seen: Observations,
    runs: list[tuple[int, int]],
    length: int,
    average: Callable[[Observations, np.ndarray], np.ndarray],
) -> float:
    series = _series(seen, runs, length, max(-(-length // _LENGTH), 1), average)
    half = series.shape[1] // 2
    if half < 4:
        return 1.0
    return agreement(np.concatenate([series[:, :half], series[:, -half:]]))


def _counts(seen: Observations) -> np.ndarray:
    """How often every site is in every state ``(site, state)``, of all rows; for bits, whether it is at all."""
    if seen.n_states == 2 and seen.missing is None:
        ends = np.stack([~np.bitwise_and.reduce(seen.packed, axis=0), np.bitwise_or.reduce(seen.packed, axis=0)])
        return np.unpackbits(ends, axis=1, count=seen.lattice.n_sites, bitorder="little").T.astype(np.int64)
    counts = np.zeros((seen.lattice.n_sites, seen.n_states), np.int64)
    for start in range(0, len(seen), 2**16):
        rows = slice(start, start + 2**16)
        states = seen.states(rows)
        known = None if seen.missing is None else torch.from_numpy(~seen.missing[rows])
        for a in range(seen.n_states):
            there = states == a
            counts[:, a] += (there if known is None else there & known).sum(0).numpy()
    return counts


def _listed(numbers: np.ndarray) -> str:
    shown = ", ".join(map(str, numbers[:10].tolist()))
    return shown if len(numbers) <= 10 else f"{shown} and {len(numbers) - 10} more"
