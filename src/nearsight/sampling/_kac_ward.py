r"""Ising spins on planar and toroidal lattices without a field: ln Z and the correlations of bonds by Pfaffians.

With K_b = J_b/kT and w_b = tanh K_b, Z = 2^N Π_b cosh K_b Σ_G Π_{b∈G} w_b over all even subgraphs G. A bond b is
two opposite directed edges e, ē with angles θ_e in [0, 2π). In the real form of Kac and Ward's matrix,

.. math::
    B_{e \bar e} = j_e \operatorname{sgn} w_e, \quad B_{ef} = -\sqrt{|w_e w_f|}\, \operatorname{sgn}(θ_f - θ_e)
    \ \text{for edges from one site}, \qquad j_e = ±1 \ \text{for}\ θ_e \lessgtr π,

an antisymmetric matrix, the sum over even subgraphs of a planar lattice is r = Pf B / Π j sgn w. On a torus it is
(-r₀₀ + r₀₁ + r₁₀ + r₁₁)/2, with the sign of w reversed on bonds across those boundaries whose digit is 1; on a cylinder
it is r with the sign reversed. Derivatives of r in w are Pfaffians of Y = T + T √|w| B⁻¹ √|w| T, T_ef = sgn(θ_f - θ_e):

.. math::
    ∂_a r = -j_a r\, Y_{e\bar e}, \qquad
    ∂_a ∂_b r = j_a j_b r\, (Y_{e\bar e} Y_{f\bar f} - Y_{ef} Y_{\bar e\bar f} + Y_{e\bar f} Y_{\bar e f}).

Bonds that cross no boundary are eliminated once for all four; what is left are Pfaffians of twice as many rows as bonds
cross. One of the four vanishes at the transition of a uniform torus, where B⁻¹ has a pole: the plane in which it has it
is kept apart, and no product of the two diverging terms is ever formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import scipy.sparse

from nearsight._machine import check_memory
from nearsight.lattices import Lattice

_MATRICES = 14
"""Dense matrices of two rows per bond that are in memory at once."""
SAFE = 1.5
"""Largest |K| up to which nothing is lost."""
LOST, ULPS = 1e-7, 8
"""Largest change of the moments that is accepted when every tanh K moves by 8 units of its last place, up or down."""


@dataclass(frozen=True, eq=False)
class BondMoments:
    """ln Z, and mean ``(bond,)`` and covariance ``(bond, bond)`` of the products s_i s_j of all bonds."""

    log_partition: float
    mean: np.ndarray
    covariance: np.ndarray


def bond_moments(lattice: Lattice, K: np.ndarray) -> BondMoments:
    """Moments of Ising spins with couplings K = J/kT ``(bond,)`` of ``lattice.bonds(1)``, in two dimensions.

    Bonds between nearest neighbours never cross: of the four sides of a quadrilateral two are shorter, together, than
    its diagonals, so that two sites would be nearer than neighbours are.

    ``ArithmeticError`` where it is so cold that their errors would exceed 10⁻⁷: what is added and subtracted grows as
    e^{2|K|}.
    """
    needed = _MATRICES * 8 * (2 * len(K)) ** 2
    check_memory(needed, f"The matrix of {len(K)} bonds", "Sample the model instead (ParallelTempering).")
    graph, K = _graph(lattice), np.asarray(K, float)
    w = np.tanh(K)
    result = graph.moments(K, w)
    if np.abs(K).max() > SAFE:
        moved = np.random.default_rng(0).choice([-1.0, 1.0], len(w)) * ULPS * np.finfo(float).eps
        again = graph.moments(K, w * (1 + moved))
        changes = [getattr(again, name) - getattr(result, name) for name in ("log_partition", "mean", "covariance")]
        if not max(float(np.abs(change).max()) for change in changes) < LOST:
            raise _too_cold()
    return result


@dataclass(frozen=True, eq=False)
class _Graph:
    """Directed edges of a lattice: the bonds as they are listed, then the same backwards."""

    n_sites: int
    sign: np.ndarray
    """j of every bond, ±1."""
    turns: scipy.sparse.csr_array
    """T ``(edge, edge)``."""
    crosses: np.ndarray
    """Whether a bond crosses each of the two boundaries an odd number of times ``(bond, 2)``."""
    inner: np.ndarray
    outer: np.ndarray
    """Bonds that cross no boundary, and those that do."""
    sectors: tuple[tuple[float, tuple[int, int]], ...]
    """Factor of each Pfaffian, and the boundaries at which signs are reversed."""

    def moments(self, K: np.ndarray, w: np.ndarray) -> BondMoments:
        """For w = tanh K, up to rounding."""
        n = len(K)
        root = np.sqrt(np.abs(np.concatenate([w, w])))
        inner, outer = (np.concatenate([bonds, bonds + n]) for bonds in (self.inner, self.outer))
        T = self.turns
        B = -(root[:, None] * T.toarray() * root)
        inverse, log = _eliminated(B[np.ix_(inner, inner)] + _partners(self._signs(w, self.inner)))
        # Y of the bonds that cross no boundary, and F, through which the others enter.
        left, right = T[:, inner] * root[inner], root[inner, None] * T[inner].toarray()
        Y = T.toarray() + left @ (inverse @ right)
        C = B[np.ix_(inner, outer)]
        F = T[:, outer].toarray() * root[outer] - left @ (inverse @ C)
        S = B[np.ix_(outer, outer)] + C.T @ inverse @ C
        total, first, second = 0.0, np.zeros(n), np.zeros((n, n))
        for factor, boundaries in self.sectors:
            reversed_ = (-1.0) ** (self.crosses @ np.array(boundaries))
            r, d1, d2 = self._sector(Y, F, S, self._signs(w * reversed_, self.outer))
            total = total + factor * r
            first += factor * reversed_ * d1
            second += factor * np.outer(reversed_, reversed_) * d2
        if not total > 0:
            raise _too_cold()
        first, second = first / total, second / total
        small = np.exp(-2 * np.abs(K))
        slope = 4 * small / (1 + small) ** 2  # 1 - tanh² K, without cancellation or overflow
        mean = w + slope * first
        covariance = np.outer(slope, slope) * (second - np.outer(first, first))
        covariance[np.diag_indices(n)] = 1 - mean**2
        log_cosh = np.abs(K) + np.log1p(small) - np.log(2)
        log_partition = float(self.n_sites * np.log(2) + log_cosh.sum() + log + np.log(total))
        return BondMoments(log_partition, mean, covariance)

    def _signs(self, w: np.ndarray, bonds: np.ndarray) -> np.ndarray:
        """j sgn w of some bonds."""
        return self.sign[bonds] * np.where(w[bonds] < 0, -1.0, 1.0)

    def _sector(
        self, Y: np.ndarray, F: np.ndarray, S: np.ndarray, signs: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """One r over that of the inner bonds, and its first and second derivatives in w, finite where r is zero."""
        n, m = len(self.sign), len(self.outer)
        small, rho, plane = 1.0, 1.0, None
        if m:
            # The plane in which S is smallest, exactly S = small (v uᵀ - u vᵀ) there, is given the value 1 instead.
            S = S + _partners(signs)
            v, u = _smallest_plane(S)
            small = float(v @ S @ u)
            turn = np.outer(v, u) - np.outer(u, v)
            regular = S + (1 - small) * turn
            rho = _pfaffian(regular) * float(np.prod(signs))
            rho *= (-1.0) ** (m * (m - 1) // 2)  # edges and their reverses stand in two rows, not in pairs
            Y = Y - F @ (np.linalg.inv(regular) + turn) @ F.T
            plane = F @ turn @ F.T
        j = self.sign
        parts = _quarters(Y, n)
        first, second = small * -np.diagonal(parts[1]), small * _wick(parts, parts) / 2
        if plane is not None:
            other = _quarters(plane, n)
            first, second = first - np.diagonal(other[1]), second + _wick(parts, other)
        return rho * small, rho * j * first, rho * np.outer(j, j) * second


def _partners(signs: np.ndarray) -> np.ndarray:
    """The antisymmetric matrix that joins edges, in the first row, to their reverses, in the second."""
    block = np.diag(signs)
    return np.block([[np.zeros_like(block), block], [-block, np.zeros_like(block)]])


def _smallest_plane(S: np.ndarray) -> np.ndarray:
    """Two orthonormal vectors that an antisymmetric matrix maps onto each other, with its smallest singular value."""
    square, vectors = np.linalg.eigh(S.T @ S)
    v, partner = vectors[:, 0], S @ vectors[:, 0]
    length = np.linalg.norm(partner)
    # Others may have the same singular value, unless it is zero.
    return np.stack([v, partner / length if length > 1e-7 * np.sqrt(square[-1]) else vectors[:, 1]])


def _quarters(Y: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    """Y between edges e, ē of bonds a and f, f̄ of bonds b: ef, ef̄, ēf, ēf̄."""
    return Y[:n, :n], Y[:n, n:], Y[n:, :n], Y[n:, n:]


def _wick(x: tuple[np.ndarray, ...], y: tuple[np.ndarray, ...]) -> np.ndarray:
    """The polar form of the Pfaffian of e, ē, f, f̄: twice the Pfaffian for x = y."""
    a, b = np.diagonal(x[1]), np.diagonal(y[1])
    return np.outer(a, b) + np.outer(b, a) - x[0] * y[3] - y[0] * x[3] + x[1] * y[2] + y[1] * x[2]


def _eliminated(A: np.ndarray) -> tuple[np.ndarray, float]:
    """Inverse of the part of B that is planar, and the logarithm of its r, which is positive."""
    if not len(A):
        return A, 0.0
    log = float(np.linalg.slogdet(A)[1] / 2)
    if not np.isfinite(log):
        raise _too_cold()
    inverse = np.linalg.inv(A)
    return (inverse - inverse.T) / 2, log


def _too_cold() -> ArithmeticError:
    return ArithmeticError(
        "It is too cold for Pfaffians in double precision: fewer than seven digits would be left. Sample the model "
        "instead (ParallelTempering), or take a higher temperature."
    )


def _pfaffian(A: np.ndarray) -> float:
    """By the elimination of Parlett and Reid, with pivots."""
    A, value = A.copy(), 1.0
    for k in range(0, len(A) - 1, 2):
        pivot = k + 1 + int(np.argmax(np.abs(A[k + 1 :, k])))
        if pivot != k + 1:
            A[[k + 1, pivot]] = A[[pivot, k + 1]]
            A[:, [k + 1, pivot]] = A[:, [pivot, k + 1]]
            value = -value
        value *= A[k, k + 1]
        if value == 0:
            return 0.0
        row, column = A[k, k + 2 :] / A[k, k + 1], A[k + 2 :, k + 1]
        A[k + 2 :, k + 2 :] += np.outer(row, column) - np.outer(column, row)
    return value


@lru_cache(maxsize=8)
def _graph(lattice: Lattice) -> _Graph:
    """The directed edges of the first shell."""
    bonds = lattice.bonds(1)
    n = len(bonds)
    angle = np.mod(np.arctan2(bonds.displacement[:, 1], bonds.displacement[:, 0]), 2 * np.pi)
    angle = np.concatenate([angle, np.where(angle < np.pi, angle + np.pi, angle - np.pi)])
    tail = np.concatenate([bonds.i, bonds.j])
    order = np.argsort(tail, kind="stable")
    start = np.concatenate([[0], np.flatnonzero(np.diff(tail[order])) + 1, [2 * n]])
    groups = [order[a:b] for a, b in pairwise(start)]
    e = np.concatenate([np.repeat(g, len(g)) for g in groups])
    f = np.concatenate([np.tile(g, len(g)) for g in groups])
    turns = scipy.sparse.csr_array((np.sign(angle[f] - angle[e]), (e, f)), shape=(2 * n, 2 * n))
    turns.eliminate_zeros()
    crosses = (bonds.winding % 2 != 0).astype(int)
    around = [bool(np.any(bonds.winding[:, axis])) for axis in range(2)]
    sectors: tuple[tuple[float, tuple[int, int]], ...] = ((1.0, (int(around[0]), int(around[1]))),)
    if all(around):
        sectors = ((-0.5, (0, 0)), (0.5, (0, 1)), (0.5, (1, 0)), (0.5, (1, 1)))
    outside = np.any(bonds.winding != 0, axis=1)
    return _Graph(
        lattice.n_sites,
        np.where(angle[:n] < np.pi, 1.0, -1.0),
        turns,
        crosses,
        np.flatnonzero(~outside),
        np.flatnonzero(outside),
        sectors,
    )
