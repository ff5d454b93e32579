"""The card that says what the arrays of another program mean."""

from __future__ import annotations

import difflib
import glob
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictBool,
    ValidationError,
)

from nearsight import lattices
from nearsight.lattices import Lattice
from nearsight.storage import read_yaml

Axis = Annotated[str, BeforeValidator(lambda axis: str(axis) if type(axis) is int else axis)]
"""The name of an axis or of a column; numbers may stand in the card without quotation marks."""

Kind = Literal["chain", "square", "triangular", "honeycomb", "kagome", "cubic", "fcc", "bcc", "diamond"]


def _not_zero(factor: float) -> float:
    if factor == 0:
        raise ValueError("a factor of 0 leaves no fields and no times")
    return factor


def _listed(value: Any) -> Any:
    """One value stands for a list of it."""
    return [value] if isinstance(value, str | int) and not isinstance(value, bool) else value


Factor = Annotated[FiniteFloat, AfterValidator(_not_zero)]
Array = Axis | Annotated[list[Axis], Field(min_length=3, max_length=3)]


class SpinCard(BaseModel):
    """What the arrays of :func:`import_spins` mean; the content of its YAML file.

    ``Axis`` names are "snapshot", "component", "site", and "0", "1", ... for the axes of the grid of cells (with
    "basis", the sites of a cell).

    Examples
    --------
    >>> from nearsight.training import SpinCard
    >>> axes = ["snapshot", "0", "1", "component"]
    >>> card = SpinCard(lattice="triangular", shape=[12, 12], files=["spins.npy"], axes=axes)
    >>> card.build_lattice()
    triangular, 12 × 12 sites, periodic
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lattice: Kind
    """A lattice of this library."""
    shape: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1), BeforeValidator(_listed)]
    """Cells along every axis of the grid; one number where all are equal."""
    periodic: StrictBool | Annotated[list[StrictBool], Field(min_length=1)] = True
    """Whether the lattice closes around: one flag, or one for every axis; an axis that does not is open."""
    vectors: list[list[float]] | None = None
    """Cartesian primitive vectors the axes of the grid run along, in lattice constants; by default the library's own,
    which on the triangular lattice are (1, 0) and (1/2, √3/2), at 60°."""
    files: Annotated[list[str], BeforeValidator(_listed)] | dict[str, str]
    """``.npz``, ``.pt``, ``.npy``, HDF5 (``.h5``, ``.hdf5``, ``.nc``; arrays by their path in it), OVF (``.ovf``,
    ``.omf``, ``.ohf``), legacy VTK (``.vtk``) or text files (``.csv``, ``.dat``, ``.txt``: columns of numbers, one row
    a site), beside the card or with a path of their own; patterns are allowed, and every one must be found. Where every
    array has files of its own, a pattern for each: ``{spins: S_*.npy, fields: H_*.npy}``."""
    spins: Array = "spins"
    fields: Array = "fields"
    """Names of the two arrays in every file, or of three arrays or columns that are their x, y and z; columns also by
    number, from 0."""
    axes: list[Axis]
    """The axes of these arrays, in their order; without "snapshot" a file holds one. Where columns are named there is
    no "component", and the rows run over the other axes, the last fastest."""
    meaning: Literal["field", "torque"] = "field"
    """Whether ``fields`` holds H, whole or its part normal to the spins, or the torque T = S × H."""
    factor: Factor = 1.0
    """H = factor × array: -1 for arrays of ∂E/∂S, and the ratio of the units."""
    external: tuple[FiniteFloat, FiniteFloat, FiniteFloat] = (0.0, 0.0, 0.0)
    """A uniform field that H still holds, in its final units; it is taken out, with its energy -B·ΣS."""
    energy: Axis | None = None
    time: Axis | None = None
    trajectory: Axis | None = None
    """Names of arrays with one number a snapshot, if there are any. The energy (free energy or grand potential of the
    whole lattice) is in the units of H after ``factor``."""
    time_factor: Factor = 1.0
    """Times are this × array, in units of ħ over that of H."""
    independent: StrictBool = False
    """Whether the snapshots of a file are independent of each other. By default each file is a trajectory of its own,
    which is never cut into training and test data."""
    model: dict[str, Any] = {}
    """Hoppings, coupling, filling, temperature, sources: kept with the data and not interpreted."""

    @classmethod
    def read(cls, path: Path) -> SpinCard:
        """A card from its file; ``ValueError`` says in words what is wrong with it."""
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise ValueError(f"{path} is no card of spins: it holds no entries such as lattice: square.")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            found = dict.fromkeys(_words(problem, cls) for problem in error.errors())
            raise ValueError(f"{path} is no card of spins: {'; '.join(found)}.") from None

    def build_lattice(self) -> Lattice:
        """The lattice of the data."""
        periodic = self.periodic if isinstance(self.periodic, bool) else tuple(self.periodic)
        make = getattr(lattices, self.lattice)
        try:
            lattice = make(self.shape[0])
            if len(self.shape) not in (1, lattice.dim) or (len(set(self.shape)) > 1):
                lattice = make(*self.shape)
        except TypeError as error:
            raise ValueError(
                f"shape: {self.shape} is not one of a lattice of kind {self.lattice}; give one number of cells, or one "
                f"for every axis of the grid where they may differ."
            ) from error
        return Lattice(lattice.name, lattice.vectors, lattice.basis, lattice.shape, periodic, lattice.species)

    def find_files(self, path: Path) -> list[dict[str, Path]]:
        """For every set of snapshots the files of its arrays, by name, or "" where one holds all; each file once."""
        if isinstance(self.files, list):
            found = dict.fromkeys(file for pattern in self.files for file in _found(pattern, path))
            if not found:
                raise ValueError(f"{path} names no files; give files: [...].")
            return [{"": file} for file in found]
        files = {name: _found(pattern, path) for name, pattern in self.files.items()}
        if len({len(x) for x in files.values()}) != 1:
            counts = ", ".join(f"{len(x)} of {name}" for name, x in files.items())
            raise ValueError(f"{path}: files must be as many for each array, found {counts or 'none'}.")
        return [dict(zip(files, each, strict=True)) for each in zip(*files.values(), strict=True)]


def _found(pattern: str, card: Path) -> list[Path]:
    """The files of a pattern, in their order; a name with brackets is first looked for as it stands."""
    literal = card.parent / pattern  # an absolute path stays what it is
    if literal.is_file():
        return [literal]
    root = "" if Path(pattern).is_absolute() else glob.escape(str(card.parent))
    found = sorted(Path(name) for name in glob.glob(str(Path(root) / pattern), recursive=True) if Path(name).is_file())
    if not found:
        raise FileNotFoundError(f"No file beside {card} is named {pattern}.")
    return found


def _words(problem: Any, card: type[BaseModel]) -> str:
    """One fault of a card, by entry and in words."""
    entry, given = str(problem["loc"][0]), problem["input"]
    match problem["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(entry, card.model_fields, 1)
            hint = f"did you mean {near[0]}?" if near else f"entries are {', '.join(card.model_fields)}"
            return f"there is no entry {entry}; {hint}"
        case "missing":
            return f"the entry {entry} is missing"
        case "literal_error":
            return f"{entry} must be {problem['ctx']['expected']}, got {given!r}"
        case "value_error":
            return f"{entry}: {problem['ctx']['error']}"
    wanted = problem["msg"].removeprefix("Input should be ")
    return f"{entry} should be {wanted[:1].lower()}{wanted[1:]}, got {given!r}"
