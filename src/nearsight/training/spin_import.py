"""Spins and fields from other programs, by a card that says what their arrays mean."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import boolean, filename, instance
from nearsight.fields import tangent
from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice
from nearsight.storage import file_hash
from nearsight.training._array_files import NAMED, read_arrays
from nearsight.training._spin_suspicions import suspicions
from nearsight.training.dataset import DataSet
from nearsight.training.spin_card import SpinCard
from nearsight.training.spin_checks import _compare_exact, check_spins

LENGTH = 1e-3
"""Largest deviation of a spin from length 1 that counts as rounding, which normalising takes away."""
NORMAL = 0.01
"""Largest part of a torque along its spin, relative to the torque, that counts as rounding."""


def import_spins(
    card: str | Path, path: str | Path | None = None, *, exact: ForceField | None = None, trust: bool = False
) -> DataSet:
    """A data set of unit spins and their fields from files of other programs: NumPy, PyTorch, HDF5, OVF, VTK, text.

    The card is a YAML file beside them with the entries of :class:`SpinCard`::

        lattice: triangular
        shape: 48
        vectors: [[1, 0], [-0.5, 0.8660254]]       # axes at 120 degrees
        files: [run_*.pt]
        spins: S
        fields: T
        axes: [snapshot, component, "0", "1"]
        meaning: torque
        model: {t: [1, 0, -0.85], J: 1, mu: -3.5}

    or, for a text file with columns x y Sx Sy Sz Hx Hy Hz and one row a site::

        lattice: square
        shape: [20, 45]
        periodic: false
        files: [snapshot_*.csv]
        spins: [Sx, Sy, Sz]
        fields: [Hx, Hy, Hz]
        axes: ["0", "1"]                           # rows run along y first

    or, for OVF files of OOMMF or mumax, in which x runs fastest and spins and fields have files of their own::

        lattice: square
        shape: [64, 32]
        files: {spins: m*.ovf, fields: B_eff*.ovf}
        axes: ["1", "0", component]                # (z, y, x, component); the only layer of a film is left out

    Sites are brought into the order of the library, torques become fields, spins are normalised if they are unit
    vectors up to rounding and refused if they are not. Nothing is unpickled: ``.pt`` files may hold tensors by name
    only. Torques and normal fields are labels for ``FitOptions(component="tangent")`` alone.

    The results of :func:`check_spins` are kept as ``attrs["checks"]``. What they speak against (another shape or order
    of sites, other boundaries, the sign or unit of H, torques for fields) is a ``ValueError`` that names the likely
    slip.

    Parameters
    ----------
    card: the YAML file. path: where to write the data set; None keeps it in memory.
    exact: a force field of the model the data were computed with; the fields of two snapshots are compared with its,
        which alone tells the unit of fields without energies and times.
    trust: import the arrays as the card has them; what speaks against it is a warning.
    """
    card = filename(card, "card")
    boolean(trust, "trust")
    content = SpinCard.read(card)
    lattice = content.build_lattice()
    if exact is not None:
        instance(exact, ForceField, "exact")
        if not exact.lattice.coincides(lattice):
            raise ValueError(f"The card is about {lattice!r}, exact lives on {exact.lattice!r}; give both the same.")
    order = _order(content, lattice)
    files = content.find_files(card)
    parts, found = [], []
    for number, file in enumerate(files):
        part, doubts = _read(file, content, lattice, order, number)
        parts.append(part)
        found += doubts
    data = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if content.independent and content.trajectory is None:
        data["trajectory"] = np.arange(len(data["field"]))
    attrs: dict[str, Any] = {
        "source": card.name,
        "source_hash": {_name(f, card): file_hash(f) for f in (card, *(f for each in files for f in each.values()))},
        "card": content.model_dump(mode="json"),
    }
    arrays: dict[str, Any] = dict(lattice=lattice, components=3, **data)
    attrs["checks"] = check_spins(memory := DataSet.from_arrays(**arrays))
    found = found[:1] or suspicions(attrs["checks"], content.factor, content.meaning)
    if exact is not None:
        attrs["checks"]["exact"], doubts = _compare_exact(memory, exact, content.factor)
        found += doubts
    if found:
        what = f"{card}: {'; '.join(found)}."
        if not trust:
            raise ValueError(f"{what} Correct the card, or pass trust=True to import the arrays as they are.")
        warnings.warn(what, stacklevel=2)
    return DataSet.from_arrays(path, attrs=attrs, **arrays)


def _name(file: Path, card: Path) -> str:
    """A file relative to the card: two folders may hold files of one name."""
    try:
        return file.resolve().relative_to(card.parent.resolve()).as_posix()
    except ValueError:
        return file.as_posix()


def _order(card: SpinCard, lattice: Lattice) -> np.ndarray | None:
    """``order[i]``: the site of the library that site i of the files is; None if the two agree."""
    if card.vectors is None:
        return None
    vectors = np.array(card.vectors, dtype=float)
    if vectors.shape != lattice.vectors.shape:
        raise ValueError(f"vectors must hold {lattice.dim} rows of {lattice.dim} numbers, got shape {vectors.shape}.")
    if lattice.n_basis > 1:
        raise ValueError(f"vectors are for one site per cell; bring the sites of {lattice!r} into its own order.")
    steps = np.linalg.solve(lattice.vectors.T, vectors.T).T
    cells = np.round(steps).astype(int)
    # Coordinates are often rounded to a few digits.
    if np.abs(steps - cells).max() > 1e-2 or round(abs(np.linalg.det(cells))) != 1:
        raise ValueError(
            f"vectors {card.vectors} are no primitive vectors of the {lattice.name} lattice, whose own are "
            f"{np.round(lattice.vectors, 6).tolist()}; give them in units of the lattice constant, x along the first."
        )
    order = lattice.index(lattice.cells @ cells)
    corners = np.diag(lattice.shape) @ cells
    if np.any(corners % np.array(lattice.shape)) or not all(lattice.periodic):  # type: ignore[arg-type]
        raise ValueError(f"{card.shape} cells along {card.vectors} are not those of {lattice!r}.")
    return order


def _read(
    files: dict[str, Path], card: SpinCard, lattice: Lattice, order: np.ndarray | None, number: int
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of one set of files, and what speaks against their meaning."""
    arrays = _arrays(files, card)
    file = next(iter(files.values()))
    spins, fields = (_sites(arrays, name, file, card, lattice, order) for name in (card.spins, card.fields))
    if len(spins) != len(fields):
        raise ValueError(f"{file}: {len(spins)} snapshots of {card.spins!r}, {len(fields)} of {card.fields!r}.")
    if not len(spins):
        raise ValueError(f"{file}: {card.spins!r} holds no snapshot.")
    for array, values in ((card.spins, spins), (card.fields, fields)):
        bad = ~torch.isfinite(values).flatten(1).all(1)
        if bool(bad.any()):
            raise ValueError(
                f"{file}: {array!r} holds NaN or infinite values in {int(bad.sum())} snapshots, first in snapshot "
                f"{int(bad.int().argmax())}; leave those snapshots out."
            )
    length = spins.norm(dim=-1)
    deviation = float((length - 1).abs().max())
    if not deviation <= LENGTH:
        raise ValueError(
            f"{file}: {card.spins!r} are unit vectors, but lengths deviate from 1 by up to {deviation:.2g}; check that "
            f"axes names the right axis as component, and divide spins of length S by S and their fields by 1/S."
        )
    spins = spins / length[..., None]
    fields, doubts = card.factor * fields, []
    if card.meaning == "torque":
        along = float((fields * spins).sum(-1).square().sum().sqrt() / fields.norm().clamp_min(1e-300))
        if along > NORMAL:
            doubts.append(
                f"{along:.2g} of the size of {card.fields!r} lies along the spins, where a torque S × H has nothing; "
                f"give meaning: field"
            )
        fields = torch.linalg.cross(fields, spins)
    external = torch.tensor(card.external, dtype=torch.float64)
    whole = card.meaning == "field" and float((fields * spins).sum(-1).abs().max()) > 1e-5 * float(fields.abs().max())
    fields = fields - (external if whole else tangent(external.expand_as(spins), spins))
    result = {"field": spins.numpy(), "force": fields.numpy(), "trajectory": np.full(len(spins), number)}
    for key, name in (("energy", card.energy), ("time", card.time), ("trajectory", card.trajectory)):
        if name is not None:
            result[key] = _numbers(arrays[name], name, file, len(spins), lattice.n_sites)
    if card.trajectory is not None:
        result["trajectory"] = result["trajectory"].astype(np.int64)
    if card.time is not None:
        result["time"] = card.time_factor * result["time"]
    if card.energy is not None:
        result["energy"] = result["energy"] + (spins.sum(-2) @ external).numpy()
    return result, doubts


