"""Checks on snapshots that come from outside."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance, integer
from nearsight.lattices import Lattice
from nearsight.storage import CorruptFileError
from nearsight.training import _array_files as array_files

REQUIRED, OPTIONAL = ("field", "force"), ("energy", "trajectory", "time")


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The known arrays of an ``.npz`` file; an unknown key is refused, because it is most often a misspelt one."""
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        arrays = array_files.read_npz(path, known=(*REQUIRED, *OPTIONAL, "weight"))
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise CorruptFileError(f"{path} is not a whole .npz file ({error}). Write it again with np.savez.") from error
    return _require(arrays, str(path))


def as_numpy(values: Any, name: str) -> np.ndarray:
    """An array, tensor or nested list as an array; ``TypeError`` for what has no such elements."""
    if isinstance(values, Tensor):
        if values.layout != torch.strided or values.is_meta:
            raise TypeError(f"{name} must be a dense tensor with elements, got one that is sparse or meta.")
        return values.detach().cpu().numpy()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise TypeError(f"{name} must be a rectangular array of numbers, got rows of different lengths.") from error


def _require(arrays: dict[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    for key in REQUIRED:
        if key not in arrays:
            raise ValueError(f"{source}: the key {key!r} is missing; found {', '.join(sorted(arrays)) or 'nothing'}.")
    return arrays


def checked(arrays: dict[str, np.ndarray], lattice: Lattice, components: int, *, source: str) -> dict[str, np.ndarray]:
    """The arrays in the shapes and types of a data set, or a ``ValueError`` naming the key and the cure."""
    instance(lattice, Lattice, "lattice")
    components = integer(components, "components", least=1)
    _require(arrays, source)
    result: dict[str, np.ndarray] = {}
    for key, values in arrays.items():
        if key == "trajectory":
            if values.dtype.kind not in "iu":
                raise ValueError(
                    f"{source}: 'trajectory' labels snapshots by integers, got {values.dtype}; use .astype(int)."
                )
            result[key] = values.astype(np.int64)
            continue
        if values.dtype.kind != "f":
            raise ValueError(
                f"{source}: {key!r} must hold real floating-point numbers, got {values.dtype}; use .astype(float)."
            )
        result[key] = values.astype(np.float64)
    for key in REQUIRED:
        result[key] = _snapshots(result[key], lattice, components, key, source)
    count = len(result["field"])
    if count == 0:
        raise ValueError(f"{source}: 'field' holds no snapshot.")
    if len(result["force"]) != count:
        raise ValueError(
            f"{source}: 'force' has {len(result['force'])} snapshots, 'field' has {count}; give one force a field."
        )
    for key in OPTIONAL:
        if key in result and result[key].shape != (count,):
            raise ValueError(
                f"{source}: {key!r} must have shape ({count},), one number a snapshot, got {result[key].shape}."
            )
    for key, values in result.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = ~np.isfinite(values).reshape(count, -1).all(axis=1)
            raise ValueError(
                f"{source}: {key!r} holds NaN or infinite values in {int(bad.sum())} snapshots, first in snapshot "
                f"{int(np.argmax(bad))}; leave those snapshots out."
            )
    return result


def weights(values: np.ndarray, lattice: Lattice, count: int) -> np.ndarray:
    """Weights ``(snapshot, site)`` that say which forces are known, or a ``ValueError``."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"weight must hold real numbers, 0 where a force is not known, got {values.dtype}.")
    flat = _snapshots(values.astype(np.float64), lattice, 1, "weight", "The arrays")[..., 0]
    if len(flat) != count:
        raise ValueError(f"weight has {len(flat)} snapshots, 'field' has {count}; give one row for each.")
    if not (np.isfinite(flat).all() and (flat >= 0).all()):
        raise ValueError("weight must be finite and not negative: 0 where a force is not known, 1 where it is.")
    if not (flat > 0).any(1).all():
        bare = int(np.argmin((flat > 0).any(1)))
        raise ValueError(f"Snapshot {bare} has no site with a weight above 0: leave snapshots without forces out.")
    return flat


def parameter_columns(parameters: Mapping[str, Any], count: int) -> np.ndarray:
    """Parameters ``(snapshot, parameter)`` from one number each, or one for all."""
    columns = []
    for name, values in parameters.items():
        given = as_numpy(values, f"parameters[{name!r}]")
        if given.dtype.kind not in "iuf" or given.shape not in ((), (count,)) or not np.isfinite(given).all():
            raise ValueError(
                f"parameters[{name!r}] must hold one finite number for each of the {count} snapshots, or one for all."
            )
        columns.append(np.broadcast_to(given.astype(np.float64), (count,)))
    return np.stack(columns, axis=1)


def _snapshots(values: np.ndarray, lattice: Lattice, components: int, key: str, source: str) -> np.ndarray:
    """Sites on one axis, components on the last."""
    basis = (lattice.n_basis,) if lattice.n_basis > 1 else ()
    spaces = [(lattice.n_sites,), (*lattice.shape, *basis)]
    shapes = [(*space, components) for space in spaces] + (spaces if components == 1 else [])
    if values.shape[1:] not in shapes:
        allowed = " or ".join(str(("n", *shape)).replace("'", "") for shape in shapes)
        raise ValueError(
            f"{source}: {key!r} must have shape {allowed} on {lattice!r} with {components} component(s) a site, "
            f"got {values.shape}. Reshape it, or pass the lattice and the number of components it was computed with."
        )
    return values.reshape(len(values), lattice.n_sites, components)
