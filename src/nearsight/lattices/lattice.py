"""A finite lattice: primitive vectors, a basis, and a number of cells along every axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

Centre = int | Sequence[float] | np.ndarray
"""A site, by its index, or any other point, by its Cartesian coordinates, such as the midpoint of a bond."""

DISTANCE_TOLERANCE = 1e-6
"""Two distances closer than this (in units of a) belong to the same neighbour shell."""


@dataclass(frozen=True, eq=False)
class Bonds:
    """Pairs of sites joined by one neighbour shell, every bond once.

    ``i``, ``j`` are site indices ``(bond,)``; ``displacement`` is the vector from i to j ``(bond, dim)``; ``winding``
    counts how often the bond crosses each periodic boundary ``(bond, dim)`` and carries the phase of twisted boundary
    conditions. On a torus of two cells the same pair of sites is joined by two bonds, as the hopping sum requires.
    """

    i: np.ndarray
    j: np.ndarray
    displacement: np.ndarray
    winding: np.ndarray

    def __len__(self) -> int:
        return len(self.i)


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """The sites within a cutoff of a centre, sorted by distance, then by the Cartesian components.

    ``cells`` are offsets in units of the primitive vectors ``(n, dim)``, ``sublattice`` the basis index of each
    neighbour ``(n,)`` and ``vectors`` the Cartesian displacements ``(n, dim)``. ``centre`` is the position of the
    centre in cell 0; where it is a site, the first row is that site.
    """

    cells: np.ndarray
    sublattice: np.ndarray
    vectors: np.ndarray
    cutoff: float
    centre: np.ndarray

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def distances(self) -> np.ndarray:
        return np.linalg.norm(self.vectors, axis=1)

    @property
    def reach(self) -> tuple[int, ...]:
        """Largest cell offset along every axis: the halo that a padded grid needs."""
        return tuple(int(r) for r in np.abs(self.cells).max(axis=0))

    @property
    def on_site(self) -> bool:
        """Whether the centre is a site, which then is the first row."""
        return bool(self.distances[0] < DISTANCE_TOLERANCE)

    def without_centre(self) -> Neighbourhood:
        """The neighbours of a site, the site itself left out; ``ValueError`` if there are none."""
        if len(self) == 1:
            raise ValueError(f"No neighbour lies within {self.cutoff:g} of the site; raise the cutoff.")
        return replace(self, cells=self.cells[1:], sublattice=self.sublattice[1:], vectors=self.vectors[1:])


@dataclass(frozen=True, eq=False)
class Lattice:
    """A lattice of ``prod(shape)`` cells with ``len(basis)`` sites each.

    Parameters
    ----------
    vectors: primitive vectors as rows ``(dim, dim)``, in units of a.
    basis: Cartesian positions of the sites in the cell ``(basis, dim)``.
    shape: number of cells along every primitive vector.
    periodic: one flag, or one for every axis; an axis that is not periodic is open.
    species: a label for every basis site; symmetry operations never mix labels.

    The index of a site runs over the cells in C order with the basis last, so that
    ``field.reshape(*batch, *shape, basis, component)`` is the field on its grid.
    """

    name: str
    vectors: np.ndarray
    basis: np.ndarray
    shape: tuple[int, ...]
    periodic: tuple[bool, ...] | bool = True
    species: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        vectors = np.atleast_2d(np.asarray(self.vectors, dtype=float))
        basis = np.atleast_2d(np.asarray(self.basis, dtype=float))
        dim = len(vectors)
        if vectors.shape != (dim, dim) or abs(np.linalg.det(vectors)) < 1e-12:
            raise ValueError(f"vectors must be {dim} independent rows of length {dim}, got shape {vectors.shape}.")
        if basis.ndim != 2 or basis.shape[1] != dim:
            raise ValueError(f"basis must have shape (sites, {dim}), got {basis.shape}.")
        shape = tuple(int(n) for n in np.atleast_1d(self.shape))
        if len(shape) != dim or min(shape) < 1:
            raise ValueError(f"shape must hold {dim} positive numbers of cells, got {self.shape}.")
        periodic = (self.periodic,) * dim if isinstance(self.periodic, bool) else tuple(bool(p) for p in self.periodic)
        if len(periodic) != dim:
            raise ValueError(f"periodic must be one flag or {dim} flags, got {self.periodic}.")
        species = tuple(self.species) or (0,) * len(basis)
        if len(species) != len(basis):
            raise ValueError(f"species must label each of the {len(basis)} basis sites, got {len(species)} labels.")
        for name, value in dict(vectors=vectors, basis=basis, shape=shape, periodic=periodic, species=species).items():
            set_(self, name, value)
        vectors.setflags(write=False)
        basis.setflags(write=False)

    def __repr__(self) -> str:
        cells = " × ".join(map(str, self.shape))
        sites = f" cells × {self.n_basis} sites" if self.n_basis > 1 else " sites"
        flags: tuple[bool, ...] = self.periodic  # type: ignore[assignment]
        edge = "periodic" if all(flags) else "open" if not any(flags) else f"periodic along {np.flatnonzero(flags)}"
        return f"{self.name}, {cells}{sites}, {edge}"

    @property
    def dim(self) -> int:
        return len(self.vectors)

    @property
    def n_basis(self) -> int:
        return len(self.basis)

    @property
    def n_cells(self) -> int:
        return int(np.prod(self.shape))

    @property
    def n_sites(self) -> int:
        return self.n_cells * self.n_basis

    @cached_property
    def cells(self) -> np.ndarray:
        """Cell coordinates of every site ``(site, dim)``."""
        grid = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), axis=-1).reshape(-1, self.dim)
        return np.repeat(grid, self.n_basis, axis=0)

    @cached_property
    def sublattice(self) -> np.ndarray:
        """Basis index of every site ``(site,)``."""
        return np.tile(np.arange(self.n_basis), self.n_cells)

    @cached_property
    def positions(self) -> np.ndarray:
        """Cartesian positions ``(site, dim)``."""
        return self.cells @ self.vectors + self.basis[self.sublattice]

    def config(self) -> dict[str, Any]:
        """The lattice in plain data, for files."""
        return {
            "name": self.name,
            "vectors": self.vectors.tolist(),
            "basis": self.basis.tolist(),
            "shape": list(self.shape),
            "periodic": list(self.periodic),  # type: ignore[arg-type]
            "species": list(self.species),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Lattice:
        """The lattice that :meth:`config` was read from; ``periodic`` may be missing where it is True."""
        return cls(
            config["name"],
            np.array(config["vectors"]),
            np.array(config["basis"]),
            tuple(config["shape"]),
            tuple(config.get("periodic", [True] * len(config["shape"]))),
            tuple(config["species"]),
        )

    def resized(self, *shape: int) -> Lattice:
        """The same lattice with other numbers of cells."""
        return replace(self, shape=shape if len(shape) > 1 else shape * self.dim)

    def same_kind(self, other: Lattice) -> bool:
        """Whether ``other`` differs at most in its size and boundaries."""
        return (
            self.vectors.shape == other.vectors.shape
            and self.basis.shape == other.basis.shape
            and np.allclose(self.vectors, other.vectors)
            and np.allclose(self.basis, other.basis)
            and self.species == other.species
        )

    def coincides(self, other: Lattice) -> bool:
        """Whether both have the same sites in the same order: one kind, one shape, one choice of boundaries."""
        return self is other or (
            self.same_kind(other) and self.shape == other.shape and self.periodic == other.periodic
        )

    def index(self, cells: np.ndarray, sublattice: np.ndarray | int = 0) -> np.ndarray:
        """Site index of cell coordinates ``(..., dim)``, wrapped along periodic axes; -1 outside an open boundary."""
        cells = np.asarray(cells)
        shape = np.asarray(self.shape)
        inside = np.all(((cells >= 0) & (cells < shape)) | np.asarray(self.periodic), axis=-1)
        wrapped = np.moveaxis(cells % shape, -1, 0)
        flat = np.ravel_multi_index(tuple(wrapped), self.shape) * self.n_basis + sublattice
        return np.where(inside, flat, -1)

    # --- neighbours -------------------------------------------------------------------------------------------------

    def neighbourhood(self, cutoff: float, *, centre: Centre = 0) -> Neighbourhood:
        """All sites with ``|r| <= cutoff`` around a site or any other point, a site at the centre included.

        Cells count from the cell of the centre: all sites of one sublattice have the same neighbourhood, and so do all
        translates of a point.
        """
        if not cutoff >= 0 or not np.isfinite(cutoff):
            raise ValueError(f"cutoff must be a finite distance >= 0, got {cutoff}.")
        found = _neighbourhood(self, float(cutoff), tuple(map(float, self.locate(centre)[0])))
        if not len(found):
            raise ValueError(f"No site lies within {cutoff:.6g} of the point {centre}; pass a larger cutoff.")
        return found

    def locate(self, centre: Centre) -> tuple[np.ndarray, np.ndarray]:
        """A centre as a position in cell 0 ``(dim,)`` and the cell ``(dim,)`` by which it is shifted."""
        if isinstance(centre, int | np.integer):
            if not 0 <= centre < self.n_sites:
                raise ValueError(f"centre must be one of the sites 0..{self.n_sites - 1} or a position, got {centre}.")
            index, b = divmod(int(centre), self.n_basis)
            return self.basis[b], np.array(np.unravel_index(index, self.shape))
        point = np.asarray(centre, dtype=float)
        if point.shape != (self.dim,) or not np.isfinite(point).all():
            raise ValueError(f"A centre is a site index or {self.dim} finite coordinates, got {centre}.")
        cell = np.floor(point @ np.linalg.inv(self.vectors) + DISTANCE_TOLERANCE).astype(int)
        return point - cell @ self.vectors, cell

    @cached_property
    def shell_distances(self) -> np.ndarray:
        """Distances of the first neighbour shells (those within five nearest-neighbour spacings)."""
        return _distinct(np.concatenate([self._around(b, 5.0 * self._nearest)[2] for b in self.basis]))[1:]

    @cached_property
    def _nearest(self) -> float:
        radius = float(np.linalg.norm(self.vectors, axis=1).max()) * 1.001
        distances = np.concatenate([self._around(b, radius)[2] for b in self.basis])
        return float(distances[distances > DISTANCE_TOLERANCE].min())

    def bonds(self, shell: int = 1) -> Bonds:
        """Every bond of a neighbour shell once (``shell = 1``: nearest neighbours)."""
        if not 1 <= shell <= len(self.shell_distances):
            raise ValueError(f"shell must lie in 1..{len(self.shell_distances)}, got {shell}.")
        return _bonds(self, shell)

    def neighbour_table(self, neighbourhood: Neighbourhood) -> np.ndarray:
        """Index of every neighbour of every translate of the centre ``(centre, n)``; -1 beyond an open edge.

        The rows run over the cells in C order: for a centre on a site, over the sites of its sublattice.
        """
        centres = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), axis=-1).reshape(-1, 1, self.dim)
        return self.index(centres + neighbourhood.cells[None], neighbourhood.sublattice[None])

    def _around(self, origin: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cells, sublattices and distances of all sites of the infinite lattice within ``radius`` of a point."""
        # |n_k| <= radius |b_k| / 2π with the reciprocal vectors b_k / 2π, the columns of inv(vectors).
        span = radius + np.linalg.norm(self.basis - origin, axis=1).max()
        bound = np.ceil(span * np.linalg.norm(np.linalg.inv(self.vectors), axis=0) + 1e-9).astype(int)
        offsets = np.stack(np.meshgrid(*[np.arange(-b, b + 1) for b in bound], indexing="ij"), -1).reshape(-1, self.dim)
        cells = np.repeat(offsets, self.n_basis, axis=0)
        sublattice = np.tile(np.arange(self.n_basis), len(offsets))
        distance = np.linalg.norm(cells @ self.vectors + self.basis[sublattice] - origin, axis=1)
        keep = distance <= radius + DISTANCE_TOLERANCE
        return cells[keep], sublattice[keep], distance[keep]


