"""Spins and fields from other programs, by a card that says what their arrays mean."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError

from nearsight import lattices
from nearsight.fields import tangent
from nearsight.lattices import Lattice
from nearsight.storage import CorruptFileError, read_yaml
from nearsight.training.dataset import DataSet
from nearsight.training.imports import file_hash
from nearsight.training.spin_checks import check_spins, suspicions

LENGTH = 1e-3
"""Largest deviation of a spin from length 1 that counts as rounding, which normalising takes away."""

Axis = Annotated[str, BeforeValidator(lambda axis: str(axis) if type(axis) is int else axis)]
"""The name of an axis; the grid axes 0, 1, ... may stand in the card without quotation marks."""

Kind = Literal["chain", "square", "triangular", "honeycomb", "kagome", "cubic", "fcc", "bcc", "diamond"]


def _not_zero(factor: float) -> float:
    if factor == 0:
        raise ValueError("a factor of 0 leaves no fields")
    return factor


class SpinCard(BaseModel):
    """What the arrays of :func:`import_spins` mean; the content of its YAML file.

    ``Axis`` names are "snapshot", "component", "site", and "0", "1", ... for the axes of the grid of cells (with
    "basis", the sites of a cell).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lattice: Kind
    """A lattice of this library."""
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]
    """Cells along every axis of the grid; one number where all are equal."""
    vectors: list[list[float]] | None = None
    """Cartesian primitive vectors the axes of the grid run along, in lattice constants; by default the library's own,
    which on the triangular lattice are (1, 0) and (1/2, √3/2), at 60°."""
    files: list[str]
    """``.npz`` or ``.pt`` files beside the card (patterns allowed, every one must be found); each file is a trajectory
    of its own, unless ``trajectory`` is given."""
    spins: str = "spins"
    fields: str = "fields"
    """Names of the two arrays in every file."""
    axes: list[Axis]
    """The axes of these arrays, in their order; without "snapshot" a file holds one."""
    meaning: Literal["field", "torque"] = "field"
    """Whether ``fields`` holds H, whole or its part normal to the spins, or the torque T = S × H."""
    factor: Annotated[FiniteFloat, AfterValidator(_not_zero)] = 1.0
    """H = factor × array: -1 for arrays of ∂E/∂S, and the ratio of the units."""
    external: tuple[FiniteFloat, FiniteFloat, FiniteFloat] = (0.0, 0.0, 0.0)
    """A uniform field that H still holds, in its final units; it is taken out, with its energy -B·ΣS."""
    energy: str | None = None
    time: str | None = None
    trajectory: str | None = None
    """Names of arrays with one number a snapshot, if there are any. The energy (free energy or grand potential of the
    whole lattice) is in the units of H after ``factor``."""
    model: dict[str, Any] = {}
    """Hoppings, coupling, filling, temperature, sources: kept with the data and not interpreted."""


def import_spins(card: str | Path, path: str | Path | None = None, *, check: bool = True) -> DataSet:
    """A data set of unit spins and their fields from ``.npz`` or PyTorch files of other programs.

    The card is a YAML file beside them with the entries of :class:`SpinCard`::

        lattice: triangular
        shape: [48, 48]
        vectors: [[1, 0], [-0.5, 0.8660254]]       # axes at 120 degrees
        files: [run_*.pt]
        spins: S
        fields: T
        axes: [snapshot, component, "0", "1"]
        meaning: torque
        model: {t: [1, 0, -0.85], J: 1, mu: -3.5}

    Sites are brought into the order of the library, torques become fields, spins are normalised if they are unit
    vectors up to rounding and refused if they are not. Nothing is unpickled: ``.pt`` files may hold tensors by name
    only. The results of :func:`check_spins` are kept as ``attrs["checks"]``, and a warning names what they speak
    against; ``check=False`` leaves them out. Torques and normal fields are labels for
    ``FitOptions(component="tangent")`` alone.

    Parameters
    ----------
    card: the YAML file. path: where to write the data set; None keeps it in memory.
    """
    card = Path(card)
    try:
        content = SpinCard.model_validate(read_yaml(card))
    except ValidationError as error:
        raise ValueError(f"{card} is no card of spins: {error}") from error
    lattice = _lattice(content)
    order = _order(content, lattice)
    files = _files(content, card)
    parts = [_read(file, content, lattice, order, number) for number, file in enumerate(files)]
    data = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    attrs: dict[str, Any] = {
        "source": card.name,
        "source_hash": {file.name: file_hash(file) for file in (card, *files)},
        "card": content.model_dump(mode="json"),
    }
    arrays: dict[str, Any] = dict(lattice=lattice, components=3, **data)
    if check:
        attrs["checks"] = check_spins(DataSet.from_arrays(**arrays))
        if found := suspicions(attrs["checks"], content.factor):
            warnings.warn(f"{card}: {'; '.join(found)}.", stacklevel=2)
    return DataSet.from_arrays(path, attrs=attrs, **arrays)


