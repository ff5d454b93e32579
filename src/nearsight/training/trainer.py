"""One trainer for all that is learned: steps, validation, the best weights, a checkpoint and a log."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn

from nearsight._description import differences
from nearsight._validation import boolean
from nearsight.parallel import progress_bar, threads
from nearsight.parallel.workers import fastest_threads
from nearsight.storage import load_tensors, lock, save_tensors, tidy, write_atomic
from nearsight.training import _distributed
from nearsight.training.optimizers._state import OptimizerState
from nearsight.training.options import TrainerOptions

FORMAT = 2
"""Of checkpoints; fits that another one left unfinished are refused."""


class Task(Protocol):
    """What a :class:`Trainer` fits: forces, energies of moves, properties of blocks, a likelihood.

    All that is random in a task is a function of the seed and the number of the step, so that a killed fit can go on as
    if nothing had happened.
    """

    quantity: str
    """What :meth:`validate` returns, by its name in the log."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What tells this fit from others, in plain data: hashes of its data."""

    def batch(self, step: int) -> Any:
        """The data of a step, counted from 0: a :func:`minibatch`, of several processes the share of this one."""

    def loss(self, model: Any, batch: Any) -> Mapping[str, Tensor]:
        """Numbers of a batch, the one named "loss" to be minimised; the log has their means between validations."""

    def validate(self, model: Any) -> float:
        """An error, the smaller the better, on data that are not trained on."""