def _distinct(distances: np.ndarray) -> np.ndarray:
    ordered = np.sort(distances)
    return ordered[np.concatenate([[True], np.diff(ordered) > DISTANCE_TOLERANCE])]


def _ranks(values: np.ndarray) -> np.ndarray:
    """The place of every number among the distinct ones; numbers that agree within the tolerance share it."""
    order = np.argsort(values)
    ranks = np.zeros(len(values), dtype=int)
    ranks[order[1:]] = np.cumsum(np.diff(values[order]) > DISTANCE_TOLERANCE)
    return ranks


@lru_cache(maxsize=64)
def _neighbourhood(lattice: Lattice, cutoff: float, centre: tuple[float, ...]) -> Neighbourhood:
    origin = np.array(centre)
    cells, sublattice, distance = lattice._around(origin, cutoff)
    vectors = cells @ lattice.vectors + lattice.basis[sublattice] - origin
    order = np.lexsort((*map(_ranks, vectors.T[::-1]), _ranks(distance)))
    return Neighbourhood(cells[order], sublattice[order], vectors[order], cutoff, origin)


@lru_cache(maxsize=64)
def _bonds(lattice: Lattice, shell: int) -> Bonds:
    radius = lattice.shell_distances[shell - 1]
    rows: list[tuple[np.ndarray, ...]] = []
    grid = lattice.cells[:: lattice.n_basis]
    for a in range(lattice.n_basis):
        cells, sublattice, distance = lattice._around(lattice.basis[a], radius)
        for cell, b in zip(
            cells[distance > radius - DISTANCE_TOLERANCE],
            sublattice[distance > radius - DISTANCE_TOLERANCE],
            strict=True,
        ):
            # (a, b, cell) and (b, a, -cell) are the same bond: keep the lexicographically larger of the two.
            if (*cell, b) <= (*(-cell), a):
                continue
            target = grid + cell
            i, j = lattice.index(grid, a), lattice.index(target, b)
            inside = j >= 0
            vector = np.broadcast_to(
                cell @ lattice.vectors + lattice.basis[b] - lattice.basis[a], (len(grid), lattice.dim)
            )
            winding = target // np.asarray(lattice.shape)
            rows.append((i[inside], j[inside], vector[inside], winding[inside]))
    return Bonds(*(np.concatenate(column) for column in zip(*rows, strict=True)))
