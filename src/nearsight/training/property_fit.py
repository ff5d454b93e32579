"""Fitting a model of an intensive property to snapshots, whose blocks it sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from nearsight._validation import boolean, instance
from nearsight.fields import check_side
from nearsight.parallel import threads
from nearsight.properties import PropertyModel
from nearsight.properties.property_model import Blocks, as_blocks
from nearsight.storage import lock, tensor_hash
from nearsight.training.optimisation import OptimizerState, Trainer, prepared
from nearsight.training.options import Schedule

CALIBRATION = 1024
"""Blocks that set the scale of the invariants."""
ORDER, PLACES, CHECK, SCALES = range(4)
"""Streams of random numbers, apart from each other."""


class PropertyFitOptions(Schedule):
    """How a property model is fitted. The defaults suit a phase from some thousand snapshots on one core."""

    steps: Annotated[int, Field(ge=1)] = 600
    """Optimiser steps."""
    optimizer: Literal["soap", "adamw"] = "adamw"
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Snapshots a step."""
    blocks: Annotated[int, Field(ge=1)] = 8
    """Blocks of each snapshot a step, at random places that change from step to step; the loss is one of their mean."""
    loss: Literal["average", "block"] = "average"
    """Whether the label is compared with the mean over the blocks of a snapshot, as in the paper, or with each."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3e-3
    warmup: Annotated[int, Field(ge=0)] = 20
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-2
    clip: Annotated[float, Field(gt=0)] = 5.0
    """Largest norm of the gradient."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.98
    """Memory, per step, of the moving average of the weights that is validated and returned; 0: no averaging."""
    validate_every: Annotated[int, Field(ge=1)] = 50
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the snapshots that chooses the step whose weights are returned."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 200
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the split, the order of the snapshots and the places of the blocks."""
    dtype: Literal["float32", "float64"] = "float32"
    threads: Annotated[int, Field(ge=1)] | None = 1
    """Threads of torch during the fit (None: leave as it is). Small networks are fastest on one."""


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
    options: PropertyFitOptions | None = None,
    path: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> PropertyModel:
    """Fit a property model; the same object comes back, with the best weights, in eval mode.

    Every step cuts fresh blocks from some snapshots, so that packed data on disk (a
    :class:`~nearsight.fields.SpinStore`) are streamed, never unpacked as a whole. ``labels`` ``(snapshot,)`` are
    values, or for a probability 0 and 1.

    Parameters
    ----------
    path: a folder for ``checkpoint.safetensors`` and ``log.csv``. resume: go on from the checkpoint there. The result
        is that of an undisturbed fit, bit for bit, on the same machine: a step depends on the weights, the moments of
        the optimiser, the seed and its own number only.
    """
    instance(model, PropertyModel, "model")
    options = PropertyFitOptions() if options is None else instance(options, PropertyFitOptions, "options")
    for name, flag in (("resume", resume), ("progress", progress)):
        boolean(flag, name)
    snapshots = as_blocks(snapshots)
    with threads(options.threads), lock(path):
        checkpoint = prepared(path, resume)
        run = _Fit(model.to(getattr(torch, options.dtype)), snapshots, check_labels(model, snapshots, labels), options)
        if checkpoint is not None and checkpoint.exists():
            run.load(checkpoint)
        run.loop(checkpoint, progress)
    return model.eval()


def check_labels(model: PropertyModel, snapshots: Blocks, labels: np.ndarray) -> np.ndarray:
    """Labels as float64 ``(snapshot,)``, refused if they do not fit the snapshots or the kind of property."""
    check_side(model.side, snapshots.length)
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
        raise ValueError(f'Labels of a probability are 0 or 1, got {odd:g}; a number is fitted with kind="value".')
    return values


@dataclass(frozen=True)
class _Part:
    index: np.ndarray
    label: Tensor


class _Fit(Trainer):
    """The state of a fit: everything that a checkpoint holds."""

    quantity = "loss"
    model: PropertyModel

    def __init__(
        self, model: PropertyModel, snapshots: Blocks, labels: np.ndarray, options: PropertyFitOptions
    ) -> None:
        super().__init__()
        self.model, self.snapshots, self.options = model, snapshots, options
        self.device, self.dtype = model.offset.device, model.offset.dtype
        order = self.rng(ORDER).permutation(len(labels))
        held = round(options.validation * len(labels))
        if not 1 <= held < len(labels):
            raise ValueError(
                f"A share of {options.validation:g} of {len(labels)} snapshots leaves nothing to train on or to "
                f"validate with; make more snapshots."
            )
        parts = order[held:], order[:held]
        draw = self.rng(SCALES)
        chosen = draw.choice(parts[0], CALIBRATION)
        seen = self.cut(chosen, draw, 1)[:, 0]
        model.calibrate(seen, torch.from_numpy(labels[parts[0]]))
        offset, unit = float(model.offset), float(model.unit)
        self.train, self.held = (
            _Part(p, torch.from_numpy((labels[p] - offset) / unit).to(self.device, self.dtype)) for p in parts
        )
        self.optimisation = OptimizerState(dict(model.named_parameters()), options)
        self.identity = {
            "options": options.model_dump(mode="json"),
            "model": repr(model),
            "snapshots": [len(snapshots), snapshots.length, tensor_hash({"blocks": seen})],
            "labels": [float(labels.sum()), float((labels * np.arange(len(labels))).sum())],
        }

    def cut(self, index: np.ndarray, draw: np.random.Generator, count: int) -> Tensor:
        """Blocks ``(snapshot, block, l, l)`` at random places."""
        corners = draw.integers(self.snapshots.length, size=(len(index), count, 2))
        return torch.from_numpy(self.snapshots.blocks(index[:, None], corners, self.model.side)).to(self.device)

    def loss(self, part: _Part, chosen: np.ndarray, draw: np.random.Generator) -> Tensor:
        blocks = self.cut(part.index[chosen], draw, self.options.blocks)
        raw = self.model.raw(blocks.flatten(0, 1)).unflatten(0, blocks.shape[:2])
        label = part.label[torch.from_numpy(chosen).to(self.device)]
        return property_loss(raw, label, self.model.kind, self.options.loss)

    def step_loss(self) -> Tensor:
        size = min(self.options.batch_size, len(self.train.index))
        epoch, position = divmod(self.step, len(self.train.index) // size)
        order = self.rng(ORDER, epoch).permutation(len(self.train.index))
        chosen = order[position * size : (position + 1) * size]
        return self.loss(self.train, chosen, self.rng(PLACES, self.step))

    def held_out(self) -> float:
        """The loss on snapshots kept apart, at the same places every time."""
        every, draw = np.arange(len(self.held.index)), self.rng(CHECK)
        parts = _chunks(every, self.options.batch_size)
        return sum(float(self.loss(self.held, part, draw)) * len(part) for part in parts) / len(every)


def _chunks(index: np.ndarray, size: int) -> list[np.ndarray]:
    return [index[k : k + size] for k in range(0, len(index), size)]