def minibatch(step: int, count: int, size: int, seed: Sequence[int]) -> np.ndarray:
    """Which of ``count`` items a step takes, ``size`` at most.

    Each epoch is a shuffle of its own, its incomplete last batch left out.
    """
    size = min(size, count)
    if size % _distributed.ranks():
        raise ValueError(
            f"A batch of {size} cannot be divided among {_distributed.ranks()} processes; give a batch_size that can."
        )
    epoch, position = divmod(step, count // size)
    return np.random.default_rng([*seed, epoch]).permutation(count)[position * size : (position + 1) * size]


@contextlib.contextmanager
def _workspace(path: str | Path | None, options: TrainerOptions, *, resume: bool) -> Iterator[Path | None]:
    """The threads of a fit and its folder, where nobody else writes meanwhile; the file of its checkpoint.

    Only the first of several processes has a folder. Raises ``FileExistsError`` for a fit that is not to be resumed.
    """
    boolean(resume, "resume")
    first = _distributed.rank() == 0
    with threads(options.threads), lock(path if first else None):
        file = _distributed.from_first(lambda: _checkpoint(path, resume))
        yield file if first else None


class Trainer:
    """Fits a model to a task.

    The weights are those of AdamW or :class:`SOAP`, averaged over the last steps (``TrainerOptions.average``), taken
    where the task's validation found the smallest error. A fit that was killed and is resumed ends with the bits of an
    undisturbed one on the same machine, because a step depends on the weights, the moments of the optimiser, the seed
    and its own number only.

    Within a process group (``torchrun``) every process takes its share of each batch, gradients are averaged, and the
    first one validates and writes: the fit is that of one process up to rounding, and goes on with any number of them.

    A task of one's own (``minibatch`` is in ``training.trainer``), to fit a flow to samples x ``(sample, ...)``::

        class Likelihood:
            quantity, identity = "nll", {"samples": tensor_hash({"x": x})}

            def batch(self, step):
                return x[minibatch(step, len(x), options.batch_size, [options.seed])]

            def loss(self, model, batch):
                return {"loss": -model.log_prob(batch).mean()}

            def validate(self, model):
                return float(-model.log_prob(others).mean())

        Trainer(flow, Likelihood(), options).run("fit", resume=True)

    Why a short loop and not a framework: it is one page; bit-for-bit resumption needs the order of the data, the
    averaged weights and the schedule in one checkpoint without pickle; and importing Lightning takes ten times as long
    as importing torch.

    Examples
    --------
    >>> import torch
    >>> from nearsight.training import Trainer, TrainerOptions
    >>> x = torch.linspace(-1, 1, 64)[:, None]
    >>> class Line:
    ...     quantity, identity = "error", {"data": "y = 2x + 1"}
    ...     def batch(self, step):
    ...         return x
    ...     def loss(self, model, x):
    ...         return {"loss": (model(x) - 2 * x - 1).square().mean()}
    ...     def validate(self, model):
    ...         return (model(x) - 2 * x - 1).square().mean().sqrt().item()
    >>> model = torch.nn.Linear(1, 1)
    >>> Trainer(model, Line(), TrainerOptions(steps=200, average=0.9, learning_rate=0.1)).run(progress=False)
    >>> Line().validate(model) < 0.05
    True
    """

    def __init__(self, model: nn.Module, task: Task, options: TrainerOptions) -> None:
        self.model, self.task, self.options = model, task, options
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        _distributed.copy_first(model.state_dict().values())
        self.optimisation = OptimizerState(named, options)
        self.step, self.best, self.best_step, self.stopped = 0, math.inf, 0, False
        self.sums: dict[str, float] = {}
        self.count = 0
        self.log: list[dict[str, float]] = []
        self.threads = options.threads
        self.identity = {
            "format": FORMAT,
            "options": options.model_dump(mode="json"),
            "parameters": {name: list(p.shape) for name, p in named.items()},
            **task.identity,
        }

    def run(
        self,
        path: str | Path | None = None,
        *,
        resume: bool = False,
        progress: bool = True,
        tensorboard: bool = False,
    ) -> None:
        """Take all steps that are left; the model ends with its best weights, in eval mode.

        Parameters
        ----------
        path: a folder for ``checkpoint.safetensors`` and ``log.csv``, whose rows the checkpoint holds too, with a
            hash. Without one nothing is written and nothing can be resumed.
        resume: go on from the checkpoint in ``path``, if there is one; ``ValueError`` if it is of another fit.
        tensorboard: also write TensorBoard events to ``path/tensorboard`` (needs ``nearsight[tensorboard]``).
        """
        for name, flag in (("progress", progress), ("tensorboard", tensorboard)):
            boolean(flag, name)
        if tensorboard and path is None:
            raise ValueError("TensorBoard events need a folder; pass path=.")
        with _workspace(path, self.options, resume=resume) as file:
            stored = _distributed.from_first(lambda: self._read(file) if file and file.exists() else None)
            if stored is not None:
                self.optimisation.restore(stored[0])
                for name, value in ({"threads": torch.get_num_threads()} | stored[1]).items():
                    setattr(self, name, value)
                self._write_log(file)
            elif self.threads is None:
                self.threads = self._fastest_threads()
                if file is not None:
                    self._save(file)
            with (
                threads(self.threads),
                progress_bar(progress and _distributed.rank() == 0) as bar,
                _writer(file.parent if file and tensorboard else None, self.step) as writer,
            ):
                self._loop(file, bar, writer)
        self.optimisation.load_best()
        self.model.eval()

    def _loop(self, file: Path | None, bar: Progress, writer: Any) -> None:
        options = self.options
        line = bar.add_task("fit", total=options.steps, completed=self.step)
        self.model.train()
        while self.step < options.steps and not self.stopped:
            self.advance()
            bar.update(line, completed=self.step)
            last = self.step == options.steps
            if last or self.step % options.validate_every == 0:
                row = self.validate()
                found = f"{self.task.quantity} {row[f'validation_{self.task.quantity}']:.2e}"
                bar.update(line, description=f"fit  loss {row['loss']:.2e}  validation {found}")
                for name in row if writer is not None else ():
                    writer.add_scalar(name, row[name], self.step)
            if file is not None and (last or self.stopped or self.step % options.checkpoint_every == 0):
                self._save(file)

    def _fastest_threads(self) -> int:
        """With how many threads loss and gradient are fastest; nothing that the fit depends on changes."""
        parameters, most = self.optimisation.parameters, torch.get_num_threads()
        if most == 1 or _distributed.ranks() > 1 or any(p.device.type != "cpu" for p in parameters):
            return most
        self.model.train()
        batch, buffers = self.task.batch(self.step), [(b, b.clone()) for b in self.model.buffers()]

        def work() -> None:
            torch.autograd.grad(self.task.loss(self.model, batch)["loss"], parameters, allow_unused=True)

        with torch.random.fork_rng(devices=[]):
            found = fastest_threads(work, most)
        for buffer, before in buffers:
            buffer.copy_(before)
        return found

    def advance(self) -> None:
        """One step."""
        numbers: dict[str, Tensor] = {}

        def loss() -> Tensor:
            numbers.update(self.task.loss(self.model, self.task.batch(self.step)))
            return numbers["loss"]

        self.optimisation.advance(self.step, loss)
        self.step += 1
        values = _distributed.mean(torch.stack([value.detach().double() for value in numbers.values()])).tolist()
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in zip(numbers, values, strict=True)}
        self.count += 1

    def validate(self) -> dict[str, float]:
        """A row of the log, with the averaged weights, which are kept if they are the best."""
        self.model.eval()
        with torch.no_grad(), self.optimisation.averaged():
            found = _distributed.from_first(lambda: self.task.validate(self.model))
        self.model.train()
        if found < self.best:
            self.best, self.best_step = found, self.step
            self.optimisation.save_best()
        elif self.options.patience is not None:
            self.stopped = self.step - self.best_step >= self.options.patience * self.options.validate_every
        row = {"step": self.step, "learning_rate": self.options.rate(self.step - 1)}
        row |= {name: total / self.count for name, total in self.sums.items()}
        row |= {f"validation_{self.task.quantity}": found, f"best_{self.task.quantity}": self.best}
        self.log.append(row)
        self.sums, self.count = {}, 0
        return row

    # --- checkpoint: one file, so that tensors and numbers never disagree -------------------------------------------

    def _save(self, file: Path) -> None:
        kept = ("step", "best", "best_step", "stopped", "sums", "count", "log", "threads")
        numbers = {name: getattr(self, name) for name in kept}
        texts = {"numbers": json.dumps(numbers), "identity": json.dumps(self.identity)}
        save_tensors(file, self.optimisation.tensors(), texts)
        self._write_log(file)

    def _write_log(self, file: Path | None) -> None:
        if file is not None and self.log:
            table = io.StringIO()
            writer = csv.DictWriter(table, list(self.log[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.log)
            write_atomic(file.with_name("log.csv"), table.getvalue())

    def _read(self, file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, texts = load_tensors(file, cure="Restore a copy, or delete it and resume: the fit then starts again.")
        found = differences(json.loads(texts["identity"]), json.loads(json.dumps(self.identity)))
        if found:
            raise ValueError(
                f"{file} belongs to another fit: {'; '.join(found)}. Resume with what it was started with, or choose "
                f"another path."
            )
        return tensors, json.loads(texts["numbers"])


def _checkpoint(path: str | Path | None, resume: bool) -> Path | None:
    if path is None:
        return None
    file = Path(path) / "checkpoint.safetensors"
    if file.exists() and not resume:
        raise FileExistsError(f"{path} holds a fit already; pass resume=True to go on with it, or choose another path.")
    for written in (file, file.with_name("log.csv")):
        tidy(written)
    return file


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
