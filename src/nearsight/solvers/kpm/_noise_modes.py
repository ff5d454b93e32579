r"""How many independent numbers the noise of random vectors consists of.

With R R† = 1 + X the noise of an element is :math:`e_{ab} = \sum_{nm} \psi_{an} L_{nm} X_{nm} \psi^*_{bm}`, where

.. math:: L_{nm} = \tfrac12 (f_n + f_m) \quad\text{(direct)}, \qquad
          L_{nm} = \frac{g_n - g_m}{\epsilon_n - \epsilon_m} \quad\text{(gradient)}

and the X_nm are uncorrelated numbers of equal variance. Numbers of modulus one leave X_aa = 0, so that a constant in L
does nothing: its mean is subtracted. A sum of squares of Gaussian numbers with variances λ behaves like one of

.. math:: \nu = \frac{\left(\sum \lambda\right)^2}{\sum \lambda^2}

numbers of equal variance (Satterthwaite). Between pairs of levels the λ are the L²: the gradient's noise of a single
electron at a low temperature is one number, however large the lattice. On the requested elements the λ are their
variances. The amplitudes ψ_an ψ*_bm that lead from one to the other are about random, and then 1/ν is the sum of both
1/ν, as for the spectrum of a random covariance (Marchenko, Pastur).

At a fixed number of electrons μ follows the noise, :math:`\delta\mu = -\sum_n f_n X_{nn} / \sum_n \kappa_n` with
:math:`\kappa = \partial f / \partial\mu`, and adds κ_n δμ to the diagonal.

References
----------
F. E. Satterthwaite, Biometrics Bulletin 2, 110 (1946); V. A. Marchenko, L. A. Pastur, Math. USSR Sb. 1, 457 (1967).
"""

from __future__ import annotations

import numpy as np

from nearsight.solvers.kpm._chebyshev_series import fermi

LEVELS = 128
"""Most groups of levels that pairs are made of."""

CAUTION = 2 / 3
"""States that are localised are more alike than random waves: true ν are 0.4 to 1 times those of random waves."""


def level_pieces(
    energies: np.ndarray,
    weights: np.ndarray,
    mu: np.ndarray,
    kT: float,
    *,
    of_gradient: bool,
    real: bool,
    unit_modulus: bool,
    fixed_number: bool,
) -> np.ndarray:
    """ν of the pairs of levels ``(batch,)``, from levels per node ``weights (batch, node)`` at ``energies``.

    real: the matrix is real, so that X_nm = X_mn and diagonal numbers have twice the variance.
    """
    energies, weights = grouped(energies, np.maximum(weights, 0.0))
    found = [
        _pieces(e, w, m, kT, of_gradient, real, unit_modulus, fixed_number)
        for e, w, m in zip(energies, weights, mu, strict=True)
    ]
    return np.array(found)


def independent_pieces(levels: np.ndarray, elements: np.ndarray) -> np.ndarray:
    """ν of the noise of ρ from that of pairs of levels and that of the requested elements, at least 1."""
    return np.maximum(1.0, CAUTION / (1 / levels + 1 / elements))


def grouped(energies: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most ``LEVELS`` groups of neighbouring nodes, each at its mean energy."""
    size = -(-energies.shape[-1] // LEVELS)
    if size == 1:
        return energies, weights
    edges = np.arange(0, energies.shape[-1], size)
    total = np.add.reduceat(weights, edges, axis=-1)
    mean = np.add.reduceat(weights * energies, edges, axis=-1) / np.maximum(total, 1e-300)
    plain = np.add.reduceat(energies, edges, axis=-1) / np.diff([*edges, energies.shape[-1]])
    return np.where(total > 1e-12, mean, plain), total


def _pieces(
    e: np.ndarray,
    w: np.ndarray,
    mu: float,
    kT: float,
    of_gradient: bool,
    real: bool,
    unit_modulus: bool,
    fixed_number: bool,
) -> float:
    if kT > 0:
        f = fermi((mu - e) / kT)
        kappa = f * (1 - f) / kT
    else:
        f, kappa = (e < mu).astype(float), np.zeros_like(e)
    L = 0.5 * (f[:, None] + f)
    if of_gradient:
        g = np.minimum(e - mu, 0.0) - kT * (np.log1p(np.exp(-np.abs(e - mu) / kT)) if kT > 0 else 0.0)
        distance = e[:, None] - e
        near = np.abs(distance) < 1e-3 * kT
        L = np.where(near, L, (g[:, None] - g) / np.where(near, 1.0, distance))
    pairs = w[:, None] * w
    if unit_modulus:
        L = L - (pairs * L).sum() / pairs.sum()
    square = np.square(L)
    own = np.diag(L)
    first, second = (pairs * square).sum(), (pairs * np.square(square)).sum()
    one, two = (w * own**2).sum(), (w * own**4).sum()
    if fixed_number and (w * kappa).sum() > 0:
        # The diagonal numbers enter by D - u vᵀ with D = diag(L_nn), u = κ/Σκ and v = f, less its mean as above.
        v = f - (w * f).sum() / w.sum() if unit_modulus else f
        # No occupation follows a number by more than that number.
        changed = _rank_one(w, own, np.minimum(kappa / (w * kappa).sum(), 1.0), v)
        first, second = first - one + changed[0], second - two + changed[1]
        one, two = changed
    # The squares |ψ_an|² are all positive and so alike: in random waves they overlap by 1/2 (complex) or 1/3 (real).
    if real:
        first, second = first + 2 * one, 2 * second + 6 * two + one**2
    else:
        first, second = first + one, second + 2 * two + one**2
    return max(1.0, float(first**2 / second)) if second > 0 else 1.0


def _rank_one(w: np.ndarray, d: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[float, float]:
    """Tr M and Tr M² of M = A Aᵀ, A = diag(d) - u vᵀ, with ``w`` rows of each kind."""

    def dot(*x: np.ndarray) -> float:
        return float((w * np.prod(x, axis=0)).sum())

    p, s, uu = d * v, dot(v, v), dot(u, u)
    up, pp = dot(u, p), dot(p, p)
    first = dot(d, d) - 2 * up + s * uu
    second = dot(d, d, d, d) - 4 * dot(p, d, d, u) + 2 * up**2 + 2 * uu * pp
    second += 2 * s * (dot(u, d, d, u) - 2 * up * uu) + s**2 * uu**2
    return first, second


def element_pieces(
    deviation: np.ndarray, weights: np.ndarray, diagonal: np.ndarray, real: bool, sets: int
) -> np.ndarray:
    """ν of the requested elements ``(batch,)``, from their standard errors ``(batch, pair)`` over so many sets.

    weights: how often a pair is asked for; diagonal: whether it is real ``(pair,)``, as all are where ``real``.
    """
    if not deviation.shape[-1]:
        return np.ones(len(deviation))
    alone = diagonal | real
    numbers = np.where(alone, 1.0, 2.0)  # real ones in an element
    variance = weights * np.square(deviation)
    # Measured variances scatter, which adds to the mean of their squares.
    square = np.square(variance) / numbers / (1 + 2 / (numbers * (sets - 1)))
    total = np.square(variance.sum(-1))
    return np.clip(total / np.maximum(square.sum(-1), 1e-300), 1.0, numbers.sum())
