"""Arrays of a table as zarr keeps them: chunks that are whole or absent, and a hash chained through the rows."""

from __future__ import annotations

import asyncio
import hashlib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from nearsight.storage.files import write_atomic

CHUNK_BYTES = 2**22


@dataclass(frozen=True)
class Column:
    """One array: the dimensions of a row, their sizes, and the type."""

    name: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype


class AtomicStore(LocalStore):
    """A zarr directory in which a chunk is the old one or the new one, on disk, never a part of either."""

    async def set(self, key: str, value: Any) -> None:
        await asyncio.to_thread(write_atomic, self.root / key, value.as_buffer_like())


class ColumnWriter:
    """One zarr array, filled through the chunk at its end, with the hash of all its rows."""

    def __init__(self, array: zarr.Array) -> None:
        self.array = array
        self.start, self.filled, self.changed = 0, 0, False
        self.buffer = np.full((array.chunks[0], *array.shape[1:]), array.fill_value, array.dtype)
        self.digest = ""

    def append(self, block: np.ndarray, *, written: bool = False) -> None:
        """Take up rows; those that are ``written`` already are not written again."""
        block = np.asarray(block, self.buffer.dtype)
        self.digest = chained(self.digest, block)
        while len(block):
            if self.filled == len(self.buffer):
                if not written:
                    self.flush()
                self.start, self.filled = self.start + self.filled, 0
                self.buffer[min(len(block), len(self.buffer)) :] = self.array.fill_value
            count = min(len(block), len(self.buffer) - self.filled)
            self.buffer[self.filled : self.filled + count] = block[:count]
            self.filled, self.changed, block = self.filled + count, True, block[count:]

    def flush(self) -> None:
        """Put the chunk on disk if it is not there as it is."""
        if self.changed:
            # The whole chunk, so that nothing which a killed run left beyond the last row survives.
            rows = min(len(self.buffer), self.array.shape[0] - self.start)
            self.array[self.start : self.start + rows] = self.buffer[:rows]
            self.changed = False


def chunks(column: Column, rows: int) -> tuple[int, ...]:
    """At most 4 MiB: many small rows together, or one row cut along its replicas. A lattice is never cut."""
    size = max(1, int(np.prod(column.shape)) * column.dtype.itemsize)
    inner = [max(1, n) for n in column.shape]
    if column.dimensions[:1] == ("replica",):
        inner[0] = max(1, min(column.shape[0], CHUNK_BYTES * column.shape[0] // size))
    return (max(1, min(rows, CHUNK_BYTES // size)), *inner)


def chained(digest: str, rows: np.ndarray) -> str:
    little = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))
    content = little.reshape(-1).view(np.uint8).data if little.size else memoryview(b"")
    size = len(content) // max(1, len(rows))
    for row in range(len(rows)):
        content_hash = hashlib.sha256(digest.encode())
        content_hash.update(content[row * size : (row + 1) * size])
        digest = content_hash.hexdigest()
    return digest


def described(array: zarr.Array) -> str:
    """The metadata of an array, without the number of its rows, which a killed extension leaves different."""
    return repr({**array.metadata.to_dict(), "shape": array.shape[1:]})


def consolidate(store: Any) -> None:
    with warnings.catch_warnings():
        # Readers such as xarray look for consolidated metadata, which zarr 3 calls an extension.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(store)
