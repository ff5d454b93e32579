"""Loops of :mod:`nearsight.solvers.updates.low_rank_updates` that no array operation expresses.

Complex numbers that belong to one energy each lie in the last axis as all real parts followed by all imaginary parts,
``(..., 2 · energy)``: plain float loops over energies fill the vector registers.

Every result is summed in one fixed order, whatever else is computed in the same call, so that it does not depend on
what was asked for before.
"""

from __future__ import annotations

import numba
import numpy as np

FLAT = 1e-10
"""Slope of Ω + μN that is rounding (energy per half-width of the window)."""

FLAGS = {"contract"}
"""Fused multiply-add is allowed, reordering of sums is not."""


@numba.njit(inline="always")
def _add_product(to, left, right):
    """to += left right at every energy."""
    energies = len(to) // 2
    for q in range(energies):
        x, y = left[q], left[energies + q]
        u, v = right[q], right[energies + q]
        to[q] += x * u - y * v
        to[energies + q] += x * v + y * u


@numba.njit(cache=True, nogil=True, fastmath=FLAGS)
def dress(
    scattering: np.ndarray, active: np.ndarray, bare: np.ndarray, local: np.ndarray, dressed: np.ndarray
) -> np.ndarray:
    """R G0 and G = G0 + G0 R G0 on k orbitals, from the T matrix R of the changes made so far.

    Only s ≥ s' of the symmetric ``scattering`` (slot, slot, 2 · energy) is stored and read, and only the slots in
    ``active``. ``bare`` (k, slot, 2 · energy) holds G0 between the orbitals and the slots, ``local`` (k, k, 2 · energy)
    G0 among the orbitals. ``dressed`` (k, slot, 2 · energy) receives R G0; returned is G, complex (k, k, energy).
    """
    k, energies = bare.shape[0], bare.shape[2] // 2
    for a in range(k):
        for s in active:
            dressed[a, s] = 0.0
    for position in range(active.shape[0]):
        s = active[position]
        for before in range(position + 1):
            # Ascending slots: the lower triangle.
            r = active[before]
            t = scattering[s, r]
            for a in range(k):
                _add_product(dressed[a, s], t, bare[a, r])
                if r != s:
                    _add_product(dressed[a, r], t, bare[a, s])
    green = np.empty((k, k, energies), dtype=np.complex128)
    for a in range(k):
        for b in range(a + 1):
            for q in range(energies):
                real, imaginary = local[a, b, q], local[a, b, energies + q]
                for s in active:
                    x, y = bare[b, s, q], bare[b, s, energies + q]
                    u, v = dressed[a, s, q], dressed[a, s, energies + q]
                    real += x * u - y * v
                    imaginary += x * v + y * u
                green[a, b, q] = green[b, a, q] = complex(real, imaginary)
    return green


@numba.njit(cache=True, nogil=True)
def log_determinant(green: np.ndarray, change: np.ndarray) -> np.ndarray:
    """ln det(1 - W G) at every energy, W = diag(change) on k orbitals, ``green`` (k, k, energy).

    The sum of the logarithms of the pivots: each is that of the change of one level, whose phase never leaves (-π, π).
    """
    k, energies = green.shape[0], green.shape[2]
    result = np.zeros(energies, dtype=np.complex128)
    work = np.empty((k, k), dtype=np.complex128)
    for q in range(energies):
        work[:] = green[:, :, q]
        for a in range(k):
            pivot = 1.0 - change[a] * work[a, a]
            result[q] += np.log(pivot)
            # G of the system in which the level a has already moved.
            for b in range(a + 1, k):
                factor = change[a] * work[b, a] / pivot
                for c in range(a + 1, k):
                    work[b, c] += factor * work[a, c]
    return result


@numba.njit(cache=True, nogil=True)
def t_matrix(green: np.ndarray, change: np.ndarray) -> np.ndarray:
    """τ = W (1 - G W)⁻¹ ``(k, k, energy)`` by elimination without exchange of rows.

    It is stable, because Im(-G) is positive definite above the real axis: no pivot vanishes.
    """
    k, energies = green.shape[0], green.shape[2]
    result = np.empty((k, k, energies), dtype=np.complex128)
    matrix = np.empty((k, k), dtype=np.complex128)
    inverse = np.empty((k, k), dtype=np.complex128)
    for q in range(energies):
        for a in range(k):
            for b in range(k):
                matrix[a, b] = (1.0 if a == b else 0.0) - green[a, b, q] * change[b]
                inverse[a, b] = 1.0 if a == b else 0.0
        for a in range(k):
            scale = 1.0 / matrix[a, a]
            matrix[a] *= scale
            inverse[a] *= scale
            for b in range(k):
                if b != a:
                    factor = matrix[b, a]
                    matrix[b] -= factor * matrix[a]
                    inverse[b] -= factor * inverse[a]
        for a in range(k):
            result[a, :, q] = change[a] * inverse[a]
    return result


@numba.njit(cache=True, nogil=True, fastmath=FLAGS)
def scatter(scattering: np.ndarray, active: np.ndarray, dressed: np.ndarray, tau: np.ndarray) -> None:
    """R += Y τ Yᵀ on the active slots, with Y = ``dressed`` (k, slot, 2 · energy) and τ (k, k, energy)."""
    k, energies = dressed.shape[0], dressed.shape[2] // 2
    row = np.empty((k, 2 * energies))
    for position in range(active.shape[0]):
        s = active[position]
        row[:] = 0.0
        for b in range(k):
            for a in range(k):
                for q in range(energies):
                    x, y = dressed[a, s, q], dressed[a, s, energies + q]
                    u, v = tau[a, b, q].real, tau[a, b, q].imag
                    row[b, q] += x * u - y * v
                    row[b, energies + q] += x * v + y * u
        for before in range(position + 1):
            r = active[before]
            for b in range(k):
                _add_product(scattering[s, r], row[b], dressed[b, r])


@numba.njit(cache=True, nogil=True)
def maximum(coefficients: np.ndarray) -> tuple[float, float, bool]:
    """The largest value of a concave polynomial in x on [-1, 1], where it is, and whether it is stationary there.

    A slope within rounding counts as none: in a gap of the spectrum Ω + μN does not depend on μ.
    """
    lower, upper, x = -1.0, 1.0, 0.0
    degree = coefficients.shape[0] - 1
    value = slope = curvature = 0.0
    for step in range(60):
        value = slope = curvature = 0.0
        for j in range(degree, -1, -1):
            curvature = curvature * x + 2.0 * slope
            slope = slope * x + value
            value = value * x + coefficients[j]
        if step == 59:
            break
        if slope > 0:
            lower = x
        else:
            upper = x
        new = x - slope / curvature if curvature < 0 else 2.0
        if not lower <= new <= upper:
            # Towards the end first: an optimum outside is then found out in two steps.
            end = upper if slope > 0 else lower
            new = end if abs(end) == 1.0 and x != end else 0.5 * (lower + upper)
        if abs(new - x) <= 1e-13:
            break
        x = new
    return value, x, abs(x) < 1.0 or abs(slope) < FLAT
