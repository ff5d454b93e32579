"""Square blocks of large configurations of ±1 spins, cut without reading the rest."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from torch import Tensor

from nearsight._validation import instance, integer
from nearsight.storage import CorruptFileError

CHUNK = 256
"""Snapshots unpacked at once on their way from one store to another."""


class SpinStore:
    """Configurations of ±1 spins on L × L periodic sites, one bit per spin, in memory or mapped from a file.

    Site x L + y is bit k % 8, counted from the lowest, of byte k // 8 with k = x L + y; a 1 is s = +1. A snapshot of
    L = 320 takes 12.8 kB, one of L = 10⁴ takes 12.5 MB; :meth:`blocks` touches only the bytes of the blocks it cuts, so
    that the cost depends on their number and not on L.

    Parameters
    ----------
    bits: ``(snapshot, ceil(L² / 8))``, uint8; a memory-mapped array stays on disk.
    length: L.

    Examples
    --------
    >>> import nearsight as ns
    >>> import numpy as np
    >>> stripes = np.where(np.arange(8) % 2, -1, 1)[:, None] * np.ones((1, 8), int)
    >>> store = ns.fields.SpinStore.pack(stripes)
    >>> store, store.bits.nbytes  # 64 spins in 8 bytes
    (SpinStore(1 snapshots, 8 × 8 sites), 8)
    >>> store.blocks(0, np.array([7, 7]), 2).tolist()  # wrapped around the torus
    [[-1, -1], [1, 1]]
    """

    axes = 2
    """A block is told by the smallest x and y."""

    def __init__(self, bits: np.ndarray, length: int) -> None:
        length = integer(length, "length", least=1)
        size = _octets(length)
        instance(bits, np.ndarray, "bits", "SpinStore.pack makes them from ±1 spins.")
        if bits.dtype != np.uint8 or bits.ndim != 2 or bits.shape[1] != size:
            raise ValueError(
                f"Snapshots of {length} × {length} spins are bytes of shape (snapshot, {size}), got {bits.dtype} of "
                f"shape {bits.shape}; SpinStore.pack makes them from ±1 spins."
            )
        self.bits, self.length = bits, length

    def __len__(self) -> int:
        return len(self.bits)

    def __repr__(self) -> str:
        return f"SpinStore({len(self)} snapshots, {self.length} × {self.length} sites)"

    @classmethod
    def pack(cls, spins: np.ndarray | Tensor) -> SpinStore:
        """From spins ``(snapshot, L, L)`` or ``(L, L)``, all ±1."""
        values = np.asarray(spins)
        values = values[None] if values.ndim == 2 else values
        if values.ndim != 3 or values.shape[1] != values.shape[2]:
            raise ValueError(f"Spins have shape (snapshot, L, L) or (L, L), got {values.shape}.")
        if not (np.abs(values) == 1).all():
            raise ValueError("Spins must be ±1; states 0 and 1 become spins by 2 * states - 1.")
        return cls(np.packbits(values.reshape(len(values), -1) > 0, axis=1, bitorder="little"), values.shape[-1])

    @classmethod
    def of(cls, snapshots: Any, path: str | Path | None = None) -> SpinStore:
        """From ``sampling.Snapshots`` of Ising spins, in memory or in a new mapped file.

        Their own store is compressed in chunks of hundreds of snapshots, too much to read for a block.
        """
        lattice = snapshots.lattice
        if lattice.name != "square" or len(set(lattice.shape)) != 1 or len(snapshots.values) != 2:
            raise ValueError(
                f"Blocks are cut from states 0 and 1 on L × L sites of the square lattice, not from "
                f"{len(snapshots.values)} states on {lattice!r}."
            )
        length, count = lattice.shape[0], len(snapshots)
        if path is None:
            store = cls(np.zeros((count, _octets(length)), np.uint8), length)
        else:
            store = cls.create(path, count, length)
        for start in range(0, count, CHUNK):
            states = snapshots.states(slice(start, start + CHUNK)).numpy()
            store.bits[start : start + CHUNK] = np.packbits(states > 0, axis=1, bitorder="little")
        if isinstance(store.bits, np.memmap):
            store.bits.flush()
        return store

    @classmethod
    def create(cls, path: str | Path, snapshots: int, length: int) -> SpinStore:
        """A mapped file of so many snapshots, all spins down until they are written into ``bits``."""
        bits = npy.open_memmap(path, mode="w+", dtype=np.uint8, shape=(snapshots, _octets(length)))
        if hasattr(os, "posix_fallocate"):
            # A mapped file is a promise: where the disk cannot keep it, the first write beyond kills the process.
            with open(path, "rb+") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT):
                        raise OSError(error.errno, f"{error.strerror}. Make room for", str(path)) from error
        return cls(bits, length)

    @classmethod
    def open(cls, path: str | Path, length: int) -> SpinStore:
        """The file that :meth:`create` made, read-only; ``CorruptFileError`` if it is not whole."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path} does not exist: no snapshots were stored there.")
        try:
            return cls(npy.open_memmap(path, mode="r"), length)
        except (ValueError, OSError, EOFError) as error:
            raise CorruptFileError(
                f"{path} holds no whole snapshots ({error}). Delete it and make it again."
            ) from error

    def spins(self, snapshot: int | np.ndarray) -> np.ndarray:
        """Whole snapshots as int8 of ±1, ``(..., L, L)``."""
        sites = np.unpackbits(self.bits[snapshot], axis=-1, count=self.length**2, bitorder="little")
        return 2 * sites.reshape(*sites.shape[:-1], self.length, self.length).astype(np.int8) - 1

    def blocks(self, snapshot: int | np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
        """Blocks of ``side`` × ``side`` spins, int8 ``(..., side, side)``, wrapped around the torus.

        ``corners`` ``(..., 2)`` hold the smallest x and y of every block, ``snapshot`` one index or one for each.
        """
        check_side(side, self.length)
        x = (corners[..., :1] + np.arange(side)) % self.length
        y = (corners[..., 1:] + np.arange(side)) % self.length
        site = x[..., :, None] * self.length + y[..., None, :]
        up = self.bits[np.asarray(snapshot)[..., None, None], site >> 3] >> (site & 7).astype(np.uint8) & 1
        return 2 * up.astype(np.int8) - 1


def _octets(length: int) -> int:
    """Bytes of a snapshot of L × L spins."""
    return -(-(length**2) // 8)


def check_side(side: int, length: int) -> None:
    """Refuse a block that is larger than the lattice it is cut from: it would hold a spin twice."""
    if not 1 <= integer(side, "side") <= length:
        raise ValueError(
            f"A block of {side} × {side} sites does not fit on {length} × {length} sites; take a larger lattice, or a "
            f"model of smaller blocks."
        )


def tiles(length: int, side: int) -> np.ndarray:
    """Corners ``(block, 2)`` of the (L / l)² blocks that cover a lattice; rows that do not fit are left over."""
    check_side(side, length)
    starts = np.arange(length // side) * side
    return np.stack(np.meshgrid(starts, starts, indexing="ij"), axis=-1).reshape(-1, 2)
