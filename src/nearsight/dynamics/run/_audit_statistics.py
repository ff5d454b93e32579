"""What errors on a few sites say of those on all."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight.lattices import Lattice

LEVEL = 0.95
"""Of all intervals."""

PARTS, SHARES = (0.75, 0.2, 0.04, 0.01), (0.4, 0.2, 0.2, 0.2)
"""Strata of all sites, from ordinary to unusual, and the fractions of a sample that they get."""

FEW = 2
"""Sites that a stratum needs: smaller samples are plain ones."""


class Interval(NamedTuple):
    value: float
    low: float
    high: float


class Sample(NamedTuple):
    """Different sites in random order ``(n,)``, the stratum of each, and how many sites every stratum has."""

    site: Tensor
    stratum: np.ndarray
    sizes: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """The part of all sites that a sample stands for ``(n,)``; they add up to 1."""
        counts = np.bincount(self.stratum, minlength=len(self.sizes))
        return (self.sizes / self.sizes.sum() / np.maximum(counts, 1))[self.stratum]

    def mean(self, values: np.ndarray) -> tuple[float, float, float]:
        """The mean of ``values (n,)`` over all sites, its standard error, and the degrees of freedom of that.

        Stratified sampling without repetition; degrees of freedom by Welch and Satterthwaite.
        """
        variance, spread = 0.0, 0.0
        for h, size in enumerate(self.sizes):
            own = values[self.stratum == h]
            if 1 < len(own) < size:
                part = (size / self.sizes.sum()) ** 2 * float(own.var(ddof=1)) * (1 - len(own) / size) / len(own)
                variance, spread = variance + part, spread + part**2 / (len(own) - 1)
        freedom = variance**2 / spread if spread > 0 else math.inf
        return float((self.weights * values).sum()), math.sqrt(variance), max(1.0, freedom)


def draw(unusual: Tensor, count: int, rng: torch.Generator) -> Sample:
    """``count`` of all sites, more than their share among those that are ``unusual (site,)``.

    Errors of forces are large in rare places, such as walls and defects. A plain sample holds too few of them to know
    their part of the mean square, or even that it does not know it.
    """
    population = len(unusual)
    if 2 * count >= population or count < FEW * len(PARTS) / min(SHARES):
        sites = torch.randperm(population, generator=rng)[:count]
        return Sample(sites, np.zeros(len(sites), int), np.array([population]))
    order = unusual.argsort(stable=True)
    ends = [0, *(round(float(x) * population) for x in np.cumsum(PARTS))]
    sizes = np.diff(ends)
    counts = [min(int(size), round(share * count)) for size, share in zip(sizes, SHARES, strict=True)]
    counts[0] = min(int(sizes[0]), count - sum(counts[1:]))
    drawn = [a + torch.randperm(int(n), generator=rng)[:k] for a, n, k in zip(ends[:-1], sizes, counts, strict=True)]
    shuffled = torch.randperm(sum(counts), generator=rng)
    stratum = np.repeat(np.arange(len(PARTS)), counts)[shuffled.numpy()]
    return Sample(order[torch.cat(drawn)[shuffled]], stratum, sizes)


def unusual(lattice: Lattice, field: Tensor, force: Tensor) -> Tensor:
    """How far each site is from the median one ``(replica * site,)``, in fields ``(replica, site, component)``.

    Compared are |Φ|², Φ·F, |F|² and the overlap of Φ with the mean of its neighbours, invariants of most symmetries,
    in units of the median deviation of each.
    """
    field, force = field.double().cpu(), force.double().cpu()
    bonds = lattice.bonds(1)
    i, j = torch.from_numpy(bonds.i), torch.from_numpy(bonds.j)
    around = torch.zeros_like(field).index_add(1, i, field[:, j]).index_add(1, j, field[:, i])
    found = torch.zeros(field.shape[:2], dtype=torch.float64)
    for a, b in ((field, field), (field, around), (field, force), (force, force)):
        x = (a * b).sum(-1)
        x = (x - x.median()).abs()
        if (scale := float(x.median())) > 1e-12 * float(x.max()):
            found = torch.maximum(found, x / scale)
    return found.flatten()


def rms_interval(errors: np.ndarray, sample: Sample, referee: float) -> Interval:
    """The rms error of all sites from ``errors (n, component)`` on some of them.

    A t interval for the logarithm of the mean square, since squares of errors are positive and skewed. The referee's
    own rms error r is added in quadrature: independent of the error that is judged it makes it too large by r², and too
    small where both miss the same.
    """
    mean, spread, freedom = sample.mean(np.square(errors).mean(-1))
    step = _quantile(freedom) * spread / mean if mean > 0 else 0.0
    low, high = mean * math.exp(-step), mean * math.exp(step)
    return Interval(math.sqrt(mean), math.sqrt(max(0.0, low - referee**2)), math.sqrt(high + referee**2))


def mean_interval(errors: np.ndarray, sample: Sample, referee: float) -> Interval:
    """The mean error of all sites from ``errors (n,)`` on some of them; the referee's rms error in quadrature."""
    mean, spread, freedom = sample.mean(errors)
    half = math.hypot(_quantile(freedom) * spread, referee)
    return Interval(mean, mean - half, mean + half)


def _quantile(freedom: float) -> float:
    from scipy.stats import t  # imported when needed: the door of the library stays light

    return float(t.ppf(0.5 + 0.5 * LEVEL, min(freedom, 1e6)))
