"""Values of sites written for other programs: OVF, legacy VTK and extended xyz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nearsight._validation import boolean, filename, number
from nearsight.lattices import Lattice, Structures
from nearsight.lattices.lattice import checked_lattice
from nearsight.storage import write_atomic
from nearsight.training._grid_files import CHECK, OVF
from nearsight.training._imports import as_numpy

VTK, XYZ = (".vtk",), (".xyz", ".extxyz")
EDGE = 1e-9


def export_sites(
    path: str | Path, lattice: Lattice, *, time: float | None = None, binary: bool = True, **arrays: Tensor | np.ndarray
) -> Path:
    """Write arrays of sites to a file that other programs read, in a format that the suffix of its name chooses.

    ``.ovf`` (``.omf``, ``.ohf``): OVF 2.0, one array of a chain, square or cubic lattice, for OOMMF, mumax and
    discretisedfield. ``.vtk``: legacy VTK, structured points of these lattices and points with vertices of all others
    and of point clouds, for ParaView. ``.xyz``, ``.extxyz``: extended xyz, a frame for every entry of the batch, for
    ASE and OVITO. :func:`import_spins` reads the first two again, to all digits.

    Parameters
    ----------
    path: of the file, which is replaced. lattice: of the sites, in any unit of length.
    arrays: by name, ``(*batch, site, component)`` or ``(site,)``; a batch in extended xyz alone, where ASE keeps the
        names energy, forces, charge and magmoms for its calculators.
    time: kept where the format has a place for it.
    binary: float64 as it is in memory; False for text, with all digits. Extended xyz is text.

    Cost: linear in the numbers. ``ValueError`` for NaN, for shapes that are not those of the lattice, and for a lattice
    or a batch that the format does not hold.

    References
    ----------
    OOMMF User's Guide, NISTIR 6376, "File formats: vector field file format (OVF)". The VTK User's Guide, "VTK file
    formats".

    >>> import tempfile, torch
    >>> from nearsight.fields import random_spins
    >>> from nearsight.lattices import triangular
    >>> lattice = triangular(4)
    >>> spins = random_spins(lattice, torch.Generator().manual_seed(1))
    >>> export_sites(tempfile.mkdtemp() + "/spins.vtk", lattice, spins=spins).name
    'spins.vtk'
    """
    path, lattice = filename(path, "path"), checked_lattice(lattice)
    time = None if time is None else number(time, "time")
    if path.suffix not in (*OVF, *VTK, *XYZ):
        raise ValueError(f"path must end with one of {', '.join((*OVF, *VTK, *XYZ))}, got {path.name!r}.")
    values = {name: _checked(name, array, lattice) for name, array in arrays.items()}
    if not values:
        raise ValueError("Give the arrays by name: export_sites(path, lattice, spins=S).")
    if path.suffix in XYZ:
        write_atomic(path, _xyz(lattice, values, time))
        return path
    for name, array in values.items():
        if array.ndim > 2:
            raise ValueError(
                f"{name} has the shape {array.shape}, a {path.suffix} file holds one configuration (site, component): "
                f"write each to a file of its own, or all to .extxyz."
            )
    write = _ovf if path.suffix in OVF else _vtk
    write_atomic(path, write(lattice, values, time, boolean(binary, "binary")))
    return path


def _checked(name: str, array: Any, lattice: Lattice) -> np.ndarray:
    """``(*batch, site, component)``, float64."""
    values = as_numpy(array, name)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got {values.dtype}; write real and imaginary part.")
    if values.shape == (lattice.n_sites,):
        values = values[:, None]
    if values.ndim < 2 or values.shape[-2] != lattice.n_sites:
        raise ValueError(f"{name} must be (*batch, {lattice.n_sites}, component), got the shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values; leave those configurations out.")
    return values.astype(float)


def _grid(lattice: Lattice) -> np.ndarray | None:
    """Steps along x, y, z of a lattice that is a rectangular grid of its cells; None for others."""
    straight = lattice.vectors - np.diag(np.diag(lattice.vectors))
    if lattice.n_basis > 1 or np.abs(straight).max() > EDGE * lattice.spacing or np.diag(lattice.vectors).min() <= 0:
        return None
    return np.concatenate([np.diag(lattice.vectors), np.full(3, lattice.spacing)])[:3]


def _three(rows: np.ndarray) -> np.ndarray:
    """Rows of up to three coordinates, filled with zeros."""
    return np.pad(rows, ((0, 0), (0, 3 - rows.shape[1])))


def _along_x(lattice: Lattice, values: np.ndarray) -> np.ndarray:
    """Sites ``(site, component)`` in the order of grids in files, x fastest."""
    grid = values.reshape(*lattice.shape, -1)
    return grid.transpose(*range(lattice.dim - 1, -1, -1), lattice.dim).reshape(values.shape)


def _rows(values: np.ndarray) -> str:
    return "\n".join(" ".join(map(repr, row)) for row in values.tolist())


def _ovf(lattice: Lattice, arrays: dict[str, np.ndarray], time: float | None, binary: bool) -> bytes:
    steps = _grid(lattice)
    if steps is None or len(arrays) > 1:
        what = f"one array, got {', '.join(arrays)}" if steps is not None else f"a rectangular grid, not {lattice!r}"
        raise ValueError(f"An OVF file holds {what}; write .vtk or .extxyz.")
    (name, values), nodes = next(iter(arrays.items())), (*lattice.shape, 1, 1)[:3]
    base, size = _three(lattice.basis)[0], values.shape[1]
    lines = ["OOMMF OVF 2.0", "Segment count: 1", "Begin: Segment", "Begin: Header", f"Title: {name}"]
    lines += [] if time is None else [f"Desc: Total simulation time: {time!r} s"]
    lines += ["meshtype: rectangular", "meshunit: 1"]
    for axis, x, step, n in zip("xyz", base.tolist(), steps.tolist(), nodes, strict=True):
        lines += [f"{axis}base: {x!r}", f"{axis}stepsize: {step!r}", f"{axis}nodes: {n}"]
        lines += [f"{axis}min: {x - step / 2!r}", f"{axis}max: {x + (n - 0.5) * step!r}"]
    labels = " ".join(f"{name}_{'xyz'[k] if size <= 3 else k}" for k in range(size))
    lines += [f"valuedim: {size}", f"valuelabels: {labels}", f"valueunits: {' '.join(['1'] * size)}", "End: Header"]
    kind = "Data Binary 8" if binary else "Data Text"
    lines += [f"Begin: {kind}"]
    ordered = _along_x(lattice, values)
    data = (
        np.concatenate([[CHECK[8]], ordered.reshape(-1)]).astype("<f8").tobytes() if binary else _rows(ordered).encode()
    )
    head = "".join(f"# {line}\n" for line in lines)
    return head.encode() + data + f"\n# End: {kind}\n# End: Segment\n".encode()


def _vtk(lattice: Lattice, arrays: dict[str, np.ndarray], time: float | None, binary: bool) -> bytes:
    def block(values: np.ndarray, dtype: str = ">f8") -> bytes:
        return (values.astype(dtype).tobytes() if binary else _rows(values).encode()) + b"\n"

    steps, n = _grid(lattice), lattice.n_sites
    title = "nearsight" + ("" if time is None else f" t = {time!r}")
    parts = [f"# vtk DataFile Version 3.0\n{title}\n{'BINARY' if binary else 'ASCII'}\n".encode()]
    if steps is not None:
        nodes = (*lattice.shape, 1, 1)[:3]
        words = (" ".join(map(repr, x)) for x in (list(nodes), _three(lattice.basis)[0].tolist(), steps.tolist()))
        parts.append("DATASET STRUCTURED_POINTS\nDIMENSIONS {}\nORIGIN {}\nSPACING {}\n".format(*words).encode())
        arrays = {name: _along_x(lattice, values) for name, values in arrays.items()}
    else:
        one = np.ones((n, 1), int)  # every site a cell of type 1, a vertex
        parts += [f"DATASET UNSTRUCTURED_GRID\nPOINTS {n} double\n".encode(), block(_three(lattice.positions))]
        parts += [f"CELLS {n} {2 * n}\n".encode(), block(np.hstack([one, np.arange(n)[:, None]]), ">i4")]
        parts += [f"CELL_TYPES {n}\n".encode(), block(one, ">i4")]
    parts.append(f"POINT_DATA {n}\n".encode())
    for name, values in arrays.items():
        size = values.shape[1]
        head = {
            1: f"SCALARS {name} double 1\nLOOKUP_TABLE default\n",
            3: f"VECTORS {name} double\n",
        }.get(size, f"FIELD fields 1\n{name} {size} {n} double\n")
        parts += [head.encode(), block(values)]
    return b"".join(parts)


def _xyz(lattice: Lattice, arrays: dict[str, np.ndarray], time: float | None) -> str:
    if isinstance(lattice, Structures):
        raise ValueError(f"{lattice!r} have no common cell; write each of lattice.structures to a file of its own.")
    cell, flags = np.eye(3), [False] * 3
    cell[: lattice.dim] = _three(lattice.vectors * np.asarray(lattice.shape)[:, None])
    flags[: lattice.dim] = lattice.periodic  # type: ignore[assignment]
    species = [str(lattice.species[b]) for b in lattice.sublattice]
    names = [x if x.isalpha() else "X" for x in species]
    columns = "".join(f":{name}:R:{values.shape[-1]}" for name, values in arrays.items())
    head = f'Lattice="{" ".join(map(repr, cell.reshape(-1).tolist()))}" Properties=species:S:1:pos:R:3{columns} '
    head += f'pbc="{" ".join("FT"[flag] for flag in flags)}"' + ("" if time is None else f" time={time!r}")
    flat = [values.reshape(-1, *values.shape[-2:]) for values in arrays.values()]
    if len({len(values) for values in flat}) > 1:
        raise ValueError(f"{', '.join(arrays)} have batches of different sizes; give them the same.")
    frames = []
    for parts in zip(*flat, strict=True):
        rows = _rows(np.concatenate([_three(lattice.positions), *parts], 1)).split("\n")
        body = "\n".join(f"{name} {row}" for name, row in zip(names, rows, strict=True))
        frames.append(f"{lattice.n_sites}\n{head}\n{body}\n")
    return "".join(frames)
