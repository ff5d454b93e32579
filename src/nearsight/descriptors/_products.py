"""Invariants that need no reference: products of two and of three coefficients of a neighbourhood."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.descriptors._contraction import Contraction, Variables
from nearsight.groups import PointGroup, clebsch_gordan

LIMIT = 10_000
"""A contraction with more features than this is refused."""


@dataclass(frozen=True, eq=False)
class Product:
    """One invariant tensor, ``(dim, ...)`` with an axis for every factor, and the copies that it contracts.

    ``irreps`` are ascending in the order of the group. Among ``counts`` copies of equal irreps the copies ascend too,
    with ties as in ``ties``: (2, 1) stands for r, r, s with r < s.
    """

    irreps: tuple[str, ...]
    tensor: np.ndarray
    counts: tuple[int, ...]
    ties: tuple[tuple[int, ...], ...]
    suffix: str = ""

    def __len__(self) -> int:
        return math.prod(math.comb(n, len(parts)) for n, parts in zip(self.counts, self.ties, strict=True))

    def copies(self) -> np.ndarray:
        """The copies to multiply ``(product, factor)``."""
        runs = [itertools.combinations(range(n), len(parts)) for n, parts in zip(self.counts, self.ties, strict=True)]
        sizes = [size for parts in self.ties for size in parts]
        return np.array([np.repeat(np.concatenate(choice), sizes) for choice in itertools.product(*runs)], dtype=int)

    def names(self, labels: Mapping[str, Sequence[str]]) -> Iterator[str]:
        for copies in self.copies():
            factors = [labels[irrep][k] for irrep, k in zip(self.irreps, copies, strict=True)]
            square = len(factors) == 2 and factors[0] == factors[1]
            yield (f"|{factors[0]}|²" if square else "·".join(factors)) + self.suffix


def independent_products(group: PointGroup, counts: Mapping[str, int], factors: int) -> Iterator[Product]:
    """All linearly independent invariants of degree ``factors`` in ``counts`` copies of each of some irreps.

    Copies of one irrep commute, so that each choice of copies is taken in ascending order, with the invariant tensors
    that survive the exchange of those that are equal: A2·E·E of D4 is antisymmetric and needs two different copies.
    """
    irreps = [irrep.name for irrep in group.irreps if irrep.name in counts]
    for names in itertools.combinations_with_replacement(irreps, factors):
        tensors = invariant_tensors(group, names)
        runs = {name: names.count(name) for name in names}
        for ties in itertools.product(*(_compositions(length) for length in runs.values())):
            kept = exchange_symmetric(tensors, [size for parts in ties for size in parts])
            for k, tensor in enumerate(kept):
                suffix = f" ({k + 1})" if len(kept) > 1 else ""
                product = Product(names, tensor, tuple(counts[name] for name in runs), ties, suffix)
                if len(product):
                    yield product


def invariant_tensors(group: PointGroup, names: Sequence[str]) -> np.ndarray:
    """Orthonormal invariant tensors of two or three irreps; for two of them the scalar product comes first."""
    if len(names) == 3:
        return clebsch_gordan(group, *names)
    tensors = clebsch_gordan(group, group.irreps[0].name, *names)[:, 0]
    return tensors * np.sqrt(tensors.shape[-1])


def exchange_symmetric(tensors: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Independent combinations of tensors that are symmetric within consecutive groups of equal vectors.

    ``sizes`` are the numbers of axes in the groups.
    """
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    orders = [
        [axis for part in parts for axis in part]
        for parts in itertools.product(
            *(itertools.permutations(range(a, a + n)) for a, n in zip(starts, sizes, strict=True))
        )
    ]
    found: list[np.ndarray] = []
    for tensor in tensors:
        symmetric = sum((tensor.transpose(order) for order in orders), np.zeros_like(tensor)) / len(orders)
        for earlier in found:
            symmetric = symmetric - earlier * (earlier * symmetric).sum() / (earlier**2).sum()
        norm = np.linalg.norm(symmetric) / np.linalg.norm(tensor)
        if norm > 1e-6:
            found.append(symmetric / norm)
    return found


