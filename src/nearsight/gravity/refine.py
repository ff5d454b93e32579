"""Proposals that learn from the likelihood of one event."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from nearsight._description import differences
from nearsight._validation import filename, generator, integer, number
from nearsight.gravity.likelihood import Likelihood
from nearsight.gravity.mixture import TOO_FAR, fit_mixture, from_normal, to_normal
from nearsight.gravity.posterior import Posterior, Proposal, importance, weighted
from nearsight.storage import load_tensors, read_json, save_tensors, write_json


def refine(
    likelihood: Likelihood,
    proposal: Proposal,
    n: int,
    rng: torch.Generator,
    *,
    pilot: int = 4000,
    rounds: int = 12,
    walks: int = 5,
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
    The n samples are drawn from the best mixture, afresh: evidence and errors are those of :func:`importance`, and
    the efficiency of so many samples may fall below that of the trial; :attr:`Posterior.tail` tells.

    Walks and trials evaluate a likelihood in bands made for their samples, several times faster; the result does not.

    Parameters
    ----------
    proposal: where to begin.
    n: samples of the result.
    pilot: samples in a round; what a round costs.
    rounds, walks: at most.
    moves: of a walk.
    components: of the mixture, fewer where samples are few.
    efficiency: at which rounds end.
    folder: where rounds are kept; killed at any moment, the same call goes on and ends with the same bits.

    References
    ----------
    O. Cappé et al., Stat. Comput. 18, 447 (2008); E. Koblents, J. Míguez, Stat. Comput. 25, 407 (2015); C. J. F. ter
    Braak, Stat. Comput. 16, 239 (2006).
    """
    n, pilot = integer(n, "n", least=2), integer(pilot, "pilot", least=100)
    rounds, components = integer(rounds, "rounds", least=1), integer(components, "components", least=1)
    walks, moves = integer(walks, "walks", least=0), integer(moves, "moves", least=1)
    efficiency = number(efficiency, "efficiency", above=0.0, most=1.0)
    generator(rng)
    settings = {"pilot": pilot, "moves": moves, "components": components, "seed": rng.initial_seed()}
    steps = _Steps(folder, {**likelihood.plan(), **settings}, rng)
    prior, told, gamma = likelihood.prior, 0, 0.0
    best: tuple[float, Proposal] = (0.0, proposal)
    for _ in range(rounds):
        current = best[1]
        found = steps("draw", lambda: _drawn(likelihood, current, pilot, rng))  # noqa: B023
        told += pilot
        gamma = temper(found["log_weights"], pilot / 10)
        if gamma > 0.5:
            break
        share = torch.softmax(gamma * found["log_weights"], 0)
        best = (0.0, fit_mixture(prior, to_normal(prior, found["theta"]), share, components, rng))
    else:
        raise ValueError(
            f"After {rounds} rounds the proposal is still far from the posterior (weights to the power {gamma:.2f}); "
            "give more rounds, a larger pilot, or a better proposal."
        )
    best, walked = (_efficiency(found["log_weights"]), best[1]), []
    for _ in range(walks):
        if best[0] >= efficiency:
            break
        share = torch.softmax(temper(found["log_weights"], pilot / 10) * found["log_weights"], 0)
        start = to_normal(prior, found["theta"])[torch.multinomial(share, pilot, replacement=True, generator=rng)]
        near = likelihood.focused(from_normal(prior, start))
        walked.append(steps("walk", lambda: {"z": walk(near, start, moves, rng)})["z"])  # noqa: B023
        points = torch.cat(walked[-4:])
        fit = fit_mixture(prior, points, torch.ones(len(points), dtype=points.dtype), components, rng)
        found = steps("try", lambda: _drawn(near, fit, pilot, rng))  # noqa: B023
        told += moves * pilot + pilot
        if (reached := _efficiency(found["log_weights"])) > best[0]:
            best = (reached, fit)
    last = importance(likelihood, best[1], n, rng)
    return weighted(prior, last.theta, last.log_weights, told + n)


def _efficiency(log_weights: Tensor) -> float:
    return 1 / float(torch.softmax(log_weights, 0).square().sum()) / len(log_weights)


def _drawn(likelihood: Likelihood, proposal: Proposal, pilot: int, rng: torch.Generator) -> dict[str, Tensor]:
    found = importance(likelihood, proposal, pilot, rng)
    return {"theta": found.theta, "log_weights": found.log_weights}


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
        return 1 / float(torch.softmax(gamma * log_weights, 0).square().sum()) >= effective

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
