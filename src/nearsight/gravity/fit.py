"""Fitting a posterior flow to simulations that are drawn as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance
from nearsight.gravity.flow import LARGEST, PosteriorFlow
from nearsight.storage import tensor_hash
from nearsight.training import Trainer, TrainerOptions, _distributed
from nearsight.training.options import Count, Fraction, NonNegative, Positive, Whole
from nearsight.training.trainer import _workspace

CALIBRATION = 4096
"""Draws that set the scale of the data."""
DRAW, CHECK, SCALES = range(3)
"""Streams of random numbers, apart from each other."""


Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""(n, rng) -> parameters ``(n, d)`` of the prior and data ``(n, k)`` given them, with fresh noise."""


class PosteriorFitOptions(TrainerOptions):
    """How to fit a posterior. The defaults suit five parameters and some minutes of one core.

    ``batch_size`` counts simulations, of which every step draws new ones; ``validation`` has no meaning, as nothing is
    seen twice.

    Examples
    --------
    >>> from nearsight.gravity import PosteriorFitOptions
    >>> options = PosteriorFitOptions(steps=2000, batch_size=256)
    >>> options.steps * options.batch_size, options.held_out  # simulations, none of them twice, and those that judge
    (512000, 4096)
    """

    steps: Count = 4000
    optimizer: Literal["soap", "adamw"] = "adamw"
    batch_size: Count = 512
    learning_rate: Positive = 2e-3
    weight_decay: NonNegative = 1e-4
    average: Fraction = 0.995
    validate_every: Count = 200
    held_out: Count = 4096
    """Simulations that choose the step whose weights are returned."""
    first_steps: Whole = 0
    """Steps of the first stage, on simulations of ``first``: those of one noise curve."""
    parts: Count = 1
    """Into how many draws with seeds of their own a batch is divided; the processes of ``torchrun`` share them."""


def fit_posterior(
    flow: PosteriorFlow,
    draw: Draw,
    *,
    first: Draw | None = None,
    options: PosteriorFitOptions | None = None,
    path: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    tensorboard: bool = False,
) -> PosteriorFlow:
    r"""Fit a flow to simulations; the same object comes back, with the best weights, in eval mode.

    Minimised is the mean of :math:`-\ln q(\theta | x) + \ln p(\theta)` over fresh draws of parameters θ from the prior
    and data x given them. It is minus the mutual information of the two plus the mean Kullback-Leibler divergence of q
    from the posterior, so that the log is free of the units of θ: 0 for a flow that has learned nothing.

    Under ``torchrun`` the processes share the ``parts`` of each batch.

    Parameters
    ----------
    draw: ``(n, rng) ->`` parameters ``(n, d)`` from the flow's prior and data ``(n, k)``, such as ``simulator.draw``.
    first: the same for the first ``options.first_steps`` steps. An easier problem, such as one fixed noise curve
        instead of all, ``functools.partial(simulator.draw, fiducial=True)``, shapes the embedding sooner.
    path, resume, progress, tensorboard: as in :meth:`Trainer.run`.

    Examples
    --------
    A mass that is measured with noise; real strains come from a :class:`Simulator`.

    >>> import torch
    >>> from nearsight.gravity import PosteriorFitOptions, PosteriorFlow, Prior, Uniform, fit_posterior
    >>> known = dict.fromkeys(("chi_1", "chi_2", "inclination", "phase", "ra", "dec", "psi", "time"), 0.0)
    >>> prior = Prior(known | dict(mass_ratio=0.5, distance=100.0, chirp_mass=Uniform(10.0, 20.0)))
    >>> def draw(n, rng):
    ...     theta = prior.sample(n, rng)
    ...     return theta, theta + torch.randn(theta.shape, generator=rng)
    >>> flow = PosteriorFlow(prior, 1, transforms=1, hidden=(8,), width=8, blocks=0, context=4)
    >>> options = PosteriorFitOptions(steps=200, batch_size=128, learning_rate=1e-2, average=0.9)
    >>> flow = fit_posterior(flow, draw, options=options, progress=False)
    >>> mass = flow.sample(4000, torch.tensor([15.0]), torch.Generator().manual_seed(1))
    >>> print(f"{float(mass.mean()):.0f} ± {float(mass.std()):.0f}")
    15 ± 1

    References
    ----------
    S. R. Green, J. Gair, Mach. Learn.: Sci. Technol. 2, 03LT01 (2021); two stages: M. Dax et al., Phys. Rev. Lett. 127,
    241103 (2021).
    """
    instance(flow, PosteriorFlow, "flow")
    options = PosteriorFitOptions() if options is None else instance(options, PosteriorFitOptions, "options")
    if (first is None) != (options.first_steps == 0):
        raise ValueError("A first stage needs both: its simulations first=, and options.first_steps above 0.")
    if options.first_steps >= options.steps:
        raise ValueError(f"first_steps must leave some of the {options.steps} steps, got {options.first_steps}.")
    for name, given in {"draw": draw, "first": first}.items():
        if not (callable(given) or (given is None and name == "first")):
            raise TypeError(
                f"{name} must be a function (n, rng) -> (theta, data), such as simulator.draw, got {given!r}."
            )
    flow.to(getattr(torch, options.dtype))
    with _workspace(path, options, resume=resume):
        task = _Posterior(flow, draw, first, options)
        Trainer(flow, task, options).run(path, resume=resume, progress=progress, tensorboard=tensorboard)
    return flow


