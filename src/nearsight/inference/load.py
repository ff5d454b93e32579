"""Observations from files of other programs: NumPy, zarr and HDF5, in the ways states are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nearsight._validation import choice, filename, integer
from nearsight.inference.observations import Observations
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice
from nearsight.storage import CorruptFileError
from nearsight.training._array_files import _npz_names, _read_npy, read_npz

_NAMES = ("states", "spins", "snapshots", "configurations")
_HDF5 = (".h5", ".hdf5", ".hdf")


def load_observations(
    path: str | Path,
    lattice: Lattice,
    *,
    n_states: int = 2,
    kT: float | None = None,
    name: str | None = None,
    values: str = "auto",
    chain: str | None = None,
    missing: str | None = None,
) -> Observations:
    r"""Observations from an ``.npy``, ``.npz``, zarr or HDF5 (``.h5``, ``.hdf5``) file.

    The array has shape ``(snapshot, *sites)`` or ``(chain, snapshot, *sites)``, where the sites are those of the
    lattice in its order: one axis, or its cells and then its basis as in ``field.reshape(*shape, basis)``. Numbers may
    be of any type; NaN stands for a site that was not seen. Nothing is unpickled.

    Parameters
    ----------
    lattice: on which the configurations live.
    n_states, kT: as in :class:`Observations`.
    name: of the array in a file of several; by default the only one, or "states", "spins", "snapshots" or
        "configurations".
    values: "spins" for ±1, with q = 3 for -1, 0, 1; "states" for 0..q-1, "from one" for 1..q, or "auto": spins if a
        value -1 occurs and q is 2 or 3, "from one" if 1 and q are the smallest and largest, states otherwise.
    chain: name of an array with the number of the chain of every snapshot.
    missing: name of an array of the shape of the states that is not 0 where a site was not seen.
    """
    file, sites = filename(path, "path"), checked_lattice(lattice).n_sites
    n_states = integer(n_states, "n_states", least=2, most=127)
    choice(values, "values", ("auto", "spins", "states", "from one"))
    if not file.exists():
        raise FileNotFoundError(f"There is no file {file}.")
    arrays = _read(file, name, chain, missing)
    given = _flat(arrays["states"], lattice, file)
    unseen = np.isnan(given) if given.dtype.kind == "f" else np.zeros(given.shape, bool)
    if missing is not None:
        mask = arrays["missing"]
        if mask.size not in (given.size, sites):
            raise ValueError(f"{file}: {missing!r} has shape {mask.shape}, the states {given.shape}; give it theirs.")
        unseen |= (mask != 0).reshape(given.shape if mask.size == given.size else sites)
    states = _states(given, unseen, n_states, values, file)
    return Observations(
        lattice,
        states,
        n_states=n_states,
        kT=kT,
        chain=None if chain is None else _whole(arrays["chain"], file, chain).reshape(-1),
        missing=unseen if unseen.any() else None,
    )


def _flat(array: np.ndarray, lattice: Lattice, file: Path) -> np.ndarray:
    """States ``(snapshot, site)`` or ``(chain, snapshot, site)`` of an array whose sites may lie on their grid."""
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{file}: states are numbers, got {array.dtype}; store integers, or floats with NaN.")
    array = array.astype(np.int8) if array.dtype.kind == "b" else array
    grid = (*lattice.shape, lattice.n_basis)
    for sites in dict.fromkeys(((lattice.n_sites,), lattice.shape, grid)):
        axes = array.ndim - len(sites)
        if axes in (1, 2) and array.shape[axes:] == tuple(sites) and len(array):
            return array.reshape(*array.shape[:axes], -1)
    raise ValueError(
        f"{file}: states have shape {array.shape}, but {lattice!r} needs (snapshot, {lattice.n_sites}) or (snapshot, "
        f"{', '.join(map(str, lattice.shape))}), with the chain before the snapshot where there are several."
    )


def _states(given: np.ndarray, unseen: np.ndarray, q: int, values: str, file: Path) -> np.ndarray:
    """States 0..q-1 of what the file holds."""
    if unseen.all():
        raise ValueError(f"{file}: no site was seen in any snapshot.")
    known = np.where(unseen, given[~unseen][0], given)
    whole = _whole(known, file, "the array of states")
    low, high = int(whole.min()), int(whole.max())
    if values == "auto":
        if q == 2 and (low, high) == (1, 1):
            raise ValueError(f'{file} holds nothing but 1; pass values="spins" or "states" to say which state that is.')
        values = "spins" if q in (2, 3) and low == -1 else "from one" if low == 1 and high == q else "states"
    allowed = {"spins": (-1, 1), "states": (0, q - 1), "from one": (1, q)}[values]
    between = values == "spins" and q != 3 and bool((whole == 0).any())
    if low < allowed[0] or high > allowed[1] or between:
        what = "spins of ±1 and zeros" if between else f"values {low}..{high}"
        raise ValueError(
            f"{file} holds {what}, where {values!r} of {q} states are {allowed[0]}..{allowed[1]}; pass n_states= and "
            f"values= as they are meant, and NaN or missing= for sites that were not seen."
        )
    step = 2 if values == "spins" and q != 3 else 1
    return np.where(unseen, 0, (whole - allowed[0]) // step).astype(np.int8)


def _whole(array: np.ndarray, file: Path, name: str) -> np.ndarray:
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.rint(array)).any():
            raise ValueError(f"{file}: {name} holds numbers that are no integers; discretise them first.")
        array = array.astype(np.int64)
    return array.astype(np.int64) if array.dtype.kind == "u" else array


def _read(file: Path, name: str | None, chain: str | None, missing: str | None) -> dict[str, np.ndarray]:
    """The arrays asked for, under the names "states", "chain" and "missing"."""
    asked = {"chain": chain, "missing": missing}
    try:
        if file.suffix == ".npy":
            if chain is not None or missing is not None or name is not None:
                raise ValueError(f"{file} holds one array without a name; put several into one .npz file.")
            return {"states": _read_npy(file)}
        if file.suffix == ".npz":
            wanted = asked | {"states": _chosen(_npz_names(file), name, asked, file)}
            found = read_npz(file, [x for x in wanted.values() if x])
            return {key: _of(found, x, file) for key, x in wanted.items() if x}
        if file.suffix in _HDF5:
            import h5py

            with h5py.File(file, "r") as content:
                names = [key for key, x in content.items() if isinstance(x, h5py.Dataset)]
                wanted = asked | {"states": _chosen(names, name, asked, file)}
                return {key: np.asarray(_of(content, x, file)) for key, x in wanted.items() if x}
        return _read_zarr(file, name, asked)
    except OSError as error:
        raise CorruptFileError(f"{file} is not a whole file of arrays ({error}). Write it again.") from error


def _read_zarr(file: Path, name: str | None, asked: dict[str, str | None]) -> dict[str, np.ndarray]:
    import zarr

    if not file.is_dir():
        raise ValueError(f"{file}: files are .npy, .npz, zarr folders, and {', '.join(_HDF5)}, not {file.suffix!r}.")
    content: Any = zarr.open(str(file), mode="r")
    if isinstance(content, zarr.Array):
        return {"states": np.asarray(content[:])}
    names = [key for key, _ in content.arrays()]
    wanted = asked | {"states": _chosen(names, name, asked, file)}
    return {key: np.asarray(_of(content, x, file)[:]) for key, x in wanted.items() if x}


def _chosen(names: list[str], name: str | None, asked: dict[str, str | None], file: Path) -> str:
    """Which array holds the states."""
    if name is not None:
        return name
    others = [x for x in names if x not in asked.values()]
    usual = [x for x in _NAMES if x in others]
    if len(others) != 1 and not usual:
        raise ValueError(f"{file} has {', '.join(others) or 'no array'}; pass name= to say which holds the states.")
    return usual[0] if usual else others[0]


def _of(found: Any, name: str, file: Path) -> Any:
    if name not in found:
        raise ValueError(f"{file} has no array {name!r}; it has {', '.join(found)}.")
    return found[name]
