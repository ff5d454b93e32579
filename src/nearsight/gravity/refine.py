"""Proposals that learn from the likelihood of one event."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from nearsight._description import differences
from nearsight._validation import filename, generator, integer, number
from nearsight.gravity.likelihood import Likelihood
from nearsight.gravity.mixture import TOO_FAR, Mixture, fit_mixture, from_normal, to_normal
from nearsight.gravity.posterior import Posterior, Proposal, importance
from nearsight.storage import load_tensors, read_json, save_tensors, write_json

WIDE = 5
"""Samples of a fit to weighted ones, in units of those of a round."""


def refine(
    likelihood: Likelihood,
    proposal: Proposal,
    n: int,
    rng: torch.Generator,
    *,
    pilot: int = 4000,
    rounds: int = 12,
    walks: int = 5,
    fits: int = 3,
    moves: int = 10,
    components: int = 32,
    efficiency: float = 0.3,
    folder: str | Path | None = None,
) -> Posterior:
    r"""n weighted samples of the posterior, from a proposal that may be poor: a flow on data it was not trained for, or
    the prior.

    First the proposal is led to the posterior: in every round ``pilot`` samples are drawn, and a mixture of t
    distributions is fitted to them with the weights :math:`w^\gamma`, γ ≤ 1 such that a tenth of them is effective;
    it is the next proposal. When γ exceeds 1/2 samples drawn by weight walk ``moves`` steps of differential evolution
    in the posterior, and the mixture fitted to them is tried; walk and trial are repeated, each time from the samples
    of the last trial, and with the points of up to four walks, while the efficiency stays below the one wished for.
    Walkers hardly reach the ends of a thin posterior: ``fits`` times, five times as many samples are drawn from the
    newest mixture, and another is fitted to all that were drawn so, weighted against the mean density of all mixtures;
    weights above √N times their mean are cut down to that. The n samples are drawn from all of these mixtures, afresh:
    evidence and errors are those of :func:`importance`, and the efficiency of so many samples may fall below that of
    the trials; :attr:`Posterior.tail` tells.

    Walks and trials evaluate a likelihood in bands made for their samples, several times faster; the result does not.

    Parameters
    ----------
    proposal: where to begin.
    n: samples of the result.
    pilot: samples in a round; what a round costs.
    rounds, walks, fits: at most.
    moves: of a walk.
    components: of the mixture, fewer where samples are few.
    efficiency: at which rounds end.
    folder: where rounds are kept; killed at any moment, the same call goes on and ends with the same bits.

    References
    ----------
    O. Cappé et al., Stat. Comput. 18, 447 (2008); J.-M. Cornuet et al., Scand. J. Stat. 39, 798 (2012);
    E. Koblents, J. Míguez, Stat. Comput. 25, 407 (2015); C. J. F. ter Braak, Stat. Comput. 16, 239 (2006).
    """
    n, pilot = integer(n, "n", least=2), integer(pilot, "pilot", least=100)
    rounds, components = integer(rounds, "rounds", least=1), integer(components, "components", least=1)
    walks, moves = integer(walks, "walks", least=0), integer(moves, "moves", least=1)
    fits = integer(fits, "fits", least=0)
    efficiency = number(efficiency, "efficiency", above=0.0, most=1.0)
    generator(rng)
    settings = {"pilot": pilot, "moves": moves, "components": components, "seed": rng.initial_seed()}
    search = _Search(likelihood, rng, pilot, components, _Steps(folder, {**likelihood.plan(), **settings}, rng))
    best, found = search.led(proposal, rounds)
    best, near = search.walked(best, found, walks, moves, efficiency)
    last = importance(likelihood, search.spread(best, near, fits), n, rng)
    return replace(last, evaluations=search.evaluations + n)


@dataclass
class _Search:
    """The steps of :func:`refine`, and how many likelihoods they have evaluated."""

    likelihood: Likelihood
    rng: torch.Generator
    pilot: int
    components: int
    steps: _Steps
    evaluations: int = 0

    def led(self, proposal: Proposal, rounds: int) -> tuple[Proposal, dict[str, Tensor]]:
        """A proposal near the posterior, by rounds of tempered weights, and draws from it."""
        for _ in range(rounds):
            found = self._drawn("draw", self.likelihood, proposal, self.pilot)
            gamma = temper(found["log_weights"], self.pilot / 10)
            if gamma > 0.5:
                return proposal, found
            proposal = self._fit(self._normal(found), torch.softmax(gamma * found["log_weights"], 0))
        raise ValueError(
            f"After {rounds} rounds the proposal is still far from the posterior (weights to the power {gamma:.2f}); "
            "give more rounds, a larger pilot, or a better proposal."
        )

    def walked(
        self, best: Proposal, found: dict[str, Tensor], walks: int, moves: int, efficiency: float
    ) -> tuple[Proposal, Likelihood]:
        """The best of mixtures fitted to walkers, and the likelihood in bands that resolve the last of these."""
        near, reached, walked = self.likelihood, _effective(found["log_weights"]) / self.pilot, []
        for _ in range(walks):
            if reached >= efficiency:
                break
            log_weights = found["log_weights"]
            share = torch.softmax(temper(log_weights, self.pilot / 10) * log_weights, 0)
            chosen = torch.multinomial(share, self.pilot, replacement=True, generator=self.rng)
            start = self._normal(found)[chosen]
            near = self.likelihood.focused(from_normal(self.likelihood.prior, start))
            walked.append(self.steps("walk", partial(_walkers, near, start, moves, self.rng))["z"])
            self.evaluations += moves * self.pilot
            points = torch.cat(walked[-4:])
            fit = self._fit(points, torch.ones(len(points), dtype=points.dtype))
            found = self._drawn("try", near, fit, self.pilot)
            if (now := _effective(found["log_weights"]) / self.pilot) > reached:
                reached, best = now, fit
        return best, near

    def spread(self, best: Proposal, near: Likelihood, fits: int) -> Blend:
        """A blend of mixtures, each fitted to weighted samples of all before it."""
        blend, drawn = Blend((best,)), []
        for _ in range(fits):
            drawn.append(self._drawn("wide", near, blend.parts[-1], WIDE * self.pilot))
            theta = torch.cat([part["theta"] for part in drawn])
            # The posterior at all points: each part was weighted by the density of its own proposal.
            log_p = torch.cat(
                [part["log_weights"] + q.log_prob(part["theta"]) for part, q in zip(drawn, blend.parts, strict=True)]
            )
            share = truncated(torch.where(log_p.isfinite(), log_p - blend.log_prob(theta), -math.inf))
            blend = Blend((*blend.parts, self._fit(to_normal(self.likelihood.prior, theta), share)))
        return blend

    def _drawn(self, name: str, likelihood: Likelihood, proposal: Proposal, n: int) -> dict[str, Tensor]:
        """Samples and their weights, a step that is kept."""
        self.evaluations += n
        return self.steps(name, partial(_samples, likelihood, proposal, n, self.rng))

    def _normal(self, found: dict[str, Tensor]) -> Tensor:
        return to_normal(self.likelihood.prior, found["theta"])

    def _fit(self, z: Tensor, weights: Tensor) -> Mixture:
        return fit_mixture(self.likelihood.prior, z, weights, self.components, self.rng)


@dataclass(frozen=True)
class Blend:
    """Equal shares of several proposals: where one of them is thin another may not be."""

    parts: tuple[Proposal, ...]

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """θ ``(n, parameter)``."""
        sizes = [n // len(self.parts) + (k < n % len(self.parts)) for k in range(len(self.parts))]
        return torch.cat([part.sample(size, rng) for part, size in zip(self.parts, sizes, strict=True) if size])

    def log_prob(self, theta: Tensor) -> Tensor:
        """ln of the mean density ``(n,)``."""
        found = torch.stack([part.log_prob(theta) for part in self.parts])
        return torch.logsumexp(found, 0) - math.log(len(self.parts))


def truncated(log_weights: Tensor) -> Tensor:
    """Weights, none above √N times their mean: what single samples of a proposal's tail say is not believed."""
    weights = torch.exp(log_weights - log_weights.max())
    return weights.clamp(max=float(weights.mean()) * len(weights) ** 0.5)


