"""Single-spin updates in three layouts of the chains in memory."""

from __future__ import annotations

import numpy as np

from nearsight.hamiltonians import ClassicalModel
from nearsight.sampling import _checkerboard as checkerboard
from nearsight.sampling import _multispin as multispin
from nearsight.sampling import _single_spin as single_spin
from nearsight.sampling._streams import TRIED, stream

Arrays = dict[str, np.ndarray]


class UpdateKernel:
    """One ``rule``, "metropolis" or "heat-bath", with neighbours from tables: any model on any lattice.

    The other kernels lay out the chains in another way.
    """

    name = "table"

    def __init__(self, model: ClassicalModel, rule: str) -> None:
        self.model, self.rule = model, rule

    def init_state(self, states: np.ndarray, seed: tuple[int, ...]) -> Arrays:
        """States ``(chain, site)`` in the layout of the kernel, and streams."""
        return {"states": states, "streams": chain_streams(seed, len(states))}

    def set_temperature(self, kT: np.ndarray) -> None:
        """Acceptance probabilities for temperatures ``(chain,)``."""
        self.beta = 1 / kT

    def sweep(self, arrays: Arrays, number: int) -> None:
        """Move every chain on by so many sweeps."""
        run = single_spin.sweep_metropolis if self.rule == "metropolis" else single_spin.sweep_heat_bath
        index, strength = self.model.neighbours.index, self.model.neighbours.strength
        states, streams = arrays["states"], arrays["streams"]
        run(states, index, strength, self.model.interaction, self.model.onsite, self.beta, streams, number)

    def states(self, arrays: Arrays) -> np.ndarray:
        """States ``(chain, site)``, int8."""
        return arrays["states"].copy()

    def measure(self, arrays: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Energies and counts of states, as they are and aligned (:meth:`Sampler.observe`), if the layout knows a way
        faster than to read all states."""
        return None


class CheckerboardKernel(UpdateKernel):
    """Ising spins ±1, one a byte, on the checkerboard of an even square torus; a field is allowed."""

    name = "bytes"

    def init_state(self, states: np.ndarray, seed: tuple[int, ...]) -> Arrays:
        spins = (2 * states - 1).astype(np.int8).reshape(-1, *self.model.lattice.shape)
        width = self.model.lattice.shape[1] // 2
        streams = np.stack([stream(*seed, chain, lanes=width, bits=32) for chain in range(len(states))])
        return {"states": checkerboard.split(spins), "streams": streams}

    def set_temperature(self, kT: np.ndarray) -> None:
        J, h = self.model.J[0], self.model.h  # type: ignore[attr-defined]
        tried = TRIED if self.rule == "metropolis" else 1.0
        self.tables = [checkerboard.thresholds(tried * checkerboard.flip_odds(self.rule, J, h, t)) for t in kT]

    def sweep(self, arrays: Arrays, number: int) -> None:
        for grid, state, table in zip(arrays["states"], arrays["streams"], self.tables, strict=True):
            checkerboard.sweep_bytes(grid, state, table, number)

    def states(self, arrays: Arrays) -> np.ndarray:
        spins = checkerboard.join(arrays["states"], self.model.lattice.shape[1])
        return ((spins + 1) // 2).reshape(len(spins), -1)


class MultispinKernel(UpdateKernel):
    """Ising spins of 64 chains at one temperature, one a bit, on the checkerboard of an even square torus."""

    name = "words"

    def init_state(self, states: np.ndarray, seed: tuple[int, ...]) -> Arrays:
        lattices = states.reshape(-1, multispin.REPLICAS, *self.model.lattice.shape)
        grids = np.stack([multispin.pack_replicas(group) for group in lattices])
        streams = np.stack([stream(*seed, group, lanes=multispin.LANES) for group in range(len(grids))])
        return {"states": grids, "streams": streams}

    def set_temperature(self, kT: np.ndarray) -> None:
        groups = kT.reshape(-1, multispin.REPLICAS)
        if (groups != groups[:, :1]).any():
            raise ValueError('64 chains that share words share a temperature; pass code="bytes".')
        J = self.model.J[0]  # type: ignore[attr-defined]
        self.digits = [multispin.word_digits(self.rule, J, t) for t in groups[:, 0]]
        self.gauge = multispin.ONES if J < 0 else multispin.ZERO

    def sweep(self, arrays: Arrays, number: int) -> None:
        half, heat_bath = self.model.lattice.shape[1] // 2, self.rule == "heat-bath"
        for grid, state, (first, second) in zip(arrays["states"], arrays["streams"], self.digits, strict=True):
            multispin.sweep_words(grid, half, state, first, second, self.gauge, heat_bath, number)

    def states(self, arrays: Arrays) -> np.ndarray:
        columns = self.model.lattice.shape[1]
        lattices = np.concatenate([multispin.unpack_replicas(grid, columns) for grid in arrays["states"]])
        return lattices.reshape(len(lattices), -1)

    def measure(self, arrays: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        half, n = self.model.lattice.shape[1] // 2, self.model.lattice.n_sites
        counted = [multispin.count(grid, half, self.gauge) for grid in arrays["states"]]
        unsatisfied, up, aligned = (np.concatenate(numbers) for numbers in zip(*counted, strict=True))
        energy = abs(self.model.J[0]) * (2.0 * unsatisfied - 2 * n)  # type: ignore[attr-defined]
        return energy, np.stack([n - up, up], axis=-1), np.stack([n - aligned, aligned], axis=-1)


def chain_streams(seed: tuple[int, ...], chains: int) -> np.ndarray:
    """One 64-bit generator for each chain ``(chain, 4)``."""
    return np.stack([stream(*seed, chain)[:, 0] for chain in range(chains)])


CODES: dict[str, type[UpdateKernel]] = {code.name: code for code in (UpdateKernel, CheckerboardKernel, MultispinKernel)}
