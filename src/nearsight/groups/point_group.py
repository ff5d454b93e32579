"""Finite point groups as sets of orthogonal matrices."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nearsight._description import Described
from nearsight._validation import array, boolean, instance
from nearsight.groups._naming import group_name, irrep_names
from nearsight.groups.irreps import Irrep, _norm, _real_irreps, _snap, decompose


@dataclass(frozen=True, eq=False)
class PointGroup(Described):
    """A finite group of orthogonal matrices ``(order, dim, dim)``, in canonical order with the identity first.

    Two groups built from the same matrices in any order have the same elements, names, irreps and D(g), bit for bit.

    Examples
    --------
    >>> import numpy as np
    >>> from nearsight.groups import PointGroup
    >>> turn, mirror = np.array([[0.0, -1.0], [1.0, 0.0]]), np.diag([1.0, -1.0])
    >>> turns = [np.linalg.matrix_power(turn, n) for n in range(4)]
    >>> group = PointGroup(np.array([g @ h for g in turns for h in (np.eye(2), mirror)]))
    >>> group.name, group.product("E", "E")  # products of two vectors: r², a rotation, x² - y², xy
    ('D4', {'A1': 1, 'A2': 1, 'B1': 1, 'B2': 1})
    """

    matrices: np.ndarray

    def __post_init__(self) -> None:
        matrices = array(self.matrices, "matrices", ("order", "dim", "dim"))
        if matrices.shape[1] != matrices.shape[2] or not len(matrices):
            raise ValueError(f"matrices must have shape (order, dim, dim), got {matrices.shape}.")
        if not np.allclose(matrices @ matrices.transpose(0, 2, 1), np.eye(matrices.shape[1]), atol=1e-6):
            raise ValueError("The matrices of a point group must be orthogonal; give them in Cartesian coordinates.")
        matrices = _snap(matrices)
        # Canonical order: identity, other proper operations, then improper ones; ties by the entries.
        keys = [(-round(np.linalg.det(g)), -round(float(np.trace(g)), 6), *(-np.round(g, 6)).ravel()) for g in matrices]
        ordered = matrices[sorted(range(len(matrices)), key=keys.__getitem__)]
        if not np.allclose(ordered[0], np.eye(ordered.shape[-1]), atol=1e-6):
            raise ValueError("The matrices do not contain the identity.")
        ordered.setflags(write=False)
        object.__setattr__(self, "matrices", ordered)

    def __len__(self) -> int:
        return len(self.matrices)

    def __repr__(self) -> str:
        return f"{self.name}: {len(self)} elements, irreps {' '.join(irrep.name for irrep in self.irreps)}"

    @property
    def dim(self) -> int:
        return self.matrices.shape[-1]

    @cached_property
    def table(self) -> np.ndarray:
        """``table[g, h]`` is the index of the product g h."""
        products = np.einsum("gij,hjk->ghik", self.matrices, self.matrices)
        distance = np.abs(products[:, :, None] - self.matrices[None, None]).max(axis=(-1, -2))
        table = distance.argmin(axis=-1)
        if np.take_along_axis(distance, table[..., None], -1).max() > 1e-6:
            raise ValueError("The matrices are not closed under multiplication.")
        if any(len(set(row)) < len(self) for row in table):
            raise ValueError("An operation is listed twice.")
        return table

    @cached_property
    def inverse(self) -> np.ndarray:
        """``inverse[g]`` is the index of g⁻¹."""
        return np.argmax(self.table == 0, axis=1)

    @cached_property
    def name(self) -> str:
        """Schoenflies symbol, such as D4 or Oh."""
        return group_name(self.matrices)

    @cached_property
    def irreps(self) -> tuple[Irrep, ...]:
        """The real irreducible representations, even parity first, then by dimension and name; A1 leads."""
        found = _real_irreps(self.table, self.matrices)
        names = irrep_names(self.matrices, [np.trace(m, axis1=1, axis2=2) for m in found])
        if len(set(names)) < len(names):
            raise ValueError(
                f"The Mulliken rules give {' '.join(sorted(names))}, which does not tell the irreps apart."
            )
        for matrices in found:
            matrices.setflags(write=False)
        irreps = [Irrep(name, m, "real" if _norm(m) < 1.5 else "complex") for name, m in zip(names, found, strict=True)]
        return tuple(sorted(irreps, key=lambda i: (i.name[-1] in "u", i.name.endswith("''"), i.dim, i.name)))

    def irrep(self, name: str) -> Irrep:
        """The irrep of this name; ``ValueError`` lists the names that exist."""
        names = [irrep.name for irrep in self.irreps]
        if not isinstance(name, str):
            raise TypeError(f"An irrep of {self.name} is asked for by its name, {' '.join(names)}, got {name!r}.")
        if name not in names:
            near = difflib.get_close_matches(name, names, n=2, cutoff=0.3)
            hint = f"; nearest: {', '.join(near)}" if near else ""
            raise ValueError(f"{self.name} has no irrep {name!r}{hint}. Its irreps are {' '.join(names)}.")
        return self.irreps[names.index(name)]

    @cached_property
    def classes(self) -> tuple[np.ndarray, ...]:
        """Conjugacy classes as arrays of element indices, ordered by their first element."""
        order = np.arange(len(self))
        conjugates = self.table[self.table[order[:, None], order], self.inverse[:, None]]  # [h, g] = h g h⁻¹
        first = conjugates.min(axis=0)
        return tuple(np.flatnonzero(first == g) for g in np.unique(first))

    def character_table(self) -> str:
        """Characters of the real irreps on the conjugacy classes, ready to print.

        A column is headed by the number of operations in the class and the order n of its elements: ``Cn`` for
        rotations, ``Sn`` for rotation-reflections, ``m`` for mirrors, ``i`` for the inversion.
        """
        heads = [f"{len(c) if len(c) > 1 else ''}{self._symbol(int(c[0]))}" for c in self.classes]
        rows = [[irrep.name, *(f"{irrep.characters[c[0]] + 0.0:.4g}" for c in self.classes)] for irrep in self.irreps]
        return _aligned([[self.name, *heads], *rows])

    def _symbol(self, g: int) -> str:
        matrix, n, power = self.matrices[g], 1, g
        while power:
            power, n = self.table[power, g], n + 1
        if np.linalg.det(matrix) > 0:
            return "E" if n == 1 else f"C{n}"
        if self.dim % 2 and np.allclose(matrix, -np.eye(self.dim)):
            return "m" if self.dim == 1 else "i"
        return "m" if n == 2 else f"S{n}"

    def decompose(self, representation: np.ndarray) -> Mapping[str, np.ndarray]:
        """The copies of every irrep in an orthogonal representation ``(order, n, n)``: see :func:`groups.decompose`."""
        return decompose(representation, self.irreps)

    def product(self, *names: str) -> dict[str, int]:
        r"""How often every irrep occurs in a product of irreps: E × E of Td is ``{"A1": 1, "A2": 1, "E": 1}``.

        The multiplicity of c in a × b is :math:`\langle\chi_a\chi_b\chi_c\rangle / \langle\chi_c^2\rangle`, where the
        denominator is 2 for pairs of complex-conjugate irreps: E × E of C3 is ``{"A": 2, "E": 1}``, of dimension 4.
        """
        if not names:
            raise ValueError("A product needs at least one irrep.")
        chi = np.prod([self.irrep(name).characters for name in names], axis=0)
        counts = {
            irrep.name: round(float((chi * irrep.characters).mean() / _norm(irrep.matrices))) for irrep in self.irreps
        }
        return {name: count for name, count in counts.items() if count}

    def product_table(self) -> str:
        """All products of two irreps, ready to print: row a, column b, entry a × b, such as ``A1+T2`` or ``2A+E``."""
        names = [irrep.name for irrep in self.irreps]
        rows = [
            [a, *("+".join(f"{n if n > 1 else ''}{c}" for c, n in self.product(a, b).items()) for b in names)]
            for a in names
        ]
        return _aligned([[self.name, *names], *rows])

    # --- subgroups --------------------------------------------------------------------------------------------------

    def subgroup(self, elements: Sequence[int] | np.ndarray | Callable[[np.ndarray], bool]) -> PointGroup:
        """The group of some of the elements: their indices, a mask, or a condition on the matrix.

        ``group.subgroup(lambda g: np.linalg.det(g) > 0)`` keeps the rotations. ``ValueError`` if two of the elements
        have a product outside.
        """
        if callable(elements):
            elements = np.array([bool(elements(g)) for g in self.matrices])
        chosen = np.asarray(elements)
        fits = chosen.dtype.kind in "iu" or (chosen.dtype == bool and chosen.shape[:1] and len(chosen) == len(self))
        if chosen.size and (chosen.ndim != 1 or not fits):
            raise TypeError(
                f"elements must be indices of {self.name}, {len(self)} flags or a condition, got {elements!r}."
            )
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else np.unique(chosen.astype(int))
        if len(chosen) and not 0 <= chosen[0] <= chosen[-1] < len(self):
            raise ValueError(f"The elements of {self.name} are numbered 0..{len(self) - 1}, got {chosen.tolist()}.")
        products = self.table[chosen[:, None], chosen]
        outside = np.argwhere(~np.isin(products, chosen))
        if not len(chosen) or len(outside):
            why = (
                f"elements {chosen[outside[0, 0]]} and {chosen[outside[0, 1]]} have the product "
                f"{products[tuple(outside[0])]}, which is missing"
                if len(chosen)
                else "it holds no element"
            )
            raise ValueError(f"This selection of elements of {self.name} is no subgroup: {why}.")
        return PointGroup(self.matrices[chosen])

    def stabiliser(self, vectors: np.ndarray, *, ordered: bool = False) -> PointGroup:
        """The operations that map a set of vectors ``(n, dim)`` onto itself, or with ``ordered`` keep each in place.

        With the group of a site, ``stabiliser(d)`` of a displacement d is the group of the directed hop along d, {1,
        mirror along the bond} on the square lattice, and ``stabiliser([d, -d])`` that of its line.
        """
        points = array(vectors if np.ndim(vectors) > 1 else [vectors], f"vectors for {self.name}", ("n", self.dim))
        ordered = boolean(ordered, "ordered")
        distance = np.abs(np.einsum("gij,nj->gni", self.matrices, points)[:, :, None] - points).max(axis=-1)
        arrives = distance <= 1e-6 * float(np.abs(points).max())
        return self.subgroup(
            arrives[:, range(len(points)), range(len(points))].all(1) if ordered else arrives.any(2).all(1)
        )

    def indices(self, subgroup: PointGroup) -> np.ndarray:
        """Where the elements of a subgroup H stand in this group: ``matrices[indices(H)]`` are those of H, in order."""
        instance(subgroup, PointGroup, "subgroup", "group.subgroup(...) makes one.")
        if subgroup.dim == self.dim:
            distance = np.abs(subgroup.matrices[:, None] - self.matrices).max(axis=(2, 3))
            if distance.min(axis=1).max() < 1e-6:
                return distance.argmin(axis=1)
        raise ValueError(f"{subgroup.name} is no subgroup of this {self.name}; its matrices must occur among those.")

    def cosets(self, subgroup: PointGroup) -> np.ndarray:
        """The left cosets g H as rows of element indices ``(|G|/|H|, |H|)``, each headed by its first element.

        The heads carry the set that H stabilises to all its images: for the group of a hop, to all hops of the orbit.
        """
        rows = np.sort(self.table[:, self.indices(subgroup)], axis=1)
        return rows[np.unique(rows[:, 0], return_index=True)[1]]


def _aligned(cells: list[list[str]]) -> str:
    """A table of text, every column as wide as its longest entry."""
    widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
    return "\n".join("  ".join(text.rjust(w) for text, w in zip(row, widths, strict=True)) for row in cells)
