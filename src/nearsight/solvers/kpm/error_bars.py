"""What a sampled and truncated answer knows about its own error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight.solvers.solver import Electrons

CONFIDENCE = 0.95
"""Of an error bar unless another is asked for."""


@dataclass(frozen=True)
class ErrorBars:
    """The parts of the error of ρ and of the potentials, for every matrix ``(*batch,)``.

    ``truncation``: max_ε |f(ε) - f_M(ε)| with a finite number of moments; no element of ρ is off by more.
    ``mean_truncation``: bound for the root mean square over the requested elements, √(Σ_n |f - f_M|²(ε_n) / elements),
        with the density of states that the moments resolve. Far smaller, since few levels lie near μ.
    ``rounding``: of the recursion, 2 ε √M with the machine's precision ε, twice that for a gradient.
    ``noise``: root mean square over the requested elements of their standard error, from the spread over independent
        sets of probes; its square is an unbiased estimate of the mean square of the true error.
    ``potential``, ``number``, ``energy``: standard errors of the mean over the sets, of all copies; at fixed number to
        first order in the μ that every set would have.
    ``sets``: their number. 1: nothing was random, all noise is 0.
    ``pieces``: of how many independent numbers the noise of a set consists (``noise_modes``): one for a single
        electron at a low temperature, about one for every element that is asked for in a metal.

    :class:`ChebyshevElectrons` carry them as ``bars``.
    """

    truncation: Tensor
    mean_truncation: Tensor
    rounding: float
    noise: Tensor
    potential: Tensor
    number: Tensor
    energy: Tensor
    sets: int
    pieces: Tensor

    def rho(self, confidence: float = CONFIDENCE) -> Tensor:
        """A bar for the root mean square error of the elements of ρ ``(*batch,)``."""
        return self.mean_truncation + self.rounding + _noise_bar(self.noise, self.sets, self.pieces, confidence)

    def quantile(self, confidence: float = CONFIDENCE) -> float:
        """By how much the standard errors of potential, number and energy are to be multiplied (Student)."""
        if self.sets == 1:
            return 0.0
        from scipy.special import stdtrit  # imported when needed: the door of the library stays light

        return float(stdtrit(self.sets - 1, 0.5 + 0.5 * confidence))


@dataclass(frozen=True)
class ChebyshevElectrons(Electrons):
    """Electrons with the error of a Chebyshev solution.

    ``error_kind`` is ``bound`` for unit vectors at kT > 0, ``rms`` for unit vectors and a step, and ``95 %`` as soon as
    one matrix of the batch was seen by random probes: ``error`` is then ``bars.rho()``.

    :meth:`Chebyshev.solve` returns them.
    """

    bars: ErrorBars | None = None
    moments: int = 0
    probes: int = 0
    """Number of vectors."""


class DensityOfStates(NamedTuple):
    """Levels per unit of energy ``(*batch, energy)``, and their standard error from the spread over sets of probes.

    :meth:`Chebyshev.density_of_states` returns it.
    """

    values: Tensor
    error: Tensor


def _noise_bar(noise: Tensor, sets: int, pieces: Tensor, confidence: float = CONFIDENCE) -> Tensor:
    """What the root mean square error stays below with this confidence, for a measured standard error ``noise``.

    The ratio of two mean squares of ``pieces`` numbers, one of them from ``sets`` sets, has Fisher's distribution.
    """
    if sets == 1:
        return 0.0 * noise
    from scipy.special import fdtri

    count = pieces.cpu().numpy()
    ratio = np.sqrt(fdtri(count, count * (sets - 1), confidence))
    return noise * torch.as_tensor(ratio).to(noise)


def _mean_of_sets(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first axis and its standard error, 0 for a single set."""
    mean = values.mean(0)
    if len(values) == 1:
        return mean, np.zeros(mean.shape)
    spread = np.square(np.abs(values - mean)).sum(0)
    return mean, np.sqrt(spread / (len(values) * (len(values) - 1)))
