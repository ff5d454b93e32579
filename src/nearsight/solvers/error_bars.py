"""What a sampled and truncated answer knows about its own error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution
from torch import Tensor

CONFIDENCE = 0.95
"""Of an error bar unless another is asked for."""

Noise = TypeVar("Noise", float, Tensor)


@dataclass(frozen=True)
class ErrorBars:
    """The parts of the error of ρ and of the potentials, for every matrix ``(*batch,)``.

    ``truncation``: max_ε |f(ε) - f_M(ε)|, the finite number of moments; no element of ρ is off by more. At kT = 0 the
        root mean square over the levels instead, since at a step itself no series converges.
    ``rounding``: of the recursion, ε √M with the machine's precision ε.
    ``noise``: root mean square over the requested elements of their standard error, from the spread over independent
        sets of probes; its square is an unbiased estimate of the mean square of the true error.
    ``potential``, ``number``: standard errors of the mean over the sets, of all copies.
    ``sets``: their number. 1: nothing was random, all noise is 0.
    ``cells``: orbitals of one colour, about. Regions with one orbital of each err independently, so that true error and
        ``noise`` are each a mean over at least so many pieces.
    """

    truncation: Tensor
    rounding: float
    noise: Tensor
    potential: Tensor
    number: Tensor
    sets: int
    cells: int

    def rho(self, confidence: float = CONFIDENCE) -> Tensor:
        """A bar for the root mean square error of the elements of ρ ``(*batch,)``."""
        return self.truncation + self.rounding + noise_bar(self.noise, self.sets, self.cells, confidence)

    def quantile(self, confidence: float = CONFIDENCE) -> float:
        """By how much the standard errors of ``potential`` and ``number`` are to be multiplied (Student)."""
        return float(t_distribution.ppf(0.5 + 0.5 * confidence, self.sets - 1)) if self.sets > 1 else 0.0


def noise_bar(noise: Noise, sets: int, cells: int, confidence: float = CONFIDENCE) -> Noise:
    """What the root mean square error stays below with this confidence, for a measured standard error ``noise``.

    The ratio of two mean squares of ``cells`` pieces, one of them from ``sets`` sets, has Fisher's distribution.
    """
    if sets == 1:
        return 0.0 * noise
    return noise * math.sqrt(f_distribution.ppf(confidence, cells, cells * (sets - 1)))


def mean_of_sets(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first axis and its standard error, 0 for a single set."""
    mean = values.mean(0)
    if len(values) == 1:
        return mean, np.zeros(mean.shape)
    spread = np.square(np.abs(values - mean)).sum(0)
    return mean, np.sqrt(spread / (len(values) * (len(values) - 1)))
