"""Sampled configurations on disk, a bit a site where there are two states, and read a slice at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import generator, integer
from nearsight._validation import number as real
from nearsight.lattices import Lattice
from nearsight.sampling.thermodynamics import _temperatures
from nearsight.storage.table import Column, Table

_COLUMNS = {
    "states": (("byte",), "u1"),
    "kT": ((), "f8"),
    "energy": ((), "f8"),
    "magnetisation": (("component",), "f8"),
    "chain": ((), "i4"),
    "sweep": ((), "i8"),
}
"""Arrays of a store, the dimensions after "snapshot" and the type."""


class Batch(NamedTuple):
    """Fields ``(snapshot, site, component)`` and their rows in the :class:`Snapshots` they come from.

    :meth:`Snapshots.batches` yields them.
    """

    fields: Tensor
    rows: np.ndarray


class Snapshots(Table):
    """Configurations of a classical model in equilibrium, made by :func:`sample`.

    Rows are ordered by temperature, then chain, then time. States stay packed on disk (or in memory, for a store
    without a path) and are unpacked where they are asked for: one bit a site for two states (12.8 kB for 320 × 320),
    one byte otherwise. Columns, one entry a snapshot, are NumPy arrays:

    ``kT``; ``energy`` of the whole lattice; ``magnetisation`` ``(snapshot, component)``, the mean field; ``chain``, its
    number, different for every independent Markov chain; ``sweep``, how many sweeps the chain had made.

    ``attrs`` tell how the snapshots were made: model, sampler, seed, version, and for every temperature
    autocorrelation times, the sweeps discarded and those between two snapshots (``attrs["units"]``).
    """

    noun, key, dimension = "store of snapshots", "snapshots", "snapshot"
    cure = "Delete the store and sample again (the same seed gives the same snapshots), or restore a copy."

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> Self:
        """The store at ``path``, whose chunks are checked as they are read, or with ``verify`` all at once.

        ``CorruptFileError`` names a file of it that is missing or damaged.
        """
        return super().open(path, verify=verify)

    @classmethod
    def room(cls, path: Path | None, count: int, sites: int, values: np.ndarray, attrs: dict[str, Any]) -> Self:
        """An empty store for ``count`` snapshots, to be filled with blocks whose ``states`` are :func:`pack`ed."""
        sizes = {"byte": -(-sites // 8) if len(values) == 2 else sites, "component": values.shape[1]}
        columns = [Column(n, d, tuple(sizes[x] for x in d), np.dtype(t)) for n, (d, t) in _COLUMNS.items()]
        return cls.create(path, columns, attrs, rows=count)

    @cached_property
    def lattice(self) -> Lattice:
        return Lattice.from_config(self.attrs["lattice"])

    @cached_property
    def values(self) -> Tensor:
        """Fields of the states ``(state, component)``, float64."""
        return torch.tensor(self.attrs["values"], dtype=torch.float64)

    def __repr__(self) -> str:
        kT = self.temperatures
        where = f"kT = {kT[0]:g}" if len(kT) == 1 else f"{len(kT)} temperatures in [{kT[0]:g}, {kT[-1]:g}]"
        return f"{len(self)} snapshots of {self.attrs['model']}, {where}" if len(self) else "no snapshots"

    # --- columns ----------------------------------------------------------------------------------------------------

    @cached_property
    def kT(self) -> np.ndarray:
        return self.read("kT")

    @cached_property
    def energy(self) -> np.ndarray:
        return self.read("energy")

    @cached_property
    def magnetisation(self) -> np.ndarray:
        return self.read("magnetisation")

    @cached_property
    def chain(self) -> np.ndarray:
        return self.read("chain")

    @cached_property
    def sweep(self) -> np.ndarray:
        return self.read("sweep")

    @property
    def temperatures(self) -> np.ndarray:
        """The temperatures that occur, ascending."""
        return np.unique(self.kT)

    # --- states and fields ------------------------------------------------------------------------------------------

    def states(self, index: slice | int | Sequence[int] | np.ndarray = slice(None)) -> Tensor:
        """States ``(snapshot, site)``, int8, of the rows asked for; one row alone ``(site,)``."""
        states = self._unpack(self.read("states", index))
        return states[0] if np.ndim(self._rows[index]) == 0 else states

    def fields(
        self, index: slice | int | Sequence[int] | np.ndarray = slice(None), *, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Fields ``(snapshot, site, component)`` of the rows asked for; one row alone ``(site, component)``."""
        return self.values.to(dtype)[self.states(index).long()]

    def batches(
        self, size: int, *, rng: torch.Generator | None = None, dtype: torch.dtype = torch.float32
    ) -> Iterator[Batch]:
        """All snapshots once, ``size`` at a time, in order or in an order drawn from ``rng``; the last may be smaller.

        Chunks of the store are read once and a batch is unpacked when its turn comes. A random order mixes within runs
        of 16 chunks (5000 snapshots of 320 × 320 Ising spins) that follow each other in random order.
        """
        size = integer(size, "size", least=1)
        generator(rng, optional=True)
        chunk = self._rows // self.chunk_rows("states")
        _, run = np.unique(chunk, return_inverse=True)
        if rng is not None:
            run = torch.randperm(int(run.max(initial=-1)) + 1, generator=rng).numpy()[run] // 16
        waiting, packed = np.zeros(0, int), np.zeros((0, *self.shape("states")), np.uint8)
        for number in range(int(run.max(initial=-1)) + 1):
            index = np.flatnonzero(run == number)
            if rng is not None:
                index = index[torch.randperm(len(index), generator=rng).numpy()]
            waiting = np.concatenate([waiting, index])
            packed = np.concatenate([packed, self.read("states", index)])
            while len(waiting) >= size:
                yield Batch(self._fields(packed[:size], dtype), waiting[:size])
                waiting, packed = waiting[size:], packed[size:]
        if len(waiting):
            yield Batch(self._fields(packed, dtype), waiting)

    # --- parts ------------------------------------------------------------------------------------------------------

    def select(
        self,
        mask: np.ndarray | None = None,
        *,
        kT: float | Sequence[float] | None = None,
        chain: int | Sequence[int] | None = None,
    ) -> Snapshots:
        """The snapshots at certain temperatures, of certain chains, or where ``mask`` (or an index) says so."""
        keep = np.ones(len(self), bool)
        if mask is not None:
            keep[:] = False
            keep[np.asarray(mask)] = True
        if kT is not None:
            known, wanted = self.temperatures, np.atleast_1d(_temperatures(kT))
            for t in wanted:
                if not np.isclose(known, t, rtol=1e-9).any():
                    raise ValueError(
                        f"There are no snapshots at kT = {t:g}, only at {', '.join(f'{k:g}' for k in known)}."
                    )
            keep &= np.isclose(self.kT[:, None], wanted, rtol=1e-9).any(1)
        if chain is not None:
            keep &= np.isin(self.chain, chain)
        return self.take(keep)

    def split(self, fraction: float, *, rng: torch.Generator) -> tuple[Snapshots, Snapshots]:
        """Two parts, the second with about ``fraction`` of the chains of every temperature: no chain is in both."""
        fraction = real(fraction, "fraction", above=0.0, below=1.0)
        generator(rng)
        second = np.zeros(len(self), bool)
        for t in self.temperatures:
            chains = np.unique(self.chain[self.kT == t])
            if len(chains) < 2:
                raise ValueError(f"One chain at kT = {t:g} cannot be in two parts; sample with chains=2 or more.")
            number = min(max(1, round(fraction * len(chains))), len(chains) - 1)
            drawn = chains[torch.randperm(len(chains), generator=rng).numpy()[:number]]
            second |= np.isin(self.chain, drawn)
        return self.select(~second), self.select(second)

    def _unpack(self, packed: np.ndarray) -> Tensor:
        if len(self.values) == 2:
            packed = np.unpackbits(packed, axis=1, count=self.lattice.n_sites, bitorder="little")
        return torch.from_numpy(packed.view(np.int8))

    def _fields(self, packed: np.ndarray, dtype: torch.dtype) -> Tensor:
        return self.values.to(dtype)[self._unpack(packed).long()]


def pack(states: np.ndarray, n_states: int) -> np.ndarray:
    """States ``(snapshot, site)`` as rows of bytes: eight sites a byte for two states, the first in its lowest bit."""
    return np.packbits(states.view(np.uint8), axis=1, bitorder="little") if n_states == 2 else states.view(np.uint8)
