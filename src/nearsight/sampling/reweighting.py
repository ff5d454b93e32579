"""Averages between and beyond the temperatures that were sampled."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize
from scipy.special import logsumexp, stdtrit

from nearsight._validation import integer
from nearsight.sampling.snapshots import Snapshots
from nearsight.sampling.thermodynamics import _temperatures

GROUPS = 20
"""Parts of the snapshots of every temperature, each of which is left out once for the error."""
FEW = 30.0
"""Effective number of snapshots below which nothing is said."""


class Reweighted(NamedTuple):
    """Values at the temperatures asked for, their standard errors, and the effective number of snapshots behind them.

    ``low`` and ``high`` bound the 95 % interval.

    :meth:`MultiHistogram.average` and its relatives return it.
    """

    value: np.ndarray
    error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    effective: np.ndarray


class MultiHistogram:
    r"""Snapshots at several temperatures, joined: every average at any temperature in between,

    .. math::
        \langle A \rangle_\beta = \frac{\sum_n A_n w_n e^{-\beta E_n}}{\sum_n w_n e^{-\beta E_n}}, \qquad
        \frac{1}{w_n} = \sum_k N_k\, e^{f_k - \beta_k E_n}, \qquad
        e^{-f_k} = \sum_n w_n e^{-\beta_k E_n} .

    N_k snapshots were drawn at β_k = 1/kT_k; the f_k, up to a constant -ln Z(β_k), solve the last equation, a convex
    problem. This is the estimate of least variance (multi-histogram method, MBAR), without bins.

    Errors are those of the jackknife: the snapshots of every temperature are split into groups that follow each other
    (chains first), each group is left out once, and Student's t of their number gives the interval. Snapshots of
    :func:`sample` are nearly independent; correlations within a group do no harm.

    Parameters
    ----------
    energy: E of every snapshot ``(n,)``, of the whole lattice.
    kT: the temperature at which it was drawn ``(n,)``; those of one temperature in the order of their chains.
    magnetisation: the mean field ``(n, component)``, for :meth:`binder`.
    groups: at least 4.

    Example
    -------
    >>> import nearsight as ns
    >>> model = ns.hamiltonians.Ising(ns.lattices.square(8))
    >>> drawn = ns.sampling.sample(model, [2.2, 2.4], 1000, seed=0, workers=1, progress=False)
    >>> joined = ns.sampling.MultiHistogram.of(drawn)
    >>> U = joined.energy_per_site([2.3], sites=64)
    >>> exact = ns.sampling.ising_torus(8, 8, kT=2.3).energy
    >>> bool(abs(U.value[0] - exact) < 5 * U.error[0])
    True

    References
    ----------
    A. M. Ferrenberg, R. H. Swendsen, Phys. Rev. Lett. 63, 1195 (1989); M. R. Shirts, J. D. Chodera, J. Chem. Phys. 129,
    124105 (2008).
    """

    def __init__(
        self, energy: ArrayLike, kT: ArrayLike, *, magnetisation: ArrayLike | None = None, groups: int = GROUPS
    ) -> None:
        self.energy, drawn_at = np.asarray(energy, dtype=float), _temperatures(kT)
        if self.energy.ndim != 1 or not len(self.energy) or not np.isfinite(self.energy).all():
            raise ValueError(f"energy holds one finite number for every snapshot, got shape {self.energy.shape}.")
        drawn_at = np.broadcast_to(drawn_at, self.energy.shape) if drawn_at.ndim == 0 else drawn_at
        if drawn_at.shape != self.energy.shape:
            raise ValueError(f"kT holds one temperature for every snapshot, {self.energy.shape}, got {drawn_at.shape}.")
        self.temperatures, place, counts = np.unique(drawn_at, return_inverse=True, return_counts=True)
        groups = integer(groups, "groups", least=4)
        if counts.min() < groups:
            raise ValueError(
                f"At kT = {self.temperatures[counts.argmin()]:g} there are {counts.min()} snapshots for {groups} "
                f"groups; draw more, or ask for fewer groups."
            )
        self.magnetisation = None if magnetisation is None else np.asarray(magnetisation, dtype=float)
        if self.magnetisation is not None and self.magnetisation.shape[:1] != self.energy.shape:
            raise ValueError(f"magnetisation is (snapshot, component), got {self.magnetisation.shape}.")
        rank = np.argsort(np.argsort(place, kind="stable")) - (np.cumsum(counts) - counts)[place]
        self._group = rank * groups // counts[place]
        self._levels, self._level = np.unique(self.energy, return_inverse=True)
        # (group, temperature) and (group, level): what is left out, each in its turn.
        self._drawn = np.stack([np.bincount(place[self._group == g], minlength=len(counts)) for g in range(groups)])
        levels = len(self._levels)
        self._found = np.stack([np.bincount(self._level[self._group == g], minlength=levels) for g in range(groups)])
        total, found = self._drawn.sum(0), self._found.sum(0)
        first = self._free_energies(total, found, np.zeros(len(counts)))
        self._f = np.stack(
            [first]
            + [self._free_energies(total - self._drawn[g], found - self._found[g], first) for g in range(groups)]
        )

    @classmethod
    def of(cls, snapshots: Snapshots, *, groups: int = GROUPS) -> Self:
        """Of the snapshots that :func:`sample` has drawn."""
        return cls(snapshots.energy, snapshots.kT, magnetisation=snapshots.magnetisation, groups=groups)

    def __repr__(self) -> str:
        t = self.temperatures
        return f"MultiHistogram of {len(self.energy)} snapshots at {len(t)} temperatures in [{t[0]:g}, {t[-1]:g}]"

    # --- averages ---------------------------------------------------------------------------------------------------

    def average(self, values: ArrayLike, kT: ArrayLike) -> Reweighted:
        """⟨A⟩ at the temperatures ``kT`` of an observable with one value for every snapshot ``(n,)``."""
        return self.estimate(lambda mean: mean[..., 0], np.asarray(values, dtype=float)[..., None], kT)

    def estimate(self, function: Callable[[np.ndarray], np.ndarray], values: ArrayLike, kT: ArrayLike) -> Reweighted:
        """A ``function`` of means ``(..., q) -> (...)`` of observables ``(n, q)``: ratios, fluctuations, cumulants."""
        T = np.atleast_1d(_temperatures(kT))
        draws, effective = self._draws(function, self._checked(values), T)
        if (poor := effective < FEW).any():
            raise ValueError(
                f"At kT = {T[poor][0]:g} the snapshots are worth {effective[poor][0]:.1f}: too far from the "
                f"temperatures sampled, {', '.join(f'{t:g}' for t in self.temperatures)}. Draw some there."
            )
        return _jackknife(draws, effective)

    def energy_per_site(self, kT: ArrayLike, *, sites: int) -> Reweighted:
        """U/N."""
        return self.average(self.energy / integer(sites, "sites", least=1), kT)

    def specific_heat(self, kT: ArrayLike, *, sites: int) -> Reweighted:
        """C = (⟨E²⟩ - ⟨E⟩²)/(N kT²)."""
        T, n = np.atleast_1d(_temperatures(kT)), integer(sites, "sites", least=1)
        e = self.energy - self.energy.mean()  # differences of large numbers lose digits
        return self.estimate(lambda m: (m[..., 1] - m[..., 0] ** 2) / (n * T**2), np.stack([e, e**2], -1), T)

    def binder(self, kT: ArrayLike) -> Reweighted:
        r"""Binder's cumulant 1 - ⟨m⁴⟩/(3⟨m²⟩²) of the magnetisation: 2/3 in order, and where sizes cross is T_c.

        For a field of c components disorder has 1 - (c + 2)/(3c), which is 0 for c = 1.

        References
        ----------
        K. Binder, Z. Phys. B 43, 119 (1981).
        """
        return self.estimate(_binder, self._moments(), kT)

    def crossing(self, other: MultiHistogram, between: tuple[float, float]) -> Reweighted:
        """The temperature at which Binder's cumulants of this and of a larger (or smaller) lattice are the same."""
        low, high = (float(t) for t in _temperatures(np.asarray(between, dtype=float)))

        def cross(mine: int, others: int) -> float:
            ours, theirs = self._sums(mine, self._moments()), other._sums(others, other._moments())

            def difference(t: float) -> float:
                at = np.array([t])
                return float((_binder(self._means(mine, ours, at)) - _binder(other._means(others, theirs, at)))[0])

            if difference(low) * difference(high) > 0:
                raise ValueError(f"The cumulants do not cross once in [{low:g}, {high:g}]; choose another interval.")
            return float(brentq(difference, low, high, xtol=1e-7 * high))

        here = range(1, len(self._f))
        there = range(1, len(other._f))
        value = cross(0, 0)
        parts = [np.array([value] + [cross(g, 0) for g in here]), np.array([value] + [cross(0, g) for g in there])]
        halves = [_jackknife(part[:, None], np.ones(1)) for part in parts]
        error = np.sqrt(sum(half.error**2 for half in halves))
        wide = np.sqrt(sum((half.high - half.low) ** 2 / 4 for half in halves))
        at = np.array([value])
        return Reweighted(at, error, at - wide, at + wide, np.minimum(self._effective(at), other._effective(at)))

    # --- how --------------------------------------------------------------------------------------------------------

    def _checked(self, values: ArrayLike) -> np.ndarray:
        values = np.asarray(values, dtype=float)
        if values.ndim != 2 or len(values) != len(self.energy) or not np.isfinite(values).all():
            raise ValueError(f"Observables are finite and (snapshot, q) for {len(self.energy)} snapshots.")
        return values

    def _moments(self) -> np.ndarray:
        if self.magnetisation is None:
            raise ValueError("Binder's cumulant needs magnetisation=, the mean field of every snapshot.")
        m2 = (self.magnetisation.reshape(len(self.energy), -1) ** 2).sum(-1)
        return np.stack([m2, m2**2], axis=-1)

    def _exponents(self) -> np.ndarray:
        """-β_k E ``(temperature, level)``, energies counted from their mean."""
        return -(self._levels - self._levels.mean()) / self.temperatures[:, None]

    def _free_energies(self, drawn: np.ndarray, found: np.ndarray, start: np.ndarray) -> np.ndarray:
        """f_k, f_0 = 0, from N_k and the number of snapshots with each energy, by Newton's method."""
        if len(drawn) == 1:
            return np.zeros(1)
        exponents = self._exponents()

        def objective(free: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
            f = np.concatenate([[0.0], free])
            terms = np.log(drawn)[:, None] + f[:, None] + exponents
            total = logsumexp(terms, axis=0)
            share = np.exp(terms - total)
            gradient = share @ found - drawn
            hessian = np.diag(share @ found) - (share * found) @ share.T
            scale = drawn.sum()
            return (found @ total - drawn @ f) / scale, gradient[1:] / scale, hessian[1:, 1:] / scale

        found_at = minimize(
            lambda f: objective(f)[:2], start[1:], jac=True, hess=lambda f: objective(f)[2], method="trust-exact",
            options={"gtol": 1e-10},
        )  # fmt: skip
        return np.concatenate([[0.0], found_at.x])

    def _weights(self, number: int, T: np.ndarray) -> np.ndarray:
        """ln of w e^(-βE) ``(kT, level)`` without all groups (0) or without one of them (1, 2, ...)."""
        drawn = self._drawn.sum(0) - (self._drawn[number - 1] if number else 0)
        total = logsumexp(np.log(drawn)[:, None] + self._f[number][:, None] + self._exponents(), axis=0)
        return -(self._levels - self._levels.mean()) / T[:, None] - total

    def _sums(self, number: int, values: np.ndarray) -> np.ndarray:
        """Numbers and sums of observables over the snapshots that share an energy ``(1 + q, level)``, without none or
        one of the groups as in :meth:`_weights`."""
        left, columns = self._group != number - 1, (np.ones(len(values)), *values.T)
        return np.stack([np.bincount(self._level[left], x[left], len(self._levels)) for x in columns])

    def _means(self, number: int, sums: np.ndarray, T: np.ndarray) -> np.ndarray:
        """Averages ``(kT, q)``."""
        weights = self._weights(number, T)
        moments = np.exp(weights - weights.max(-1, keepdims=True)) @ sums.T
        return moments[:, 1:] / moments[:, :1]

    def _draws(
        self, function: Callable[[np.ndarray], np.ndarray], values: np.ndarray, T: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The statistic of all snapshots and of all but one group ``(1 + groups, kT)``; their effective number."""
        numbers = range(len(self._f))
        draws = [function(self._means(number, self._sums(number, values), T)) for number in numbers]
        return np.stack(draws), self._effective(T)

    def _effective(self, T: np.ndarray) -> np.ndarray:
        """(Σ w)²/Σ w² over snapshots."""
        weights = self._weights(0, T)
        scaled, found = np.exp(weights - weights.max(-1, keepdims=True)), self._found.sum(0)
        return (scaled @ found) ** 2 / (scaled**2 @ found)


def _binder(mean: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - mean[..., 1] / (3 * mean[..., 0] ** 2)


def _jackknife(draws: np.ndarray, effective: np.ndarray) -> Reweighted:
    """From the statistic of everything and of everything but one group."""
    value, without = draws[0], draws[1:]
    n = len(without)
    error = np.sqrt((n - 1) / n * ((without - without.mean(0)) ** 2).sum(0))
    wide = stdtrit(n - 1, 0.975) * error
    return Reweighted(value, error, value - wide, value + wide, effective)
