"""The zarr side of a data set: arrays written whole, read chunk by chunk, vouched for by a hash of their content."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from nearsight.storage import CorruptFileError, atomic_directory, data_hash, lock, recover, tidy

FORMAT = 2
"""Version of the layout; a reader refuses a newer one. Those of version 1 have no hash of the attributes."""
CURE = "Generate the data set again or restore a copy."

DIMENSIONS = {
    "field": ("snapshot", "site", "component"),
    "force": ("snapshot", "site", "component"),
    "energy": ("snapshot",),
    "trajectory": ("snapshot",),
    "kind": ("snapshot",),
    "time": ("snapshot",),
}
DTYPES = {name: np.dtype(np.int64 if name in ("trajectory", "kind") else np.float64) for name in DIMENSIONS}
CHUNK_BYTES = 2**22


def content_hash(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, types, shapes and values: the same for every chunking, compression, machine and date."""
    digest = hashlib.sha256()
    for name in DIMENSIONS:
        if name in arrays:
            values = np.ascontiguousarray(arrays[name], dtype=DTYPES[name].newbyteorder("<"))
            digest.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
            digest.update(hashlib.sha256(values.data if values.size else b"").digest())
    return digest.hexdigest()


def write(path: Path | None, arrays: Mapping[str, np.ndarray], attributes: dict[str, Any]) -> zarr.Group:
    """A new group with these arrays, complete with its hash: on disk atomically, or in memory if ``path`` is None.

    It replaces a data set at ``path``; ``FileExistsError`` if something else is there.
    """
    attributes = {"format": FORMAT, **attributes, "hash": content_hash(arrays)}
    attributes["attributes_hash"] = data_hash(attributes)
    if path is None:
        store = MemoryStore()
        _fill(store, arrays, attributes)
        return zarr.open_group(store, mode="r")
    if path.exists() and not _replaceable(path):
        raise FileExistsError(f"{path} is there already and is no data set; choose another path.")
    with lock(path, beside=True):
        tidy(path)
        with atomic_directory(path) as directory:
            _fill(str(directory), arrays, attributes)
    return zarr.open_group(str(path), mode="r")


def _fill(store: Any, arrays: Mapping[str, np.ndarray], attributes: dict[str, Any]) -> None:
    group = zarr.create_group(store, zarr_format=3, attributes=attributes)
    for name, dimensions in DIMENSIONS.items():
        if name not in arrays:
            continue
        values = np.ascontiguousarray(arrays[name], dtype=DTYPES[name])
        row = max(1, values.nbytes // max(1, len(values)))
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=(min(max(1, len(values)), max(1, CHUNK_BYTES // row)), *values.shape[1:]),
            # A checksum on every chunk tells which file is damaged; a chunk that is never left out can be missed.
            compressors=[ZstdCodec(level=3), Crc32cCodec()],
            config={"write_empty_chunks": True},
            fill_value=0,
            dimension_names=dimensions,
        )
        array[...] = values
    with warnings.catch_warnings():
        # Plain xarray.open_zarr(path) looks for consolidated metadata first; zarr v3 reads them but calls them an
        # extension.
        warnings.filterwarnings("ignore", message="Consolidated metadata", category=UserWarning)
        zarr.consolidate_metadata(group.store)


def _replaceable(path: Path) -> bool:
    """Whether a data set may take this place: nothing else than a data set or an empty folder is ever deleted."""
    if not path.is_dir():
        return False
    return ((path / "zarr.json").exists() and (path / "field").is_dir()) or not any(path.iterdir())


def open_group(path: Path) -> zarr.Group:
    """The group of a data set on disk, its format and the hash of its attributes checked."""
    recover(path)
    if not path.exists():
        parts = path.with_name(path.name + ".parts")
        hint = (
            f"It is unfinished: {len(list(parts.glob('*.safetensors')))} trajectories wait in {parts}; resume it."
            if parts.exists()
            else "Check the path, or make one with training.generate."
        )
        raise FileNotFoundError(f"There is no data set at {path}. {hint}")
    try:
        group = zarr.open_group(str(path), mode="r")
        attributes = dict(group.attrs)
        version = attributes.get("format")
    except Exception as error:  # damaged metadata fail in as many ways as there are bytes
        raise CorruptFileError(f"{path} is not a whole zarr group ({error}). {CURE}") from error
    if not isinstance(version, int) or "hash" not in group.attrs:
        raise ValueError(f"{path} is a zarr group, but not a nearsight data set; import arrays with DataSet.from_npz.")
    if version > FORMAT:
        raise ValueError(
            f"{path} has format {version}, this version of nearsight reads up to {FORMAT}; update nearsight."
        )
    if version > 1 and attributes.pop("attributes_hash", None) != data_hash(attributes):
        raise CorruptFileError(
            f"The attributes in {path / 'zarr.json'} (lattice, recipe, seed) do not have the hash stored with them. "
            + CURE
        )
    return group


def verify(group: zarr.Group, path: Path) -> None:
    """Read everything once; a damaged or missing chunk is named, and the content must have the stored hash."""
    arrays = {}
    for name in DIMENSIONS:
        try:
            if name in group:
                arrays[name] = _read_checked(group[name], path / name)  # type: ignore[arg-type]
        except CorruptFileError:
            raise
        except Exception as error:  # as above
            raise CorruptFileError(f"{path / name} cannot be read ({error}). {CURE}") from error
    if content_hash(arrays) != group.attrs["hash"]:
        raise CorruptFileError(
            f"The arrays of {path} do not have the hash stored with them: they were changed after writing. {CURE}"
        )


def _read_checked(array: zarr.Array, path: Path) -> np.ndarray:
    values = np.empty(array.shape, dtype=array.dtype)
    for place in itertools.product(*(range(-(-n // c)) for n, c in zip(array.shape, array.chunks, strict=True))):
        chunk = path / array.metadata.encode_chunk_key(place)
        if not chunk.exists():
            raise CorruptFileError(f"{chunk} is missing. {CURE}")
        part = tuple(slice(p * c, (p + 1) * c) for p, c in zip(place, array.chunks, strict=True))
        try:
            values[part] = array[part]
        except (ValueError, RuntimeError, OSError) as error:
            raise CorruptFileError(f"{chunk} is damaged ({error}). {CURE}") from error
    return values


def describe_counts(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts)
