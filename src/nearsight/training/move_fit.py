"""Fitting learned energies of hops to exact ones."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from nearsight._validation import boolean, instance, number
from nearsight.moves import LearnedMoveEnergies, MoveEnergies
from nearsight.parallel import threads
from nearsight.storage import lock
from nearsight.training.move_data import MoveData, MoveSplit
from nearsight.training.optimisation import OptimizerState, Trainer, prepared
from nearsight.training.options import Schedule

Student = TypeVar("Student", bound=LearnedMoveEnergies)

ORDER, MOVES, CHECK = range(3)
"""Streams of random numbers, apart from each other."""


class MoveFitOptions(Schedule):
    """How energies of hops are fitted. The defaults suit an embedded network on one core."""

    optimizer: Literal["soap", "adamw"] = "soap"
    batch_size: Annotated[int, Field(ge=1)] = 8
    """Configurations a step."""
    hops: Annotated[int, Field(ge=1)] = 48
    """Hops of every configuration a step, others each time."""
    warmup: Annotated[int, Field(ge=0)] = 50
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    clip: Annotated[float, Field(gt=0)] = 10.0
    """Largest norm of the gradient."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.98
    """Memory, per step, of the moving average of the weights that is validated and returned; 0: no averaging."""
    validate_every: Annotated[int, Field(ge=1)] = 100
    checkpoint_every: Annotated[int, Field(ge=1)] = 200
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(ge=0, lt=1)] = 0.15
    """Shares of the trajectories that a fit to a whole data set holds back (the test share is not looked at)."""
    checked: Annotated[int, Field(ge=1)] = 20_000
    """Hops at most, of all held-out configurations alike, that every validation looks at."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the order of the configurations, of the choice of their hops, and of the split."""
    dtype: Literal["float32", "float64"] = "float32"
    threads: Annotated[int, Field(ge=1)] | None = 1
    """Threads of torch during the fit (None: leave as it is). Small networks are fastest on one."""


def fit_moves(
    student: Student,
    data: MoveData | MoveSplit,
    *,
    options: MoveFitOptions | None = None,
    path: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Student:
    r"""Fit learned energies of hops; the same object comes back, with the best weights, in eval mode.

    A step takes some configurations and some hops of each and minimises

    .. math:: L = \overline{(\Delta \hat E - \Delta E)^2} \,/\, \overline{\Delta E^2} .

    Differences are all that kinetic Monte Carlo asks for, and all that is fitted: constants and terms linear in n are
    no loss. Data are never augmented by symmetry operations, nor by reversed hops: both are built in.

    Parameters
    ----------
    data: configurations with the energies of all their hops, split here by trajectory, or a split of your own, whose
        test part is not looked at.
    path: a folder for ``checkpoint.safetensors`` and ``log.csv``. resume: go on from the checkpoint there. The result
        is that of an undisturbed fit, bit for bit, on the same machine: a step depends on the weights, the moments of
        the optimiser, the seed and its own number only.
    """
    instance(student, LearnedMoveEnergies, "student")
    instance(data, (MoveData, MoveSplit), "data", "Make one with MoveData.label.")
    options = MoveFitOptions() if options is None else instance(options, MoveFitOptions, "options")
    for name, flag in (("resume", resume), ("progress", progress)):
        boolean(flag, name)
    if isinstance(data, MoveData):
        data = data.split(validation=options.validation, test=options.test, seed=options.seed)
    student.to(getattr(torch, options.dtype))
    with threads(options.threads), lock(path):
        checkpoint = prepared(path, resume)
        run = _Fit(student, data, options)
        if checkpoint is not None and checkpoint.exists():
            run.load(checkpoint)
        run.loop(checkpoint, progress)
    return student.eval()


class _Fit(Trainer):
    """The state of a fit: everything that a checkpoint holds."""

    quantity = "mse"
    model: LearnedMoveEnergies

    def __init__(self, student: LearnedMoveEnergies, split: MoveSplit, options: MoveFitOptions) -> None:
        super().__init__()
        for name, part in (("training", split.train), ("validation", split.validation)):
            if part.labels == 0:
                raise ValueError(f"The {name} part holds no possible hop; give it a share of the trajectories.")
        same = split.train.lattice.coincides(student.lattice) and split.train.hops.shell == student.hops.shell
        self.model = student if same else student.on(split.train.lattice)
        if self.model.hops.shell != split.train.hops.shell:
            raise ValueError(
                f"The data are of hops to shell {split.train.hops.shell}, the student's to {student.hops.shell}."
            )
        self.options, self.spread = options, split.train.spread or 1.0
        self.unit = self.spread**2
        self.optimisation = OptimizerState(dict(self.model.named_parameters()), options)
        parameter = self.optimisation.parameters[0]
        self.device, self.dtype = parameter.device, parameter.dtype
        self.train, self.held = split.train, split.validation
        self.field = self.train.field.to(self.device, self.dtype)
        self.possible = [np.flatnonzero(np.isfinite(row)) for row in self.train.difference]
        self.usable = np.array([k for k, moves in enumerate(self.possible) if len(moves)])
        self.check = self._held_out()
        self.identity = {
            "options": options.model_dump(mode="json"),
            "train": split.train.hash,
            "validation": split.validation.hash,
            "parameters": {name: list(p.shape) for name, p in self.model.named_parameters()},
        }

    def _held_out(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Fields, and replica, move and label of the hops that every validation looks at."""
        replica, move = np.nonzero(np.isfinite(self.held.difference))
        keep = np.sort(self.rng(CHECK).permutation(len(move))[: self.options.checked])
        replica, move = replica[keep], move[keep]
        label = torch.from_numpy(self.held.difference[replica, move])
        at = (torch.from_numpy(x).to(self.device) for x in (replica, move))
        return self.held.field.to(self.device, self.dtype), *at, label  # type: ignore[return-value]

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Fields of a step, and replica, move and label of its hops; each epoch is a shuffle of its own."""
        size = min(self.options.batch_size, len(self.usable))
        epoch, position = divmod(step, len(self.usable) // size)
        chosen = self.usable[self.rng(ORDER, epoch).permutation(len(self.usable))[position * size :][:size]]
        draw = self.rng(MOVES, step)
        moves = [draw.permutation(self.possible[k])[: self.options.hops] for k in chosen]
        replica = np.repeat(np.arange(size), [len(m) for m in moves])
        move = np.concatenate(moves)
        label = self.train.difference[chosen[replica], move]
        at = (torch.from_numpy(x).to(self.device) for x in (replica, move))
        fields = self.field[torch.from_numpy(chosen).to(self.device)]
        return fields, *at, torch.from_numpy(label).to(self.device, self.dtype)  # type: ignore[return-value]

    def step_loss(self) -> Tensor:
        fields, replica, move, label = self.batch(self.step)
        return ((self.model.chosen(fields, replica, move) - label) / self.spread).square().mean()

    def held_out(self) -> float:
        fields, replica, move, label = self.check
        return float((self.model.predict(fields, replica, move).cpu() - label).square().mean())


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
