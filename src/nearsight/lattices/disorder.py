"""Disordered structures: random sequential addition, dilution of a crystal, and files of atoms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nearsight._validation import filename, generator, integer, number
from nearsight.lattices.lattice import Lattice, checked_lattice
from nearsight.lattices.pairs import pair_list
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
    frame = PointCloud(np.full((1, dim), 0.5 * edge), edge, periodic=periodic)
    kept, idle = np.zeros((0, dim)), 0
    while len(kept) < n:
        tries = max(64, 2 * (n - len(kept)))
        drawn = edge * torch.rand(tries, dim, generator=rng, dtype=torch.float64).numpy()
        accepted = _accepted(kept, drawn, frame, minimum)
        idle = 0 if len(accepted) else idle + 1
        kept = np.concatenate([kept, accepted])[:n]
        if idle == PATIENCE:
            reached = len(kept) / edge**dim
            raise ValueError(
                f"Random sequential addition jams at {len(kept)} of {n} sites no closer than {minimum:g}: a density of "
                f"{0.9 * reached:.3g} would do, {density:g} does not. Lower density or minimum."
            )
    return PointCloud(kept, edge, periodic=periodic, species=species)


def _accepted(kept: np.ndarray, drawn: np.ndarray, frame: PointCloud, minimum: float) -> np.ndarray:
    """Those of the drawn positions that sequential addition keeps, in their order."""
    if not minimum:
        return drawn
    every = np.concatenate([kept, drawn])
    i, j, _ = pair_list(every, frame.vectors, np.asarray(frame.periodic), minimum)
    # A site closer than the minimum to its own image (i = j) fits nowhere.
    first, later = np.minimum(i, j), np.maximum(i, j)
    blocked = np.zeros(len(every), dtype=bool)
    blocked[later[first < len(kept)]] = True
    blocked[later[first == later]] = True
    new = (first >= len(kept)) & (first < later)
    for a, b in sorted(zip(first[new].tolist(), later[new].tolist(), strict=True)):
        if not blocked[a]:  # ascending a: whether a was kept is decided before
            blocked[b] = True
    return drawn[~blocked[len(kept) :]]


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
