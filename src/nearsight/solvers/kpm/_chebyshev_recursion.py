r"""Moments, elements of ρ and gradients from vectors T_m(H) R, one block of columns at a time.

With α_m = T_m(A) R and the recursion α_{m+1} = 2 A α_m - α_{m-1}, two moments follow from every product,

.. math:: \mu_m = \mathrm{Tr}\, R^\dagger T_m(A) R, \qquad
          \mu_{2m} = 2 \langle\alpha_m|\alpha_m\rangle - \mu_0, \quad
          \mu_{2m+1} = 2\,\mathrm{Re}\langle\alpha_{m+1}|\alpha_m\rangle - \mu_1 .

*Direct* elements are those of the Hermitian part of f(A) R R†: M - 1 products give M terms.

*Gradient* elements are the derivative of the estimate :math:`\hat\Omega = \sum_{m=0}^{2K} c_m \mu_m` itself. Its
variation :math:`\delta\hat\Omega = 2\,\mathrm{Re} \sum_m \langle s_m|\delta\alpha_m\rangle` has the sources

.. math:: s_m = 2 c_{2m} \alpha_m + c_{2m+1} \alpha_{m+1} + c_{2m-1} \alpha_{m-1}, \qquad
          c_1 \to \tfrac12 \left(c_1 - \textstyle\sum_{m \ge 1} c_{2m+1}\right) \text{ in } s_1,

and by the adjoint recursion :math:`\beta_m = s_m + 2A\beta_{m+1} - \beta_{m+2}`,

.. math:: \hat\rho_{ij} = \frac{\partial\hat\Omega}{\partial A_{ji}} = \sum_{m=0}^{K-1} (2 - \delta_{m0})
          \left(\alpha_m \beta_{m+1}^\dagger + \beta_{m+1} \alpha_m^\dagger\right)_{ij} .

The way back recomputes α from its last two vectors, so nothing is stored: K products forward and 2K back for the 2K + 1
terms, 1.5 for each. With R R† = 1 + X, the noise between two levels is :math:`\tfrac12 (f_n + f_m) X_{nm}` for direct
elements and :math:`X_{nm} (g_n - g_m)/(\epsilon_n - \epsilon_m)` for the gradient: the mean of f
between both levels, which does not jump at the Fermi energy and so reaches less far in space.

References
----------
K. Barros, Y. Kato, Phys. Rev. B 88, 235101 (2013); Z. Wang, G.-W. Chern, C. D. Batista, K. Barros, J. Chem. Phys. 148,
094107 (2018).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nearsight.solvers.kpm.probing import _Layout
from nearsight.solvers.products import SparseProducts

WIDTH = 64
"""Columns of a block: enough for the processor's vectors, few enough for its caches."""

GROWTH = {torch.float32: 1e-3, torch.float64: 1e-8}
"""Vectors T_m(A) R may grow by this much, rounding included; more means levels outside the band."""


