"""Rows of named arrays that are only ever appended, in memory or on disk, with a chain of hashes through the rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from nearsight._validation import boolean, filename
from nearsight.storage._zarr import AtomicStore, Column, ColumnWriter, chained, chunks, consolidate, described
from nearsight.storage.files import CorruptFileError, atomic_directory, data_hash, recover, tidy
from nearsight.storage.locks import lock

if TYPE_CHECKING:
    import xarray as xr  # a table that is only written needs none

FORMAT = 3
"""Version of the layout; a reader refuses a newer one. 1 has no hash of the attributes, 2 none of the rows."""


class Table:
    """Rows of named arrays: in memory NumPy arrays, on disk a zarr group (format 3) that xarray opens as it is.

    A hash is chained through the rows of every array as they are appended, d ← SHA-256(d, row): it is the same for
    every chunking, compression and machine, and a row costs the same however many there are. Every chunk is written
    by one atomic replacement and has a checksum. A table that is complete holds its hashes; for one that still grows
    they are kept by whoever commits its rows.

    Subclasses say what the rows are. ``attrs`` tell where they come from.
    """

    noun: ClassVar[str] = "table"
    key: ClassVar[str] = "table"
    """The attribute that holds the version of the layout, and by which a table of this kind is known."""
    dimension: ClassVar[str] = "row"
    hint: ClassVar[str] = "Check the path."
    cure: ClassVar[str] = "Restore a copy, or make it again."

    def __init__(
        self,
        arrays: Mapping[str, Any],
        columns: Iterable[Column],
        attrs: Mapping[str, Any],
        path: Path | None = None,
        index: np.ndarray | None = None,
    ) -> None:
        self._arrays, self.columns, self.path, self._index = dict(arrays), list(columns), path, index
        self.attrs = dict(attrs)
        self.appended = 0
        self._stored: dict[str, str] = {}
        self._old_hash: str | None = None
        self._writers: dict[str, ColumnWriter] = {}

    # --- writing ----------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path | None,
        columns: Iterable[Column],
        attrs: Mapping[str, Any],
        *,
        rows: int,
        chunk_rows: int | None = None,
    ) -> Self:
        """A table laid out for so many rows, to be filled by :meth:`append`; in memory if ``path`` is None.

        What is not there yet reads as NaN or zeros. Chunks have at most 4 MiB, and at most ``chunk_rows`` rows.
        """
        columns = list(columns)
        if path is None:
            return cls({c.name: np.empty((rows, *c.shape), c.dtype) for c in columns}, columns, attrs)
        group = zarr.create_group(AtomicStore(path), attributes=dict(attrs), zarr_format=3)
        arrays = {
            column.name: group.create_array(
                column.name,
                shape=(rows, *column.shape),
                dtype=column.dtype,
                chunks=chunks(column, chunk_rows or rows),
                # The checksum tells which file is damaged; a chunk that is never left out can be missed.
                compressors=[ZstdCodec(level=3), Crc32cCodec()],
                config={"write_empty_chunks": True},
                fill_value=np.nan if column.dtype.kind in "fc" else 0,
                dimension_names=(cls.dimension, *column.dimensions),
            )
            for column in columns
        }
        consolidate(group.store)
        return cls(arrays, columns, attrs, path)._growing()

    @classmethod
    def write(
        cls,
        path: Path | None,
        arrays: Mapping[str, np.ndarray],
        dimensions: Mapping[str, tuple[str, ...]],
        attrs: Mapping[str, Any],
    ) -> Self:
        """A complete table with these arrays; on disk it appears as a whole and replaces a table of the same kind.

        ``FileExistsError`` if something else is there.
        """
        columns = [Column(name, dimensions[name], x.shape[1:], x.dtype) for name, x in arrays.items()]
        rows = len(next(iter(arrays.values())))
        if path is None:
            return cls({name: x.copy() for name, x in arrays.items()}, columns, attrs)
        if path.exists() and not cls._replaceable(path):
            raise FileExistsError(f"{path} is there already and is no {cls.noun}; choose another path.")
        with lock(path, beside=True):
            tidy(path)
            with atomic_directory(path) as directory:
                table = cls.create(directory, columns, attrs, rows=rows)
                table.append(arrays)
                table.seal()
        return cls.open(path, verify=False)

    @classmethod
    def _replaceable(cls, path: Path) -> bool:
        """Whether a table may take this place: nothing but one of its kind or an empty folder is ever deleted."""
        try:
            return not any(path.iterdir()) or cls.key in zarr.open_group(str(path), mode="r").attrs
        except Exception:  # a file, or no group; damaged metadata fail in as many ways as there are bytes
            return False

    def append(self, block: Mapping[str, np.ndarray]) -> None:
        """Add rows, the same number to every array."""
        count = len(block[self.columns[0].name])
        for column in self.columns:
            if self.path is None:
                self._arrays[column.name][self.appended : self.appended + count] = block[column.name]
            else:
                self._writers[column.name].append(block[column.name])
        self.appended += count

    def flush(self) -> None:
        """Put every row appended so far on disk."""
        for writer in self._writers.values():
            writer.flush()

    def seal(self) -> None:
        """Complete the table: all rows on disk, attributes and hashes beside them."""
        if self.path is None:
            return
        self.flush()
        group = zarr.open_group(AtomicStore(self.path), mode="r+", use_consolidated=False)
        content = {self.key: FORMAT, **self.attrs, "digests": self.digests}
        group.attrs.put({**content, "attributes_hash": data_hash(content)})
        consolidate(group.store)

    def resize(self, rows: int) -> None:
        """Make room for more rows, or give up room for rows that will not come.

        The consolidated metadata, by which others read the group, come last: killed in between, the group reads as
        before and the next call begins again.
        """
        assert self.path is not None
        store = AtomicStore(self.path)
        shown = zarr.open_group(store, mode="r", zarr_format=3)
        if {array.shape[0] for array in (*self._arrays.values(), *dict(shown.arrays()).values())} == {rows}:
            return
        for array in self._arrays.values():
            array.resize((rows, *array.shape[1:]))
        for writer in self._writers.values():
            writer.changed = writer.filled > 0  # the chunk at the end has other rows behind it now
        self.flush()
        consolidate(store)

    def _growing(self) -> Self:
        self._writers = {name: ColumnWriter(array) for name, array in self._arrays.items()}
        return self

    # --- opening ----------------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Self:
        """Open a complete table on disk.

        With ``verify`` everything is read once and compared with its hashes (2 to 3 s per gigabyte); without, a chunk
        is checked when it is read. Raises ``storage.CorruptFileError`` that names the damaged file.
        """
        path = filename(path, "path")
        boolean(verify, "verify")
        recover(path)
        if not path.exists():
            parts = path.with_name(path.name + ".parts")
            waiting = f"It is unfinished: the call that makes it goes on from {parts}."
            raise FileNotFoundError(f"There is no {cls.noun} at {path}. {waiting if parts.exists() else cls.hint}")
        table = cls._open_group(path, "r")
        content = table.attrs
        if not isinstance(version := content.pop(cls.key, None), int):
            raise ValueError(f"{path} is a zarr group, but no {cls.noun}. {cls.hint}")
        if version > FORMAT:
            raise ValueError(f"{path} has format {version}, this version reads up to {FORMAT}; update nearsight.")
        if content.pop("attributes_hash", None) != data_hash({cls.key: version, **content}) and version > 1:
            raise CorruptFileError(
                f"The attributes in {path / 'zarr.json'} do not have the hash stored with them. {cls.cure}"
            )
        table._stored, table._old_hash = content.pop("digests", {}), None if version > 2 else content.pop("hash", None)
        if len({array.shape[0] for array in table._arrays.values()}) > 1:
            raise cls._damaged(path, "its arrays have different lengths")
        if verify:
            table.verify()
        for name in table._arrays:
            for number in range(table._chunk_count(name)):
                for file, _ in table._files(name, number):
                    if not file.exists():  # zarr reads it as zeros
                        raise cls._damaged(file, "it is missing")
        return table

    @classmethod
    def resume(cls, path: Path, rows: int, digests: Mapping[str, str]) -> Self:
        """Go on with a table behind its first ``rows`` rows, which must be what ``digests`` vouches for."""
        table = cls._open_group(path, "r+")._growing()
        if missing := digests.keys() - table._arrays.keys():
            raise cls._damaged(path / min(missing), "it is missing")
        for name, writer in table._writers.items():
            size = len(writer.buffer)
            for number in range(-(-rows // size)):
                writer.append(table._chunk(name, number)[: rows - number * size], written=True)
            if writer.digest != digests.get(name, writer.digest):
                raise cls._damaged(path / name, f"its first {rows} rows are not those that were committed")
        table.appended = rows
        return table

    @classmethod
    def _open_group(cls, path: Path, mode: Any) -> Self:
        try:
            # A chunk of nothing but fill values must be written like any other, or it could not be missed.
            with zarr.config.set({"array.write_empty_chunks": True}):
                store = AtomicStore(path)
                group = zarr.open_group(store, mode=mode, zarr_format=3, use_consolidated=False)
                shown = zarr.open_group(store, mode="r", zarr_format=3)
                arrays = dict(sorted(group.arrays()))
                same = {n: described(a) for n, a in shown.arrays()} == {n: described(a) for n, a in arrays.items()}
            columns = [
                Column(name, tuple(map(str, a.metadata.dimension_names or ()))[1:], a.shape[1:], np.dtype(a.dtype))  # type: ignore[union-attr]
                for name, a in arrays.items()
            ]
            table = cls(arrays, columns, dict(group.attrs), path)
        except Exception as error:  # damaged metadata fail in as many ways as there are bytes
            raise cls._damaged(path, f"not a whole zarr group: {error}") from error
        if not same:
            raise cls._damaged(path / "zarr.json", "its arrays are not those that lie there")
        return table

    # --- reading ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    @cached_property
    def _rows(self) -> np.ndarray:
        return np.arange(self._arrays[self.columns[0].name].shape[0]) if self._index is None else self._index

    def take(self, keep: np.ndarray) -> Self:
        """Some of the rows, by their numbers or a mask."""
        return type(self)(self._arrays, self.columns, self.attrs, self.path, self._rows[keep])

    def read(self, name: str, index: Any = slice(None)) -> np.ndarray:
        """Rows of one array, every chunk read once; ``CorruptFileError`` names a file that is damaged or missing."""
        rows = np.atleast_1d(self._rows[index])
        array = self._arrays[name]
        if self.path is None:
            return array[rows]
        size = self.chunk_rows(name)
        result = np.empty((len(rows), *array.shape[1:]), array.dtype)
        for number in np.unique(rows // size).tolist():
            here = rows // size == number
            result[here] = self._chunk(name, number)[rows[here] - number * size]
        return result

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes of the dimensions of a row of one array."""
        return tuple(self._arrays[name].shape[1:])

    def chunk_rows(self, name: str) -> int:
        """Rows of one array that are stored together."""
        if self.path is not None:
            return self._arrays[name].chunks[0]
        column = next(c for c in self.columns if c.name == name)
        return chunks(column, len(self._arrays[name]))[0]

    @property
    def digests(self) -> dict[str, str]:
        """The hash chained through the rows of every array."""
        if self._writers:
            return {name: writer.digest for name, writer in self._writers.items()}
        if self._stored and self._index is None:
            return self._stored
        return {name: chained("", self.read(name)) for name in self._arrays}

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content: the same however, wherever and in how many attempts the rows were made."""
        if self._old_hash is not None:
            return self._old_hash
        kinds = {c.name: [c.dtype.newbyteorder("<").str, list(c.shape)] for c in self.columns}
        return data_hash({name: [*kinds[name], digest] for name, digest in self.digests.items()})

    def verify(self) -> None:
        """Read every row once and compare it with the hashes that are stored."""
        for column in self.columns:
            digest = ""
            for number in range(self._chunk_count(column.name)):
                digest = chained(digest, self._chunk(column.name, number))
            if digest != self._stored.get(column.name, digest):
                raise self._damaged(self.path / column.name, "its rows do not have the hash stored with them")  # type: ignore[operator]

    @property
    def xarray(self) -> xr.Dataset:
        """The rows as an :class:`xarray.Dataset`, read from disk when used."""
        import xarray as xr

        if self.path is None:
            variables = {c.name: ((self.dimension, *c.dimensions), self._arrays[c.name]) for c in self.columns}
            attrs = dict(self.attrs)
            coordinates = attrs.pop("coordinates", "").split()
            data = xr.Dataset(variables, attrs=attrs).set_coords(coordinates)
        else:
            try:
                data = xr.open_zarr(self.path, zarr_format=3)
            except Exception as error:  # damaged metadata fail in as many ways as there are bytes
                raise self._damaged(self.path, str(error)) from error
        return data if self._index is None else data.isel({self.dimension: self._index})

    def _chunk_count(self, name: str) -> int:
        array = self._arrays[name]
        return -(-array.shape[0] // array.chunks[0])

    def _files(self, name: str, number: int) -> Iterator[tuple[Path, tuple[slice, ...]]]:
        """The files of one chunk of rows, and which part of a row each of them holds."""
        array = self._arrays[name]
        sizes = array.chunks[1:]
        for place in itertools.product(*(range(-(-n // c)) for n, c in zip(array.shape[1:], sizes, strict=True))):
            part = tuple(slice(p * c, (p + 1) * c) for p, c in zip(place, sizes, strict=True))
            yield self.path / name / array.metadata.encode_chunk_key((number, *place)), part  # type: ignore[operator]

    def _chunk(self, name: str, number: int) -> np.ndarray:
        """The rows of one chunk."""
        array = self._arrays[name]
        rows = slice(number * array.chunks[0], min((number + 1) * array.chunks[0], array.shape[0]))
        values = np.empty((rows.stop - rows.start, *array.shape[1:]), array.dtype)
        for file, part in self._files(name, number):
            try:
                if not file.exists():  # zarr would fill it
                    raise FileNotFoundError("it is missing")
                values[(slice(None), *part)] = array[(rows, *part)]
            except Exception as error:  # damaged metadata fail in as many ways as there are bytes
                raise self._damaged(file, str(error)) from error
        return values

    @classmethod
    def _cure(cls, path: Path) -> str:
        return cls.cure

    @classmethod
    def _damaged(cls, file: Path, reason: str) -> CorruptFileError:
        return CorruptFileError(f"{file} is damaged ({reason}). {cls._cure(file)}")
