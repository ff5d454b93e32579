"""Sweeps of all chains abreast, for models of two states with any bonds, and what is built on them.

Sites are visited in order, each in all chains before the next. Every chain has a generator of its own (xoshiro128++)
that gives a site one number of 31 bits, and a second one where the first is below ``RARE``: what a chain does depends
on no other.

A spin s in the local field f = Σ_j J_ij s_j is reversed with odds that fall with s f. Where s f has few values, with
couplings ±J, a draw u says directly up to which of them it is accepted,

    limit(u) = the largest m with u < p(m),

without a look at the spins: comparisons with a table of whole numbers, one column for every chain. Otherwise odds are
worked out from f in single precision.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from nearsight.sampling._checkerboard import RARE, _draw_row
from nearsight.sampling._lanes import (
    NEVER,
    WIDTH,
    add_alignment,
    add_bond,
    draw,
    find_limits,
    turn_by_odds,
    turn_within,
)
from nearsight.sampling._streams import TRIED, kernel, uniform


class Bonds(NamedTuple):
    """The bonds of a model of two states as the loops read them.

    ``neighbour`` ``(site, slot)``: first those with coupling +1, ``plus`` of them, then those with -1, up to ``minus``;
    ``strength`` the couplings of all in single precision, ``start`` the fields of the sites. For energies,
    ``unit`` times the whole couplings, or ``first``, ``second``, ``coupling`` of every bond; ``onsite`` the fields;
    ``constant`` the rest.
    """

    neighbour: np.ndarray
    plus: np.ndarray
    minus: np.ndarray
    strength: np.ndarray
    start: np.ndarray
    first: np.ndarray
    second: np.ndarray
    coupling: np.ndarray
    onsite: np.ndarray
    unit: float
    constant: float
    field: bool


class Ladder(NamedTuple):
    """What changes in parallel tempering beside the chains: ``copy`` the chain at every temperature; ``turn`` the
    number of exchanges; ``tried``, ``swapped`` and ``marked`` (lower temperature,); which ``end`` a chain touched last,
    1 hot, -1 cold after hot; its round ``trips``."""

    copy: np.ndarray
    turn: np.ndarray
    tried: np.ndarray
    swapped: np.ndarray
    marked: np.ndarray
    end: np.ndarray
    trips: np.ndarray


class Odds(NamedTuple):
    """Temperatures as the loops read them: ``first`` and ``rest`` ``(sign, level, chain)``, the binary digits of the
    odds of every level; ``steps`` ``(sign, level)``; ``scale`` ``(chain,)``, 2β/ln 2 for odds worked out. Without any
    level, they are worked out."""

    first: np.ndarray
    rest: np.ndarray
    steps: np.ndarray
    scale: np.ndarray
    heat_bath: bool


@numba.njit(nogil=True)
def _redraw(streams, chain):
    """31 more bits of a chain."""
    again = np.empty(1, np.uint32)
    s = streams[:, chain : chain + 1]
    _draw_row(s[0], s[1], s[2], s[3], again)
    return np.int32(again[0])


@numba.njit(nogil=True)
def _limits_exactly(draws, streams, first, odds, limits):
    """Limits of the chains whose draw is below ``RARE``, from 62 bits."""
    for j in range(WIDTH):
        if draws[j] < RARE:
            chain = first + j
            again = _redraw(streams, chain)
            for sign in range(odds.steps.shape[0]):
                limit = NEVER
                for level in range(odds.steps.shape[1]):
                    high, low = odds.first[sign, level, chain], odds.rest[sign, level, chain]
                    if draws[j] < high or (draws[j] == high and again < low):
                        limit += odds.steps[sign, level]
                limits[sign, j] = limit


@numba.njit(nogil=True)
def _turn_exactly(own, draws, streams, first, odds, fields):
    """Decisions of the chains whose draw is below ``RARE``, from 62 bits and in double precision."""
    for j in range(WIDTH):
        if draws[j] < RARE:
            u = (draws[j] + (_redraw(streams, first + j) + 0.5) * 2.0**-31) * 2.0**-31
            x = math.log(2.0) * odds.scale[first + j] * own[first + j] * fields[j]
            if odds.heat_bath:
                accepted = u * (1 + math.exp(min(x, 700.0))) < 1
            else:
                accepted = u * math.exp(min(max(x, 0.0), 700.0)) < TRIED
            if accepted:
                own[first + j] = -own[first + j]


@numba.njit(nogil=True)
def _sweep_by_limits(spins, bonds, odds, streams, first, draws, limits):
    stride, lanes = spins.strides[0], spins.ctypes.data + first
    table, row = odds.first.ctypes.data + 4 * first, odds.first.strides[1]
    signs, levels = odds.steps.shape
    for i in range(len(spins)):
        rare = draw(streams.ctypes.data + 4 * first, streams.strides[0], draws.ctypes.data)
        for sign in range(signs):
            find_limits(
                draws.ctypes.data,
                table + sign * odds.first.strides[0],
                row,
                odds.steps.ctypes.data + 4 * sign * levels,
                levels,
                limits.ctypes.data + WIDTH * sign,
            )
        if rare:
            _limits_exactly(draws, streams, first, odds, limits)
        turn_within(
            lanes,
            lanes + i * stride,
            stride,
            bonds.neighbour.ctypes.data + i * bonds.neighbour.strides[0],
            bonds.plus[i],
            bonds.minus[i],
            limits.ctypes.data,
            limits.ctypes.data + WIDTH * (signs - 1),
        )


@numba.njit(nogil=True)
def _sweep_by_odds(spins, bonds, odds, streams, first, draws, fields):
    stride, lanes, slots = spins.strides[0], spins.ctypes.data + first, bonds.neighbour.shape[1]
    tried = np.float32(1.0) if odds.heat_bath else np.float32(TRIED)
    for i in range(len(spins)):
        rare = draw(streams.ctypes.data + 4 * first, streams.strides[0], draws.ctypes.data)
        turn_by_odds(
            lanes,
            lanes + i * stride,
            stride,
            bonds.neighbour.ctypes.data + i * bonds.neighbour.strides[0],
            bonds.strength.ctypes.data + i * bonds.strength.strides[0],
            slots,
            bonds.start[i],
            odds.scale.ctypes.data + 4 * first,
            draws.ctypes.data,
            odds.heat_bath,
            tried,
            fields.ctypes.data,
        )
        if rare:
            _turn_exactly(spins[i], draws, streams, first, odds, fields)


@numba.njit(nogil=True)
def _sweep(spins, bonds, odds, streams, sweeps):
    draws, limits, fields = np.empty(WIDTH, np.int32), np.empty((2, WIDTH), np.int8), np.empty(WIDTH, np.float32)
    for first in range(0, spins.shape[1], WIDTH):
        for _ in range(sweeps):
            if odds.steps.shape[1]:
                _sweep_by_limits(spins, bonds, odds, streams, first, draws, limits)
            else:
                _sweep_by_odds(spins, bonds, odds, streams, first, draws, fields)


@numba.njit(nogil=True)
def _measure(spins, bonds, whole, energy):
    """Energy of every chain, exactly: sums of whole numbers, or in double precision."""
    stride = spins.strides[0]
    words, doubles = np.empty(WIDTH, np.int32), np.empty(WIDTH)
    for first in range(0, spins.shape[1], WIDTH):
        lanes = spins.ctypes.data + first
        doubles[:] = 0.0
        if whole:
            words[:] = 0
            for i in range(len(spins)):
                row = bonds.neighbour.ctypes.data + i * bonds.neighbour.strides[0]
                place, total = lanes + i * stride, words.ctypes.data
                add_alignment(lanes, place, stride, row, bonds.plus[i], bonds.minus[i], total)
            for j in range(WIDTH):
                doubles[j] = 0.5 * bonds.unit * words[j]
        else:
            for k in range(len(bonds.first)):
                i, j = lanes + bonds.first[k] * stride, lanes + bonds.second[k] * stride
                add_bond(i, j, bonds.coupling[k], doubles.ctypes.data)
        if bonds.field:
            for i in range(len(spins)):
                for j in range(WIDTH):
                    doubles[j] += bonds.onsite[i] * spins[i, first + j]
        for j in range(WIDTH):
            energy[first + j] = bonds.constant - doubles[j]


@numba.njit(nogil=True)
def _keep_lowest(spins, energy, chains, lowest, kept):
    """Every chain's state, if it is lower than the lowest before."""
    for j in range(chains):
        if energy[j] < lowest[j]:
            lowest[j] = energy[j]
            kept[:, j] = spins[:, j]


