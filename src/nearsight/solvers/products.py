"""Products of sparse Hermitian matrices with many vectors at once, and the Chebyshev recursion made of them.

A batch of matrices is one block-diagonal matrix: replicas are components of a graph that never meet, and need no loop.

The rows of all vectors lie together in memory, so that one index of the sparse matrix serves a whole row of columns. At
64 columns the index costs a percent of what it fetches, and a stencil of shifted lattices, which would save it, has
nothing left to gain; the same products serve disordered lattices, open edges and any other graph.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from nearsight.solvers.sparse import Pattern, SparseMatrix

State = TypeVar("State")
"""Many vectors, in whatever layout a backend likes."""


class _Structure(NamedTuple):
    """Where CSR matrices of one pattern keep their elements; every diagonal element is among them.

    ``slot`` is the place of every element of the pattern ``(element,)``, ``diagonal`` that of every orbital.
    """

    crow: np.ndarray
    col: np.ndarray
    slot: np.ndarray
    diagonal: np.ndarray


_structures: WeakKeyDictionary[Pattern, _Structure] = WeakKeyDictionary()


def structure(pattern: Pattern) -> _Structure:
    """The CSR form of a pattern, found once: elements at one position share a slot."""
    if pattern not in _structures:
        n = pattern.size
        own = np.arange(n) * (n + 1)
        listed = pattern.rows.cpu().numpy() * n + pattern.columns.cpu().numpy()
        position, slot = np.unique(np.concatenate([listed, own]), return_inverse=True)
        crow = np.searchsorted(position, np.arange(n + 1) * n)
        _structures[pattern] = _Structure(crow, position % n, slot[:-n], slot[-n:])
    return _structures[pattern]


@dataclass(frozen=True, eq=False)
class Rows:
    """Hermitian matrices of one sparsity by rows (CSR), with ``values (batch, slot)``."""

    structure: _Structure
    values: Tensor

    @property
    def size(self) -> int:
        return len(self.structure.diagonal)

    @property
    def batch(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, matrix: SparseMatrix) -> Rows:
        """Matrices ``(*batch, orbital, orbital)`` with one batch axis, in double precision."""
        form = structure(matrix.pattern)
        double = torch.complex128 if matrix.values.is_complex() else torch.float64
        values = matrix.values.detach().reshape(-1, matrix.values.shape[-1]).to(double)
        slot = torch.from_numpy(form.slot).to(values.device)
        return cls(form, values.new_zeros(len(values), len(form.col)).index_add(1, slot, values))

    def rescaled(self, centre: np.ndarray, halfwidth: np.ndarray) -> Rows:
        """(H - centre) / halfwidth, with a pair of numbers for every matrix ``(batch,)``."""
        shift, scale = (torch.from_numpy(x).to(self.values.device)[:, None] for x in (centre, halfwidth))
        values = self.values.clone()
        values[:, self.structure.diagonal] -= shift
        return Rows(self.structure, values / scale)


class SparseProducts(Protocol[State]):
    """What the Chebyshev recursion asks of a matrix; rows are those of all replicas, one after the other.

    matrix: scaled so that its spectrum lies in (-1, 1).
    dtype: precision of the vectors, float32 or float64 (complex vectors have parts of it).
    real: whether matrix and vectors are real.
    """

    batch: int
    size: int
    dtype: torch.dtype
    real: bool

    def __init__(self, matrix: Rows, dtype: torch.dtype, real: bool) -> None:
        self.batch, self.size, self.dtype, self.real = matrix.batch, matrix.size, dtype, real

    def vectors(self, columns: np.ndarray) -> State:
        """Vectors ``(row, column)`` in the layout of the backend."""

    def columns(self, state: State) -> np.ndarray:
        """The vectors ``(row, column)`` again."""

    def empty(self, like: State) -> State:
        """As many vectors of zeros."""

    def step(self, current: State, previous: State, *, first: bool = False) -> np.ndarray:
        """previous ← 2 A current - previous, or A current at the ``first`` step.

        Returns |new|² and Re⟨new|current⟩, summed over the columns ``(batch, 2)``.
        """

    def reverse(self, current: State, previous: State, beta: State, after: State, c: np.ndarray) -> None:
        """One step of the adjoint recursion, in place: previous from α_{m+1} to α_{m-1}, after from β_{m+2} to β_m.

        ``current`` is α_m and ``beta`` is β_{m+1}; β_m = 2 A β_{m+1} - β_{m+2} + c_0 α_m + c_1 α_{m+1} + c_2 α_{m-1}
        with one c for every replica ``(batch, 3)``.
        """

    def zeros(self, count: int) -> Any:
        """A sum at ``count`` positions for :meth:`correlate` to add to."""

    def correlate(self, x: State, y: State, where: Any, c: np.ndarray, total: Any) -> None:
        """total += c Σ_k (x_ik y*_jk + y_ik x*_jk) at the :meth:`places` (i, j), with one c per replica."""

    def places(self, i: np.ndarray, j: np.ndarray) -> Any:
        """Pairs of rows ``(position,)`` within a replica, in the layout of the backend."""

    def total(self, sums: Any) -> np.ndarray:
        """The sum ``(batch, position)`` in double precision, complex unless everything is real."""


class NumbaProducts(SparseProducts[np.ndarray]):
    """Loops over rows, compiled for the processor.

    Complex columns are stored as all real parts followed by all imaginary parts, and the real and imaginary elements of
    the matrix as two sparse matrices: nothing is shuffled inside vector registers, and a real hopping costs half of a
    complex one.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> h = ns.hamiltonians.Holstein(ns.lattices.square(4)).matrix(torch.zeros(16, 1))
    >>> site = torch.arange(16)
    >>> ways = ns.solvers.NumbaProducts, ns.solvers.TorchProducts
    >>> a, b = (ns.solvers.Chebyshev(kT=0.5, mu=0.0, products=way).solve(h, site, site).rho for way in ways)
    >>> torch.allclose(a, torch.full((16,), 0.5).double(), atol=1e-6), torch.allclose(a, b)  # half filling, either way
    (True, True)
    """

    def __init__(self, matrix: Rows, dtype: torch.dtype = torch.float64, real: bool = False) -> None:
        super().__init__(matrix, dtype, real)
        from nearsight.solvers import _sparse_kernels as sparse_kernels

        self._kernels = sparse_kernels
        self._dtype = np.float32 if dtype == torch.float32 else np.float64
        values = matrix.values.cpu().numpy()
        self._matrix = (
            *_block_diagonal(matrix, values.real, self._dtype),
            *_block_diagonal(matrix, values.imag, self._dtype),
        )

    def vectors(self, columns: np.ndarray) -> np.ndarray:
        if self.real:
            return np.array(columns, dtype=self._dtype, order="C")
        return np.concatenate([columns.real, columns.imag], axis=1).astype(self._dtype)

    def columns(self, state: np.ndarray) -> np.ndarray:
        half = state.shape[1] // 2
        return state.copy() if self.real else state[:, :half] + 1j * state[:, half:]

    def empty(self, like: np.ndarray) -> np.ndarray:
        return np.zeros_like(like)

    def step(self, current: np.ndarray, previous: np.ndarray, *, first: bool = False) -> np.ndarray:
        sums = np.empty((self.batch, 2))
        scale, keep = (1.0, 0.0) if first else (2.0, -1.0)
        self._kernels.step(*self._matrix, current, previous, self._dtype(scale), self._dtype(keep), self.size, sums)
        return sums

    def reverse(
        self, current: np.ndarray, previous: np.ndarray, beta: np.ndarray, after: np.ndarray, c: np.ndarray
    ) -> None:
        self._kernels.reverse(*self._matrix, current, previous, beta, after, c.astype(self._dtype), self.size)

    def zeros(self, count: int) -> np.ndarray:
        return np.zeros((self.batch, count, 2))

    def places(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return np.stack([i, j])

    def correlate(self, x: np.ndarray, y: np.ndarray, where: np.ndarray, c: np.ndarray, total: np.ndarray) -> None:
        self._kernels.correlate(
            x, y, where, np.ascontiguousarray(c), total, self.size, 0 if self.real else x.shape[1] // 2
        )

    def total(self, sums: np.ndarray) -> np.ndarray:
        return sums[..., 0] if self.real else sums[..., 0] + 1j * sums[..., 1]


def _block_diagonal(matrix: Rows, values: np.ndarray, dtype: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CSR of all replicas with the elements that differ from zero in any."""
    n, kept = matrix.size, (values != 0).any(0)
    row = np.repeat(np.arange(n), np.diff(matrix.structure.crow))[kept]
    count = np.tile(np.bincount(row, minlength=n), len(values))
    crow = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    col = (matrix.structure.col[kept] + n * np.arange(len(values))[:, None]).reshape(-1)
    return crow, col.astype(np.int32), values[:, kept].reshape(-1).astype(dtype)


