"""The density matrix in one place of each of many matrices."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance, number
from nearsight.solvers.kpm._chebyshev_recursion import GROWTH
from nearsight.solvers.kpm._chebyshev_series import Band, FermiSeries
from nearsight.solvers.lanczos import spectrum
from nearsight.solvers.products import NumbaProducts, Rows
from nearsight.solvers.solver import _check_wanted, _no_electrons
from nearsight.solvers.sparse import SparseMatrix

CHUNK_ROWS = 2**17
"""Rows of all matrices that are multiplied at once."""

LOOKED_AT, WIDENED = 4, 0.05
"""Matrices whose ends are found by Lanczos, and the part of the bandwidth that is left on either side for the others.
"""


def local_elements(
    matrix: SparseMatrix, rows: Tensor, columns: Tensor, *, kT: float, mu: float, tol: float = 1e-6
) -> Tensor:
    r"""Elements of ρ = f(H) between a few orbitals ``(batch, element)``, the same ones of every matrix of a batch.

    With A = (H - b)/a and the vectors α_m = T_m(A)|i⟩ of the q orbitals i that occur,

    .. math:: \rho_{ij} = \sum_m c_m \langle i|T_m(A)|j\rangle, \qquad
              \langle i|T_{2m}|j\rangle = 2\langle\alpha^i_m|\alpha^j_m\rangle - \delta_{ij}, \quad
              \langle i|T_{2m+1}|j\rangle = 2\langle\alpha^i_{m+1}|\alpha^j_m\rangle - \langle i|A|j\rangle,

    so that M terms take M/2 products of every matrix with q vectors: some q M/2 operations for each of its elements,
    where a diagonalisation takes the cube of its size. A plane of 33 × 33 sites at kT = 0.1 t takes 2 ms, against
    250 ms. All matrices are one block-diagonal matrix, and need no loop.

    Parameters
    ----------
    matrix: values ``(batch, element)``.
    rows, columns: positions ``(element,)``.
    kT, mu: temperature > 0 and chemical potential.
    tol: bound for the error of every element: that of the Chebyshev series of f on an interval that holds all spectra.

    Raises ``ValueError`` where kT is too low for a series. Deterministic: equal matrices give equal bits, whatever else
    the batch holds as long as it has equal ends.

    References
    ----------
    A. Weiße, G. Wellein, A. Alvermann, H. Fehske, Rev. Mod. Phys. 78, 275 (2006), sec. II.
    """
    matrix = instance(matrix, SparseMatrix, "matrix", "Pass SparseMatrix.of(matrix).").check()
    kT, mu, tol = number(kT, "kT", above=0), number(mu, "mu"), number(tol, "tol", above=0, below=1)
    rows, columns, _ = _check_wanted(rows, columns, matrix.size, 1)
    if matrix.values.ndim != 2:
        raise ValueError(f"Give values (batch, element), got the shape {tuple(matrix.values.shape)}.")
    if not len(matrix.values):
        return _no_electrons(matrix, rows).rho
    narrow, safe = _bands(matrix)
    try:
        return _on(matrix, rows, columns, narrow, kT, mu, tol)
    except ArithmeticError:  # one of the others has a level outside
        return _on(matrix, rows, columns, safe, kT, mu, tol)


def moments(matrix: SparseMatrix, *, kT: float, tol: float = 1e-6) -> int:
    """How many terms :func:`local_elements` sums for such matrices at the least favourable chemical potential."""
    band, _ = _bands(matrix)
    return _series(band, kT, None, tol).moments


def _series(band: Band, kT: float, mu: float | None, tol: float) -> FermiSeries:
    at = band.centre if mu is None else np.full(1, mu)
    return FermiSeries(band, kT, 4).in_pairs().resolved(tol, at, of_gradient=False, margin=0.01)


def _bands(matrix: SparseMatrix) -> tuple[Band, Band]:
    """An interval that is likely to hold the spectra of all, from those of a few, and one that surely does."""
    size, values = matrix.size, matrix.values
    diagonal = matrix.diagonal()
    radius = values.real.new_zeros(len(values), size).index_add(-1, matrix.pattern.rows.to(values.device), values.abs())
    radius = radius - diagonal.abs()
    lowest, highest = float((diagonal - radius).min()), float((diagonal + radius).max())
    ends = spectrum(SparseMatrix(matrix.pattern, values[:: max(1, -(-len(values) // LOOKED_AT))]))
    few = float(ends.lowest.min()), float(ends.highest.max())
    spare = WIDENED * (few[1] - few[0])
    within = max(lowest, few[0] - spare), min(highest, few[1] + spare)
    return tuple(Band.around(np.array([a]), np.array([b]), margin=0.01) for a, b in (within, (lowest, highest)))  # type: ignore[return-value]


def _on(matrix: SparseMatrix, rows: Tensor, columns: Tensor, band: Band, kT: float, mu: float, tol: float) -> Tensor:
    """The elements from a series on a band; ``ArithmeticError`` if a level lies outside."""
    series = _series(band, kT, mu, tol)
    c = series.damped(series.occupation(np.full(1, mu)))[0]
    orbitals, place = np.unique(torch.cat([rows, columns]).cpu().numpy(), return_inverse=True)
    i, j = place[: len(rows)], place[len(rows) :]
    real = not matrix.values.is_complex()
    found = []
    for values in matrix.values.split(max(1, CHUNK_ROWS // matrix.size)):
        ends = (np.repeat(x, len(values)) for x in (band.centre, band.halfwidth))
        scaled = Rows.of(SparseMatrix(matrix.pattern, values)).rescaled(*ends)
        rho = _summed(NumbaProducts(scaled, torch.float64, real), orbitals, c)
        found.append(torch.from_numpy(rho[:, i, j]))
    return torch.cat(found).to(matrix.values.device)


def _summed(products: NumbaProducts, orbitals: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Σ_m c_m ⟨i|T_m|j⟩ ``(batch, q, q)`` between the orbitals."""
    batch, q = products.batch, len(orbitals)
    start = np.zeros((batch, products.size, q))
    start[:, orbitals, np.arange(q)] = 1.0
    previous = products.vectors(start.reshape(-1, q) if products.real else start.reshape(-1, q).astype(complex))
    current = products.empty(previous)
    grown = q * (1 + GROWTH[products.dtype])  # no level inside the band lets |T_m(A) R|² grow
    one = np.eye(q)
    sums = products.step(previous, current, first=True)
    first = _overlap(products, current, previous, q, sums[:, 1])
    total = c[0] * one + c[1] * first
    for m in range(1, (len(c) + 1) // 2):
        if m > 1:
            previous, current = current, previous
            sums = products.step(previous, current)
            # Odd terms up to 2m - 1 from the vectors m and m - 1.
            total = total + c[2 * m - 1] * (2 * _overlap(products, current, previous, q, sums[:, 1]) - first)
        if not (sums[:, 0] <= grown).all():
            raise ArithmeticError("Vectors grow: a level lies outside the band.")
        total = total + c[2 * m] * (2 * _overlap(products, current, current, q, sums[:, 0]) - one)
    return total


def _overlap(products: NumbaProducts, x: np.ndarray, y: np.ndarray, q: int, known: np.ndarray) -> np.ndarray:
    """⟨x_i|y_j⟩ ``(batch, q, q)``; ``known`` is what the product has added up of a single real column."""
    if q == 1 and products.real:
        return known[:, None, None]
    a, b = (v.reshape(products.batch, products.size, -1) for v in (x, y))
    g = np.matmul(a.transpose(0, 2, 1), b)
    if products.real:
        return g
    return g[:, :q, :q] + g[:, q:, q:] + 1j * (g[:, :q, q:] - g[:, q:, :q])