def _arrays(files: dict[str, Path], card: SpinCard) -> dict[str, Tensor]:
    """What the card names, from one file or from a file for each."""
    names = [card.energy, card.time, card.trajectory]
    for array in (card.spins, card.fields):
        names += [array] if isinstance(array, str) else array
    wanted = [name for name in names if name is not None]
    if "" in files:
        return read_arrays(files[""], wanted)
    if unnamed := [name for name in wanted if name not in files]:
        raise ValueError(f"files gives no file for {', '.join(map(repr, unnamed))}; it has {', '.join(files)}.")
    return {name: _alone(files[name], name) for name in wanted}


def _alone(file: Path, name: str) -> Tensor:
    """The array of a file that holds one, by its name where it has one."""
    name = name if file.suffix in NAMED else ""
    return read_arrays(file, [name])[name]


def _numbers(values: Tensor, name: str, file: Path, count: int, sites: int) -> np.ndarray:
    """One number a snapshot; a column of a table repeats it on every row."""
    flat = values.reshape(-1)
    if flat.shape == (count * sites,) and count * sites > count:
        rows = flat.reshape(count, sites)
        if bool((rows == rows[:, :1]).all()):
            flat = rows[:, 0]
    if flat.shape != (count,):
        raise ValueError(f"{file}: {name!r} needs one number for each of {count} snapshots.")
    return flat.numpy()


