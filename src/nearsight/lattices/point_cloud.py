"""Sites at arbitrary positions: amorphous solids, dilute alloys, defects; and several structures side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from nearsight._validation import array, instance, integers, number
from nearsight.lattices.lattice import Lattice, _flags
from nearsight.lattices.neighbourhood import Bonds
from nearsight.lattices.pairs import pair_list

OVERLAP = 1e-3
"""Sites closer than this part of the mean distance between neighbours lie on one point."""


class PointCloud(Lattice):
    """Sites at arbitrary positions in a periodic or open cell: a lattice of one cell whose basis are all sites.

    It serves wherever a lattice does. A field is ``(*batch, site, component)`` in the order of ``positions``. What a
    crystal has by its symmetry, a cloud does not have: there are no neighbour shells (``bonds(1)`` is refused; use
    :func:`bonds_within` or :func:`nearest_image_bonds`), and the point group of a site is the identity alone. A model
    made on one cloud moves to any other of the same dimension with ``on``.

    Parameters
    ----------
    positions: ``(site, dim)``, in any unit of length; they may lie outside the cell.
    cell: edges of the cell as rows ``(dim, dim)``, or one length for a cube; None for an open cloud, in the box that
        holds it.
    periodic: one flag, or one for every edge of the cell; False without a cell.
    species: a label for every site, or one label for all.
    name: of the kind of structure, for messages.
    shape: how often the cell is repeated along its edges; sites count over the cells first, as on any lattice.

    ``ValueError`` for positions that are not finite, and for sites that lie on one point.

    >>> from nearsight.lattices import PointCloud, bonds_within
    >>> cloud = PointCloud([[0.1, 0.0], [0.9, 0.5], [0.0, 1.7]], cell=2.0)
    >>> cloud
    cloud of 3 sites, dimension 2, periodic, density 0.75
    >>> len(bonds_within(cloud, 1.0))  # across the boundaries, too
    2
    """

    disordered: ClassVar[bool] = True

    def __init__(
        self,
        positions: np.ndarray | Sequence[Sequence[float]],
        cell: np.ndarray | Sequence[Sequence[float]] | float | None = None,
        *,
        periodic: bool | Sequence[bool] | None = None,
        species: Sequence[int | str] | int | str = (),
        name: str = "cloud",
        shape: Sequence[int] | None = None,
    ) -> None:
        basis = array(positions, "positions", ("sites", "dim"))
        count, dim = basis.shape
        if not count or not dim:
            raise ValueError(f"positions must hold one or more sites of one or more coordinates, got {basis.shape}.")
        vectors = _cell(cell, basis)
        flags = _flags((cell is not None) if periodic is None else periodic, dim)
        if cell is None and any(flags):
            raise ValueError("A periodic cloud needs a cell: cell=L for a cube, or its edges as rows.")
        sizes = (1,) * dim if shape is None else integers(shape, "shape", length=dim, least=1)
        labels = (species,) * count if isinstance(species, int | str) else tuple(species)
        labels = tuple(s.item() if isinstance(s, np.generic) else s for s in labels) or (0,) * count
        if len(labels) != count:
            raise ValueError(f"species must label each of the {count} sites, got {len(labels)} labels.")
        values = {"name": instance(name, str, "name"), "vectors": vectors, "basis": basis, "shape": sizes}
        values |= {"periodic": flags, "species": labels, "symmetrise": False, "moved": 0.0}
        for key, value in values.items():
            object.__setattr__(self, key, value)
        vectors.setflags(write=False)
        basis.setflags(write=False)
        self._refuse_overlap()

    def _refuse_overlap(self) -> None:
        typical = (abs(np.linalg.det(self.vectors)) / self.n_basis) ** (1 / self.dim)
        i, j, _ = pair_list(self.basis, self.vectors, np.asarray(self.periodic), OVERLAP * typical)
        if len(i):
            raise ValueError(
                f"{len(i)} pairs of sites lie on one point, the first {int(i[0])} and {int(j[0])} at "
                f"{self.basis[i[0]].round(6).tolist()}; leave one of each out, or check the cell and its unit."
            )

    def __repr__(self) -> str:
        flags: tuple[bool, ...] = self.periodic  # type: ignore[assignment]
        edge = "periodic" if all(flags) else "open" if not any(flags) else f"periodic along {np.flatnonzero(flags)}"
        kinds = f", {len(set(self.species))} species" if len(set(self.species)) > 1 else ""
        return f"{self.name} of {self.n_sites} sites, dimension {self.dim}, {edge}, density {self.density:.3g}{kinds}"

    @property
    def density(self) -> float:
        """Sites per volume."""
        return self.n_sites / self.volume

    @cached_property
    def _nearest(self) -> float:
        if self.n_basis == 1 and not any(self.periodic):  # type: ignore[arg-type]
            return float(np.linalg.norm(self.vectors, axis=1).min())
        radius = (abs(np.linalg.det(self.vectors)) / self.n_basis) ** (1 / self.dim)
        while True:
            i, j, winding = pair_list(self.basis, self.vectors, np.asarray(self.periodic), radius)
            if len(i):
                away = self.basis[j] + winding @ self.vectors - self.basis[i]
                return float(np.linalg.norm(away, axis=1).min())
            radius *= 2

    def config(self) -> dict[str, Any]:
        told = {
            "positions": self.basis.tolist(),
            "cell": self.vectors.tolist(),
            "periodic": list(self.periodic),  # type: ignore[arg-type]
            "species": list(self.species) if len(set(self.species)) > 1 else self.species[0],
            "name": self.name,
        }
        return told | ({} if self.n_cells == 1 else {"shape": list(self.shape)})

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> PointCloud:
        if "structures" in config:
            return Structures([cls.from_config(part) for part in config["structures"]])
        arguments = dict(config)
        return PointCloud(np.array(arguments.pop("positions")), np.array(arguments.pop("cell")), **arguments)

    def resized(self, *shape: int) -> PointCloud:
        """The crystal of so many repetitions of the cell along its edges."""
        if not shape:
            raise TypeError("resized needs numbers of cells: cloud.resized(2), or one for every edge.")
        sizes = shape if len(shape) > 1 else shape * self.dim
        again = {"periodic": self.periodic, "species": self.species, "name": self.name}
        return PointCloud(self.basis, self.vectors, shape=sizes, **again)  # type: ignore[arg-type]

    def same_kind(self, other: Lattice) -> bool:
        """Whether ``other`` is a cloud of the same dimension: what is learned on one serves all."""
        return isinstance(other, PointCloud) and other.dim == self.dim

    def coincides(self, other: Lattice) -> bool:
        return self is other or (
            type(other) is type(self)
            and (self.shape, self.periodic, self.species) == (other.shape, other.periodic, other.species)
            and self.basis.shape == other.basis.shape
            and np.allclose(self.basis, other.basis, rtol=0, atol=self.tolerance)
            and np.allclose(self.vectors, other.vectors, rtol=0, atol=self.tolerance)
        )

    def bonds(self, shell: int = 1) -> Bonds:
        raise ValueError(
            f"{self!r} has no neighbour shells: give couplings as a function of distance "
            f"(hamiltonians.Exponential, hamiltonians.RKKY), or take lattices.bonds_within(cloud, cutoff)."
        )

    @property
    def shell_distances(self) -> np.ndarray:
        """None: no two distances are equal."""
        self.bonds()
        raise AssertionError

    def _repr_html_(self) -> None:
        return None


class Structures(PointCloud):
    """Several clouds as one lattice, whose sites are those of all of them in turn, without bonds from one to another.

    A batch of structures of different size is a field on it: learned force fields evaluate all of them at once, data
    sets and schemes take it as any other lattice, and :meth:`split` takes a field apart again. ``offsets`` says where
    the sites of every structure begin. Exact electrons of each structure: ``forcefields.Disjoint``.

    Parameters
    ----------
    structures: clouds of one dimension and with the same set of species.

    ``ValueError`` if structures hold different sets of species: what is fitted to one has never seen the other.

    Examples
    --------
    >>> from nearsight.lattices import PointCloud, Structures, bonds_within
    >>> dimer = PointCloud([[0.0, 0.0], [0.0, 1.0]], cell=5.0)
    >>> trimer = PointCloud([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]], cell=9.0)
    >>> both = Structures([dimer, trimer])
    >>> both.offsets.tolist(), len(bonds_within(both, 1.2))  # one bond and two, none between the structures
    ([0, 2, 5], 3)
    """

    def __init__(self, structures: Sequence[PointCloud]) -> None:
        parts = tuple(structures)
        if not parts:
            raise ValueError("Structures needs one or more clouds.")
        for k, part in enumerate(parts):
            instance(part, PointCloud, f"structures[{k}]", "nearsight.lattices.random_cloud makes one.")
            if isinstance(part, Structures):
                raise TypeError(f"structures[{k}] holds several structures itself; join the lists of their parts.")
        if len({part.dim for part in parts}) > 1:
            raise ValueError(f"Structures of one dimension only, got {sorted({part.dim for part in parts})}.")
        kinds = [sorted(set(part.species), key=str) for part in parts]
        for k, found in enumerate(kinds):
            if found != kinds[0]:
                raise ValueError(
                    f"All structures must hold the same species: structure 0 has {kinds[0]}, structure {k} has {found}."
                )
        values: dict[str, Any] = {"structures": parts, "vectors": parts[0].vectors, "periodic": parts[0].periodic}
        values["basis"] = np.concatenate([part.positions for part in parts])
        values |= {"shape": (1,) * parts[0].dim, "symmetrise": False, "moved": 0.0, "name": parts[0].name}
        labels = [np.asarray(part.species, dtype=object)[part.sublattice] for part in parts]
        values["species"] = tuple(np.concatenate(labels))
        for key, value in values.items():
            object.__setattr__(self, key, value)

    structures: tuple[PointCloud, ...]

    @cached_property
    def offsets(self) -> np.ndarray:
        """Index of the first site of every structure, and the number of all sites ``(structure + 1,)``."""
        return np.cumsum([0, *(part.n_sites for part in self.structures)])

    def split(self, values: Any, *, axis: int = -2) -> tuple[Any, ...]:
        """The parts of an array or tensor that belong to every structure, along the axis of the sites."""
        axis = axis % values.ndim
        before = (slice(None),) * axis
        return tuple(
            values[(*before, slice(int(a), int(b)))] for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)
        )

    def __repr__(self) -> str:
        sizes = sorted({part.n_sites for part in self.structures})
        each = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        return f"{len(self.structures)} structures ({self.name}) of {each} sites, dimension {self.dim}"

    @property
    def volume(self) -> float:
        return sum(part.volume for part in self.structures)

    @cached_property
    def _nearest(self) -> float:
        return min(part._nearest for part in self.structures)

    def config(self) -> dict[str, Any]:
        return {"structures": [part.config() for part in self.structures]}

    def resized(self, *shape: int) -> PointCloud:
        """Every structure as the crystal of so many repetitions of its cell."""
        if all(n == 1 for n in shape):
            return self
        return Structures([part.resized(*shape) for part in self.structures])

    def coincides(self, other: Lattice) -> bool:
        return self is other or (
            isinstance(other, Structures)
            and len(other.structures) == len(self.structures)
            and all(a.coincides(b) for a, b in zip(self.structures, other.structures, strict=True))
        )

    def _joined(self, parts: Sequence[Bonds]) -> Bonds:
        start = self.offsets[:-1]
        i, j = (np.concatenate([getattr(b, end) + s for b, s in zip(parts, start, strict=True)]) for end in "ij")
        displacement, winding = (np.concatenate([getattr(b, x) for b in parts]) for x in ("displacement", "winding"))
        return Bonds(i, j, displacement, winding)

    def _bonds_within(self, cutoff: float, sites: slice = slice(None)) -> Bonds:
        start, stop, _ = sites.indices(self.n_sites)
        own = [slice(max(start - int(o), 0), max(stop - int(o), 0)) for o in self.offsets[:-1]]
        return self._joined([part._bonds_within(cutoff, s) for part, s in zip(self.structures, own, strict=True)])

    def _nearest_image_bonds(self) -> Bonds:
        return self._joined([part._nearest_image_bonds() for part in self.structures])

    def neighbourhood(self, cutoff: float, *, centre: Any = 0) -> Any:
        raise ValueError(f"{self!r} has no common cell; ask one of its structures: lattice.structures[0].")


def _cell(cell: Any, positions: np.ndarray) -> np.ndarray:
    """Edges of the cell as rows; around an open cloud the box that holds it."""
    dim = positions.shape[1]
    if cell is None:
        extent = np.ptp(positions, axis=0)
        margin = max(float(extent.max()), 1.0) / max(len(positions), 2) ** (1 / dim)
        return np.diag(extent + margin)
    if np.ndim(cell) == 0:
        vectors = number(cell, "cell, the edge of a cube,", above=0) * np.eye(dim)
    else:
        vectors = array(cell, "cell", (dim, dim)).copy()
    if abs(np.linalg.det(vectors)) <= 1e-9 * np.prod(np.linalg.norm(vectors, axis=1)) or not np.any(vectors):
        raise ValueError(f"cell must be a length or {dim} independent edges as rows, got {np.asarray(cell).tolist()}.")
    return vectors