class _Drawn(NamedTuple):
    """Parameters in normal coordinates ``(n, d)`` and data ``(n, k)``."""

    z: Tensor
    data: Tensor


class _Posterior:
    """A posterior, learned from draws of parameters and data."""

    quantity = "loss"

    def __init__(self, flow: PosteriorFlow, draw: Draw, first: Draw | None, options: PosteriorFitOptions) -> None:
        ranks = _distributed.ranks()
        if options.parts % ranks or options.batch_size % options.parts:
            raise ValueError(
                f"A batch of {options.batch_size} in parts={options.parts} cannot be divided among {ranks} processes; "
                f"give parts that divides the batch and is a multiple of {ranks}."
            )
        self.prior, self.options, self.device = flow.prior, options, flow.embedding.shift.device
        self.draw, self.first = draw, first
        scales = self._drawn(draw, CALIBRATION, SCALES)
        if scales.z.shape[1] != flow.dimensions or scales.data.shape[1] != flow.inputs:
            raise ValueError(
                f"The flow is for {flow.dimensions} parameters and data of length {flow.inputs}; the simulations have "
                f"{scales.z.shape[1]} and {scales.data.shape[1]}."
            )
        if not flow.embedding.calibrated:  # one that goes on learning keeps the scale it has learned with
            flow.embedding.calibrate(scales.data)
        self.held_out = self._drawn(draw, options.held_out, CHECK)
        self.identity = {
            "flow": flow.config(),
            "scale": tensor_hash({"shift": flow.embedding.shift, "scale": flow.embedding.scale}),
            "held_out": tensor_hash({"z": self.held_out.z, "data": self.held_out.data}),
            "first": None if first is None else tensor_hash({"data": self._drawn(first, 64, CHECK).data}),
        }

    def _drawn(self, draw: Draw, n: int, *stream: int) -> _Drawn:
        seed = np.random.SeedSequence([self.options.seed, *stream]).generate_state(1, np.uint64)[0]
        theta, data = draw(n, torch.Generator().manual_seed(int(seed) >> 1))
        z = self.prior.to_normal(theta.double(), LARGEST)
        return _Drawn(z.to(self.device), data.to(self.device))

    def batch(self, step: int) -> _Drawn:
        draw = self.first if self.first is not None and step < self.options.first_steps else self.draw
        parts, size = range(self.options.parts), self.options.batch_size // self.options.parts
        drawn = [self._drawn(draw, size, DRAW, step, part) for part in _distributed.share(parts)]
        return _Drawn(torch.cat([d.z for d in drawn]), torch.cat([d.data for d in drawn]))

    def loss(self, flow: PosteriorFlow, batch: _Drawn) -> dict[str, Tensor]:
        return {"loss": -flow.log_ratio(batch.z, flow.embedding(batch.data)).mean()}

    def validate(self, flow: PosteriorFlow) -> float:
        """The loss of the draws that are held out."""
        parts: Iterable[_Drawn] = map(_Drawn, *(x.split(4096) for x in self.held_out))
        total = sum(float(self.loss(flow, part)["loss"]) * len(part.z) for part in parts)
        return total / len(self.held_out.z)