@kernel
def sweep_abreast(spins, bonds, odds, streams, sweeps):
    """``sweeps`` sweeps of chains ``spins`` (site, chain), their number a multiple of ``WIDTH``, with ``streams``
    (4, chain)."""
    _sweep(spins, bonds, odds, streams, sweeps)


@kernel
def measure_abreast(spins, bonds, whole, energy):
    """The energies of all chains ``(chain,)``."""
    _measure(spins, bonds, whole, energy)


@kernel
def anneal_abreast(spins, bonds, odds, streams, schedule, lowest, kept):
    """One sweep at every temperature of a schedule, ``odds.first`` and ``rest`` (step, sign, level) and ``scale``
    (step,) in ``schedule``; the lowest energies ``(chain,)`` after any of them, and their states."""
    energy, whole = np.empty(spins.shape[1]), odds.steps.shape[1] > 0
    _measure(spins, bonds, whole, energy)
    _keep_lowest(spins, energy, len(lowest), lowest, kept)
    for step in range(len(schedule.scale)):
        odds.scale[:] = schedule.scale[step]
        for sign in range(odds.steps.shape[0]):
            for level in range(odds.steps.shape[1]):
                odds.first[sign, level, : len(lowest)] = schedule.first[step, sign, level]
                odds.rest[sign, level, : len(lowest)] = schedule.rest[step, sign, level]
        _sweep(spins, bonds, odds, streams, 1)
        _measure(spins, bonds, whole, energy)
        _keep_lowest(spins, energy, len(lowest), lowest, kept)