def _sites(
    arrays: dict[str, Tensor],
    name: str | list[str],
    file: Path,
    card: SpinCard,
    lattice: Lattice,
    order: np.ndarray | None,
) -> Tensor:
    """An array as ``(snapshot, site, 3)`` in the library's order."""
    grid = {str(k): n for k, n in enumerate(lattice.shape)}
    if lattice.n_basis > 1:
        grid["basis"] = lattice.n_basis
    space = {"site": lattice.n_sites} if "site" in card.axes else grid
    columns = isinstance(name, list)
    wanted = ["snapshot", *space, "component"]
    axes = [*card.axes, "component"] if columns else list(card.axes)
    if sorted(axes) not in (sorted(wanted), sorted(wanted[1:])):
        raise ValueError(
            f"axes must be an order of {', '.join(wanted[:-1] if columns else wanted)} (without snapshot for one a "
            f"file), or of snapshot, site{'' if columns else ', component'}; got {', '.join(card.axes)}."
        )
    sizes = {**space, "component": 3}
    if isinstance(name, list):
        parts = [arrays[x] for x in name]
        if len({x.shape for x in parts}) > 1:
            raise ValueError(f"{file}: {', '.join(name)} differ in shape; the x, y and z of one array do not.")
        values = torch.stack(parts, -1)
    else:
        values = arrays[name]
        for _ in range(values.ndim - len(axes)):  # a film of a grid file is one cell thick
            if 1 in values.shape:
                values = values.squeeze(values.shape.index(1))
    if "snapshot" not in axes:
        values, axes = values[None], ["snapshot", *axes]
    if columns and values.ndim < len(axes):
        values = _unfolded(values, axes, sizes, file)
    expected = [sizes.get(axis) for axis in axes]
    if len(axes) != values.ndim or any(n not in (None, m) for n, m in zip(expected, values.shape, strict=True)):
        shape = ", ".join(f"{a}: {'any' if n is None else n}" for a, n in zip(axes, expected, strict=True))
        raise ValueError(f"{file}: {name!r} has shape {tuple(values.shape)}, but the card says ({shape}).")
    values = values.permute([axes.index(axis) for axis in wanted]).flatten(1, -2)
    if order is None:
        return values.contiguous()
    result = torch.empty_like(values, memory_format=torch.contiguous_format)
    result[:, torch.from_numpy(order)] = values
    return result


def _unfolded(values: Tensor, axes: list[str], sizes: dict[str, int], file: Path) -> Tensor:
    """Rows of a table as a grid: they run over all axes, the last fastest."""
    rows, sites = values.shape[:-1].numel(), int(np.prod([n for axis, n in sizes.items() if axis != "component"]))
    if rows % sites:
        raise ValueError(f"{file} has {rows} rows, not {sites} for each snapshot, as the shape of the card says.")
    return values.reshape([sizes.get(axis, rows // sites) for axis in axes])
