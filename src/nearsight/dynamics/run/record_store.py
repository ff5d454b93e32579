"""Where records go: arrays in memory, or a zarr group that survives a kill at any moment."""

from __future__ import annotations

import asyncio
import hashlib
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import LocalStore

from nearsight.dynamics.run.checkpoint import TRAJECTORY, cure
from nearsight.dynamics.run.record import Column
from nearsight.storage import CorruptFileError, atomic_directory, data_hash, write_atomic

CHUNK_BYTES = 2**22
CHUNK_RECORDS = 2**10
"""Small records are gathered to so many a chunk, whatever the length of the run: it may be extended later."""
ATTRIBUTES = "attributes of the group"
"""Among the digests; those of runs of 0.1 lack it."""


class AtomicStore(LocalStore):
    """A zarr directory in which a chunk is the old one or the new one, on disk, never a part of either."""

    async def set(self, key: str, value: Any) -> None:
        await asyncio.to_thread(write_atomic, self.root / key, value.to_bytes())


class MemoryRecords:
    """Records of a run that leaves nothing on disk."""

    def __init__(self, layout: Iterable[Column], schedule: np.ndarray, attributes: dict[str, Any]) -> None:
        self.layout, self.schedule, self.attributes = list(layout), schedule, attributes
        self.arrays = {c.name: np.empty((len(schedule), *c.shape), c.dtype) for c in self.layout}

        self.rows = 0

    def write(self, values: dict[str, np.ndarray]) -> None:
        for name, array in self.arrays.items():
            array[self.rows] = values[name]
        self.rows += 1

    def dataset(self) -> xr.Dataset:
        variables = {c.name: (("record", *c.dimensions), self.arrays[c.name]) for c in self.layout if c.name != "time"}
        coordinates: dict[str, Any] = {"step": ("record", self.schedule)}
        for c in self.layout:
            if c.name == "time":
                coordinates["time"] = (("record", *c.dimensions), self.arrays["time"])
        return xr.Dataset(variables, coordinates, self.attributes)


class _Writer:
    """One zarr array, filled row by row through the chunk at its end, with a running hash of all rows."""

    def __init__(self, array: zarr.Array) -> None:
        self.array = array
        self.start, self.filled = 0, 0
        self.buffer = np.full((array.chunks[0], *array.shape[1:]), array.fill_value, array.dtype)
        self.digest = ""

    def append(self, value: np.ndarray) -> None:
        if self.filled == len(self.buffer):
            self.flush()
            self.start, self.filled = self.start + self.filled, 0
            self.buffer[...] = self.array.fill_value
        self.buffer[self.filled] = value
        self.digest = _chained(self.digest, self.buffer[self.filled])
        self.filled += 1

    def flush(self) -> None:
        if self.filled:
            # The whole chunk, so that nothing which a killed run left beyond the last row survives.
            rows = min(len(self.buffer), self.array.shape[0] - self.start)
            self.array[self.start : self.start + rows] = self.buffer[:rows]

    def replay(self, rows: int) -> None:
        """Take up an array whose first ``rows`` rows are committed."""
        size = len(self.buffer)
        for start in range(0, rows, size):
            self.start, self.filled = start, min(size, rows - start)
            self.buffer[...] = self.array.fill_value
            self.buffer[: self.filled] = self.array[start : start + self.filled]
            for row in self.buffer[: self.filled]:
                self.digest = _chained(self.digest, row)