@numba.njit(nogil=True)
def _swap_temperatures(odds, i, j):
    odds.scale[i], odds.scale[j] = odds.scale[j], odds.scale[i]
    for sign in range(odds.steps.shape[0]):
        for level in range(odds.steps.shape[1]):
            high, low = odds.first[sign, level], odds.rest[sign, level]
            high[i], high[j] = high[j], high[i]
            low[i], low[j] = low[j], low[i]


@numba.njit(nogil=True)
def _exchange(energy, beta, ladder, rng):
    """Exchange neighbouring temperatures, even pairs and odd pairs in turn, and count what happens; the pairs of
    temperatures that were exchanged are marked."""
    last, copy, end = len(beta) - 1, ladder.copy, ladder.end
    ladder.marked[:] = False
    for low in range(ladder.turn[0] % 2, last, 2):
        cold, hot = copy[low], copy[low + 1]
        gain = (beta[low + 1] - beta[low]) * (energy[hot] - energy[cold])
        ladder.tried[low] += 1
        if math.log1p(-uniform(rng)) < gain:
            ladder.swapped[low] += 1
            ladder.marked[low] = True
            copy[low], copy[low + 1] = hot, cold
    ladder.turn[0] += 1
    cold, hot = copy[0], copy[last]
    ladder.trips[hot] += end[hot] == -1
    end[hot] = 1
    end[cold] = -1 if end[cold] != 0 else 0


@kernel
def exchange_once(energy, beta, ladder, rng):
    """:func:`_exchange` for chains of any kind."""
    _exchange(energy, beta, ladder, rng)


@kernel
def temper_abreast(spins, bonds, odds, streams, beta, ladder, rng, lowest, kept, sweeps, goal):
    """``sweeps`` sweeps, each followed by exchanges; the lowest energy after any ``(1,)`` and its state (site, 1).

    Stops as soon as a state at ``goal`` or below was found, and returns the number of sweeps made."""
    energy, whole = np.empty(spins.shape[1]), odds.steps.shape[1] > 0
    for number in range(sweeps):
        if lowest[0] <= goal:
            return number
        _sweep(spins, bonds, odds, streams, 1)
        _measure(spins, bonds, whole, energy)
        best = np.argmin(energy[: len(beta)])
        _keep_lowest(spins[:, best : best + 1], energy[best : best + 1], 1, lowest, kept)
        _exchange(energy, beta, ladder, rng)
        for low in range(len(beta) - 1):
            if ladder.marked[low]:
                _swap_temperatures(odds, ladder.copy[low], ladder.copy[low + 1])
    return sweeps
