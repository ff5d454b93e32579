"""Fitting a force field to exact forces."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from rich.progress import Progress
from torch import Tensor, nn

from nearsight._validation import boolean, instance
from nearsight.fields import tangent
from nearsight.forcefields import ForceField, LearnedForceField, LocalForceField
from nearsight.parallel import progress_bar, threads
from nearsight.storage import lock
from nearsight.training.augmentation import Augmentation
from nearsight.training.dataset import DataSet, Split
from nearsight.training.loss import Labels, Loss, labels, learned_part, mean_longitudinal
from nearsight.training.metrics import natural_component, predict
from nearsight.training.optimisation import OptimizerState, load_checkpoint, prepared, save_checkpoint
from nearsight.training.options import FitOptions
from nearsight.training.snapshots import generator

Student = TypeVar("Student", bound=ForceField)

COLUMNS = ("step", "learning_rate", "loss", "force_loss", "energy_loss", "validation_rmse", "best_rmse")
CHUNK = 64
"""Snapshots evaluated at once where no gradient is needed."""


def fit(
    student: Student,
    data: DataSet | Split,
    *,
    options: FitOptions | None = None,
    path: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    tensorboard: bool = False,
) -> Student:
    """Fit the parameters of a force field; the same object comes back, with the best weights, in eval mode.

    Of a sum only the parts with parameters are trained: the others (exact springs) are evaluated once and their forces
    subtracted from the labels. Weights are AdamW's, averaged over the last steps (see ``FitOptions.average``), taken
    where the force error on held-out trajectories was smallest. Data are augmented by symmetry operations only if asked
    (``FitOptions.augment``): most force fields have their symmetry built in. Of unit spins one learns what turns them
    (``FitOptions.component``). If the learned part has a buffer ``energy_offset`` (energy per site added to its
    energies), the constant of the energy is stored there.

    Parameters
    ----------
    data: a data set, split here by trajectory, or a split of your own, whose test part is not looked at.
    path: a folder for ``checkpoint.safetensors`` and ``log.csv``. Without one nothing is written and nothing can be
    resumed. resume: go on from the checkpoint in ``path``, if there is one. The result is that of an undisturbed fit,
    bit for bit, on
        the same machine and CPU: a step depends on the weights, the optimiser's moments, the seed and its own number
        only.
    tensorboard: also write TensorBoard events to ``path/tensorboard`` (needs the extra ``nearsight[tensorboard]``).

    Why a short loop and not a framework: the loop is one page; bit-for-bit resumption needs the order of the data, the
    averaged weights and the schedule in one checkpoint without pickle; and importing Lightning takes ten times as
    long as importing torch. Within an initialised process group (``torchrun``) every rank takes its share of each
    batch and the gradients are averaged over the ranks, which is all that data-parallel training of small models
    needs.
    """
    instance(student, ForceField, "student", "Exact force fields are no students: give a learned one.")
    instance(data, (DataSet, Split), "data", "Make one with training.generate, or DataSet.from_arrays.")
    options = FitOptions() if options is None else instance(options, FitOptions, "options")
    for name, flag in (("resume", resume), ("progress", progress), ("tensorboard", tensorboard)):
        boolean(flag, name)
    path = None if path is None else Path(path)
    split = data if isinstance(data, Split) else _split(data, options)
    if tensorboard and path is None:
        raise ValueError("TensorBoard events need a folder; pass path=.")

    dtype = getattr(torch, options.dtype)
    student.to(dtype)
    with threads(options.threads), lock(path if _rank() == 0 else None):
        checkpoint = prepared(path, resume)
        run = _Fit(student, split, options)
        if checkpoint is not None and checkpoint.exists():
            run.load(checkpoint)
        with (
            progress_bar(progress and _rank() == 0) as bar,
            _writer(path if tensorboard and _rank() == 0 else None, run.step) as writer,
        ):
            run.loop(path if _rank() == 0 else None, bar, writer)
        run.finish()
    return student.eval()


CALIBRATION = 64
"""Snapshots that set the scale of the features."""


class _Fit:
    """The state of a fit: everything that a checkpoint holds."""

    def __init__(self, student: ForceField, split: Split, options: FitOptions) -> None:
        for name, part in (("training", split.train), ("validation", split.validation)):
            if len(part) == 0:
                raise ValueError(f"The {name} part of the split is empty; give it a share of the trajectories.")
        self.options = options
        learned, fixed = learned_part(student)
        lattice = split.train.lattice
        self.model = learned if lattice.coincides(learned.lattice) else learned.on(lattice)
        self.component = options.component or natural_component(self.model)
        self.named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.parameters = list(self.named.values())
        if {id(p) for p in self.parameters} != {id(p) for p in learned.parameters() if p.requires_grad}:
            raise TypeError(f"{type(learned).__name__}.on(lattice) copies its parameters; it must share them.")
        self.offsets = [b for name, b in learned.named_buffers() if name.rpartition(".")[2] == "energy_offset"]
        self.references = [m.reference for m in learned.modules() if isinstance(m, LocalForceField)]
        for constant in (*self.offsets, *(r.longitudinal for r in self.references)):
            constant.zero_()
        # Features are scaled by the training data once, before the first step; a resumed fit finds the same scales.
        for module in self.model.modules():
            if isinstance(module, LearnedForceField):
                module.calibrate(split.train.field[:CALIBRATION])
        device = self.parameters[0].device
        _broadcast(self.parameters)
        self.has_energy = predict(self.model, split.train.field[:1], 1).energy is not None
        energy = options.energy_weight > 0 and self.has_energy
        settings = dict(
            energy=energy, dtype=self.parameters[0].dtype, device=device, batch=CHUNK, component=self.component
        )
        fixed = None if fixed is None else fixed.on(lattice)
        self.train: Labels = labels(split.train, fixed, **settings)  # type: ignore[arg-type]
        self.validation: Labels = labels(split.validation, fixed, **settings)  # type: ignore[arg-type]
        # Taken from the labels, so that errors are weighed by what is left to learn, and given to the model at the end.
        self.longitudinal = mean_longitudinal(self.train) if self._whole_spins() else 0.0
        self.train, self.validation = (x.without(self.longitudinal) for x in (self.train, self.validation))
        self.batch_size = self._batch_size()
        self.loss = Loss.of(
            self.train,
            options.force_weight,
            options.energy_weight,
            component=self.component,
            relative_floor=options.relative_floor if options.force_loss == "relative" else None,
        )
        if self.component == "tangent":
            self._set_scale()
        self.augmentation = Augmentation.of(self.model) if options.augment else None
        self.optimisation = OptimizerState(self.named, options)
        self.best_rmse, self.best_step, self.step, self.stopped = math.inf, 0, 0, False
        self.sums = torch.zeros(3, dtype=torch.float64)
        self.count = 0
        self.log: list[list[float]] = []
        self.identity = {
            "options": options.model_dump(mode="json"),
            "train": split.train.hash,
            "validation": split.validation.hash,
            "parameters": {name: list(p.shape) for name, p in self.named.items()},
            "ranks": _ranks(),
        }

    def _whole_spins(self) -> bool:
        """Whether the whole field on unit spins is learned, its part along them included."""
        unit = all(m.field_type.values == "unit" for m in self.model.modules() if isinstance(m, LocalForceField))
        return self.component == "all" and bool(self.references) and unit

    def _set_scale(self) -> None:
        """Torques are small beside what a fresh network puts out: let it learn them in units of their rms.

        A force field that was fitted before keeps the unit its weights were found in.
        """
        for module in self.model.modules():
            if isinstance(module, LocalForceField) and float(module.reference.scale) == 1.0:
                module.reference.scale.fill_(self.loss.force_scale)

    def _batch_size(self) -> int:
        size = min(self.options.batch_size, len(self.train))
        ranks = _ranks()
        if size % ranks:
            raise ValueError(f"A batch of {size} snapshots cannot be shared by {ranks} ranks; give a multiple.")
        if self.train.energy is not None and size // ranks < 2:
            raise ValueError(
                "The energy loss compares snapshots of a batch and needs two on every rank: raise batch_size, or set "
                "energy_weight=0 to fit forces alone."
            )
        return size

    def batch(self, step: int) -> Labels:
        """The snapshots of a step: each epoch is a shuffle of its own, its incomplete last batch left out."""
        epoch, position = divmod(step, len(self.train) // self.batch_size)
        order = np.random.default_rng([self.options.seed, epoch]).permutation(len(self.train))
        index = order[position * self.batch_size : (position + 1) * self.batch_size][_rank() :: _ranks()]
        keep = torch.from_numpy(index).to(self.train.field.device)
        energy = None if self.train.energy is None else self.train.energy[keep]
        field, force = self.train.field[keep], self.train.force[keep]
        if self.augmentation is not None:
            rng = generator(self.options.seed, step * _ranks() + _rank())
            field, force = self.augmentation(field, force, rng)
        return Labels(field, force, energy)

    def loop(self, path: Path | None, bar: Progress, writer: Any) -> None:
        options = self.options
        task = bar.add_task("fit", total=options.steps, completed=self.step)
        self.model.train()
        while self.step < options.steps and not self.stopped:
            self.advance()
            bar.update(task, completed=self.step)
            last = self.step == options.steps
            if last or self.step % options.validate_every == 0:
                row = self.validate()
                bar.update(
                    task, description=f"fit  loss {row['loss']:.2e}  validation rmse {row['validation_rmse']:.2e}"
                )
                if writer is not None:
                    for name in COLUMNS[1:]:
                        writer.add_scalar(name, row[name], self.step)
            if path is not None and (last or self.stopped or self.step % options.checkpoint_every == 0):
                self.save(path)

    def advance(self) -> None:
        parts: list[Tensor] = []

        def loss() -> Tensor:
            parts.extend(self.loss(self.model, self.batch(self.step)))
            return parts[0]

        self.optimisation.advance(self.step, loss, _average_gradients)
        self.step += 1
        self.sums += torch.stack([p.detach() for p in parts]).double().cpu()
        self.count += 1

    def validate(self) -> dict[str, float]:
        with self.optimisation.averaged():
            force = predict(self.model, self.validation.field, CHUNK).force
        if self.component == "tangent":
            force = tangent(force, self.validation.field.cpu().double())
        rmse = float((force - self.validation.force.cpu().double()).square().mean().sqrt())
        if rmse < self.best_rmse:
            self.best_rmse, self.best_step = rmse, self.step
            self.optimisation.keep()
        elif self.options.patience is not None:
            self.stopped = self.step - self.best_step >= self.options.patience * self.options.validate_every
        if _ranks() > 1:
            dist.all_reduce(self.sums)
            self.sums /= _ranks()
        means = (self.sums / max(1, self.count)).tolist()
        self.sums.zero_()
        self.count = 0
        self.log.append([self.step, self.options.rate(self.step - 1), *means, rmse, self.best_rmse])
        return dict(zip(COLUMNS, self.log[-1], strict=True))

    def finish(self) -> None:
        self.optimisation.finish()
        if self.references:  # one part of a sum carries the constants for all
            self.references[0].longitudinal.fill_(self.longitudinal)
        if self.offsets and self.train.energy is not None:
            # The mean residual is the constant with the smallest squared error; one part of a sum carries it for all.
            known = self.train.energy.cpu().double() + self.train.mean_energy
            energy = predict(self.model, self.train.field, CHUNK).energy
            assert energy is not None
            self.offsets[0].fill_(float((known - energy).mean()) / self.loss.sites)

    # --- checkpoint -------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        numbers = {
            "step": self.step,
            "best_rmse": self.best_rmse,
            "best_step": self.best_step,
            "stopped": self.stopped,
            "count": self.count,
            "log": self.log,
        }
        tensors = {"sums": self.sums.clone(), **self.optimisation.tensors()}
        save_checkpoint(path / "checkpoint.safetensors", tensors, numbers, self.identity, COLUMNS)

    def load(self, file: Path) -> None:
        tensors, numbers = load_checkpoint(file, self.identity, _differences)
        self.step, self.best_rmse, self.best_step = numbers["step"], numbers["best_rmse"], numbers["best_step"]
        self.stopped, self.count, self.log = numbers["stopped"], numbers["count"], numbers["log"]
        self.sums = tensors["sums"]
        self.optimisation.restore(tensors)


def _split(data: DataSet, options: FitOptions) -> Split:
    return data.split(validation=options.validation, test=options.test, seed=options.seed)


def _differences(stored: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    found = [
        f"options.{name}: {stored['options'].get(name)} there, {value} asked for"
        for name, value in asked["options"].items()
        if stored["options"].get(name) != value
    ]
    found += [f"the {part} data are not the same" for part in ("train", "validation") if stored[part] != asked[part]]
    if stored["parameters"] != asked["parameters"]:
        found.append("the force field has other parameters")
    if stored["ranks"] != asked["ranks"]:
        found.append(f"{stored['ranks']} ranks there, {asked['ranks']} here")
    return found


@contextlib.contextmanager
def _writer(path: Path | None, step: int) -> Iterator[Any]:
    if path is None:
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "TensorBoard is not installed; pip install nearsight[tensorboard], or read log.csv."
        ) from error
    with SummaryWriter(str(path / "tensorboard"), purge_step=step + 1) as writer:
        yield writer


# --- several processes ----------------------------------------------------------------------------------------------


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized()


def _rank() -> int:
    return dist.get_rank() if _grouped() else 0


def _ranks() -> int:
    return dist.get_world_size() if _grouped() else 1


def _broadcast(parameters: list[nn.Parameter]) -> None:
    """Every rank starts from the weights of the first."""
    if _ranks() > 1:
        for p in parameters:
            dist.broadcast(p.detach(), src=0)


def _average_gradients(parameters: list[nn.Parameter]) -> None:
    if _ranks() > 1:
        for p in parameters:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
            dist.all_reduce(p.grad)
            p.grad /= _ranks()
