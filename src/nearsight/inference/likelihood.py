"""Maximum likelihood: fitting an autoregressive model to observations."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from nearsight._validation import instance
from nearsight.inference.observations import Observations
from nearsight.networks import AutoregressiveModel, lattice_operations
from nearsight.training import Trainer, TrainerOptions, _distributed
from nearsight.training.options import Count, Fraction, Positive, Whole
from nearsight.training.trainer import _workspace

VALIDATED = 2**16
"""Observations at most that a validation looks at, evenly spaced."""
GOLDEN = (math.sqrt(5) - 1) / 2


class LikelihoodOptions(TrainerOptions):
    """How to fit a likelihood. The defaults suit a logistic model; ``steps`` × ``batch_size`` observations are read.

    ``validation`` is a fraction of the chains, or of the time of a single one. The learning rate ends at zero: half of
    it late in a fit is worth a multiple of the data, because configurations far from those observed have the energy
    of couplings that are only as good as they have converged.

    Examples
    --------
    >>> from nearsight.inference import LikelihoodOptions
    >>> options = LikelihoodOptions(steps=1000, batch_size=2048)
    >>> options.steps * options.batch_size  # observations that are read
    2048000
    >>> options.rate(999) < 1e-4 * options.learning_rate  # it ends at zero
    True
    """

    steps: Count = 2000
    batch_size: Count = 4096
    """Observations per step."""
    learning_rate: Positive = 2e-2
    warmup: Whole = 20
    clip: Annotated[float, Field(gt=0)] = 1e3
    average: Fraction = 0.99
    validate_every: Count = 250
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.05
    gap: Whole = 0
    """Observations left out beside a validation part that is cut from a single chain: some autocorrelation times."""
    augment: Literal["none", "translations", "all"] = "none"
    """Move the configurations of a step by random translations, or also by rotations and reflections of the torus.
    Only where the data have the symmetry: not for a disordered model. Worth it where observations are few."""


def fit_likelihood(
    model: AutoregressiveModel,
    observations: Observations | tuple[Observations, Observations],
    *,
    options: LikelihoodOptions | None = None,
    path: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> AutoregressiveModel:
    r"""Fit P to observations; the same object comes back, with the best weights, in eval mode.

    Minimised is the negative log-likelihood per site, :math:`-\frac{1}{nN} \sum_t \ln P(a_t)`, which exceeds the
    entropy per site of what is observed by the relative entropy D(true‖P)/N: the smallest on validation data wins.

    A likelihood close to the best says little about configurations that were never seen. For their energies fit a
    :class:`~nearsight.networks.LogisticAutoregression` first, start a model with more from it, and let the learning
    rate end at zero::

        logistic = fit_likelihood(LogisticAutoregression(lattice), seen)
        model = fit_likelihood(HiddenSpinAutoregression(lattice).start_from(logistic), seen, options=...)

    Sites that were not seen cannot be summed over but at the end of the order, where the conditionals of all of them
    add up to one: an observation whose missing sites are the last contributes the exact probability of the others. For
    dead pixels pass ``order=`` with these at the end; otherwise observations with missing sites are refused.

    Parameters
    ----------
    observations: split here by chain, see :meth:`Observations.split`; or a split of your own (training, validation).
    path, resume, progress: as in :meth:`Trainer.run`.
    """
    instance(model, AutoregressiveModel, "model", "Symmetrised comes after the fit: fit its model.")
    options = LikelihoodOptions() if options is None else instance(options, LikelihoodOptions, "options")
    if isinstance(observations, Observations):
        check_observed(model, observations)
        rng = torch.Generator().manual_seed(options.seed)
        observations = observations.split(options.validation, rng=rng, gap=options.gap)
    if not isinstance(observations, tuple) or len(observations) != 2:
        raise TypeError("observations must be Observations, or a pair of them, for training and for validation.")
    for part in observations:
        check_observed(model, instance(part, Observations, "observations"))
    model.to(getattr(torch, options.dtype))
    with _workspace(path, options, resume=resume):
        Trainer(model, _Likelihood(model, *observations, options), options).run(path, resume=resume, progress=progress)
    return model


def check_observed(model: AutoregressiveModel, observations: Observations) -> None:
    """Refuse observations that are not of the model's variables, or miss sites before others that were seen."""
    if model.n_states != observations.n_states:
        raise ValueError(f"The model has {model.n_states} states, the observations {observations.n_states}.")
    if not model.lattice.coincides(observations.lattice):
        raise ValueError(f"The model is one of {model.lattice!r}, the observations of {observations.lattice!r}.")
    if observations.missing is None:
        return
    ordered = observations.missing[:, model.sequence.cpu().numpy()]
    holes = (ordered[:, :-1] & ~ordered[:, 1:]).any(1)
    if holes.any():
        first = int(np.flatnonzero(holes)[0])
        raise ValueError(
            f"{int(holes.sum())} observations (the first is row {first}) miss a site that comes before others in the "
            f"order of the model, whose likelihood would be a sum over all its states. Give the model order= with "
            f"the missing sites at the end where they are always the same, leave those observations out (take), or "
            f"learn couplings by pseudo-likelihood."
        )


