"""Chemical potential, energies and density of states from Chebyshev moments."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from nearsight.solvers.kpm._chebyshev_series import FermiSeries, damping, fermi, nodes, to_values

PLATEAU = 1e-12
"""A number of electrons per orbital that differs by less is the same, even where nothing is cut off or rounded."""

WIDE = 4.0
"""N(μ) is called constant if it is so over this many kT: a gap, and not a coarse sum for a metal."""


class Potentials(NamedTuple):
    """Of one copy of the electrons, ``(batch,)``."""

    mu: np.ndarray
    number: np.ndarray
    energy: np.ndarray
    grand_potential: np.ndarray


class MomentThermodynamics:
    """Sums over levels, Σ_n F(ε_n) = Σ_m g_m c_m μ_m, from moments ``(batch, moment)`` and the kernel of the series."""

    def __init__(self, series: FermiSeries, moments: np.ndarray) -> None:
        self.series = series
        self.undamped = moments
        self.moments = moments * damping(series.kernel, moments.shape[-1])
        doubled = np.concatenate([self.moments[:, :1], 2 * self.moments[:, 1:]], axis=-1)
        self._weights = to_values(doubled, series.count) / series.count
        self._energies = series.band.energies(nodes(series.count))

    @property
    def levels(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies of the nodes and how many levels each stands for ``(batch, node)``."""
        return self._energies, self._weights

    @cached_property
    def smooth(self) -> MomentThermodynamics:
        """With Jackson's kernel, which keeps the density of states positive."""
        return MomentThermodynamics(replace(self.series, kernel="jackson"), self.undamped)

    def number(self, mu: np.ndarray) -> np.ndarray:
        """N(μ): at kT > 0 by the weights of the nodes, which is the same sum with one transform for all μ."""
        if self.series.kT > 0:
            return (fermi((mu[:, None] - self._energies) / self.series.kT) * self._weights).sum(-1)
        return self._sum(self.series.occupation(mu))

    def _sum(self, coefficients: np.ndarray) -> np.ndarray:
        return (coefficients[:, : self.moments.shape[-1]] * self.moments).sum(-1)

    def at(self, mu: np.ndarray) -> Potentials:
        """Number, energy and grand potential at a chemical potential ``(batch,)``."""
        series = self.series
        number = self._sum(series.occupation(mu))
        return Potentials(mu, number, self._sum(series.energy(mu)), self._sum(series.grand_potential(mu)))

    def chemical_potential(self, filling: float, rounding: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """μ ``(batch,)`` with N(μ) = filling · μ_0, by bisection; and the width of the gap around it, or 0.

        In a gap far wider than kT N(μ) is constant, and what the finite sum lacks, or the ``rounding`` of its moments,
        would decide where it passes the number that is asked for: μ is the middle of the gap.
        """
        series, total = self.series, self.moments[:, 0]
        target = filling * total
        # Even if all levels lay at the same edge of the band, μ is this close to it.
        reach = series.kT * (abs(math.log(filling / (1 - filling))) + 1)
        low = series.band.centre - series.band.halfwidth - reach
        high = series.band.centre + series.band.halfwidth + reach
        resolution = max(WIDE * series.kT, float(series.band.halfwidth.max()) * 1e-9)
        exact = _bisect(lambda mu: self.number(mu) < target, low, high)
        # Of all μ the middle of the band needs most moments.
        same = (PLATEAU + rounding) * total + np.maximum(self._missing(exact), self._missing(series.band.centre))
        left = _bisect(lambda mu: self.number(mu) < target - same, low, high)
        right = _bisect(lambda mu: self.number(mu) < target + same, low, high)
        gap = np.where(right - left > resolution, right - left, 0.0)
        return np.where(gap > 0, 0.5 * (left + right), exact), gap

    def _missing(self, mu: np.ndarray) -> np.ndarray:
        """What N(μ) may lack ``(batch,)``: moments beyond the last as large as any of the second half of the known."""
        size = self.moments.shape[-1]
        return np.abs(self.moments[:, size // 2 :]).max(-1) * np.abs(self.series.occupation(mu)[:, size:]).sum(-1)

    def mean_truncation(self, mu: np.ndarray, *, of_gradient: bool, margin: float) -> np.ndarray:
        """√Tr (f - f_M)² ``(batch,)``, with a density of states that Jackson's kernel keeps positive.

        Twice its square: where |f - f_M|² oscillates within the resolution, a single level may sit on top of it.
        """
        residual = self.series.residual(mu, of_gradient=of_gradient)
        weights = self.smooth._weights * self.series.inside(of_gradient, margin)
        return np.sqrt(2 * (np.square(residual) * weights).sum(-1))

    def shift_of_mu(self, mu: np.ndarray, gap: np.ndarray) -> np.ndarray:
        """By how much occupations move at most ``(batch,)`` because N(μ) lacks the moments beyond the last.

        A number δN moves no occupation by more than δN, nor by more than δN / (4 kT N'). In a gap occupations of its
        edges stay below δN as long as μ is inside, and fall with the distance of μ, which is half of the gap give or
        take a quarter.
        """
        missing = self._missing(mu)
        if self.series.kT == 0:
            return missing
        f = fermi((mu[:, None] - self._energies) / self.series.kT)
        slope = 4 * (f * (1 - f) * self._weights).sum(-1)
        return missing / np.maximum(slope, 1.0) * np.exp(-0.25 * gap / self.series.kT)

    def density_of_states(self, energies: np.ndarray) -> np.ndarray:
        """Levels per unit of energy ``(batch, energy)``; zero outside the band."""
        band = self.series.band
        x = (energies - band.centre[:, None]) / band.halfwidth[:, None]
        inside = np.abs(x) < 1
        angle = np.arccos(np.where(inside, x, 0.0))
        factors = np.concatenate([self.moments[:, :1], 2 * self.moments[:, 1:]], axis=-1)
        found = np.empty_like(x)
        m = np.arange(self.moments.shape[-1])
        for k in range(x.shape[-1]):
            found[:, k] = (factors * np.cos(m * angle[:, k, None])).sum(-1)
        found /= math.pi * band.halfwidth[:, None] * np.sin(angle)
        return np.where(inside, found, 0.0)


def _bisect(below: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where ``below`` turns from True to False ``(batch,)``, to the last digit."""
    low, high = low.copy(), high.copy()
    for _ in range(200):
        middle = 0.5 * (low + high)
        left = below(middle)
        low, high = np.where(left, middle, low), np.where(left, high, middle)
        rounded = 0.5 * (low + high)
        if ((rounded == low) | (rounded == high)).all():
            break
    return 0.5 * (low + high)
