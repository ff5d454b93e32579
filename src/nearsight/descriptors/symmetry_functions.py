"""Radial and angular weights of neighbours, and the expansion that turns sums over pairs into products of sums."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev, legendre, polynomial

from nearsight._description import Described
from nearsight._validation import integer, number, numbers

NEGLIGIBLE = 1e-14
"""Eigenvalues of an angular kernel below this fraction of the largest are rounding."""


@dataclass(frozen=True)
class Radial(Described):
    r"""A ring of neighbours, :math:`F_2(R) = e^{-(R-d)^2/w^2} f_c(R)` with :math:`f_c = \frac12(\cos\pi R/R_c + 1)`.

    ``distance`` is d and ``width`` w, in units of a; the cutoff R_c belongs to the descriptor.

    Examples
    --------
    >>> import numpy as np
    >>> from nearsight.descriptors import Radial
    >>> ring = Radial(1.0, width=0.5)
    >>> ring(np.array([1.0, 1.5, 2.0]), cutoff=2.0).round(4).tolist()  # f_c(1) = ½ on the ring, 0 at the cutoff
    [0.5, 0.0539, 0.0]
    """

    distance: float
    width: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "distance", number(self.distance, "distance, a finite distance of a ring,"))
        object.__setattr__(self, "width", number(self.width, "width, a positive width of a ring,", above=0))

    def __call__(self, r: np.ndarray, cutoff: float) -> np.ndarray:
        envelope = 0.5 * (np.cos(np.pi * np.minimum(r / cutoff, 1.0)) + 1.0)
        return np.exp(-(((r - self.distance) / self.width) ** 2)) * envelope


@dataclass(frozen=True)
class Angular(Described):
    r"""A weight of two neighbours at distances R1 and R2 from the centre, R3 from each other, seen under the angle θ:

    .. math:: F_3 = 2^{1-\zeta} (1 + \lambda\cos\theta)^\zeta\, F_2(R_1; d_1, w)\, F_2(R_2; d_2, w)\, F_2(R_3; d', w')

    ``distances`` are d1 and d2, ``width`` is w, ``zeta`` a positive integer, ``sign`` λ = ±1, and ``pair`` is (d', w'),
    or None for no condition on R3. The papers have d1 = d2 only, and F3 symmetric in the two neighbours: with it the
    sum of an antisymmetric quantity, such as a chirality, is zero.

    Examples
    --------
    >>> from nearsight.descriptors import Angular
    >>> Angular((1.0, 1.0), zeta=2, sign=-1).polynomial().tolist()  # (1 - x)²/2 of x = cos θ: 0 for θ = 0, 2 for θ = π
    [0.5, -1.0, 0.5]
    """

    distances: tuple[float, float]
    width: float = 1.0
    zeta: int = 1
    sign: int = 1
    pair: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "distances", numbers(self.distances, "distances", length=2))
        set_(self, "width", number(self.width, "width, a positive width,", above=0))
        if self.pair is not None:
            pair = numbers(self.pair, "pair", length=2)
            set_(self, "pair", (pair[0], number(pair[1], "pair[1], a positive width,", above=0)))
        set_(self, "zeta", integer(self.zeta, "zeta, a positive integer,", least=1))
        set_(self, "sign", integer(self.sign, "sign"))
        if self.sign not in (1, -1):
            raise ValueError(f"The sign of λ must be sign=1 or -1, got {self.sign}.")

    @property
    def rings(self) -> tuple[Radial, Radial]:
        """The two radial factors of the neighbours."""
        d1, d2 = self.distances
        return Radial(d1, self.width), Radial(d2, self.width)

    def polynomial(self) -> np.ndarray:
        """2^(1-ζ) (1 + λx)^ζ in powers of x = cos θ."""
        return 2.0 ** (1 - self.zeta) * polynomial.polypow([1.0, self.sign], int(self.zeta))


def radial_functions(cutoff: float, spacing: float = 1.0) -> tuple[Radial, ...]:
    """Overlapping rings at one, two, ... ``spacing`` inside the cutoff, as wide as they are far apart."""
    cutoff, spacing = number(cutoff, "cutoff", above=0), number(spacing, "spacing", above=0)
    return tuple(Radial(d, spacing) for d in spacing * np.arange(1, np.ceil(cutoff / spacing)).astype(float))


def angular_functions(
    distances: Sequence[float] = (1.0, 2.0, 3.0), width: float = 1.0, zetas: Sequence[int] = (1, 2, 4)
) -> tuple[Angular, ...]:
    """All d1 <= d2 among ``distances``, each with all ``zetas`` and both signs of λ."""
    pairs = itertools.combinations_with_replacement(distances, 2)
    return tuple(Angular(pair, width, zeta, sign) for pair in pairs for zeta in zetas for sign in (1, -1))


class _Expansion:
    r"""Filters whose products are the angular functions of one set.

    Without a condition on R3, an angular function is a polynomial in cos θ, a sum of Legendre (in the plane: Chebyshev)
    polynomials, and :math:`P_l(\cos\theta_{jk}) = \sum_m Y_{lm}(j)\,Y_{lm}(k)`. Then

    .. math:: \sum_{jk} F_3\, u_j v_k = \sum_l c_l \sum_m \Big(\sum_j F_2(R_j; d_1)\, Y_{lm}(j)\, u_j\Big)
              \Big(\sum_k F_2(R_k; d_2)\, Y_{lm}(k)\, v_k\Big) .

    A condition on R3 makes the function one symmetric matrix on the neighbours, whose eigenvectors take the place of
    Y; there are up to as many as neighbours.

    ``filters`` is ``(ring, y, neighbour)``; y runs over l and m. ``collect`` ``(l, y)`` sums the products over m, with
    their signs. ``pairs`` are the combinations of rings in use, and ``weights`` ``(function, pair · l)`` holds c_l.
    """

    def __init__(self, functions: Sequence[Angular]) -> None:
        self.functions = tuple(functions)
        self.rings = tuple(dict.fromkeys(ring for f in self.functions for ring in f.rings))
        self.pairs = tuple(dict.fromkeys(self._pair(f) for f in self.functions))
        self.conditions = tuple(dict.fromkeys((f.zeta, f.sign, f.pair) for f in self.functions if f.pair))
        self.degree = max((f.zeta for f in self.functions if not f.pair), default=-1)

    def _pair(self, function: Angular) -> tuple[int, int]:
        first, second = (self.rings.index(ring) for ring in function.rings)
        return first, second

    def weights(self, dim: int) -> np.ndarray:
        """c_l of every function ``(function, pair · l)``, the conditions on R3 behind the harmonics."""
        result = np.zeros((len(self.functions), len(self.pairs), self.degree + 1 + len(self.conditions)))
        convert = legendre.poly2leg if dim == 3 else chebyshev.poly2cheb
        for row, f in zip(result, self.functions, strict=True):
            target = row[self.pairs.index(self._pair(f))]
            if f.pair:
                target[self.degree + 1 + self.conditions.index((f.zeta, f.sign, f.pair))] = 1.0
            else:
                target[: f.zeta + 1] = convert(f.polynomial())
        return result.reshape(len(result), result.shape[1] * result.shape[2])

    def filters(self, vectors: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
        """``filters`` and ``collect`` for neighbours at ``vectors`` ``(neighbour, dim)``; the centre has no weight."""
        r = np.linalg.norm(vectors, axis=1)
        away = r > 1e-9 * cutoff
        units = vectors[away] / r[away, None]
        cosine = np.clip(units @ units.T, -1.0, 1.0)
        evaluate = legendre.legval if vectors.shape[1] == 3 else chebyshev.chebval
        kernels = [evaluate(cosine, np.eye(self.degree + 1)[l]) for l in range(self.degree + 1)]
        between = np.linalg.norm(vectors[away][:, None] - vectors[away][None], axis=-1)
        for zeta, sign, pair in self.conditions:
            d, w = pair
            angle = polynomial.polyval(cosine, Angular((d, d), w, zeta, sign).polynomial())
            kernels.append(angle * Radial(d, w)(between, cutoff))
        harmonics, signs = zip(*map(_factor, kernels), strict=True) if kernels else ((), ())
        count = [len(s) for s in signs]
        collect = np.zeros((len(kernels), sum(count)))
        for row, start, s in zip(collect, np.cumsum([0, *count]), signs, strict=False):
            row[start : start + len(s)] = s
        Y = np.zeros((sum(count), len(vectors)))
        Y[:, away] = np.concatenate(harmonics) if kernels else 0.0
        radial = np.array([np.where(away, ring(r, cutoff), 0.0) for ring in self.rings]).reshape(-1, 1, len(r))
        return radial * Y, collect


def _factor(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric matrix as Σ_m s_m Y_m Y_mᵀ with signs s and as few terms as its rank."""
    if not len(kernel):
        return np.zeros((0, 0)), np.zeros(0)
    values, vectors = np.linalg.eigh(kernel)
    keep = np.abs(values) > NEGLIGIBLE * len(kernel) * max(np.abs(values).max(), 1e-300)
    return (vectors[:, keep] * np.sqrt(np.abs(values[keep]))).T, np.sign(values[keep])