def _effective(log_weights: Tensor) -> float:
    """Effective number of samples."""
    return 1 / float(torch.softmax(log_weights, 0).square().sum())


def _samples(likelihood: Likelihood, proposal: Proposal, n: int, rng: torch.Generator) -> dict[str, Tensor]:
    found = importance(likelihood, proposal, n, rng)
    return {"theta": found.theta, "log_weights": found.log_weights}


def _walkers(likelihood: Likelihood, z: Tensor, moves: int, rng: torch.Generator) -> dict[str, Tensor]:
    return {"z": walk(likelihood, z, moves, rng)}


def walk(likelihood: Likelihood, z: Tensor, moves: int, rng: torch.Generator) -> Tensor:
    """Walkers ``(n, parameter)`` in normal coordinates after some moves that leave the posterior as it is.

    One half moves at a time, along differences between two walkers of the other half, and is accepted as Metropolis
    says.
    """
    n, d = z.shape

    def target(z: Tensor) -> Tensor:
        inside = (z.abs() < TOO_FAR).all(-1)
        found = likelihood(from_normal(likelihood.prior, z)) - z.square().sum(-1) / 2
        return torch.where(inside, found, -math.inf)

    z, log_p = z.clone(), target(z)
    for move in range(2 * moves):
        order = torch.randperm(n, generator=rng)
        if move % 2 == 0:
            moving, others = order[: n // 2], order[n // 2 :]
        else:
            moving, others = others, moving
        count = len(moving)
        first = torch.randint(len(others), (count,), generator=rng)
        second = (first + torch.randint(1, len(others), (count,), generator=rng)) % len(others)
        stretch = 2.38 / (2 * d) ** 0.5 * torch.exp(0.6 * torch.randn(count, 1, generator=rng, dtype=z.dtype))
        jitter = 1e-3 * z[others].std(0) * torch.randn(count, d, generator=rng, dtype=z.dtype)
        proposed = z[moving] + stretch * (z[others[first]] - z[others[second]]) + jitter
        log_new = target(proposed)
        accepted = torch.rand(count, generator=rng, dtype=z.dtype).log() < log_new - log_p[moving]
        z[moving[accepted]], log_p[moving[accepted]] = proposed[accepted], log_new[accepted]
    return z


def temper(log_weights: Tensor, effective: float) -> float:
    """The largest γ ≤ 1 at which the weights w^γ have an effective number of samples, by bisection."""
    log_weights = log_weights[log_weights.isfinite()]

    def enough(gamma: float) -> bool:
        return _effective(gamma * log_weights) >= effective

    if enough(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low


class _Steps:
    """Steps of work with random numbers, each kept in a file with the generator as it was after it."""

    def __init__(self, folder: str | Path | None, plan: dict[str, object], rng: torch.Generator) -> None:
        self.folder, self.rng, self.count = None if folder is None else filename(folder, "folder"), rng, 0
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path, plan = self.folder / "plan.json", json.loads(json.dumps(plan))
        if not path.exists():
            write_json(path, plan)
        elif lines := differences(read_json(path), plan):
            raise ValueError(f"{folder} holds rounds of another event: {'; '.join(lines)}. Take another folder.")

    def __call__(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        path = None if self.folder is None else self.folder / f"{self.count:02d}-{name}.safetensors"
        self.count += 1
        if path is not None and path.exists():
            found = load_tensors(path)[0]
            self.rng.set_state(found.pop("generator"))
            return found
        found = make()
        if path is not None:
            save_tensors(path, {**found, "generator": self.rng.get_state()})
        return found
