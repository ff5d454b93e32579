"""Numbers of states by energy: every temperature at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from nearsight.sampling.exact_ising import _check_coupling, _side
from nearsight.sampling.thermodynamics import Thermodynamics, _temperatures

PRIME_BITS = 25
"""Primes below 2^25: sums of 2^13 products of two residues fit into 63 bits."""
MAX_TORUS = 4096
"""Sites of the largest torus: beyond, sums modulo a prime no longer fit into 63 bits."""


@dataclass(frozen=True, eq=False)
class DensityOfStates:
    r"""g(E): how many states have the energy E, so that at any temperature

    .. math:: Z = \sum_E g(E)\, e^{-E/kT}, \qquad \langle O \rangle = \frac{1}{Z} \sum_E g(E)\, \bar O(E)\, e^{-E/kT} .

    ``energies`` (level,) are those of the whole system, ascending; ``counts`` (level,) are exact: 64-bit integers, or
    Python's where these are too small. ``means`` holds the average Ō(E) over the states of a level for every
    observable that was recorded.

    :func:`ising_levels` and :func:`enumerate_states` return it.
    """

    sites: int
    energies: np.ndarray
    counts: np.ndarray
    means: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Number of all states."""
        return sum(map(int, self.counts))

    @cached_property
    def entropies(self) -> np.ndarray:
        """ln g(E) ``(level,)``, the microcanonical entropy of the whole system."""
        if self.counts.dtype == object:
            return np.array([math.log(c) for c in self.counts])  # of integers beyond the range of floats
        return np.log(self.counts)

    def probabilities(self, kT: ArrayLike) -> np.ndarray:
        """Canonical probability of every level ``(*kT, level)``: the histogram of energies of a long simulation."""
        weight, _ = self._weights(_temperatures(kT))
        return weight / weight.sum(-1, keepdims=True)

    def average(self, observable: str | np.ndarray, kT: ArrayLike) -> np.ndarray:
        """⟨O⟩ ``(*kT,)`` of a recorded observable, by its name, or of any function of the energy ``(level,)``.

        ``average((dos.energies - E0) ** 4, kT)`` is a moment of the energy.
        """
        if isinstance(observable, str):
            if observable not in self.means:
                known = ", ".join(self.means) or "none"
                raise ValueError(f"{observable!r} was not recorded (there is: {known}); pass it to enumerate_states.")
            observable = self.means[observable]
        return (self.probabilities(kT) @ observable)[()]

    def thermodynamics(self, kT: ArrayLike) -> Thermodynamics:
        """F, U, S and C per site."""
        T = _temperatures(kT)
        weight, shift = self._weights(T)
        lowest = float(self.energies[0])
        p, energies = weight / weight.sum(-1, keepdims=True), self.energies - lowest
        mean = p @ energies
        spread = (p * (energies - mean[..., None]) ** 2).sum(-1)
        value = shift + np.log(weight.sum(-1))
        hot = float(self.energies[-1] - self.energies[0]) < T
        value, mean = (np.where(hot, x, y) for x, y in zip(self._hot(T), (value, mean), strict=True))
        n, zero = self.sites, np.where(hot, 0.0, lowest)
        return Thermodynamics.from_log_partition(T, value / n, -mean / n, spread / n, lowest=zero / n)

    def _hot(self, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """ln Z and U ``(*kT,)``, counted from zero, where U is all but that of equally likely states.

        That is an exact sum of integers; only the difference, which vanishes as 1/kT, is left to floats.
        """
        total, parts = self.total, list(zip(self.counts, self.energies, strict=True))
        middle = sum((int(g) * Fraction(float(e)) for g, e in parts), Fraction(0)) / total
        weight = np.array([float(Fraction(int(g), total)) for g in self.counts])
        x = np.array([float(Fraction(float(e)) - middle) for e in self.energies])
        change = np.expm1(-x / np.maximum(T, np.abs(x).max() / 2)[..., None])
        moved = (weight * change).sum(-1)
        mean = float(middle) + (weight * x * change).sum(-1) / (1 + moved)
        return math.log(total) + np.log1p(moved) - float(middle) / T, mean

    def _weights(self, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """g e^{-(E - E_0)/kT} over its largest value, and the logarithm of that."""
        exponent = self.entropies - (self.energies - self.energies[0]) / T[..., None]
        shift = exponent.max(-1)
        return np.exp(exponent - shift[..., None]), shift


def ising_levels(length: int, width: int, *, J: float = 1.0) -> DensityOfStates:
    r"""Exact density of states of the Ising model on a square torus of n × m sites at h = 0, J of either sign.

    Kaufman's four products (:func:`~nearsight.sampling.ising_torus`) are polynomials in x = e^{-2K}: with
    D_k = (2 sinh 2K)^k 2 cosh kγ and e^{-2K·2k} D_k = d_k(x),

    .. math:: d_{k+1} = \left[(1 + x^2)^2 - 2x(1 - x^2)\cos\tfrac{\pi l}{n}\right] d_k - x^2(1 - x^2)^2\, d_{k-1},

    and Z = e^{2nmK} Σ g_k x^k, where k counts the broken bonds and E = -J(2nm - 2k). The cosines are sums of roots of
    unity in a finite field, so the polynomials are exact modulo primes, and the Chinese remainder theorem gives
    the integers g_k, of up to nm bits.

    Any torus, odd or frustrated, as in ``hamiltonians.Ising(lattices.square(n, m), J=J)``. Costs 0.05 s for 16 × 16,
    1 s for 32 × 32 and 20 s for 64 × 64 sites; ``ValueError`` beyond 4096 sites.

    References
    ----------
    P. D. Beale, Phys. Rev. Lett. 76, 78 (1996).
    """
    n, m = sorted((_side(length), _side(width)))
    _check_coupling(J)
    sites = n * m
    if sites > MAX_TORUS:
        raise ValueError(
            f"The density of states of {sites} sites is out of reach; ising_torus gives F, U, S and C of any size."
        )
    modulus, counts, prime = 1, np.zeros(2 * sites + 1, dtype=object), 2**PRIME_BITS
    while modulus <= 2**sites:
        prime = _prime_below(prime, 2 * n)
        residue = _broken_bonds(n, m, prime).astype(object)
        # The number below modulus · prime with both remainders.
        counts = counts + modulus * ((residue - counts) * pow(modulus, -1, prime) % prime)
        modulus *= prime
    broken = np.flatnonzero(counts)
    energies = J * (2.0 * broken - 2 * sites) + 0.0
    order = np.argsort(energies)
    return DensityOfStates(sites, energies[order], counts[broken][order])


def _broken_bonds(n: int, m: int, p: int) -> np.ndarray:
    """g_k modulo the prime p, for k = 0 .. 2nm broken bonds; p - 1 is divisible by 2n."""

    def times(*factors: np.ndarray) -> np.ndarray:
        product = np.ones(1, dtype=np.int64)
        for factor in factors:
            product = np.convolve(product, factor) % p
        return product

    def power(sign: int, step: int, start: int) -> np.ndarray:
        """x^start (1 + sign x^step)^m."""
        result = np.zeros(2 * m + 1 if step == 1 else 3 * m + 1, dtype=np.int64)
        result[start : start + step * m + 1 : step] = [math.comb(m, k) * sign**k % p for k in range(m + 1)]
        return result

    root = _root_of_unity(2 * n, p)
    pairs = np.arange(1, n)  # l and 2n - l share γ; l = 0 and l = n are alone
    cosine = np.array([(pow(root, int(l), p) + pow(root, -int(l), p)) % p for l in pairs], dtype=np.int64)[:, None]
    one = np.ones_like(cosine)
    previous = np.zeros((len(pairs), 4 * m + 1), dtype=np.int64)
    previous[:, 0] = 2
    d = previous.copy()
    for k in range(m):
        new = np.zeros_like(d)
        # [1, -2cos, 2, 2cos, 1] · d_k; the first step is half of it, d_1 = Q d_0 with d_0 = 2.
        source = d if k else d * pow(2, -1, p) % p
        for shift, factor in enumerate((one, -cosine, 2 * one, cosine, one)):
            new[:, shift:] += factor * source[:, : source.shape[1] - shift] % p
        if k:
            for shift, weight in ((2, -1), (4, 2), (6, -1)):
                new[:, shift:] += weight * previous[:, : previous.shape[1] - shift]
        previous, d = d, new % p
    w = 2 * power(-1, 2, m)  # 2 x^m (1 - x²)^m
    w = np.pad(w, (0, 4 * m + 1 - len(w)))
    total = np.zeros(2 * n * m + 1, dtype=np.int64)
    for sign in (1, -1):
        alone = {
            0: power(-1, 1, 0) + sign * power(1, 1, m),
            n: power(1, 1, 0) + sign * power(-1, 1, m),
        }
        for parity in (0, 1):
            factors = [
                *((d + sign * w)[pairs % 2 == parity] % p),
                *(f % p for l, f in alone.items() if l % 2 == parity),
            ]
            total += times(*factors)
    return total * pow(2, -1, p) % p


def _prime_below(bound: int, order: int) -> int:
    """The largest prime p < bound with p = 1 modulo ``order``."""
    p = (bound - 2) // order * order + 1
    while any(p % k == 0 for k in range(2, math.isqrt(p) + 1)):
        p -= order
    return p


def _root_of_unity(order: int, p: int) -> int:
    """An element of order ``order`` in the field of p elements."""
    factors = [q for q in range(2, order + 1) if order % q == 0 and all(q % k for k in range(2, q))]
    for a in range(2, p):
        root = pow(a, (p - 1) // order, p)
        if all(pow(root, order // q, p) != 1 for q in factors):
            return root
    raise ArithmeticError(f"No element of order {order} modulo {p}.")
