"""Fitting a model of an intensive property to snapshots, whose blocks it sees."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from nearsight._validation import instance
from nearsight.properties import PropertyModel
from nearsight.properties.property_model import Blocks, as_blocks, check_blocks
from nearsight.storage import tensor_hash
from nearsight.training import _distributed
from nearsight.training.labelled import per_row
from nearsight.training.options import Count, Fraction, NonNegative, Positive, TrainerOptions, Whole
from nearsight.training.trainer import Trainer, _workspace, minibatch

CALIBRATION = 1024
"""Blocks that set the scale of the invariants."""
ORDER, PLACES, CHECK, SCALES = range(4)
"""Streams of random numbers, apart from each other."""


class PropertyFitOptions(TrainerOptions):
    """How to fit a property model. The defaults suit a phase from some thousand snapshots on one core.

    ``validation`` is a fraction of the snapshots.

    Examples
    --------
    >>> from nearsight.training import PropertyFitOptions
    >>> options = PropertyFitOptions(steps=200, batch_size=16, blocks=4)
    >>> options.steps * options.batch_size * options.blocks  # blocks that the fit sees
    12800
    """

    steps: Count = 600
    optimizer: Literal["soap", "adamw"] = "adamw"
    batch_size: Count = 32
    blocks: Count = 8
    """Blocks of each snapshot per step, at random places that change from step to step; the loss is one of their
    mean."""
    loss: Literal["average", "block"] = "average"
    """Whether the label is compared with the mean over the blocks of a snapshot, as in the paper, or with each."""
    learning_rate: Positive = 3e-3
    warmup: Whole = 20
    weight_decay: NonNegative = 1e-2
    clip: Annotated[float, Field(gt=0)] = 5.0
    average: Fraction = 0.98
    validate_every: Count = 50


def property_loss(raw: Tensor, label: Tensor, kind: str, loss: str) -> Tensor:
    r"""Loss of outputs z ``(snapshot, block)`` against labels ``(snapshot,)``, both in the units of the head.

    Values: :math:`(Q - \frac1M \sum_\alpha z_\alpha)^2`. Probabilities: the cross-entropy of the *mean of the
    probabilities* (not of the logits), eq. (6) of the paper, from

    .. math:: \ln \bar p = \mathrm{logsumexp}_\alpha \ln\sigma(z_\alpha) - \ln M, \qquad
              \ln(1 - \bar p) = \mathrm{logsumexp}_\alpha \ln\sigma(-z_\alpha) - \ln M,

    finite for any z. ``loss="block"`` averages the losses of single blocks instead.
    """
    if kind == "value":
        return (label - raw.mean(1)).square().mean() if loss == "average" else (label[:, None] - raw).square().mean()
    if loss == "block":
        return F.binary_cross_entropy_with_logits(raw, label[:, None].expand_as(raw))
    log_m = math.log(raw.shape[1])
    yes = torch.logsumexp(F.logsigmoid(raw), 1) - log_m
    no = torch.logsumexp(F.logsigmoid(-raw), 1) - log_m
    return -(label * yes + (1 - label) * no).mean()


def fit_property(
    model: PropertyModel,
    snapshots: Blocks | np.ndarray | Tensor,
    labels: np.ndarray,
    *,
    trajectory: np.ndarray | None = None,
    options: PropertyFitOptions | None = None,
    path: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> PropertyModel:
    """Fit a property model; the same object comes back, with the best weights, in eval mode.

    Every step cuts fresh blocks from some snapshots, so that packed data on disk (a
    :class:`~nearsight.fields.SpinStore`) are streamed, never unpacked as a whole; those of displacements come from a
    ``crystals.DisplacementBlocks``. ``labels`` ``(snapshot,)`` are values, or for a probability 0 and 1.

    Parameters
    ----------
    trajectory: from which Markov chain or run each snapshot is ``(snapshot,)``, an integer. Snapshots of one resemble
        each other and stay together when some are set apart for validation. None: all are independent.
    path, resume, progress: as in :meth:`Trainer.run`.
    """
    instance(model, PropertyModel, "model")
    options = PropertyFitOptions() if options is None else instance(options, PropertyFitOptions, "options")
    snapshots = as_blocks(snapshots)
    values = _checked_labels(model, snapshots, labels)
    if trajectory is not None:
        trajectory = per_row(trajectory, "trajectory", len(values), "snapshots").astype(np.int64)
    model.to(getattr(torch, options.dtype))
    with _workspace(path, options, resume=resume):
        task = _BlockProperty(model, snapshots, values, trajectory, options)
        Trainer(model, task, options).run(path, resume=resume, progress=progress)
    return model


def _checked_labels(model: PropertyModel, snapshots: Blocks, labels: np.ndarray) -> np.ndarray:
    """Labels as float64 ``(snapshot,)``, refused if they do not fit the snapshots or the kind of property."""
    check_blocks(model, snapshots)
    values = np.asarray(labels)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"labels must hold one real number for each snapshot, got {values.dtype}.")
    values = values.astype(float)
    if values.shape != (len(snapshots),):
        raise ValueError(f"{len(snapshots)} snapshots need as many labels, got shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"Labels must be finite; that of snapshot {int(np.argmin(np.isfinite(values)))} is not.")
    if model.kind == "probability" and not np.isin(values, (0.0, 1.0)).all():
        odd = values[~np.isin(values, (0.0, 1.0))][0]
        raise ValueError(f'Labels of a probability are 0 or 1, got {odd:g}; kind="value" is for numbers.')
    return values


class _Part(NamedTuple):
    """Some snapshots by number, with their labels in the units of the head."""

    snapshot: np.ndarray
    label: Tensor


class _Batch(NamedTuple):
    """Blocks ``(snapshot, block, l, l)`` or ``(snapshot, block, atom, 3)`` with the labels of the snapshots."""

    blocks: Tensor
    label: Tensor


class _BlockProperty:
    """A property of snapshots, learned from their blocks."""

    quantity = "loss"

    def __init__(
        self,
        model: PropertyModel,
        snapshots: Blocks,
        labels: np.ndarray,
        trajectory: np.ndarray | None,
        options: PropertyFitOptions,
    ) -> None:
        self.snapshots, self.options = snapshots, options
        self.device, self.side, self.kind = model.offset.device, model.side, model.kind
        independent = np.arange(len(labels)) if trajectory is None else np.unique(trajectory)
        order = self._rng(ORDER).permutation(independent)
        count = round(options.validation * len(order))
        if not 1 <= count < len(order):
            raise ValueError(
                f"A fraction of {options.validation:g} of {len(order)} independent snapshots or trajectories leaves "
                f"nothing to train on or to validate with; make more snapshots."
            )
        parts = [order[count:], order[:count]]
        if trajectory is not None:
            parts = [np.flatnonzero(np.isin(trajectory, part)) for part in parts]
        draw = self._rng(SCALES)
        chosen = draw.choice(parts[0], CALIBRATION)
        seen = self._cut(chosen, self._corners(draw, CALIBRATION, 1))[:, 0]
        model.calibrate(seen, torch.from_numpy(labels[parts[0]]))
        offset, unit = float(model.offset), float(model.unit)
        self.train, self.validation = (
            _Part(p, torch.from_numpy((labels[p] - offset) / unit).to(model.offset)) for p in parts
        )
        self.identity = {
            "model": repr(model),
            "trajectory": None if trajectory is None else tensor_hash({"trajectory": torch.from_numpy(trajectory)}),
            "snapshots": [len(snapshots), snapshots.length, tensor_hash({"blocks": seen})],
            "labels": [float(labels.sum()), float((labels * np.arange(len(labels))).sum())],
        }

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.options.seed, *stream])

    def _corners(self, draw: np.random.Generator, snapshots: int, count: int) -> np.ndarray:
        return draw.integers(self.snapshots.length, size=(snapshots, count, self.snapshots.axes))

    def _cut(self, index: np.ndarray, corners: np.ndarray) -> Tensor:
        return torch.from_numpy(self.snapshots.blocks(index[:, None], corners, self.side)).to(self.device)

    def _blocks(self, part: _Part, chosen: np.ndarray, corners: np.ndarray) -> _Batch:
        return _Batch(self._cut(part.snapshot[chosen], corners), part.label[torch.from_numpy(chosen).to(self.device)])

    def batch(self, step: int) -> _Batch:
        chosen = minibatch(step, len(self.train.snapshot), self.options.batch_size, [self.options.seed, ORDER])
        corners = self._corners(self._rng(PLACES, step), len(chosen), self.options.blocks)
        return self._blocks(self.train, _distributed.share(chosen), _distributed.share(corners))

    def loss(self, model: PropertyModel, batch: _Batch) -> dict[str, Tensor]:
        raw = model.raw(batch.blocks.flatten(0, 1)).unflatten(0, batch.blocks.shape[:2])
        return {"loss": property_loss(raw, batch.label, self.kind, self.options.loss)}

    def validate(self, model: PropertyModel) -> float:
        """The loss at the same places every time."""
        every, draw = np.arange(len(self.validation.snapshot)), self._rng(CHECK)
        total, size = 0.0, self.options.batch_size
        for part in (every[k : k + size] for k in range(0, len(every), size)):
            batch = self._blocks(self.validation, part, self._corners(draw, len(part), self.options.blocks))
            total += float(self.loss(model, batch)["loss"]) * len(part)
        return total / len(every)
