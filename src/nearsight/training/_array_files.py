"""Arrays from files of other programs: nothing is executed, and nothing is read that is larger than it looks."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight.storage import CorruptFileError
from nearsight.training._grid_files import OVF, read_ovf, read_vtk

HDF5, TABLES = (".h5", ".hdf5", ".nc"), (".csv", ".dat", ".txt")
SUFFIXES = (".npz", ".npy", ".pt", ".pth", *TABLES, *OVF, ".vtk", *HDF5)
NAMED = (".npz", ".vtk", *HDF5)
"""Of files whose arrays have names, also if they hold one alone."""
UNPACKED, FACTOR = 2**28, 100
"""What a file unpacks to is refused beyond 256 MiB if it is also so many times larger than the file: measured numbers
hardly shrink, but a megabyte of compressed zeros is a gigabyte."""


def read_arrays(file: Path, wanted: Iterable[str]) -> dict[str, Tensor]:
    """The wanted arrays of a file; the columns of a table go by name and by number, an array without a name by ""."""
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}.")
    wanted = list(dict.fromkeys(wanted))
    try:
        if file.suffix == ".npz":
            arrays = read_npz(file, wanted)
            found = {k: torch.from_numpy(x) for k, x in arrays.items() if x.dtype.kind in "fiucb"}
            names = _npz_names(file)
        elif file.suffix in HDF5:
            found, names = _read_hdf5(file, wanted)
        else:
            found = _read_other(file)
            names = [name for name in found if name]
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise CorruptFileError(f"{file} is not a whole file of arrays ({error}). Write it again.") from error
    for name in wanted:
        if name not in found:
            raise ValueError(f"{file} has no array {name!r}; it has {', '.join(sorted(names)) or 'one without names'}.")
        if found[name].is_complex():
            raise ValueError(f"{file}: {name!r} holds complex numbers, {found[name].dtype}; store the real part.")
    return {name: found[name].double() for name in wanted}


def _read_other(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".npy":
        return _columns(_read_npy(file))
    if file.suffix in (".pt", ".pth"):
        return _read_pt(file)
    if file.suffix in OVF:
        return _columns(read_ovf(file))
    if file.suffix == ".vtk":
        return {name: torch.from_numpy(values) for name, values in read_vtk(file).items()}
    if file.suffix in TABLES:
        names, table = _read_table(file)
        found = _columns(table)
        return found | {name: found[str(k)] for k, name in enumerate(names)}
    raise ValueError(f"{file}: files are {', '.join(SUFFIXES)}, not {file.suffix!r}.")


def _npz_names(file: Path) -> list[str]:
    with zipfile.ZipFile(file) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def read_npz(
    file: Path, wanted: Iterable[str] | None = None, *, known: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file: those wanted, as far as they are there, or all, which must then be ``known`` names.

    ``ValueError`` for Python objects and for arrays out of proportion to the file.
    """
    if not zipfile.is_zipfile(file):
        raise CorruptFileError(f"{file} is not a whole .npz file. Write it with np.savez(path, name=array, ...).")
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if known is not None and (unknown := sorted(set(members) - set(known))):
            raise ValueError(
                f"{file} has the unknown key {', '.join(map(repr, unknown))}; the keys are {', '.join(known)}. "
                f"Rename or remove it."
            )
        names = [name for name in members if wanted is None or name in set(wanted)]
        _refuse_bomb(file, sum(members[name].file_size for name in names))
        for name in names:
            with archive.open(members[name]) as stream:
                arrays[name] = _read_array(stream, members[name].file_size, file, name)
    return arrays


def _refuse_bomb(file: Path, size: int) -> None:
    """Refuse contents that are far larger than the file they come in."""
    if size > max(UNPACKED, FACTOR * file.stat().st_size):
        raise ValueError(
            f"{file} has {file.stat().st_size:,} bytes but unpacks to {size:,}: it is not read. If the data are yours, "
            f"save them uncompressed (np.savez, or clone() before torch.save)."
        )


def _read_hdf5(file: Path, wanted: Iterable[str]) -> tuple[dict[str, Tensor], list[str]]:
    """The wanted data sets of an HDF5 file, by their paths in it, and the names of all that hold numbers."""
    import h5py

    if not h5py.is_hdf5(file):
        raise CorruptFileError(f"{file} is not a whole HDF5 file. Write it again.")
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiucb":
            found[name] = item

    with h5py.File(file, "r") as content:
        content.visititems(visit)
        chosen = {name: found[name.strip("/")] for name in wanted if name.strip("/") in found}
        _refuse_bomb(file, sum(item.nbytes for item in chosen.values()))
        arrays = {name: np.asarray(item[()]) for name, item in chosen.items()}
    return {k: torch.from_numpy(x.astype(x.dtype.newbyteorder("="))) for k, x in arrays.items()}, list(found)


