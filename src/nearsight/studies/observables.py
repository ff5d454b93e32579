"""observables.nc: the measured curves of a run, one netCDF group each, replaced atomically."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import xarray as xr

from nearsight.storage import CorruptFileError

ENGINE = "h5netcdf"


def names(path: Path) -> list[str]:
    """Names of the data sets in the file; none if there is no file."""
    if not path.exists():
        return []
    import h5netcdf

    try:
        with h5netcdf.File(path, "r") as file:
            return sorted(file.groups)
    except OSError as error:
        raise _corrupt(path, error) from error


def read(path: Path, name: str) -> xr.Dataset:
    """One data set, loaded into memory."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: no stage has recorded observables yet.")
    try:
        with xr.open_dataset(path, group=name, engine=ENGINE) as dataset:
            return dataset.load()
    except (OSError, RuntimeError, KeyError) as error:
        raise _corrupt(path, error) from error


def write(path: Path, name: str, dataset: xr.Dataset) -> None:
    """Add or replace one data set; a reader sees the old file or the new."""
    datasets = {other: read(path, other) for other in names(path)} | {name: dataset}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        for mode, (group, content) in zip("w" + "a" * len(datasets), sorted(datasets.items()), strict=False):
            content.to_netcdf(temporary, mode=mode, group=group, engine=ENGINE)  # type: ignore[call-overload]
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def content_hash(dataset: xr.Dataset) -> str:
    """SHA-256 of names, dimensions, values and attributes; the layout of the file does not enter."""
    digest = hashlib.sha256()
    for name in sorted(dataset.variables, key=str):
        variable = dataset.variables[name]
        values = np.ascontiguousarray(variable.values)
        attributes = {str(key): _plain(value) for key, value in sorted(variable.attrs.items())}
        header = [str(name), list(map(str, variable.dims)), list(values.shape), values.dtype.kind, attributes]
        digest.update(json.dumps(header).encode())
        digest.update(values.tobytes() if values.dtype.kind in "biufc" else repr(values.tolist()).encode())
    digest.update(json.dumps({str(k): _plain(v) for k, v in sorted(dataset.attrs.items())}).encode())
    return digest.hexdigest()


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _corrupt(path: Path, error: Exception) -> CorruptFileError:
    return CorruptFileError(f"{path} is not a whole netCDF file ({error}). Delete it and resume, or restore a copy.")
