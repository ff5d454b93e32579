"""Models of two states as spins with couplings and fields, in the form that loops over many chains read."""

from __future__ import annotations

from typing import Any

import numpy as np

from nearsight.hamiltonians import ClassicalModel
from nearsight.sampling import _abreast as abreast
from nearsight.sampling._checkerboard import RARE, SCALE
from nearsight.sampling._clusters import alignment
from nearsight.sampling._codes import Arrays, UpdateKernel
from nearsight.sampling._lanes import NEVER, WIDTH
from nearsight.sampling._streams import TRIED, stream

MOST_LEVELS = 16
"""Models whose spins have more different energies have their odds worked out."""
LARGEST_FIELD = 60
"""Largest whole local field."""


class LaneKernel(UpdateKernel):
    r"""Models of two states with any bonds, all chains abreast (:mod:`nearsight.sampling._abreast`).

    With s = ±1 for the states every such model is :math:`E = C - \sum_{ij} J_{ij} s_i s_j - \sum_i h_i s_i`.
    """

    name = "lanes"

    def __init__(self, model: ClassicalModel, rule: str) -> None:
        super().__init__(model, rule)
        g, onsite = model.interaction, model.onsite
        square, linear, mean = g[0, 0] - 2 * g[0, 1] + g[1, 1], g[1, 1] - g[0, 0], g[0, 0] + 2 * g[0, 1] + g[1, 1]
        pairs, neighbours = model.pairs, model.neighbours
        coupling, table = pairs.strength * square / 4, neighbours.strength * square / 4
        field = (onsite[:, 0] - onsite[:, 1]) / 2 + linear / 4 * neighbours.strength.sum(1)
        constant = float(onsite.sum() / 2 - mean / 4 * pairs.strength.sum())
        whole = _whole(neighbours.index, table) if np.ptp(field) == 0 else None
        self.levels: list[np.ndarray] = []
        if whole is not None:
            self.unit, index, plus, minus, sums = whole
            self.levels = _levels(rule, sums, field[0] / self.unit)
        if sum(map(len, self.levels)) > MOST_LEVELS:
            self.levels = []
        if not self.levels:
            index, plus, minus = neighbours.index, np.zeros(len(table), np.int64), np.zeros(len(table), np.int64)
            self.unit = max(float(np.abs(table).max(initial=0.0)), float(np.abs(field).max()), 1e-300)
        self.field = field[0] / self.unit
        reverse = alignment(model)
        self.staggered = None if reverse is None or not reverse.any() else (1 - 2 * reverse[:, None]).astype(np.int8)
        """Signs ``(site, 1)`` of the sublattices of a model whose bonds favour opposite spins on two of them."""
        self.bonds = abreast.Bonds(
            neighbour=np.ascontiguousarray(index, np.int32),
            plus=plus,
            minus=minus,
            strength=(table / self.unit).astype(np.float32),
            start=(field / self.unit).astype(np.float32),
            first=pairs.i.astype(np.int64),
            second=pairs.j.astype(np.int64),
            coupling=coupling.astype(float),
            onsite=field.astype(float),
            unit=self.unit,
            constant=constant,
            field=bool(field.any()),
        )

    def init_state(self, states: np.ndarray, seed: tuple[int, ...]) -> Arrays:
        chains, sites = states.shape
        lanes = -(-chains // WIDTH) * WIDTH
        self.spins, self.streams = np.ones((sites, lanes), np.int8), np.empty((4, lanes), np.uint32)
        arrays = {
            "spins": (2 * states - 1).astype(np.int8),
            "streams": np.stack([stream(*seed, chain, bits=32)[:, 0] for chain in range(chains)]),
        }
        self.place(arrays)
        return arrays

    def place(self, arrays: Arrays) -> None:
        """Make arrays ``(chain, ...)`` views of the memory that the loops work on, with what they hold."""
        chains = len(arrays["spins"])
        for name, memory in (("spins", self.spins), ("streams", self.streams)):
            if not np.shares_memory(arrays[name], memory):
                memory[:, :chains] = arrays[name].T
                arrays[name] = memory[:, :chains].T
                if name == "streams":
                    memory[:, chains:] = memory[:, :1]

    def odds(self, kT: np.ndarray) -> abreast.Odds:
        """What the loops read of temperatures ``(chain,)``."""
        most = max(map(len, self.levels), default=0)
        first, rest = np.zeros((2, max(len(self.levels), 1), most, len(kT)), np.int32)
        steps = np.zeros((len(first), most), np.int32)
        for k, (sign, levels) in enumerate(zip((1, -1), self.levels, strict=False)):
            cost = 2 * self.unit * (levels + sign * self.field)[:, None] / kT
            with np.errstate(under="ignore"):
                if self.rule == "metropolis":
                    odds = TRIED * np.exp(-np.maximum(cost, 0.0))
                else:
                    odds = np.exp(-np.logaddexp(0.0, cost))
            n = len(levels)
            first[k, :n], rest[k, :n] = _digits(odds)
            steps[k, :n] = np.diff(levels, prepend=NEVER)
        with np.errstate(over="ignore"):
            scale = np.minimum(2 * self.unit / (np.log(2) * kT), 1e30).astype(np.float32)
        return abreast.Odds(first, rest, steps, scale, self.rule == "heat-bath")

    def set_temperature(self, kT: np.ndarray) -> None:
        padded = np.concatenate([kT, np.full(self.spins.shape[1] - len(kT), kT[0])])
        self.tables = self.odds(padded)

    def sweep(self, arrays: Arrays, number: int) -> None:
        self.place(arrays)
        abreast.sweep_abreast(self.spins, self.bonds, self.tables, self.streams, number)

    def states(self, arrays: Arrays) -> np.ndarray:
        return np.ascontiguousarray((arrays["spins"] + 1) >> 1)

    def measure(self, arrays: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.place(arrays)
        chains, sites = arrays["spins"].shape
        energy = np.empty(self.spins.shape[1])
        abreast.measure_abreast(self.spins, self.bonds, len(self.levels) > 0, energy)
        up = (sites + self.spins.sum(0, dtype=np.int64)[:chains]) // 2
        turned = up
        if self.staggered is not None:
            turned = (sites + (self.spins * self.staggered).sum(0, dtype=np.int64)[:chains]) // 2
        counts, aligned = (np.stack([sites - x, x], axis=-1) for x in (up, turned))
        return energy[:chains], counts, aligned


def _digits(odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first 31 binary digits of probabilities and, where these are below ``RARE``, the 31 that follow."""
    scaled = odds * SCALE
    first = np.where(scaled < RARE, np.floor(scaled), np.minimum(np.rint(scaled), SCALE - 1))
    return first, np.where(scaled < RARE, np.floor((scaled - first) * SCALE), 0.0)


def _whole(index: np.ndarray, table: np.ndarray) -> Any:
    """Couplings ``(site, slot)`` as whole multiples of a unit: the unit, neighbours (as often as their multiples say)
    with positive couplings before those with negative ones, where either end, and the values of the local field.

    None if there is no such unit, or if multiples are large.
    """
    unit = float(np.abs(table[table != 0]).min(initial=np.inf))
    if not np.isfinite(unit):
        unit = 1.0
    times = np.rint(table / unit)
    size = np.abs(times).sum(1)
    if not np.allclose(times * unit, table, rtol=1e-13, atol=0.0) or size.max() > min(
        LARGEST_FIELD, 2 * table.shape[1]
    ):
        return None
    plus, minus = times.clip(min=0).sum(1).astype(np.int64), size.astype(np.int64)
    order = np.argsort(-times, axis=1, kind="stable")
    count = np.abs(np.take_along_axis(times, order, axis=1)).astype(np.int64)
    expanded = np.repeat(np.arange(len(index))[:, None], max(int(minus.max(initial=0)), 1), axis=1)
    expanded[np.arange(expanded.shape[1]) < minus[:, None]] = np.repeat(
        np.take_along_axis(index, order, axis=1), count.ravel()
    )
    sums: set[int] = set()
    for row in np.unique(np.sort(np.abs(times), axis=1), axis=0).astype(int).tolist():
        own_sums = {0}
        for n in row:
            own_sums = {m + s for m in own_sums for s in (n, -n)}
        sums |= own_sums
    return unit, expanded, plus, minus, np.array(sorted(sums))


def _levels(rule: str, sums: np.ndarray, field: float) -> list[np.ndarray]:
    """Values of s f at which the odds change, for s = 1 and, in a field, s = -1: Metropolis's rule accepts all that
    lowers the energy alike."""
    found = []
    for sign in (1, -1) if field else (1,):
        free = sums + sign * field <= 0
        found.append(sums if rule == "heat-bath" or not free.any() else sums[np.flatnonzero(free)[-1] :])
    return found
