"""Weighted samples of a posterior, and what follows from them: evidence, bounds, and how far to trust both."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import filename, generator, instance, integer, number
from nearsight.gravity.likelihood import Likelihood
from nearsight.gravity.priors import Prior
from nearsight.storage import load_tensors, save_tensors


class Proposal(Protocol):
    """A density that can be drawn from: a prior, a trained flow for one strain, a mixture."""

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """θ ``(n, parameter)``."""

    def log_prob(self, theta: Tensor) -> Tensor:
        """ln of the normalised density of θ ``(n,)``."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """Samples θ with weights, and the evidence.

    Parameters
    ----------
    prior: of which parameters, and with which density.
    theta: ``(n, parameter)``.
    log_weights: ``(n,)``, -inf for samples outside of the prior.
    log_evidence, log_evidence_error: ln Z of the signal over that of noise alone, and its standard error.
    evaluations: likelihoods that were evaluated to get there, in all.

    Examples
    --------
    >>> import torch
    >>> from nearsight.gravity import Posterior, Prior, Uniform
    >>> known = dict(mass_ratio=0.6, chi_1=0.1, chi_2=0.0, distance=400.0, inclination=0.4, phase=0.0)
    >>> known |= dict(ra=1.0, dec=-0.5, psi=0.2, time=7.0)
    >>> prior = Prior(dict(chirp_mass=Uniform(8.0, 10.0)) | known)
    >>> theta = torch.linspace(8.0, 10.0, 2001)[:, None].double()
    >>> log_weights = -0.5 * ((theta[:, 0] - 9.0) / 0.1) ** 2  # a Gaussian likelihood of width 0.1
    >>> posterior = Posterior(prior, theta, log_weights, 0.0, 0.0)
    >>> [round(x, 2) for x in posterior.quantiles("chirp_mass", (0.1587, 0.5, 0.8413))]
    [8.9, 9.0, 9.1]
    """

    prior: Prior
    theta: Tensor
    log_weights: Tensor
    log_evidence: float
    log_evidence_error: float
    evaluations: int = 0

    @cached_property
    def weights(self) -> Tensor:
        """Normalised weights ``(n,)``."""
        return torch.softmax(self.log_weights, 0)

    @property
    def effective(self) -> float:
        """Effective number of samples, (Σ w)² / Σ w²."""
        return 1 / float(self.weights.square().sum())

    @property
    def efficiency(self) -> float:
        """Effective samples over all samples."""
        return self.effective / len(self.theta)

    @property
    def effective_error(self) -> float:
        """Standard error of :attr:`effective`, to first order in fluctuations of the mean weight and its mean square.

        It sees only weights that occur in the sample: of few draws the effective number comes out too high, because
        rare large weights are missing. See :attr:`tail`.
        """
        w = self.weights * len(self.weights)
        ratio = 1 / w.square().mean()
        influence = 2 * ratio * w - ratio**2 * w.square() - ratio
        return float(influence.square().mean().sqrt()) * len(w) ** 0.5

    @cached_property
    def tail(self) -> float:
        r"""Index k̂ of the tail of the weights, a generalised Pareto distribution fitted to the largest √n · 3 of them.

        The k-th moments exist for k̂ < 1/k: above 1/2 the variance of the weights is infinite, and above 0.7 neither
        evidence nor effective number can be trusted (A. Vehtari et al., J. Mach. Learn. Res. 25, 72 (2024)).
        """
        from scipy import stats

        w = self.weights.numpy(force=True)
        count = min(int(3 * len(w) ** 0.5), len(w) // 5)
        largest = np.sort(w)[-count - 1 :]
        if count < 5 or largest[0] <= 0 or largest[-1] <= largest[0] * (1 + 1e-9):
            return -math.inf if count >= 5 and largest[0] > 0 else math.inf
        return float(stats.genpareto.fit(largest[1:] / largest[0] - 1, floc=0)[0])

    def column(self, name: str) -> Tensor:
        """Samples ``(n,)`` of one parameter."""
        if name not in self.prior.names:
            raise ValueError(f"{name!r} is none of the parameters {', '.join(self.prior.names)}.")
        return self.theta[:, self.prior.names.index(name)]

    def quantiles(self, name: str, levels: tuple[float, ...] = (0.05, 0.5, 0.95)) -> tuple[float, ...]:
        """Quantiles of the marginal distribution of one parameter."""
        x, order = self.column(name).sort()
        below = self.weights[order].cumsum(0)
        centred = below - self.weights[order] / 2
        wanted = [number(level, "a level", above=0.0, below=1.0) for level in levels]
        return tuple(float(np.interp(level, centred.numpy(force=True), x.numpy(force=True))) for level in wanted)

    def bound(self, name: str, level: float = 0.9) -> tuple[float, float]:
        """The value below which one parameter lies with a probability, and the standard error that this has from the
        number of samples."""
        x = self.column(name)
        (bound,) = self.quantiles(name, (level,))
        spread = float((self.weights.square() * ((x <= bound).double() - level).square()).sum().sqrt())
        ends = [min(max(level + sign * spread, 1e-6), 1 - 1e-6) for sign in (-1, 1)]
        low, high = self.quantiles(name, tuple(ends))
        return bound, (high - low) / 2

    def samples(self, n: int, rng: torch.Generator) -> Tensor:
        """n samples of equal weight ``(n, parameter)``, drawn with replacement."""
        n = integer(n, "n", least=1)
        generator(rng)
        return self.theta[torch.multinomial(self.weights, n, replacement=True, generator=rng)]

    def reweighted(self, prior: Prior) -> Posterior:
        """The posterior under another prior of the same parameters, such as one uniform in α² instead of √α."""
        ratio = self.prior.log_ratio(prior, self.theta).nan_to_num(nan=-math.inf)
        change = torch.where(self.weights > 0, ratio, torch.full_like(ratio, -math.inf))
        log_weights = torch.where(self.weights > 0, self.log_weights + change, self.log_weights)
        mean = float((self.weights * change.exp()).sum())
        spread = float((self.weights * (change.exp() / mean - 1)).square().sum().sqrt())
        error = math.hypot(self.log_evidence_error, spread)
        evidence = self.log_evidence + math.log(mean)
        return Posterior(prior, self.theta, log_weights, evidence, error, self.evaluations)

    def bayes_factor(self, other: Posterior) -> tuple[float, float]:
        """ln of the ratio of evidences, this over the other, and its standard error."""
        instance(other, Posterior, "other")
        error = math.hypot(self.log_evidence_error, other.log_evidence_error)
        return self.log_evidence - other.log_evidence, error

    def save(self, path: str | Path) -> None:
        """Into one safetensors file."""
        numbers = torch.tensor([self.log_evidence, self.log_evidence_error, self.evaluations], dtype=torch.float64)
        tensors = {"theta": self.theta, "log_weights": self.log_weights, "numbers": numbers}
        save_tensors(filename(path, "path"), tensors, {"prior": json.dumps(self.prior.config())})

    @classmethod
    def load(cls, path: str | Path) -> Posterior:
        """From a file of :meth:`save`."""
        tensors, texts = load_tensors(filename(path, "path"))
        evidence, error, evaluations = tensors["numbers"].tolist()
        prior = Prior.from_config(json.loads(texts["prior"]))
        return cls(prior, tensors["theta"], tensors["log_weights"], evidence, error, int(evaluations))


def weighted(prior: Prior, theta: Tensor, log_weights: Tensor, evaluations: int | None = None) -> Posterior:
    """The posterior of independent samples with weights, likelihood times prior over the density of the proposal."""
    n = len(theta)
    log_evidence = float(torch.logsumexp(log_weights, 0)) - math.log(n)
    if not math.isfinite(log_evidence):
        raise ValueError("No sample of the proposal lies within the prior; take one that covers the posterior.")
    w = torch.exp(log_weights - log_evidence)  # of mean one
    error = float(w.std()) / n**0.5
    return Posterior(prior, theta, log_weights, log_evidence, error, n if evaluations is None else evaluations)


def importance(likelihood: Likelihood, proposal: Proposal, n: int, rng: torch.Generator) -> Posterior:
    r"""Independent draws from any proposal q, weighted by :math:`w = \mathcal L(\theta)\, p(\theta) / q(\theta)`.

    The evidence is the mean weight, without bias, and its error that of a mean. Both stand or fall with the largest
    weights: look at :attr:`Posterior.tail`, and :func:`refine` where the efficiency is low. The proposal must cover the
    prior's support where the likelihood does not vanish; draws outside of the prior have weight zero.

    Examples
    --------
    >>> import math, torch
    >>> from nearsight.gravity import DETECTORS, Likelihood, Prior, TaylorF2, Uniform
    >>> from nearsight.gravity import advanced_ligo, frequency_grid, importance, inject
    >>> known = dict(mass_ratio=0.6, chi_1=0.1, chi_2=0.0, inclination=0.4, ra=1.0, dec=-0.5, psi=0.2, time=7.0)
    >>> free = dict(chirp_mass=Uniform(8.95, 9.05), distance=Uniform(200, 900))
    >>> prior = Prior(free | known, marginal=dict(phase=Uniform(0, 2 * math.pi)))
    >>> truth, f = torch.tensor([9.0, 500.0], dtype=torch.float64), frequency_grid(20.0, 512.0, duration=8.0)
    >>> strain = inject(prior.source(truth), TaylorF2(), [DETECTORS["H1"]], advanced_ligo(f), f)
    >>> likelihood, rng = Likelihood(strain, TaylorF2(), prior), torch.Generator().manual_seed(1)
    >>> posterior = importance(likelihood, prior, 2000, rng)
    >>> low, high = posterior.quantiles("distance", (0.05, 0.95))
    >>> low < 500 < high
    True
    """
    n = integer(n, "n", least=2)
    generator(rng)
    theta = proposal.sample(n, rng)
    found = likelihood.log_posterior(theta)
    log_q = proposal.log_prob(theta)
    inside = found.isfinite() & log_q.isfinite()  # a proposal may clamp draws that it gives no density
    log_weights = torch.where(inside, found - log_q, torch.full_like(found, -math.inf))
    return weighted(likelihood.prior, theta, log_weights)