def _read_npy(file: Path) -> np.ndarray:
    with file.open("rb") as stream:
        return _read_array(stream, file.stat().st_size, file, "array")


def _read_array(stream: Any, size: int, file: Path, name: str) -> np.ndarray:
    """One array after its header, whose shape must be that of the bytes that follow."""
    try:
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in header:
            raise ValueError(f"format {version}")
        shape, fortran, dtype = header[version](stream)
    except ValueError as error:
        raise CorruptFileError(f"{file}: {name!r} is no whole array of NumPy ({error}). Write it again.") from error
    if dtype.hasobject:
        raise ValueError(
            f"{file}: {name!r} holds Python objects, which are not loaded; save a rectangular array of numbers."
        )
    count = math.prod(shape)
    if count * dtype.itemsize > size or dtype.itemsize == 0:
        raise CorruptFileError(
            f"{file}: the header of {name!r} promises {count * dtype.itemsize:,} bytes, but there are {size:,}. "
            f"Write it again."
        )
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise CorruptFileError(f"{file}: {name!r} ends early. Write it again.")
    return np.frombuffer(bytearray(data), dtype).reshape(shape, order="F" if fortran else "C")


def _read_pt(file: Path) -> dict[str, Tensor]:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            _refuse_bomb(file, sum(info.file_size for info in archive.infolist()))
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader of torch raises errors of many kinds
        if "pickle" in str(error).lower() or "weights_only" in str(error).lower():
            raise ValueError(f"{file} holds Python objects, which are not loaded; save tensors only.") from error
        raise CorruptFileError(f"{file} is not a whole file of arrays ({error}). Write it again.") from error
    if isinstance(content, Tensor):
        return _columns(_plain(content, file, "tensor"))
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}; save a dict of tensors by name.")
    tensors = {str(k): x for k, x in content.items() if isinstance(x, Tensor)}
    return {name: _plain(x, file, name) for name, x in tensors.items()}


def _plain(tensor: Tensor, file: Path, name: str) -> Tensor:
    """A tensor of numbers in memory; others have no elements to read, or more than they store."""
    if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
        kind = "meta" if tensor.is_meta else "quantized" if tensor.is_quantized else str(tensor.layout).split(".")[-1]
        raise ValueError(f"{file}: {name!r} is a {kind} tensor; save a dense one (to_dense(), dequantize()).")
    _refuse_bomb(file, tensor.numel() * 8)  # an expanded tensor stores one number for many
    return tensor.detach()


def _columns(array: np.ndarray | Tensor) -> dict[str, Tensor]:
    values = array if isinstance(array, Tensor) else torch.from_numpy(array)
    count = values.shape[-1] if values.ndim > 1 else 0
    return {"": values, **{str(k): values[..., k] for k in range(count if count < 1000 else 0)}}


def _read_table(file: Path) -> tuple[list[str], np.ndarray]:
    """Names of the columns, if the first line has them, and the numbers ``(row, column)``."""
    names: list[str] = []
    rows: list[list[float]] = []
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            comment = line.lstrip().startswith(("#", "%", "!"))
            text = line.lstrip("#%! \t") if comment else line.split("#")[0]
            between = r"[,;]" if re.search(r"[,;]", text) else r"\s+"
            words = [word.strip().strip('"') for word in re.split(between, text.strip())]
            if words in ([], [""]):
                continue
            try:
                # Fortran writes 1.5D-03.
                values = [float(re.sub(r"(?<=[\d.])[dD](?=[+-]?\d)", "e", word)) for word in words]
            except ValueError:
                if rows and not comment:
                    raise ValueError(f"{file}, line {number}: {line.strip()[:60]!r} is no row of numbers.") from None
                names = words if not rows else names
                continue
            if comment:
                continue
            if rows and len(values) != len(rows[0]):
                raise ValueError(f"{file}, line {number}: {len(values)} numbers where other rows have {len(rows[0])}.")
            rows.append(values)
    if not rows:
        raise ValueError(f"{file} holds no row of numbers.")
    return (names if len(names) == len(rows[0]) else []), np.array(rows)