class ZarrRecords:
    """Records in a zarr group (format 3), one array for each quantity, laid out in full before the run starts.

    Rows are written a chunk at a time, each chunk by one atomic replacement. ``digests`` chains a hash through the rows
    of every array; a checkpoint that keeps it vouches for all the records before it.
    """

    def __init__(self, path: Path, group: zarr.Group, rows: int) -> None:
        self.path, self.group, self.rows = path, group, rows
        self.writers = {name: _Writer(array) for name, array in group.arrays() if name != "step"}

    @classmethod
    def create(
        cls, path: Path, layout: Iterable[Column], schedule: np.ndarray, attributes: dict[str, Any]
    ) -> ZarrRecords:
        rows = len(schedule)
        layout = [Column("step", (), (), schedule.dtype), *layout]
        coordinates = " ".join(c.name for c in layout if c.name in ("step", "time"))
        with atomic_directory(path) as directory:
            group = zarr.create_group(
                AtomicStore(directory), attributes={**attributes, "coordinates": coordinates}, zarr_format=3
            )
            for column in layout:
                group.create_array(
                    column.name,
                    shape=(rows, *column.shape),
                    dtype=column.dtype,
                    chunks=_chunks(column),
                    # The checksum names a damaged file to every reader.
                    compressors=[ZstdCodec(level=3), Crc32cCodec()],
                    fill_value=np.nan if column.dtype.kind in "fc" else 0,
                    dimension_names=("record", *column.dimensions),
                    config={"write_empty_chunks": True},
                )
            group["step"][...] = schedule  # type: ignore[index]
            _consolidate(group)
        return cls.open(path, 0, {})

    @classmethod
    def open(cls, path: Path, rows: int, digests: dict[str, str]) -> ZarrRecords:
        """Take up the group of an interrupted run, whose first ``rows`` records must be what ``digests`` says."""
        try:
            # An all-NaN chunk must be written like any other, or it would read back with another NaN.
            with zarr.config.set({"array.write_empty_chunks": True}):
                store = AtomicStore(path)
                records = cls(path, zarr.open_group(store, mode="r+", zarr_format=3, use_consolidated=False), rows)
                shown = zarr.open_group(store, mode="r", zarr_format=3)
                same = {name: _described(a) for name, a in shown.arrays()} == {
                    name: _described(a) for name, a in records.group.arrays()
                }
        except Exception as error:  # damaged metadata fail in as many ways as there are bytes
            raise _corrupt(path, str(error)) from error
        if not same:
            raise _corrupt(path / "zarr.json", "its arrays are not those that lie there")
        if digests.get(ATTRIBUTES, records.attributes_digest) != records.attributes_digest:
            raise _corrupt(path / "zarr.json", "its attributes are not those the checkpoint vouches for")
        try:
            steps = np.asarray(records.group["step"][:rows])  # type: ignore[index]
        except Exception as error:  # as above
            raise _corrupt(path / "step", str(error)) from error
        if (np.diff(steps) <= 0).any():
            raise _corrupt(path / "step", "steps do not grow: a part of them is missing")
        for name in digests.keys() - {ATTRIBUTES}:
            if name not in records.writers:
                raise _corrupt(path / name, "it is missing")
        for name, writer in records.writers.items():
            try:
                writer.replay(rows)
            except Exception as error:  # as above
                raise _corrupt(path / name, str(error)) from error
            if writer.digest != digests.get(name, ""):
                raise _corrupt(path / name, f"its first {rows} records are not those the checkpoint vouches for")
        return records

    def fit(self, schedule: np.ndarray) -> None:
        """Make room for the records of a run that goes on for longer, or ends sooner, than it was started for.

        What is committed stays as it is. The consolidated metadata, by which others read the group, come last: killed
        in between, the group reads as before and the next call begins again.
        """
        arrays = dict(self.group.arrays())
        shown = dict(zarr.open_group(self.group.store, mode="r", zarr_format=3).arrays())
        lengths = {array.shape[0] for array in (*shown.values(), *arrays.values())}
        if lengths == {len(schedule)} and np.array_equal(arrays["step"][...], schedule):
            return
        for array in arrays.values():
            array.resize((len(schedule), *array.shape[1:]))
        arrays["step"][...] = schedule
        for name, writer in self.writers.items():
            writer.array = arrays[name]
        self.flush()
        _consolidate(self.group)

    @property
    def digests(self) -> dict[str, str]:
        return {name: writer.digest for name, writer in self.writers.items()} | {ATTRIBUTES: self.attributes_digest}

    @property
    def attributes_digest(self) -> str:
        return data_hash(dict(self.group.attrs))

    def write(self, values: dict[str, np.ndarray]) -> None:
        for name, writer in self.writers.items():
            writer.append(values[name])
        self.rows += 1

    def flush(self) -> None:
        """Put every record written so far on disk."""
        for writer in self.writers.values():
            writer.flush()

    def dataset(self) -> xr.Dataset:
        return open_dataset(self.path)


def open_dataset(path: Path, rows: int | None = None) -> xr.Dataset:
    """The records of a run on disk, lazily; ``rows`` cuts off what an unfinished run has not committed."""
    try:
        data = xr.open_zarr(path, zarr_format=3)
    except Exception as error:  # as above
        raise _corrupt(path, str(error)) from error
    return data if rows is None else data.isel(record=slice(rows))


def _described(array: zarr.Array) -> str:
    """The metadata of an array, without the number of its records, which a killed extension leaves different."""
    return repr({**array.metadata.to_dict(), "shape": array.shape[1:]})


def _consolidate(group: zarr.Group) -> None:
    with warnings.catch_warnings():
        # Readers such as xarray look for consolidated metadata, which zarr 3 calls an extension.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(group.store)


def _chunks(column: Column) -> tuple[int, ...]:
    """At most 4 MiB: many small records together, or one record cut along its replicas. A lattice is never cut."""
    size = max(1, int(np.prod(column.shape)) * column.dtype.itemsize)
    records = min(max(1, CHUNK_BYTES // size), CHUNK_RECORDS)
    if not column.dimensions or column.dimensions[0] != "replica":
        return (records, *(max(1, n) for n in column.shape))
    replicas = max(1, min(column.shape[0], CHUNK_BYTES * column.shape[0] // size))
    return (records, replicas, *(max(1, n) for n in column.shape[1:]))


def _chained(digest: str, row: np.ndarray) -> str:
    return hashlib.sha256(digest.encode() + np.ascontiguousarray(row).tobytes()).hexdigest()


def _corrupt(path: Path, reason: str) -> CorruptFileError:
    folder = next(place for place in (path, *path.parents) if place.name == TRAJECTORY).parent
    return CorruptFileError(f"{path} is damaged ({reason}): {cure(folder)}")
