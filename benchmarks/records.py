"""Records of large fields on disk, next to the bare hash and compression of their bytes.

python benchmarks/records.py [sites]
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from numcodecs.zstd import compress
from rich.console import Console
from support.timing import in_turn

from nearsight.storage.table import Column, Table

RECORDS = 40
LEVEL = 3
"""Of compression, as the library has it."""


def main(sites: int) -> None:
    field = np.random.default_rng(1).standard_normal((1, sites, 1))
    with tempfile.TemporaryDirectory() as folder:
        column = Column("field", ("site", "component"), (sites, 1), np.dtype(float))
        table = Table.create(Path(folder) / "run", [column], {}, rows=RECORDS)

        def recorded() -> None:
            table.append({"field": field})
            table.flush()

        def bare() -> bytes:
            hashlib.sha256(field.data.cast("B")).hexdigest()
            return compress(field, LEVEL)

        def on_disk() -> None:
            with open(Path(folder) / "bare", "wb") as file:
                file.write(bare())
                os.fsync(file.fileno())

        found = in_turn({"record": recorded, "hash and compression": bare, "the same, to disk": on_disk}, RECORDS // 2)
    megabytes = 1e-6 * field.nbytes
    console = Console(width=120)
    console.print(f"A record of {sites} sites, {megabytes:.1f} MB, processor time of one thread")
    for name, seconds in found.items():
        ratio = seconds / found["hash and compression"]
        console.print(f"{name:22} {1e3 * seconds:6.1f} ms  {megabytes / seconds:5.0f} MB/s  {ratio:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2] or [10**6]))
