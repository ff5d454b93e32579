"""A finite lattice: primitive vectors, a basis, and a number of cells along every axis."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np

from nearsight._validation import array, boolean, instance, integer, integers, number
from nearsight.lattices._space_group import TYPED
from nearsight.lattices._typed import shortest_distance, symmetrised, written
from nearsight.lattices.neighbourhood import SAME, Bonds, Neighbourhood

Centre = int | Sequence[float] | np.ndarray
"""A site, by its index, or any other point, by its Cartesian coordinates, such as the midpoint of a bond."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """A lattice of ``prod(shape)`` cells with ``len(basis)`` sites each.

    Parameters
    ----------
    vectors: primitive vectors as rows ``(dim, dim)``, in any unit of length a.
    basis: Cartesian positions of the sites in the cell ``(basis, dim)``, in the same unit.
    shape: number of cells along every primitive vector.
    periodic: one flag, or one for every axis; an axis that is not periodic is open.
    species: a label for every basis site; symmetry operations never mix labels.
    symmetrise: what becomes of a geometry that is symmetric but for a small distortion, of up to 1 % of the shortest
        distance. None: rounded digits such as 0.866 for √3/2 are replaced by the exact numbers with a warning, and
        :attr:`moved` tells by how much; where the digits do not explain the distortion, ``ValueError`` asks. True: it
        is taken for rounding. False: it is meant, as in a strained crystal, and the numbers are taken as they stand.

    The index of a site runs over the cells in C order with the basis last, so that
    ``field.reshape(*batch, *shape, basis, component)`` is the field on its grid.

    Examples
    --------
    >>> from nearsight.lattices import Lattice
    >>> lieb = Lattice("Lieb", [[2, 0], [0, 2]], [[0, 0], [1, 0], [0, 1]], (4, 4))  # one site of four is missing
    >>> lieb
    Lieb, 4 × 4 cells × 3 sites, periodic
    >>> len(lieb.bonds(1)), lieb.shell_distances[:2].round(4).tolist()  # four bonds per cell; the nearest distances
    (64, [1.0, 1.4142])
    """

    name: str
    vectors: np.ndarray
    basis: np.ndarray
    shape: tuple[int, ...]
    periodic: tuple[bool, ...] | bool = True
    species: tuple[int, ...] = field(default=())
    symmetrise: bool | None = None
    moved: float = field(default=0.0, init=False)
    """The largest shift of a site or vector from where it was typed, in units of the shortest distance."""
    disordered: ClassVar[bool] = False
    """Whether sites lie at arbitrary positions, so that there are no shells and no point group."""

    def __post_init__(self) -> None:
        instance(self.name, str, "name")
        dim = len(self.vectors) if hasattr(self.vectors, "__len__") else 1
        vectors = array(self.vectors, "vectors", (dim, dim))
        if abs(np.linalg.det(vectors)) <= 1e-9 * np.prod(np.linalg.norm(vectors, axis=1)):
            raise ValueError(f"vectors must be {dim} independent rows of length {dim}, got {vectors.tolist()}.")
        basis = array(self.basis, "basis", ("sites", dim))
        shape = self.shape if np.ndim(self.shape) else (self.shape,)
        try:
            shape = integers(shape, "shape", length=dim, least=1)
        except (TypeError, ValueError) as error:
            raise type(error)(f"shape must hold {dim} positive numbers of cells: {error}") from None
        species = tuple(self.species) if not isinstance(self.species, int | str) else (self.species,)
        species = tuple(s.item() if isinstance(s, np.generic) else s for s in species) or (0,) * len(basis)
        if len(species) != len(basis):
            raise ValueError(f"species must label each of the {len(basis)} basis sites, got {len(species)} labels.")
        nearest = shortest_distance(vectors, basis)
        spacing = (abs(np.linalg.det(vectors)) / len(basis)) ** (1 / dim)
        if nearest < 1e-4 * spacing:
            raise ValueError(f"Two sites of the basis lie on one point, or {nearest:.1e} apart; leave one out.")
        vectors, basis, moved = self._checked_symmetry(vectors, basis, species)
        values = {"vectors": vectors, "basis": basis, "shape": shape, "periodic": _flags(self.periodic, dim)}
        for name, value in (values | {"species": species, "moved": moved}).items():
            object.__setattr__(self, name, value)
        vectors.setflags(write=False)
        basis.setflags(write=False)

    def _checked_symmetry(
        self, vectors: np.ndarray, basis: np.ndarray, species: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """The exactly symmetric geometry, and how far it is from the given one."""
        if self.symmetrise is not None and not boolean(self.symmetrise, "symmetrise"):
            return vectors, basis, 0.0
        found = symmetrised(vectors, basis, species)
        if not found.moved:
            return vectors, basis, 0.0
        if self.symmetrise is None and not found.rounding:
            raise ValueError(
                f"{self.name} is within {found.moved:.1e} of the shortest distance of a geometry of higher symmetry, "
                f"and its digits do not tell whether that is meant. For the symmetric one type "
                f"{written(found.vectors, found.basis)}, or pass symmetrise=True; for this one pass symmetrise=False."
            )
        if self.symmetrise is None:
            warnings.warn(
                f"{self.name}: vectors and positions are rounded digits of a symmetric geometry and were replaced by "
                f"the exact ones, {found.moved:.1e} of the shortest distance away at most: "
                f"{written(found.vectors, found.basis)}. symmetrise=True says that this is meant, symmetrise=False "
                f"keeps the digits.",
                stacklevel=4,
            )
        return found.vectors, found.basis, found.moved

    def __repr__(self) -> str:
        cells = " × ".join(map(str, self.shape))
        sites = f" cells × {self.n_basis} sites" if self.n_basis > 1 else " sites"
        flags: tuple[bool, ...] = self.periodic  # type: ignore[assignment]
        edge = "periodic" if all(flags) else "open" if not any(flags) else f"periodic along {np.flatnonzero(flags)}"
        return f"{self.name}, {cells}{sites}, {edge}"

    def _repr_html_(self) -> str | None:
        if self.dim > 2:
            return None
        from nearsight.lattices._drawing import picture

        return picture(self)

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
    def volume(self) -> float:
        """Of all cells together, in units of length^dim."""
        return float(abs(np.linalg.det(self.vectors))) * self.n_cells

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
        } | ({"symmetrise": False} if self.symmetrise is False else {})

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Lattice:
        """The lattice that :meth:`config` was read from; ``periodic`` may be missing where it is True.

        ``ValueError`` for rounded digits, which files of nearsight 0.1 hold: what was computed there knew fewer bonds
        and operations than the lattice has.
        """
        if "positions" in config or "structures" in config:
            from nearsight.lattices.point_cloud import PointCloud

            return PointCloud.from_config(config)
        symmetrise = config.get("symmetrise")
        lattice = cls(
            config["name"],
            np.array(config["vectors"]),
            np.array(config["basis"]),
            tuple(config["shape"]),
            tuple(config.get("periodic", [True] * len(config["shape"]))),
            tuple(config["species"]),
            symmetrise is None or symmetrise,
        )
        if symmetrise is None and lattice.moved:
            raise ValueError(
                f"{lattice.name} has rounded vectors and positions, in which nearsight 0.1 saw fewer bonds and less "
                f"symmetry than there are: compute this again, on {written(lattice.vectors, lattice.basis)}, or "
                f"with symmetrise=False if the digits are meant."
            )
        object.__setattr__(lattice, "symmetrise", symmetrise)
        return lattice

    def resized(self, *shape: int) -> Lattice:
        """The same lattice with other numbers of cells."""
        if not shape:
            raise TypeError("resized needs numbers of cells: lattice.resized(6), or one for every axis.")
        result = replace(self, shape=shape if len(shape) > 1 else shape * self.dim)
        object.__setattr__(result, "moved", self.moved)
        return result

    def same_kind(self, other: Lattice) -> bool:
        """Whether ``other`` differs at most in its size and boundaries."""
        return (
            self.vectors.shape == other.vectors.shape
            and self.basis.shape == other.basis.shape
            and np.allclose(self.vectors, other.vectors, atol=self.tolerance)
            and np.allclose(self.basis, other.basis, atol=self.tolerance)
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
        found = _within(self, number(cutoff, "cutoff", least=0), centre)
        if not len(found):
            raise ValueError(f"No site lies within {cutoff:.6g} of the point {centre}; pass a larger cutoff.")
        if found.on_site:
            _check_cutoff(self, found)
        return found

    def locate(self, centre: Centre) -> tuple[np.ndarray, np.ndarray]:
        """A centre as a position in cell 0 ``(dim,)`` and the cell ``(dim,)`` by which it is shifted."""
        if np.ndim(centre) == 0:
            site = integer(centre, f"centre, one of the sites 0..{self.n_sites - 1} or a position,", least=0)
            if site >= self.n_sites:
                raise ValueError(f"centre must be one of the sites 0..{self.n_sites - 1} or a position, got {site}.")
            index, b = divmod(site, self.n_basis)
            return self.basis[b], np.array(np.unravel_index(index, self.shape))
        try:
            point = array(centre, "centre", (self.dim,))
        except (TypeError, ValueError) as error:
            raise type(error)(f"A centre is a site index or {self.dim} finite coordinates: {error}") from None
        cell = np.floor(point @ np.linalg.inv(self.vectors) + SAME).astype(int)
        return point - cell @ self.vectors, cell

    @cached_property
    def shell_distances(self) -> np.ndarray:
        """Distances of the first neighbour shells (those within five nearest-neighbour spacings)."""
        distances = np.concatenate([self._around(b, 5.0 * self._nearest)[2] for b in self.basis])
        return _distinct(distances, self.tolerance)[1:]

    @cached_property
    def _nearest(self) -> float:
        return shortest_distance(self.vectors, self.basis)

    @cached_property
    def spacing(self) -> float:
        """The shortest distance between two sites, to twelve digits, in the units of ``vectors``."""
        return float(f"{self._nearest:.12g}")

    @property
    def tolerance(self) -> float:
        """A length below which two distances are one: 10⁻⁶ of the shortest distance."""
        return SAME * self._nearest

    def bonds(self, shell: int = 1) -> Bonds:
        """Every bond of a neighbour shell once (``shell = 1``: nearest neighbours)."""
        known = self.shell_distances
        shell = integer(shell, "shell")
        if not 1 <= shell <= len(known):
            raise ValueError(f"shell must lie in 1..{len(known)}, got {shell}.")
        beside = known[max(shell - 2, 0) : shell + 1]
        if self.symmetrise is None and (np.diff(beside) < TYPED * self._nearest).any():
            raise ValueError(
                f"Shell {shell} of {self.name} is one of distances that differ by less than {TYPED:g} of the "
                f"shortest: {', '.join(f'{d:.6g}' for d in beside)}. If they are meant to be equal, give vectors and "
                f"basis to all digits; if not, say symmetrise=False."
            )
        return _bonds(self, shell)

    def _bonds_within(self, cutoff: float, sites: slice = slice(None)) -> Bonds:
        from nearsight.lattices.pairs import lattice_bonds

        return lattice_bonds(self, cutoff, sites)

    def _nearest_image_bonds(self) -> Bonds:
        from nearsight.lattices.pairs import lattice_nearest_images

        return lattice_nearest_images(self)

    def neighbour_table(self, neighbourhood: Neighbourhood) -> np.ndarray:
        """Index of every neighbour of every translate of the centre ``(centre, n)``; -1 beyond an open edge.

        The rows run over the cells in C order: for a centre on a site, over the sites of its sublattice.
        """
        instance(neighbourhood, Neighbourhood, "neighbourhood", "lattice.neighbourhood(2.0) makes one.")
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
        keep = distance <= radius + self.tolerance
        return cells[keep], sublattice[keep], distance[keep]


def _within(lattice: Lattice, radius: float, centre: Centre) -> Neighbourhood:
    """The neighbourhood of a radius that was computed, to which no shell and no neighbour is missing."""
    return _neighbourhood(lattice, float(radius), tuple(map(float, lattice.locate(centre)[0])))


def checked_lattice(value: Any) -> Lattice:
    """A lattice; anything else is refused with the way to make one."""
    return instance(value, Lattice, "lattice", "nearsight.lattices makes them: square(8).")


def checked_cutoff(lattice: Lattice, cutoff: Any, name: str = "cutoff") -> float:
    """A distance within which a site has a neighbour, or 0 for the site alone."""
    value = number(cutoff, name, least=0)
    if 0 < value < lattice.spacing - lattice.tolerance:
        raise ValueError(
            f"{name}={value:.6g} sees no neighbour: the shortest distance of {lattice.name} is {lattice.spacing:.6g}, "
            f"in the units of its vectors. Give a larger one."
        )
    if (value / lattice.spacing) ** lattice.dim > 1e7:
        raise ValueError(
            f"{name}={value:.6g} is {value / lattice.spacing:.3g} times the shortest distance of {lattice.name}, "
            f"{lattice.spacing:.6g}: that many sites fit no memory. Give it in the units of the lattice's vectors."
        )
    return value


def _flags(periodic: Any, dim: int) -> tuple[bool, ...]:
    """One flag for every axis."""
    if isinstance(periodic, str | bytes) or not np.iterable(periodic):
        return (boolean(periodic, "periodic"),) * dim
    flags = tuple(boolean(p, f"periodic[{k}]") for k, p in enumerate(periodic))
    if len(flags) != dim:
        raise ValueError(f"periodic must be one flag or {dim} flags, got {periodic}.")
    return flags


def _distinct(distances: np.ndarray, tolerance: float) -> np.ndarray:
    ordered = np.sort(distances)
    return ordered[np.concatenate([[True], np.diff(ordered) > tolerance])]


def _ranks(values: np.ndarray, tolerance: float) -> np.ndarray:
    """The place of every number among the distinct ones; numbers that agree within the tolerance share it."""
    order = np.argsort(values)
    ranks = np.zeros(len(values), dtype=int)
    ranks[order[1:]] = np.cumsum(np.diff(values[order]) > tolerance)
    return ranks


@lru_cache(maxsize=64)
def _neighbourhood(lattice: Lattice, cutoff: float, centre: tuple[float, ...]) -> Neighbourhood:
    origin = np.array(centre)
    cells, sublattice, distance = lattice._around(origin, cutoff)
    vectors = cells @ lattice.vectors + lattice.basis[sublattice] - origin
    order = np.lexsort((*(_ranks(x, lattice.tolerance) for x in vectors.T[::-1]), _ranks(distance, lattice.tolerance)))
    return Neighbourhood(cells[order], sublattice[order], vectors[order], cutoff, origin)


@lru_cache(maxsize=64)
def _check_cutoff(lattice: Lattice, found: Neighbourhood) -> None:
    """Refuse a cutoff that is the rounded distance of a shell just beyond it."""
    cutoff, nearest = found.cutoff, lattice._nearest
    beyond = lattice._around(found.centre, cutoff + TYPED * nearest)[2]
    beyond = np.sort(beyond[beyond > cutoff + lattice.tolerance])
    digits = Decimal(repr(cutoff)).normalize()
    unit = 10.0 ** int(digits.as_tuple().exponent)
    if len(beyond) and len(digits.as_tuple().digits) >= 3 and beyond[0] - cutoff <= 0.5 * unit:
        raise ValueError(
            f"A cutoff of {cutoff:.12g} is the distance {beyond[0]:.9g} of a shell of {lattice.name}, rounded down: it "
            f"leaves this shell out. Give {cutoff + unit:.12g} to see it, or {cutoff - unit:.12g} if it is not wanted."
        )


@lru_cache(maxsize=64)
def _bonds(lattice: Lattice, shell: int) -> Bonds:
    radius = lattice.shell_distances[shell - 1]
    rows: list[tuple[np.ndarray, ...]] = []
    grid = lattice.cells[:: lattice.n_basis]
    for a in range(lattice.n_basis):
        cells, sublattice, distance = lattice._around(lattice.basis[a], radius)
        for cell, b in zip(
            cells[distance > radius - lattice.tolerance],
            sublattice[distance > radius - lattice.tolerance],
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
