"""Single-site updates of tile models: codes of tiles kept up to date, many sites or chains at once.

A change of site i from state a to b moves the codes of the tiles around it by (b - a) q^k: its energy is a sum of
differences of table entries. Sites that share no tile change independently. They fall into colours, which repeat along
every axis with the width of a tile, and a whole colour is tried at once; with 16 chains or more, one site of all chains
is. Either way loops run over lanes of equal work, each with random numbers of its own, as processors like them.

Energies are whole multiples of a step 2^-30 of the largest difference there can be: sums of them are exact. Acceptance
compares them with exponential variates e = -ln u. Metropolis's rule accepts if ΔE/kT < e (one trial in 16 skipped means
e - ln 16/15 in place of e, and none if that is negative), the heat bath of two states if ΔE/kT < ln(1 - u) - ln u, a
logistic variate. u has 31 random bits, and 62 where the first 15 are zero.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch

from nearsight.hamiltonians import ClassicalModel
from nearsight.hamiltonians.tile_model import TileModel
from nearsight.sampling._checkerboard import RARE, _draw_row, _lowest
from nearsight.sampling._codes import Arrays, UpdateKernel, chain_streams
from nearsight.sampling._streams import TRIED, U32, boltzmann, kernel, stream

F32, I32 = np.float32, np.int32
ABREAST = 16
"""So many chains are updated together, site by site; fewer one after the other, colour by colour."""
LARGEST = 2.0**30
"""Largest difference of energies in steps."""


def _logarithm(degree: int) -> tuple[np.float32, ...]:
    """Coefficients of ln(1 + x)/x on [0, 1], lowest first, right to 1e-8."""
    nodes = np.cos((2 * np.arange(32) + 1) * np.pi / 64)
    x = (nodes + 1) / 2
    fit = np.polynomial.Chebyshev.fit(x, np.log1p(x) / x, degree, domain=[0, 1])
    return tuple(F32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


LOG = _logarithm(9)
LN2 = F32(math.log(2))


@numba.njit(nogil=True)
def _to_floats(draw, x):
    for j in range(len(x)):
        x[j] = F32(I32(draw[j])) + F32(0.5)


@numba.njit(nogil=True)
def _complements_to_floats(draw, x):
    for j in range(len(x)):
        x[j] = F32(I32(U32(0x7FFFFFFF) - draw[j])) + F32(0.5)


@numba.njit(nogil=True)
def _minus_logarithms(bits, result):
    """-ln(x / 2^31) from the exponents and mantissas of positive floats x, given as integers."""
    for j in range(len(result)):
        exponent = F32(I32(bits[j] >> I32(23)) - I32(127 + 31))
        m = F32(I32(bits[j] & I32(0x7FFFFF))) * F32(2.0**-23)
        series = LOG[9]
        series = series * m + LOG[8]
        series = series * m + LOG[7]
        series = series * m + LOG[6]
        series = series * m + LOG[5]
        series = series * m + LOG[4]
        series = series * m + LOG[3]
        series = series * m + LOG[2]
        series = series * m + LOG[1]
        series = series * m + LOG[0]
        result[j] = -(exponent * LN2 + m * series)


@numba.njit(nogil=True)
def _thresholds(a, b, c, d, draw, x, bits, other, heat_bath, scale, result):
    """The energies below which a change is accepted, in steps, from the generators (a, b, c, d) of every lane.

    ``scale`` is kT in steps; ``bits`` are those of the floats ``x``.
    """
    _draw_row(a, b, c, d, draw)
    if heat_bath:
        _complements_to_floats(draw, x)
        _minus_logarithms(bits, other)
    _to_floats(draw, x)
    _minus_logarithms(bits, result)
    if _lowest(draw) < RARE:
        for j in range(len(draw)):
            if draw[j] < RARE:
                first, k = np.float64(draw[j]), j + 1
                _draw_row(a[j:k], b[j:k], c[j:k], d[j:k], draw[j:k])
                result[j] = F32(math.log(2.0**31) - math.log(first + (np.float64(draw[j]) + 0.5) * 2.0**-31))
    if heat_bath:
        for j in range(len(result)):
            result[j] = (result[j] - other[j]) * scale[j]
    else:
        skipped = F32(-math.log(TRIED))
        for j in range(len(result)):
            # A change that lowers the energy has ΔE = 0 for the rule: none is accepted at a negative threshold.
            e = result[j] - skipped
            result[j] = e * scale[j] if e > F32(0.0) else F32(-np.inf)


@numba.njit(nogil=True)
def _propose(a, b, c, d, draw, states, q, step):
    """The change b - a of every state, b any other with equal odds."""
    if q == 2:
        for j in range(len(step)):
            step[j] = I32(1) - I32(2) * I32(states[j])
    else:
        _draw_row(a, b, c, d, draw)
        for j in range(len(step)):
            new = I32(states[j]) + I32(1) + I32((np.uint64(draw[j]) * np.uint64(q - 1)) >> np.uint64(31))
            step[j] = (new - I32(q) if new >= I32(q) else new) - I32(states[j])


@numba.njit(nogil=True)
def _add_costs(table, codes, power, step, cost):
    """What a change costs in the tiles of one slot, one code a lane."""
    for j in range(len(cost)):
        c = codes[j]
        cost[j] += I32(table[U32(c + step[j] * power)] - table[U32(c)])


@numba.njit(nogil=True)
def _add_costs_at(table, codes, tile, power, step, cost):
    """The same for the tiles ``tile`` of a colour, each lane with a place of its own in its tile."""
    for j in range(len(cost)):
        c = codes[U32(tile[j])]
        cost[j] += I32(table[U32(c + step[j] * power[j])] - table[U32(c)])


@numba.njit(nogil=True)
def _decide(cost, threshold, step, states):
    """Steps that are refused become 0; states take the others."""
    for j in range(len(cost)):
        taken = step[j] if F32(cost[j]) < threshold[j] else I32(0)
        step[j] = taken
        states[j] += np.int8(taken)


@kernel
def sweep_abreast(states, codes, tile, power, table, q, streams, scale, heat_bath, sweeps):
    """``sweeps`` sweeps of chains abreast: ``states`` (site, chain), ``codes`` (tile, chain), ``streams`` (4, chain);
    ``tile`` and ``power`` (site, slot)."""
    sites, lanes = states.shape
    draw, x = np.empty(lanes, np.uint32), np.empty(lanes, np.float32)
    bits, other, threshold = x.view(np.int32), np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    step, cost = np.empty(lanes, np.int32), np.empty(lanes, np.int32)
    a, b, c, d = streams[0], streams[1], streams[2], streams[3]
    for _ in range(sweeps):
        for i in range(sites):
            _thresholds(a, b, c, d, draw, x, bits, other, heat_bath, scale, threshold)
            _propose(a, b, c, d, draw, states[i], q, step)
            cost[:] = 0
            for k in range(tile.shape[1]):
                _add_costs(table, codes[tile[i, k]], power[i, k], step, cost)
            _decide(cost, threshold, step, states[i])
            for k in range(tile.shape[1]):
                own, change = codes[tile[i, k]], power[i, k]
                for j in range(lanes):
                    own[j] += step[j] * change


@kernel
def sweep_colours(states, codes, starts, tile, power, table, q, streams, scale, heat_bath, sweeps):
    """``sweeps`` sweeps of one chain: ``states`` (site,) colour by colour, which begin at ``starts``; ``tile`` and
    ``power`` (slot, site) in the same order, ``streams`` (4, lane)."""
    lanes = streams.shape[1]
    draw, x = np.empty(lanes, np.uint32), np.empty(lanes, np.float32)
    bits, other, threshold = x.view(np.int32), np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    step, cost = np.empty(lanes, np.int32), np.empty(lanes, np.int32)
    a, b, c, d = streams[0], streams[1], streams[2], streams[3]
    for _ in range(sweeps):
        for colour in range(len(starts) - 1):
            first, last = starts[colour], starts[colour + 1]
            n = last - first
            own = states[first:last]
            drawn, costs = draw[:n], cost[:n]
            _thresholds(a, b, c, d, drawn, x[:n], bits, other[:n], heat_bath, scale, threshold[:n])
            _propose(a, b, c, d, drawn, own, q, step[:n])
            costs[:] = 0
            for k in range(len(tile)):
                _add_costs_at(table, codes, tile[k, first:last], power[k, first:last], step, costs)
            _decide(costs, threshold, step, own)
            for k in range(len(tile)):
                where, change = tile[k, first:last], power[k, first:last]
                for j in range(n):
                    codes[where[j]] += step[j] * change[j]


@kernel
def sweep_heat_bath(states, codes, tile, power, table, q, beta, streams, sweeps):
    """The heat bath of any number of states, site by site, chain by chain: ``states`` (chain, site), energies as they
    are."""
    chains, sites = states.shape
    energy = np.empty(q)
    for chain in range(chains):
        spins, own, rng, inverse = states[chain], codes[chain], streams[chain], beta[chain]
        for _ in range(sweeps):
            for i in range(sites):
                old = spins[i]
                for a in range(q):
                    energy[a] = 0.0
                    for k in range(tile.shape[1]):
                        energy[a] += table[own[tile[i, k]] + (a - old) * power[i, k]]
                new = boltzmann(energy, inverse, rng)
                spins[i] = new
                for k in range(tile.shape[1]):
                    own[tile[i, k]] += (new - old) * power[i, k]


class TileKernel(UpdateKernel):
    """A :class:`~nearsight.hamiltonians.TileModel`, by Metropolis's rule or a heat bath."""

    name = "tiles"

    def __init__(self, model: ClassicalModel, rule: str) -> None:
        super().__init__(model, rule)
        if not isinstance(model, TileModel):
            raise TypeError(f"Tables of tiles are those of a TileModel, not of {model!r}.")
        self.tiles = tiles = model.wide_tiles
        width = model.lattice.cells[tiles.sites[0]].max(0) + 1
        self.order, self.starts = _colours(model.lattice.shape, width)
        tile, power = (x[self.order].astype(np.int32) for x in tiles.around)
        self.tile, self.power = tile, power
        self.by_slot = np.ascontiguousarray(tile.T), np.ascontiguousarray(power.T)
        self.steps = LARGEST / ((float(np.ptp(tiles.table)) or 1.0) * tile.shape[1])
        """Steps in a unit of energy."""
        self.table = np.rint((tiles.table - tiles.table.min()) * self.steps).astype(np.int32)
        self.several = rule == "heat-bath" and model.n_states > 2
        """Whether a site draws from more than two states at once."""

    def init_state(self, states: np.ndarray, seed: tuple[int, ...]) -> Arrays:
        codes = self.tiles.codes(torch.from_numpy(states)).numpy().astype(np.int32)
        chains, states = len(states), states[:, self.order]
        self.abreast = chains >= ABREAST and not self.several
        if self.several:
            return {"states": states, "codes": codes, "streams": chain_streams(seed, chains)}
        lanes = 1 if self.abreast else int(np.diff(self.starts).max())
        streams = np.stack([stream(*seed, chain, lanes=lanes, bits=32) for chain in range(chains)])
        if self.abreast:
            return {"states": states.T.copy(), "codes": codes.T.copy(), "streams": streams[..., 0].T.copy()}
        return {"states": states, "codes": codes, "streams": streams}

    def set_temperature(self, kT: np.ndarray) -> None:
        super().set_temperature(kT)
        self.scale = (kT * self.steps).astype(np.float32)

    def sweep(self, arrays: Arrays, number: int) -> None:
        states, codes, streams = arrays["states"], arrays["codes"], arrays["streams"]
        q, heat_bath = self.model.n_states, self.rule == "heat-bath"
        if self.several:
            table = self.tiles.table
            sweep_heat_bath(states, codes, self.tile, self.power, table, q, self.beta, streams, number)
        elif self.abreast:
            scale = self.scale
            sweep_abreast(states, codes, self.tile, self.power, self.table, q, streams, scale, heat_bath, number)
        else:
            tile, power = self.by_slot
            for own, code, rng, scale in zip(states, codes, streams, self.scale, strict=True):
                lanes = np.full(rng.shape[1], scale, np.float32)
                sweep_colours(own, code, self.starts, tile, power, self.table, q, rng, lanes, heat_bath, number)

    def states(self, arrays: Arrays) -> np.ndarray:
        stored = arrays["states"].T if self.abreast else arrays["states"]
        states = np.empty(stored.shape, np.int8)
        states[:, self.order] = stored
        return states

    def measure(self, arrays: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        axis = 0 if self.abreast else 1
        energy = self.tiles.table[arrays["codes"]].sum(axis)
        counts = np.stack([(arrays["states"] == a).sum(axis) for a in range(self.model.n_states)], axis=-1)
        return energy, counts, counts


def _colours(shape: tuple[int, ...], width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sites sorted by colour, and where the colours begin and end; sites of one colour are no closer than ``width``
    along some axis."""
    colour = np.zeros(1, np.int64)
    for n, w in zip(shape, width.tolist(), strict=True):
        # n // w groups of w sites or more, as even as they can be; the place in its group is the colour of a site.
        groups = n // w
        first = np.arange(groups) * n // groups
        place = np.arange(n) - np.repeat(first, np.diff(first, append=n))
        colour = (colour[:, None] * n + place).reshape(-1)
    order = np.argsort(colour, kind="stable")
    return order, np.flatnonzero(np.diff(colour[order], prepend=-1, append=-1))
