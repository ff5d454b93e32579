"""Records of a run: a table in memory, or one on disk that survives a kill at any moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from nearsight.dynamics.run._checkpoint import TRAJECTORY, cure
from nearsight.storage import atomic_directory, data_hash
from nearsight.storage.table import Column, Table

CHUNK_RECORDS = 2**10
"""Small records are gathered to so many a chunk, whatever the length of the run: it may be extended later."""
ATTRIBUTES = "attributes of the group"
"""Among the digests; those of runs of 0.1 lack it."""


class Records(Table):
    """What a run records. A checkpoint that keeps ``all_digests`` vouches for all the rows before it."""

    noun, dimension = "trajectory", "record"

    @classmethod
    def start(cls, path: Path | None, layout: Iterable[Column], rows: int, attrs: dict[str, Any]) -> Self:
        """Room for so many records of a new run, which it can fill from a step on."""
        columns = [Column("step", (), (), np.dtype(np.int64)), *layout]
        attrs = attrs | {"coordinates": " ".join(c.name for c in columns if c.name in ("step", "time"))}
        if path is None:
            return cls.create(None, columns, attrs, rows=rows)
        with atomic_directory(path) as directory:
            cls.create(directory, columns, attrs, rows=rows, chunk_rows=CHUNK_RECORDS)
        return cls.resume(path, 0, {})

    @classmethod
    def resume(cls, path: Path, rows: int, digests: Mapping[str, str]) -> Self:
        """The records of an interrupted run, of which the first ``rows`` must be what ``digests`` says."""
        arrays = dict(digests)
        expected = arrays.pop(ATTRIBUTES, None)
        records = super().resume(path, rows, arrays)
        if expected not in (None, data_hash(records.attrs)):
            raise cls._damaged(path / "zarr.json", "its attributes are not those the checkpoint vouches for")
        return records

    @property
    def all_digests(self) -> dict[str, str]:
        """What a checkpoint keeps: hashes of the rows and of the attributes."""
        return self.digests | {ATTRIBUTES: data_hash(self.attrs)}

    @classmethod
    def _cure(cls, path: Path) -> str:
        words = cure(next(place for place in (path, *path.parents) if place.name == TRAJECTORY).parent)
        return words[0].upper() + words[1:]
