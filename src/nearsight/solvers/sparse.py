"""Matrices given by their non-zero elements."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from nearsight._machine import check_dense
from nearsight._validation import indices, instance, integer
from nearsight.solvers.poles.dissection import NestedDissection


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where the matrices of a family may differ from zero: what is the same for every field of a model.

    Parameters
    ----------
    rows, columns: positions ``(element,)``, both triangles; what is listed several times adds up.
    size: number of orbitals.
    cuts: integer labels ``(family, orbital)``, such as the cell of every orbital along each axis of a lattice. They are
        hints: the matrices are cut into pieces along layers of equal labels.

    Keep the object: how to take the matrices apart is found once and remembered here.

    Examples
    --------
    >>> import torch
    >>> from nearsight.solvers import Pattern, SparseMatrix
    >>> pattern = Pattern(torch.tensor([0, 1, 0]), torch.tensor([1, 0, 0]), size=2)
    >>> values = torch.tensor([[-1.0, -1.0, 0.5], [-1.0, -1.0, 0.75]])  # two matrices of one pattern
    >>> SparseMatrix(pattern, values).dense().tolist()
    [[[0.5, -1.0], [-1.0, 0.0]], [[0.75, -1.0], [-1.0, 0.0]]]
    """

    rows: Tensor
    columns: Tensor
    size: int
    cuts: Tensor | None = None
    _last: list[tuple[Tensor, Tensor, NestedDissection]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        size = integer(self.size, "size", least=1)
        rows, columns = _positions(self.rows, self.columns, size)
        for name, value in (("rows", rows), ("columns", columns), ("size", size)):
            object.__setattr__(self, name, value)
        if self.cuts is None:
            return
        kind = instance(self.cuts, Tensor, "cuts").dtype
        if kind.is_floating_point or kind.is_complex or kind == torch.bool:
            raise TypeError(f"cuts must be an integer tensor (family, orbital), got {kind}.")
        if self.cuts.ndim != 2 or self.cuts.shape[1] != size:
            raise ValueError(f"cuts must have shape (family, {size}), got {tuple(self.cuts.shape)}.")

    @cached_property
    def _own(self) -> NestedDissection:
        return NestedDissection.of(self.rows, self.columns, self.size, self.cuts)

    def dissection(self, rows: Tensor, columns: Tensor) -> NestedDissection:
        """An order of elimination in which positions ``(rows, columns)`` lie in its fronts, as all elements do."""
        for known in self._last:
            if known[0] is rows and known[1] is columns:
                return known[2]
        dissection = self._own
        if not dissection.holds(rows, columns):
            i, j = (torch.cat([a.cpu(), b.cpu()]) for a, b in ((self.rows, rows), (self.columns, columns)))
            dissection = NestedDissection.of(i, j, self.size, self.cuts)
        # The tensors are kept with the answer, so that nothing else can take their identity.
        self._last[:] = [(rows, columns, dissection)]
        return dissection


@dataclass(frozen=True, eq=False)
class SparseMatrix:
    """Hermitian matrices ``(*batch, orbital, orbital)`` by their ``values`` ``(*batch, element)`` on one pattern.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.hamiltonians.Holstein(ns.lattices.square(20), g=1.5)
    >>> pattern = ns.solvers.Pattern(*model.positions, size=model.orbitals)
    >>> matrix = ns.solvers.SparseMatrix(pattern, model.elements(torch.ones(400, 1)))
    >>> matrix.values.shape, float(matrix.diagonal()[0])  # four bonds and -g Q per row, not 400 numbers
    (torch.Size([2000]), -1.5)
    """

    pattern: Pattern
    values: Tensor

    def __post_init__(self) -> None:
        instance(self.pattern, Pattern, "pattern")
        kind = instance(self.values, Tensor, "values").dtype
        if not (kind.is_floating_point or kind.is_complex) or self.values.ndim == 0:
            raise TypeError(f"values must be real or complex (*batch, element), got {kind}; pass values.double().")
        if self.values.shape[-1] != len(self.pattern.rows):
            raise ValueError(
                f"The pattern has {len(self.pattern.rows)} elements, the values have {self.values.shape[-1]}."
            )

    @classmethod
    def of(cls, matrix: Tensor) -> SparseMatrix:
        """Dense matrices ``(*batch, orbital, orbital)``, listed on the diagonal and wherever one of them differs from
        zero."""
        size = _check_matrix(matrix).shape[-1]
        if not (matrix.is_floating_point() or matrix.is_complex()):
            matrix = matrix.double()
        nonzero = (matrix != 0).reshape(-1, size, size).any(0)
        nonzero.fill_diagonal_(True)
        rows, columns = (nonzero | nonzero.T).nonzero(as_tuple=True)
        return cls(Pattern(rows, columns, size), matrix[..., rows, columns])

    @property
    def size(self) -> int:
        return self.pattern.size

    def dense(self) -> Tensor:
        """The matrices with all their zeros ``(*batch, orbital, orbital)``."""
        n = self.size
        check_dense(n, math.prod(self.values.shape[:-1]), self.values.dtype, self.values.device)
        positions = (self.pattern.rows * n + self.pattern.columns).to(self.values.device)
        batch = self.values.shape[:-1]
        flat = self.values.new_zeros(*batch, n * n).index_add(-1, positions, self.values)
        return flat.reshape(*batch, n, n)

    def check(self) -> SparseMatrix:
        """Refuse NaN and infinite elements."""
        _check_finite(self.values)
        return self

    def diagonal(self) -> Tensor:
        """``(*batch, orbital)``."""
        on = (self.pattern.rows == self.pattern.columns).nonzero().squeeze(-1).to(self.values.device)
        where = self.pattern.rows.to(self.values.device)[on]
        return self.values.real.new_zeros(*self.values.shape[:-1], self.size).index_add(
            -1, where, self.values[..., on].real
        )


def _positions(rows: Tensor, columns: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Rows and columns ``(element,)`` of elements of matrices of ``size`` orbitals."""
    for name, value in (("rows", rows), ("columns", columns)):
        instance(value, Tensor, name, "Both are integer tensors (element,).")
    found = indices(rows, "rows", size), indices(columns, "columns", size)
    if len(found[0]) != len(found[1]):
        raise ValueError(f"rows and columns must be as many, got {len(found[0])} and {len(found[1])}.")
    return found


def _check_matrix(matrix: Tensor) -> Tensor:
    """Refuse what is not a batch of finite square matrices: eigensolvers report it late and say little."""
    instance(matrix, Tensor, "matrix", "A SparseMatrix will do as well.")
    if matrix.dtype == torch.bool or matrix.layout != torch.strided or matrix.is_meta:
        raise TypeError(
            f"matrix must be a dense tensor of numbers, got {matrix.dtype}, {matrix.layout} on {matrix.device}; pass "
            "matrix.double(), matrix.to_dense() or a SparseMatrix."
        )
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.shape[-1] == 0:
        raise ValueError(f"A solver takes matrices of shape (*batch, orbital, orbital), got {tuple(matrix.shape)}.")
    _check_finite(matrix)
    return matrix


def _check_finite(elements: Tensor) -> None:
    finite = torch.isfinite(elements)
    if not bool(finite.all()):
        raise ValueError(
            f"The matrix holds {int((~finite).sum())} NaN or infinite elements; look for them in the field it was made "
            "from."
        )
