"""What many changes of two on-site energies cost, each on its own, from one diagonalisation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import array, indices
from nearsight.solvers.dense import Dense
from nearsight.solvers.sparse import _check_matrix
from nearsight.solvers.updates.mu_interpolation import BLOCK, _check_changes, _MuInterpolation

CHUNK = 2**22
"""Elements of the products of eigenvectors held at once."""


class TwoSiteUpdates(NamedTuple):
    """Costs of changes, ``(change,)`` each, of one copy of the electrons.

    :func:`two_site_updates` returns them.
    """

    potential: np.ndarray
    """ΔF at fixed number, ΔΩ at fixed μ."""
    omega: np.ndarray
    """ΔΩ at the chemical potential before the change."""
    number: np.ndarray
    """ΔN at that chemical potential; NaN at fixed μ, where it is not computed."""
    second_order: np.ndarray
    """ΔΩ + ΔN²/2κ, with κ = ∂N/∂μ before the change; ΔΩ where ΔN is within the error, huge or infinite where a change
    in a gap alone gives the electrons a level there. NaN at fixed μ."""


def two_site_updates(
    matrix: Tensor,
    electrons: Dense,
    i: np.ndarray,
    j: np.ndarray,
    change: np.ndarray,
    *,
    bounds: tuple[float, float],
    tolerance: float = 1e-6,
    spectrum: tuple[Tensor, Tensor] | None = None,
) -> TwoSiteUpdates:
    """Change of the potential if ``change[0]`` were added to the diagonal at i and ``change[1]`` at j ≠ i.

    ``matrix`` is Hermitian, real or complex, ``i`` and ``j`` are ``(change,)``; ``bounds`` enclose all levels before
    and after. One ``eigh``, or none if its result is given as ``spectrum``; then O(n) for each pair and complex energy:
    on 900 sites all 600 hops together take little longer than the diagonalisation. Changes that move μ out of the
    window are diagonalised.
    """
    bounds, tolerance = _check_changes(electrons, bounds, tolerance)
    if _check_matrix(matrix).ndim != 2:
        raise ValueError(f"matrix must be a single one (orbital, orbital), got {tuple(matrix.shape)}.")
    n = len(matrix)
    i, j, change = indices(i, "i", n), indices(j, "j", n), array(change, "change", (2,))
    if not isinstance(i, np.ndarray) or not isinstance(j, np.ndarray) or len(i) != len(j) or (i == j).any():
        raise ValueError("i and j must be NumPy arrays (change,) of one length that differ everywhere.")
    levels, vectors = torch.linalg.eigh(matrix) if spectrum is None else spectrum
    psi = vectors.numpy()
    window = _MuInterpolation(electrons, levels.numpy(), bounds, tolerance)
    if len(i) == 0:
        return TwoSiteUpdates(*(np.zeros(0) for _ in TwoSiteUpdates._fields))
    sites, place = np.unique(np.concatenate([i, j]), return_inverse=True)
    local = _elements(psi[sites], psi[sites], window)
    ii, jj = local[place[: len(i)]], local[place[len(i) :]]
    ij = _elements(psi[i], psi[j], window)
    ji = ij if not np.iscomplexobj(psi) else _elements(psi[j], psi[i], window)
    a, b = change
    # The determinant as a product of two changes of one level: the phase of neither leaves (-π, π).
    first = 1.0 - a * ii
    second = 1.0 - b * (jj + a * ji * ij / first)
    omega = window.change_of_omega(np.log(first) + np.log(second), np.full(len(i), a + b))
    value, _, inside = window.potential(omega)
    before = window.reference[0]
    for k in np.flatnonzero(~inside):
        changed = matrix.clone()
        changed[[i[k], j[k]], [i[k], j[k]]] += torch.from_numpy(change)
        value[k] = float(electrons.potential_of_levels(torch.linalg.eigvalsh(changed)))
    if window.grand:
        unknown = np.full(len(i), np.nan)
        return TwoSiteUpdates(value - before, omega[:, 0], unknown, unknown)
    at_centre, number, stiffness = window.expansion(omega)
    # In a gap κ vanishes, and ΔN does, but for the error of the poles: 0²/0 is 0 there.
    moved = np.where(np.abs(number) * window.half > tolerance, number, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        correction = np.where(moved == 0, 0.0, moved**2 / (2 * stiffness))
    return TwoSiteUpdates(value - before, at_centre, number, at_centre + correction)


def _elements(left: np.ndarray, right: np.ndarray, window: _MuInterpolation) -> np.ndarray:
    """G_ab ``(pair, energy)`` of pairs of rows of ψ."""
    count, energies = len(left), len(window.energies)
    padded = -(-count // BLOCK) * BLOCK
    result = np.empty((padded, energies), dtype=complex)
    size = max(1, CHUNK // (left.shape[1] * BLOCK)) * BLOCK
    for start in range(0, padded, size):
        stop = min(start + size, padded)
        products = np.zeros((stop - start, left.shape[1]), dtype=left.dtype)
        part = slice(start, min(stop, count))
        np.multiply(left[part], right[part].conj(), out=products[: part.stop - start])
        g = window.green(products.real)
        result[start:stop] = g[:, :energies] + 1j * g[:, energies:]
        if np.iscomplexobj(products):
            g = window.green(products.imag)
            result[start:stop] += 1j * g[:, :energies] - g[:, energies:]
    return result[:count]
