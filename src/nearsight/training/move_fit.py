"""Fitting learned energies of hops to exact ones."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance, number
from nearsight.moves import LearnedMoveEnergies, MoveEnergies
from nearsight.training import _distributed
from nearsight.training.labelled import Split
from nearsight.training.move_data import MoveData
from nearsight.training.options import Count, Fraction, TrainerOptions, Whole
from nearsight.training.trainer import Trainer, _workspace, minibatch

Model = TypeVar("Model", bound=LearnedMoveEnergies)

ORDER, MOVES, CHECK = range(3)
"""Streams of random numbers, apart from each other."""


class MoveFitOptions(TrainerOptions):
    """How to fit energies of hops. The defaults suit an embedded network on one core.

    ``batch_size`` counts configurations, ``validation`` is a fraction of the trajectories.

    Examples
    --------
    >>> from nearsight.training import MoveFitOptions
    >>> options = MoveFitOptions(steps=500, hops=32, batch_size=4)
    >>> options.steps * options.batch_size * options.hops  # labels that the fit sees, repeated ones included
    64000
    """

    steps: Count = 1000
    hops: Count = 48
    """Hops of every configuration per step, others each time."""
    warmup: Whole = 50
    average: Fraction = 0.98
    test: Fraction = 0.15
    """Fraction of the trajectories that a fit to a whole data set leaves aside and never looks at."""
    checked: Count = 20_000
    """Hops at most, of all validation configurations alike, that every validation looks at."""


def fit_moves(
    model: Model,
    data: MoveData | Split,
    *,
    options: MoveFitOptions | None = None,
    path: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Model:
    r"""Fit learned energies of hops; the same object comes back, with the best weights, in eval mode.

    A step takes some configurations and some hops of each and minimises

    .. math:: L = \overline{(\Delta \hat E - \Delta E)^2} \,/\, \overline{\Delta E^2} .

    Differences are all that kinetic Monte Carlo asks for, and all that is learned: constants and terms linear in n are
    no loss. Data are never augmented by symmetry operations, nor by reversed hops: both are built in.

    Parameters
    ----------
    data: configurations with the energies of all their hops, split here by trajectory, or a split of your own, whose
        test part is not looked at.
    path, resume, progress: as in :meth:`Trainer.run`.
    """
    instance(model, LearnedMoveEnergies, "model")
    instance(data, (MoveData, Split), "data", "Make one with MoveData.label.")
    options = MoveFitOptions() if options is None else instance(options, MoveFitOptions, "options")
    if isinstance(data, MoveData):
        data = data.split(validation=options.validation, test=options.test, seed=options.seed)
    same = data.train.lattice.coincides(model.lattice) and data.train.hops.shell == model.hops.shell
    model.to(getattr(torch, options.dtype))
    trained = model if same else model.on(data.train.lattice)
    with _workspace(path, options, resume=resume):
        task = _MoveEnergies(trained, data, options)
        Trainer(trained, task, options).run(path, resume=resume, progress=progress)
    return model.eval()


class _Hops(NamedTuple):
    """Fields, and the replica, move and label of some of their hops."""

    field: Tensor
    replica: Tensor
    move: Tensor
    label: Tensor
    weight: float = 1.0
    """Of the mean over these hops in the mean over the processes."""


class _MoveEnergies:
    """Energies of the hops of a split."""

    quantity = "mse"

    def __init__(self, model: LearnedMoveEnergies, split: Split, options: MoveFitOptions) -> None:
        for name, part in (("training", split.train), ("validation", split.validation)):
            if part.labels == 0:
                raise ValueError(f"The {name} part holds no possible hop; give it a share of the trajectories.")
        if model.hops.shell != split.train.hops.shell:
            raise ValueError(
                f"The data are of hops to shell {split.train.hops.shell}, the model's to {model.hops.shell}."
            )
        self.options, self.train, self.spread = options, split.train, split.train.spread or 1.0
        self.identity = {"train": split.train.hash, "validation": split.validation.hash}
        self.place = next(model.parameters())
        self.field = self.train.field.to(self.place)
        self.possible = [np.flatnonzero(np.isfinite(row)) for row in self.train.difference]
        self.usable = np.array([k for k, moves in enumerate(self.possible) if len(moves)])
        known = split.validation.difference
        replica, move = np.nonzero(np.isfinite(known))
        keep = np.sort(self._rng(CHECK).permutation(len(move))[: options.checked])
        replica, move = replica[keep], move[keep]
        self.validation = self._hops(split.validation.field.to(self.place), replica, move, known[replica, move])

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.options.seed, *stream])

    def _hops(
        self, field: Tensor, replica: np.ndarray, move: np.ndarray, label: np.ndarray, weight: float = 1.0
    ) -> _Hops:
        at = [torch.from_numpy(x).to(field.device) for x in (replica, move)]
        return _Hops(field, at[0], at[1], torch.from_numpy(label), weight)

    def batch(self, step: int) -> _Hops:
        chosen = self.usable[minibatch(step, len(self.usable), self.options.batch_size, [self.options.seed, ORDER])]
        draw = self._rng(MOVES, step)
        moves = [draw.permutation(self.possible[k])[: self.options.hops] for k in chosen]
        total = sum(len(m) for m in moves)
        chosen, moves = _distributed.share(chosen), _distributed.share(moves)
        replica, move = np.repeat(np.arange(len(chosen)), [len(m) for m in moves]), np.concatenate(moves)
        field, label = self.field[torch.from_numpy(chosen).to(self.place.device)], self.train.difference
        weight = len(move) * _distributed.ranks() / total
        return self._hops(field, replica, move, label[chosen[replica], move], weight)

    def loss(self, model: LearnedMoveEnergies, batch: _Hops) -> dict[str, Tensor]:
        error = model.chosen(batch.field, batch.replica, batch.move) - batch.label.to(batch.field)
        loss = batch.weight * (error / self.spread).square().mean()
        return {"loss": loss, "mse": loss.detach().double() * self.spread**2}

    def validate(self, model: LearnedMoveEnergies) -> float:
        fields, replica, move, label, _ = self.validation
        return float((model.predict(fields, replica, move).cpu() - label).square().mean())


def evaluate_moves(energies: MoveEnergies, data: MoveData, *, kT: float | None = None) -> dict[str, Any]:
    """Errors of energies of hops on labelled configurations, as plain numbers.

    ``mse``, ``rmse``, ``bias`` (mean error) and ``max`` over all hops, ``label`` (rms of ΔE), ``relative`` = rmse /
    label, and with ``kT`` the error in the exponent of a rate, ``rmse_kT``. ``configurations`` holds the mse of each.
    """
    instance(energies, MoveEnergies, "energies")
    instance(data, MoveData, "data")
    kT = None if kT is None else number(kT, "kT", above=0)
    if energies.hops.shell != data.hops.shell:
        raise ValueError(f"The data are of hops to shell {data.hops.shell}, the energies to {energies.hops.shell}.")
    if not data.labels:
        raise ValueError(f"{data!r} hold no possible hop to judge by.")
    energies = energies if energies.lattice.coincides(data.lattice) else energies.on(data.lattice)
    device = next(energies.parameters()).device if isinstance(energies, LearnedMoveEnergies) else data.field.device
    errors = []
    for field, label in zip(data.field.to(device), data.difference, strict=True):
        known = np.isfinite(label)
        errors.append(energies.differences(field).cpu().numpy()[known] - label[known])
    joined = np.concatenate(errors)
    mse = float(np.square(joined).mean())
    result: dict[str, Any] = {
        "hops": len(joined),
        "mse": mse,
        "rmse": math.sqrt(mse),
        "bias": float(joined.mean()),
        "max": float(np.abs(joined).max()),
        "label": data.spread,
        "relative": math.sqrt(mse) / data.spread if data.spread > 0 else math.nan,
        "configurations": [float(np.square(e).mean()) if len(e) else math.nan for e in errors],
    }
    return result if kT is None else result | {"rmse_kT": result["rmse"] / kT}