def _compositions(total: int) -> Iterator[tuple[int, ...]]:
    """Ordered sums: 3 is (1, 1, 1), (1, 2), (2, 1), (3)."""
    if total == 0:
        yield ()
    for first in range(1, total + 1):
        for rest in _compositions(total - first):
            yield first, *rest


class Pairs(Contraction):
    r"""The invariant coefficients, and all scalar products :math:`f_r \cdot f_s` of copies of one irrep.

    They fix the copies of every irrep up to a common rotation of them all, so that the phases between different irreps
    are lost. An irrep of complex type has a second product, :math:`f_r \cdot J f_s` with the quarter turn J of its
    plane.
    """

    factors: tuple[int, ...] = (2,)

    def __init__(self, variables: Variables, eps: float) -> None:
        super().__init__(variables, eps)
        self.labels: dict[str, list[str]] = {}
        for irrep, label in variables.copies:
            self.labels.setdefault(irrep, []).append(label)
        self.invariant = self.labels.get(variables.trivial or "", [])
        counts = {name: len(labels) for name, labels in self.labels.items() if name != variables.trivial}
        group = variables.group
        self.products = [p for degree in self.factors for p in independent_products(group, counts, degree)]
        total = len(self.invariant) + sum(map(len, self.products))
        if total > LIMIT:
            raise ValueError(
                f"This neighbourhood has {total} independent products of {' and '.join(map(str, self.factors))} "
                f"coefficients, more than {LIMIT}. Take a smaller cutoff, or mode='lifted', which needs about "
                f"{variables.layout.variables} features."
            )

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.invariant, *(name for product in self.products for name in product.names(self.labels)))

    def arrays(self) -> dict[str, np.ndarray]:
        # Positions in the table of all products, so that the gradient is a sum in a fixed order on a GPU too.
        tables = [[len(self.labels[name]) for name in p.irreps] for p in self.products]
        return {
            f"products {k}": np.ravel_multi_index(tuple(product.copies().T), tuple(table))
            for k, (product, table) in enumerate(zip(self.products, tables, strict=True))
        }

    def contract(self, f: Tensor, constants: dict[str, Tensor]) -> Tensor:
        pieces: dict[str, list[Tensor]] = {}
        for name, f_r in self.variables.layout.views(f):
            pieces.setdefault(name, []).append(f_r.flatten(0, 1))
        vectors = {name: torch.cat(copies).transpose(0, 1) for name, copies in pieces.items()}  # component, copy, point
        features = [vectors[self.variables.trivial][0]] if self.invariant else []  # type: ignore[index]
        for k, product in enumerate(self.products):
            table: Tensor | float = 0.0
            for entry in np.argwhere(product.tensor):
                term = vectors[product.irreps[0]][entry[0]] * float(product.tensor[tuple(entry)])
                for name, component in zip(product.irreps[1:], entry[1:], strict=True):
                    term = term.unsqueeze(-2) * vectors[name][component]
                table = term + table
            assert isinstance(table, Tensor)
            features.append(table.flatten(0, -2).index_select(0, constants[f"products {k}"]))
        return torch.cat(features)


class Bispectrum(Pairs):
    r"""Pairs, and all triple products :math:`\sum_{abc} C_{abc} f_{ra} f_{sb} f_{tc}` with Clebsch-Gordan tensors C.

    Complete for generic fields. On a field with few coefficients that differ from zero the first product to see a phase
    can have four factors: with one vector of E, one of A2 and one of B1 of D4 it is A2·B1·Ex·Ey.
    """

    factors = (2, 3)

    def __init__(self, variables: Variables, eps: float) -> None:
        refuse_odd_products(variables, "bispectrum")
        super().__init__(variables, eps)


def refuse_odd_products(variables: Variables, mode: str) -> None:
    """Triple products change sign with a field whose energy does not."""
    if variables.trivial is None:
        raise ValueError(
            f"mode={mode!r} has products of three coefficients, which change sign with the field, and the field has "
            f"the symmetry Z2. Take mode='lifted', whose products are even and complete, or mode='pairs'."
        )