class _Batch(NamedTuple):
    """States in the order of the model ``(batch, position)``, and which of them were not seen."""

    states: Tensor
    missing: Tensor | None


class _Likelihood:
    """The likelihood of observations."""

    quantity = "nll"

    def __init__(
        self, model: AutoregressiveModel, train: Observations, validation: Observations, options: LikelihoodOptions
    ) -> None:
        self.train, self.validation, self.options = train, validation, options
        self.device, self.sequence = model.sequence.device, model.sequence
        self.operations: np.ndarray | None = None
        if options.augment != "none":
            if train.missing is not None:
                raise ValueError("augment moves missing sites away from the end of the order; set it to 'none'.")
            self.operations = lattice_operations(model.lattice, point_group=options.augment == "all")
        self.identity = {"model": repr(model), "train": _hash(train), "validation": _hash(validation)}
        self.checked = np.linspace(0, len(validation) - 1, min(VALIDATED, len(validation))).astype(np.int64)

    def batch(self, step: int) -> _Batch:
        rows = _distributed.share(scattered_rows(step, len(self.train), self.options.batch_size, self.options.seed))
        if self.operations is None:
            return self._read(self.train, rows)
        # A few operations per step: rows that share one are moved at once.
        rng = np.random.default_rng([self.options.seed, step])
        parts = np.array_split(rows, min(16, len(rows)))
        moves = self.operations[rng.integers(len(self.operations), size=len(parts))]
        states = torch.cat([self.train.states(part)[:, move] for part, move in zip(parts, moves, strict=True)])
        return _Batch(states.to(self.device)[:, self.sequence], None)

    def _read(self, part: Observations, rows: np.ndarray) -> _Batch:
        states = part.states(rows).to(self.device)[:, self.sequence]
        if part.missing is None:
            return _Batch(states, None)
        return _Batch(states, torch.from_numpy(part.missing[rows]).to(self.device)[:, self.sequence])

    def loss(self, model: AutoregressiveModel, batch: _Batch) -> dict[str, Tensor]:
        terms = model._terms(batch.states)
        if batch.missing is None:
            return {"loss": -terms.mean()}
        seen = ~batch.missing
        return {"loss": -(terms * seen).sum() / seen.sum()}

    def validate(self, model: AutoregressiveModel) -> float:
        total, count, size = 0.0, 0, self.options.batch_size
        for start in range(0, len(self.checked), size):
            batch = self._read(self.validation, self.checked[start : start + size])
            sites = batch.states.numel() if batch.missing is None else int((~batch.missing).sum())
            total += float(self.loss(model, batch)["loss"].double()) * sites
            count += sites
        return total / count


def scattered_rows(step: int, count: int, size: int, seed: int) -> np.ndarray:
    """Which of ``count`` rows a step takes: each once per epoch, at a cost that does not grow with ``count``.

    Row k of an epoch is a k + b mod count with a coprime to count and near the golden section of it: a step then takes
    rows from all chains and times, evenly, and no order of all rows need be kept.
    """
    size = min(size, count)
    epoch, position = divmod(step, count // size)
    rng = np.random.default_rng([seed, epoch])
    a = round(GOLDEN * count) + int(rng.integers(math.isqrt(count) + 1))
    while math.gcd(a, count) != 1:
        a += 1
    start = int(rng.integers(count))
    return (np.arange(position * size, (position + 1) * size, dtype=np.int64) * (a % count) + start) % count


def _hash(observations: Observations) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(observations.packed).data)
    if observations.missing is not None:
        digest.update(np.packbits(observations.missing).data)
    return digest.hexdigest()
