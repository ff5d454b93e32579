"""Sampled configurations on disk, a bit a site where there are two states, and read a slice at a time."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import zarr
from torch import Tensor
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from nearsight._validation import generator, integer
from nearsight._validation import number as real
from nearsight.lattices import Lattice
from nearsight.sampling.thermodynamics import _temperatures
from nearsight.storage import CorruptFileError, data_hash

FORMAT = 2
"""Version of the layout; a reader refuses a newer one. Those of version 1 have no hash of the attributes."""
CHUNK_BYTES = 2**22
COLUMNS = {
    "states": (("byte",), "u1"),
    "kT": ((), "f8"),
    "energy": ((), "f8"),
    "magnetisation": (("component",), "f8"),
    "chain": ((), "i4"),
    "sweep": ((), "i8"),
}
"""Arrays of a store, the dimensions after "snapshot" and the type."""


class Batch(NamedTuple):
    """Fields ``(snapshot, site, component)`` and their rows in the :class:`Snapshots` they come from."""

    fields: Tensor
    rows: np.ndarray


class Snapshots:
    """Configurations of a classical model in equilibrium, made by :func:`sample`.

    Rows are ordered by temperature, then chain, then time. States stay packed on disk (or in memory, for a store
    without a path) and are unpacked where they are asked for: one bit a site for two states (12.8 kB for 320 × 320),
    one byte otherwise. Columns, one entry a snapshot, are NumPy arrays:

    ``kT``; ``energy`` of the whole lattice; ``magnetisation`` ``(snapshot, component)``, the mean field; ``chain``, its
    number, different for every independent Markov chain; ``sweep``, how many sweeps the chain had made.

    ``attributes`` tell how the snapshots were made: model, sampler, seed, version, and for every temperature
    autocorrelation times, the sweeps discarded and those between two snapshots (``attributes["units"]``).
    """

    def __init__(self, group: zarr.Group, path: Path | None, rows: np.ndarray | None = None) -> None:
        self._group, self.path = group, path
        self.attributes: dict[str, Any] = dict(group.attrs)
        self.lattice = Lattice.from_config(self.attributes["lattice"])
        self.values = torch.tensor(self.attributes["values"], dtype=torch.float64)
        self._packed = len(self.values) == 2
        self._rows = np.arange(self._array("kT").shape[0]) if rows is None else rows
        self._columns: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, path: str | Path) -> Snapshots:
        """The store at ``path``; ``CorruptFileError`` names a file of it that is missing or damaged."""
        path = Path(path)
        if not path.exists():
            parts = path.with_name(path.name + ".parts")
            hint = (
                f"It is unfinished: call sample again, it goes on from {parts}."
                if parts.exists()
                else "Check the path."
            )
            raise FileNotFoundError(f"There are no snapshots at {path}. {hint}")
        try:
            group = zarr.open_group(str(path), mode="r")
            attributes = dict(group.attrs)
            version = attributes.get("snapshots")
        except Exception as error:  # damaged metadata fail in as many ways as there are bytes
            raise CorruptFileError(f"{path} is not a whole zarr group ({error}). {CURE}") from error
        if not isinstance(version, int):
            raise ValueError(f"{path} is a zarr group, but no store of snapshots.")
        if version > FORMAT:
            raise ValueError(f"{path} has format {version}, this version of nearsight reads up to {FORMAT}; update it.")
        if version > 1 and attributes.pop("attributes_hash", None) != data_hash(attributes):
            raise CorruptFileError(f"The attributes in {path / 'zarr.json'} do not have their stored hash. {CURE}")
        for name in COLUMNS:
            if name not in group:
                raise CorruptFileError(f"{path / name} is missing. {CURE}")
            array = group[name]
            for chunk in range(-(-array.shape[0] // array.chunks[0])):  # type: ignore[union-attr]
                # zarr reads a chunk that is not there as zeros.
                if not (file := _file(path, array, chunk)).exists():  # type: ignore[arg-type]
                    raise CorruptFileError(f"{file} is missing. {CURE}")
        return cls(group, path)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        kT = self.temperatures
        where = f"kT = {kT[0]:g}" if len(kT) == 1 else f"{len(kT)} temperatures in [{kT[0]:g}, {kT[-1]:g}]"
        return f"{len(self)} snapshots of {self.attributes['model']}, {where}" if len(self) else "no snapshots"

    # --- columns ----------------------------------------------------------------------------------------------------

    @property
    def kT(self) -> np.ndarray:
        return self._column("kT")

    @property
    def energy(self) -> np.ndarray:
        return self._column("energy")

    @property
    def magnetisation(self) -> np.ndarray:
        return self._column("magnetisation")

    @property
    def chain(self) -> np.ndarray:
        return self._column("chain")

    @property
    def sweep(self) -> np.ndarray:
        return self._column("sweep")

    @property
    def temperatures(self) -> np.ndarray:
        """The temperatures that occur, ascending."""
        return np.unique(self.kT)

    # --- states and fields ------------------------------------------------------------------------------------------

    def states(self, index: slice | int | Sequence[int] | np.ndarray = slice(None)) -> Tensor:
        """States ``(snapshot, site)``, int8, of the rows asked for; one row alone ``(site,)``."""
        rows = self._rows[index]
        states = self._unpack(self._read("states", np.atleast_1d(rows)))
        return states[0] if np.ndim(rows) == 0 else states

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
        chunk = self._rows // self._array("states").chunks[0]
        _, run = np.unique(chunk, return_inverse=True)
        if rng is not None:
            run = torch.randperm(int(run.max(initial=-1)) + 1, generator=rng).numpy()[run] // 16
        waiting, packed = np.zeros(0, int), np.zeros((0, self._array("states").shape[1]), np.uint8)
        for number in range(int(run.max(initial=-1)) + 1):
            index = np.flatnonzero(run == number)
            if rng is not None:
                index = index[torch.randperm(len(index), generator=rng).numpy()]
            waiting = np.concatenate([waiting, index])
            packed = np.concatenate([packed, self._read("states", self._rows[index])])
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
        return Snapshots(self._group, self.path, self._rows[keep])

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
        if self._packed:
            packed = np.unpackbits(packed, axis=1, count=self.lattice.n_sites, bitorder="little")
        return torch.from_numpy(packed.view(np.int8))

    def _fields(self, packed: np.ndarray, dtype: torch.dtype) -> Tensor:
        return self.values.to(dtype)[self._unpack(packed).long()]

    # --- reading ----------------------------------------------------------------------------------------------------

    def _array(self, name: str) -> zarr.Array:
        return self._group[name]  # type: ignore[return-value]

    def _column(self, name: str) -> np.ndarray:
        if name not in self._columns:
            self._columns[name] = self._read(name, self._rows)
        return self._columns[name]

    def _read(self, name: str, rows: np.ndarray) -> np.ndarray:
        array = self._array(name)
        result = np.empty((len(rows), *array.shape[1:]), array.dtype)
        size = array.chunks[0]
        for chunk in np.unique(rows // size).tolist():
            here = rows // size == chunk
            try:
                result[here] = np.asarray(array[chunk * size : (chunk + 1) * size])[rows[here] - chunk * size]
            except (ValueError, RuntimeError, OSError) as error:
                file = _file(self.path, array, chunk) if self.path else name
                raise CorruptFileError(f"{file} is damaged ({error}). {CURE}") from error
        return result


CURE = "Delete the store and sample again (the same seed gives the same snapshots), or restore a copy."


class Writer:
    """A new store, filled block by block."""

    def __init__(
        self, path: Path | None, count: int, sites: int, values: np.ndarray, attributes: dict[str, Any]
    ) -> None:
        self.packed, self.filled = len(values) == 2, 0
        store: Any = MemoryStore() if path is None else str(path)
        self.group = zarr.create_group(store, zarr_format=3, attributes={"snapshots": FORMAT, **attributes})
        sizes = {"byte": -(-sites // 8) if self.packed else sites, "component": values.shape[1]}
        for name, (dimensions, dtype) in COLUMNS.items():
            shape = tuple(sizes[d] for d in dimensions)
            row = int(np.prod(shape)) * np.dtype(dtype).itemsize
            self.group.create_array(
                name,
                shape=(count, *shape),
                dtype=np.dtype(dtype),
                chunks=(min(count, max(1, CHUNK_BYTES // row)), *shape),
                # The checksum tells which file is damaged; a chunk that is never left out can be missed.
                compressors=[ZstdCodec(level=1), Crc32cCodec()],
                config={"write_empty_chunks": True},
                fill_value=0,
                dimension_names=("snapshot", *dimensions),
            )

    def write(self, block: dict[str, np.ndarray]) -> None:
        """Append snapshots; ``states`` as :func:`pack` made them."""
        stop = self.filled + len(block["kT"])
        for name in COLUMNS:
            self.group[name][self.filled : stop] = block[name]  # type: ignore[index]
        self.filled = stop

    def close(self) -> zarr.Group:
        self.group.attrs["attributes_hash"] = data_hash(dict(self.group.attrs))
        with warnings.catch_warnings():
            # Readers such as xarray look for consolidated metadata, which zarr 3 calls an extension.
            warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
            return zarr.consolidate_metadata(self.group.store)


def pack(states: np.ndarray, n_states: int) -> np.ndarray:
    """States ``(snapshot, site)`` as rows of bytes: eight sites a byte for two states, the first in its lowest bit."""
    return np.packbits(states.view(np.uint8), axis=1, bitorder="little") if n_states == 2 else states.view(np.uint8)


def _file(path: Path, array: zarr.Array, chunk: int) -> Path:
    place = (chunk, *(0 for _ in array.shape[1:]))
    return path / array.basename / array.metadata.encode_chunk_key(place)
