"""Disordered structures: random sequential addition, dilution of a crystal, and files of atoms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nearsight._validation import filename, generator, integer, number
from nearsight.lattices.lattice import Lattice, _flags, checked_lattice
from nearsight.lattices.point_cloud import PointCloud

PATIENCE = 200
"""Rounds without a single accepted site after which random sequential addition has jammed."""


def random_cloud(
    n_sites: int,
    density: float,
    minimum: float,
    *,
    rng: torch.Generator,
    dim: int = 3,
    periodic: bool | Sequence[bool] = True,
    species: Sequence[int | str] | int | str = (),
) -> PointCloud:
    """Sites at random in a cube, no two closer than a minimum, by random sequential addition.

    Uniform positions are tried one after another, and kept if no site kept before lies within the minimum: the
    amorphous magnet of a metallic spin glass, with no order but that of hard spheres.

    Parameters
    ----------
    n_sites, density: number of sites, and sites per volume; the edge of the cube is (n_sites / density)^(1/dim).
    minimum: smallest distance of two sites, periodic images included.
    rng: draws the positions.
    periodic: one flag, or one for every axis.

    ``ValueError`` if the addition jams, with the density that would do. It jams for certain near a packing fraction of
    0.75, 0.55 and 0.38 of spheres of this diameter in one, two and three dimensions.

    References
    ----------
    B. Widom, J. Chem. Phys. 44, 3888 (1966).

    >>> import torch
    >>> random_cloud(100, 0.8, 0.5, rng=torch.Generator().manual_seed(1))
    cloud of 100 sites, dimension 3, periodic, density 0.8
    """
    n, dim = integer(n_sites, "n_sites", least=1), integer(dim, "dim", least=1)
    density, minimum = number(density, "density", above=0), number(minimum, "minimum", least=0)
    generator(rng)
    edge = (n / density) ** (1 / dim)
    flags = np.array(_flags(periodic, dim))
    kept, count, idle = np.zeros((n, dim)), 0, 0
    add = _sequence(kept, edge, flags, minimum)
    while count < n:
        tries = max(64, 2 * (n - count))
        before, count = count, add(edge * torch.rand(tries, dim, generator=rng, dtype=torch.float64).numpy(), count)
        idle = 0 if count > before else idle + 1
        if idle == PATIENCE:
            raise ValueError(
                f"Random sequential addition jams at {count} of {n} sites no closer than {minimum:g}: a density of "
                f"{0.9 * count / edge**dim:.3g} would do, {density:g} does not. Lower density or minimum."
            )
    return PointCloud(kept, edge, periodic=periodic, species=species)


def _sequence(kept: np.ndarray, edge: float, periodic: np.ndarray, minimum: float) -> Callable[[np.ndarray, int], int]:
    """``(drawn, count) -> count``: puts those of the drawn positions into ``kept`` that sequential addition keeps."""
    from nearsight.lattices import _cells

    n, dim = kept.shape
    if minimum and periodic.any() and edge <= minimum:
        return lambda drawn, count: count  # a site closer than the minimum to its own image fits nowhere
    across = max(1, min(int(edge / minimum) if minimum else n, math.ceil(n ** (1 / dim))))
    heads, following = np.full(across**dim, -1), np.empty(n, dtype=np.int64)
    steps = _cells.around(dim) if minimum else np.zeros((0, dim), dtype=np.int64)

    def add(drawn: np.ndarray, count: int) -> int:
        return int(_cells.add_in_sequence(drawn, kept, count, heads, following, across, edge, periodic, minimum, steps))

    return add


def diluted(lattice: Lattice, concentration: float, *, rng: torch.Generator) -> PointCloud:
    """The magnetic sites of a dilute alloy: a fraction of the sites of a crystal, chosen at random, as in CuMn.

    Parameters
    ----------
    lattice: the host, of any kind, with its size and its boundaries.
    concentration: fraction of the sites that are kept, rounded to a whole number of them.
    rng: draws which.

    >>> import torch
    >>> from nearsight.lattices import fcc
    >>> diluted(fcc(8), 0.1, rng=torch.Generator().manual_seed(1))
    diluted fcc of 51 sites, dimension 3, periodic, density 0.141
    """
    host = checked_lattice(lattice)
    c = number(concentration, "concentration", above=0, most=1)
    generator(rng)
    count = round(c * host.n_sites)
    if not count:
        least = math.ceil(0.5 / c)
        raise ValueError(
            f"A concentration of {c:g} leaves none of {host.n_sites} sites; take a host of {least} or more."
        )
    chosen = torch.randperm(host.n_sites, generator=rng)[:count].sort().values.numpy()
    cell = host.vectors * np.asarray(host.shape)[:, None]
    species = np.asarray(host.species, dtype=object)[host.sublattice[chosen]]
    return PointCloud(
        host.positions[chosen], cell, periodic=host.periodic, species=tuple(species), name=f"diluted {host.name}"
    )


def from_ase(atoms: Any) -> PointCloud:
    """A cloud from an ``ase.Atoms``: positions, cell, boundaries, and chemical symbols as species.

    Edges of the cell that are not set belong to open axes, and are drawn around the atoms.
    """
    for name in ("get_positions", "get_cell", "get_pbc", "get_chemical_symbols"):
        if not hasattr(atoms, name):
            raise TypeError(f"atoms must be an ase.Atoms, got {type(atoms).__name__}.")
    positions, cell, flags = np.array(atoms.get_positions()), np.array(atoms.get_cell()), np.array(atoms.get_pbc())
    missing = np.linalg.norm(cell, axis=1) == 0
    if (missing & flags).any():
        raise ValueError(
            f"Axes {np.flatnonzero(missing & flags).tolist()} are periodic without an edge of the cell; set it with "
            f"atoms.set_cell, or atoms.pbc = False."
        )
    if missing.any():
        # Unit vectors normal to the edges there are, as long as the atoms reach along them.
        normals = np.linalg.svd(cell[~missing])[2][-int(missing.sum()) :] if (~missing).any() else np.eye(3)
        cell[missing] = normals * (np.ptp(positions @ normals.T, axis=0) + 1.0)[:, None]
    return PointCloud(
        positions, cell, periodic=tuple(map(bool, flags)), species=tuple(atoms.get_chemical_symbols()), name="atoms"
    )


def read_structure(path: str | Path, *, index: int = -1) -> PointCloud:
    """A cloud from a file of atoms that ASE reads (xyz, extxyz, cif, POSCAR, ...); ``index`` chooses the frame.

    Needs ASE, ``pip install ase``.
    """
    path, index = filename(path, "path"), integer(index, "index")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    try:
        from ase.io import read
    except ImportError as error:
        raise ImportError("Files of atoms are read by ASE: pip install ase, or give PointCloud the numbers.") from error
    return from_ase(read(path, index=index))