def _lattice(card: SpinCard) -> Lattice:
    if len(set(card.shape)) == 1:
        lattice = getattr(lattices, card.lattice)(card.shape[0])
        if len(card.shape) in (1, lattice.dim):
            return lattice
    try:
        return getattr(lattices, card.lattice)(*card.shape)
    except TypeError as error:
        raise ValueError(
            f"shape: {card.shape} is not one of a lattice of kind {card.lattice}; give one number of cells, or one for "
            f"every axis of the grid where they may differ."
        ) from error


def _files(content: SpinCard, card: Path) -> list[Path]:
    """The files of a card, each once, in the order of their patterns."""
    files: dict[Path, None] = {}
    for pattern in content.files:
        found = sorted(card.parent.glob(pattern))
        if not found:
            raise FileNotFoundError(f"No file beside {card} is named {pattern}.")
        files.update(dict.fromkeys(found))
    if not files:
        raise ValueError(f"{card} names no files; give files: [...].")
    return list(files)


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
    if np.any(corners % np.array(lattice.shape)):
        raise ValueError(f"A torus of {card.shape} cells along {card.vectors} is not that of {lattice!r}.")
    return order


def _read(file: Path, card: SpinCard, lattice: Lattice, order: np.ndarray | None, number: int) -> dict[str, np.ndarray]:
    arrays = _arrays(file)
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
                f"{int(bad.nonzero()[0])}; leave those snapshots out."
            )
    length = spins.norm(dim=-1)
    deviation = float((length - 1).abs().max())
    if not deviation <= LENGTH:
        raise ValueError(
            f"{file}: {card.spins!r} are unit vectors, but lengths deviate from 1 by up to {deviation:.2g}; check that "
            f"axes names the right axis as component, and divide spins of length S by S and their fields by 1/S."
        )
    spins = spins / length[..., None]
    fields = card.factor * fields
    if card.meaning == "torque":
        fields = torch.linalg.cross(fields, spins)
    external = torch.tensor(card.external, dtype=torch.float64)
    whole = card.meaning == "field" and float((fields * spins).sum(-1).abs().max()) > 1e-5 * float(fields.abs().max())
    fields = fields - (external if whole else tangent(external.expand_as(spins), spins))
    result = {"field": spins.numpy(), "force": fields.numpy(), "trajectory": np.full(len(spins), number)}
    for key, name in (("energy", card.energy), ("time", card.time), ("trajectory", card.trajectory)):
        if name is not None:
            values = _array(arrays, name, file).reshape(-1)
            if values.shape != (len(spins),):
                raise ValueError(f"{file}: {name!r} needs one number for each of {len(spins)} snapshots.")
            result[key] = values.numpy().astype(np.int64 if key == "trajectory" else np.float64)
    if card.energy is not None:
        result["energy"] = result["energy"] + (spins.sum(-2) @ external).numpy()
    return result


def _arrays(file: Path) -> dict[str, Any]:
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as content:
                read = {name: content[name] for name in content.files}
                return {name: torch.from_numpy(x) for name, x in read.items() if x.dtype.kind in "fiuc"}
        if file.suffix in (".pt", ".pth"):
            content = torch.load(file, map_location="cpu", weights_only=True)
            if isinstance(content, dict):
                return content
            raise ValueError(f"{file} holds a {type(content).__name__}; save a dict of tensors by name.")
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
        raise CorruptFileError(f"{file} is not a whole file of arrays ({error}).") from error
    except Exception as error:
        if "pickle" not in str(error).lower() and "weights_only" not in str(error).lower():
            raise
        raise ValueError(f"{file} holds Python objects, which are not loaded; save tensors only.") from error
    raise ValueError(f"{file}: files are .npz or .pt, not {file.suffix!r}.")


def _array(arrays: dict[str, Any], name: str, file: Path) -> torch.Tensor:
    if not isinstance(arrays.get(name), torch.Tensor):
        raise ValueError(f"{file} has no array {name!r}; it has {', '.join(sorted(map(str, arrays)))}.")
    values = arrays[name].detach()
    if values.is_complex():
        raise ValueError(f"{file}: {name!r} holds complex numbers, {values.dtype}; store the real part.")
    return values


def _sites(
    arrays: dict[str, Any], name: str, file: Path, card: SpinCard, lattice: Lattice, order: np.ndarray | None
) -> torch.Tensor:
    """An array as ``(snapshot, site, 3)`` in the library's order."""
    grid = {str(k): n for k, n in enumerate(lattice.shape)}
    if lattice.n_basis > 1:
        grid["basis"] = lattice.n_basis
    space = {"site": lattice.n_sites} if "site" in card.axes else grid
    wanted = ["snapshot", *space, "component"]
    if sorted(card.axes) not in (sorted(wanted), sorted(wanted[1:])):
        raise ValueError(
            f"axes must be an order of {', '.join(wanted)} (without snapshot for one a file), or of snapshot, site, "
            f"component; got {', '.join(card.axes)}."
        )
    values, axes = _array(arrays, name, file).double(), list(card.axes)
    if "snapshot" not in axes:
        values, axes = values[None], ["snapshot", *axes]
    sizes = {**space, "component": 3}
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