@dataclass(frozen=True, eq=False)
class Block:
    """Columns ``first`` to ``last`` of a set: ``vectors (row, column)`` and the numbers on all orbitals, ``phases``."""

    first: int
    last: int
    layout: _Layout
    phases: np.ndarray

    @classmethod
    def all_of(cls, layout: _Layout, phases: np.ndarray, width: int = WIDTH) -> list[Block]:
        """The columns of a set in blocks of about equal width."""
        edges = np.linspace(0, layout.columns, -(-layout.columns // width) + 1).round().astype(int)
        return [cls(int(a), int(b), layout, phases) for a, b in itertools.pairwise(edges)]

    @property
    def vectors(self) -> np.ndarray:
        """R ``(row, column)``."""
        _, batch, size = self.phases.shape
        width = self.last - self.first
        columns = np.zeros((batch, size, width), self.phases.dtype)
        count = self.layout.count
        for repeat in range(self.first // count, (self.last - 1) // count + 1):
            column = self.layout.colours + repeat * count - self.first
            own = np.flatnonzero((column >= 0) & (column < width))
            columns[:, own, column[own]] = self.phases[repeat][:, own]
        return columns.reshape(batch * size, width)


def forward(products: SparseProducts, block: Block, steps: int, watch: Any = None) -> tuple[np.ndarray, Any, Any]:
    """Moments μ_0 ... μ_{2 steps} ``(batch, moment)``, and the last two vectors, α_steps and α_{steps - 1}.

    ``watch(m, α_m)`` sees every vector.
    """
    columns = block.vectors
    start = np.square(np.abs(columns)).reshape(products.batch, -1).sum(-1)
    limit = start * (1 + GROWTH[products.dtype])  # no level inside the band lets |T_m(A) R|² grow
    previous = products.vectors(columns)
    current = products.empty(previous)
    moments = np.empty((products.batch, 2 * steps + 1))
    moments[:, 0] = start
    if watch:
        watch(0, previous)
    for m in range(1, steps + 1):
        if m == 1:
            square, product = products.step(previous, current, first=True).T
            moments[:, 1] = product
        else:
            previous, current = current, previous
            square, product = products.step(previous, current).T
            moments[:, 2 * m - 1] = 2 * product - moments[:, 1]
        # Not "square > limit", which overflow to NaN would pass.
        if not (square <= limit).all():
            raise ArithmeticError(
                f"Vectors of matrix {int(np.argmax(~(square <= limit)))} grow at moment {m}: it has levels outside the "
                "band found by Lanczos. Raise margin=, and make sure that the matrix is Hermitian."
            )
        moments[:, 2 * m] = 2 * square - start
        if watch:
            watch(m, current)
    return moments, current, previous


def direct(
    products: SparseProducts,
    block: Block,
    coefficients: np.ndarray,
    i: np.ndarray,
    j: np.ndarray,
    response: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """Moments, and what the block adds to the Hermitian part of ρ_ij = (f(A) R R†)_ij ``(batch, position)``.

    ``coefficients (batch, moment)`` are those of f; ``response`` those of another function, whose elements come last.
    """
    where, series = products.places(i, j), [c for c in (coefficients, response) if c is not None]
    watch, sums = _direct_sums(products, block, len(i), where, series)
    moments, _, _ = forward(products, block, coefficients.shape[-1] - 1, watch)
    return moments, *map(products.total, sums)


def _direct_sums(
    products: SparseProducts, block: Block, count: int, where: Any, series: list[np.ndarray]
) -> tuple[Callable[[int, Any], None], list[Any]]:
    """What adds up the direct elements of several functions vector by vector, and their sums."""
    start, sums = products.vectors(block.vectors), [products.zeros(count) for _ in series]

    def watch(m: int, vector: Any) -> None:
        for c, sum_ in zip(series, sums, strict=True):
            if m < c.shape[-1]:
                products.correlate(vector, start, where, 0.5 * c[:, m], sum_)

    return watch, sums


def gradient(
    products: SparseProducts,
    block: Block,
    coefficients: np.ndarray,
    i: np.ndarray,
    j: np.ndarray,
    response: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """Moments μ_0 ... μ_2K, and what the block adds to ∂(Σ c_m μ_m)/∂A_ji at the positions ``(batch, position)``.

    ``coefficients (batch, 2K + 1)`` are those of the potential; ``response (batch, K + 1)`` those of another function,
    whose direct elements come last.
    """
    last = coefficients.shape[-1] // 2
    where, sums = products.places(i, j), products.zeros(len(i))
    watch: Callable[[int, Any], None] | None = None
    further: list[Any] = []
    if response is not None:
        watch, further = _direct_sums(products, block, len(i), where, [response])
    moments, previous, current = forward(products, block, last + 1, watch)
    c = np.pad(coefficients, ((0, 0), (0, 1)))
    c[:, 1] = 0.5 * (c[:, 1] - c[:, 3::2].sum(-1))
    beta, after = products.empty(current), products.empty(current)
    for m in range(last, 0, -1):
        sources = np.stack([2 * c[:, 2 * m], c[:, 2 * m + 1], c[:, 2 * m - 1]], axis=-1)
        products.reverse(current, previous, beta, after, sources)
        current, previous, beta, after = previous, current, after, beta
        products.correlate(current, beta, where, np.full(products.batch, 2.0 if m > 1 else 1.0), sums)
    return moments[:, : 2 * last + 1], *map(products.total, (sums, *further))