class TorchProducts(SparseProducts[Tensor]):
    """Products by torch's sparse matrices, on the device of the matrix: the way on a GPU.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> solver = ns.solvers.Chebyshev(kT=0.5, mu=0.0, products=ns.solvers.TorchProducts)
    >>> dimer, site = torch.tensor([[0.0, -1.0], [-1.0, 0.0]]).double(), torch.arange(2)
    >>> [round(float(n), 6) for n in solver.solve(dimer, site, site).rho]  # half filling at μ = 0
    [0.5, 0.5]
    """

    def __init__(self, matrix: Rows, dtype: torch.dtype = torch.float64, real: bool = False) -> None:
        super().__init__(matrix, dtype, real)
        self._element = dtype if real else (torch.complex64 if dtype == torch.float32 else torch.complex128)
        self.device = matrix.values.device
        n, batch = matrix.size, matrix.batch
        count = np.tile(np.diff(matrix.structure.crow), batch)
        crow = torch.from_numpy(np.concatenate([[0], np.cumsum(count)])).to(self.device)
        col = torch.from_numpy((matrix.structure.col + n * np.arange(batch)[:, None]).reshape(-1)).to(self.device)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support")
            self._matrix = torch.sparse_csr_tensor(
                crow,
                col,
                matrix.values.reshape(-1).to(self._element),
                size=(n * batch, n * batch),
                check_invariants=True,
            )

    def vectors(self, columns: np.ndarray) -> Tensor:
        return torch.tensor(columns, dtype=self._element, device=self.device)

    def columns(self, state: Tensor) -> np.ndarray:
        return state.cpu().numpy().copy()

    def empty(self, like: Tensor) -> Tensor:
        return torch.zeros_like(like)

    def step(self, current: Tensor, previous: Tensor, *, first: bool = False) -> np.ndarray:
        scale, keep = (1.0, 0.0) if first else (2.0, -1.0)
        previous.copy_(torch.addmm(previous, self._matrix, current, beta=keep, alpha=scale))
        return torch.stack([self._overlap(previous, previous), self._overlap(previous, current)], dim=-1).cpu().numpy()

    def _overlap(self, x: Tensor, y: Tensor) -> Tensor:
        """Re⟨y|x⟩ of every replica ``(batch,)``."""
        return (x * y.conj()).real.double().reshape(self.batch, -1).sum(-1)

    def reverse(self, current: Tensor, previous: Tensor, beta: Tensor, after: Tensor, c: np.ndarray) -> None:
        c0, c1, c2 = torch.from_numpy(c).to(self.device, self.dtype).repeat_interleave(self.size, 0).T.unsqueeze(-1)
        after.copy_(torch.addmm(after, self._matrix, beta, beta=-1.0, alpha=2.0))
        after.add_(c0 * current + c1 * previous)
        previous.copy_(torch.addmm(previous, self._matrix, current, beta=-1.0, alpha=2.0))
        after.add_(c2 * previous)

    def zeros(self, count: int) -> Tensor:
        double = torch.float64 if self.real else torch.complex128
        return torch.zeros(self.batch, count, dtype=double, device=self.device)

    def places(self, i: np.ndarray, j: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(i).to(self.device), torch.from_numpy(j).to(self.device)

    def correlate(self, x: Tensor, y: Tensor, where: tuple[Tensor, Tensor], c: np.ndarray, total: Tensor) -> None:
        x, y = (v.reshape(self.batch, self.size, -1) for v in (x, y))
        i, j = where
        both = (x[:, i] * y[:, j].conj()).sum(-1) + (y[:, i] * x[:, j].conj()).sum(-1)
        total.add_(torch.from_numpy(c).to(self.device)[:, None] * both)

    def total(self, sums: Tensor) -> np.ndarray:
        return sums.cpu().numpy()
