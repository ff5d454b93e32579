"""observables.nc: the measured curves of a run, one netCDF group each, replaced atomically."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from nearsight.storage import check_hashed, write_hashed
from nearsight.storage.files import corrupt

ENGINE: Literal["h5netcdf"] = "h5netcdf"
CURE = "Delete it and resume, or restore a copy."


class NotMeasuredError(FileNotFoundError):
    """A run does not hold a data set."""


def names(path: Path) -> list[str]:
    """Names of the data sets in the file; none if there is no file."""
    if not path.exists():
        return []
    import h5netcdf

    check_hashed(path, CURE)
    try:
        with h5netcdf.File(path, "r") as file:
            return sorted(file.groups)
    except Exception as error:  # damaged files of HDF5 fail in as many ways as there are bytes
        raise corrupt(path, "netCDF", error, CURE) from error


def read(path: Path, name: str) -> xr.Dataset:
    """One data set, loaded into memory."""
    if not path.exists():
        raise NotMeasuredError(f"{path} does not exist: no stage has recorded observables yet.")
    check_hashed(path, CURE)
    try:
        with xr.open_dataset(path, group=name, engine=ENGINE) as dataset:
            return dataset.load()
    except Exception as error:  # as above
        if "group not found" in str(error):
            raise NotMeasuredError(
                f"{path} holds no data set {name!r}: this run, or the version that made it, was not as far. Resume it; "
                f"if that does not help, run the study with another --name."
            ) from error
        raise corrupt(path, "netCDF", error, CURE) from error


def write(path: Path, name: str, dataset: xr.Dataset) -> None:
    """Add or replace one data set; a reader sees the old file or the new.

    The file is made in memory: HDF5 may crash the process where a disk is full.
    """
    datasets = {f"/{other}": read(path, other) for other in names(path)} | {f"/{name}": dataset}
    tree = xr.DataTree.from_dict(dict(sorted(datasets.items())))
    write_hashed(path, bytes(tree.to_netcdf(engine=ENGINE)))


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
