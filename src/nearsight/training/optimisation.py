"""The part of a fit that does not ask what is fitted: steps, averaged and best weights, and their place on disk."""

from __future__ import annotations

import abc
import contextlib
import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nearsight.parallel import progress_bar
from nearsight.storage import load_tensors, owned, save_tensors, tidy, write_atomic
from nearsight.training.optimizers.soap import SOAP


class OptimizerOptions(Protocol):
    """What the options of any fit say about its steps."""

    @property
    def optimizer(self) -> str: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def average(self) -> float: ...
    def rate(self, step: int) -> float: ...


class OptimizerState:
    """Weights on their way: the optimiser's state, the running mean of the weights and the best mean so far.

    A step depends on these, the gradient and its own number only, so that a fit resumed from :meth:`tensors` ends with
    the bits of an undisturbed one.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], knobs: OptimizerOptions) -> None:
        self.names, self.parameters, self.knobs = list(parameters), list(parameters.values()), knobs
        for p in self.parameters:
            # The state of an optimiser follows the order in memory of its parameter; from a file it comes contiguous.
            p.data = owned(p.data)
        settings: dict[str, Any] = {"lr": knobs.learning_rate, "weight_decay": knobs.weight_decay}
        self.optimizer: torch.optim.Optimizer = (
            SOAP(self.parameters, **settings)
            if knobs.optimizer == "soap"
            else torch.optim.AdamW(self.parameters, foreach=False, **settings)
        )
        self.average = [p.detach().clone() for p in self.parameters]
        self.best = [p.detach().clone() for p in self.parameters]

    def advance(
        self, step: int, loss: Callable[[], Tensor], gather: Callable[[list[nn.Parameter]], None] | None = None
    ) -> None:
        """Step number ``step``, from 0, down the gradient of a loss; ``gather`` joins the gradients of processes."""
        rate = self.knobs.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss().backward()
        if gather is not None:
            gather(self.parameters)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.knobs.clip)
        if not bool(torch.isfinite(norm)):
            raise ArithmeticError(f"The gradient is not finite at step {step}; lower learning_rate (now {rate:.1e}).")
        self.optimizer.step()
        # A young average would remember the initial weights: its memory grows with the number of steps.
        memory = min(self.knobs.average, (2 + step) / (11 + step)) if self.knobs.average > 0 else 0.0
        for mean, p in zip(self.average, self.parameters, strict=True):
            mean.lerp_(p.detach(), 1.0 - memory)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averaged weights for a while."""
        kept = [p.detach().clone() for p in self.parameters]
        _assign(self.parameters, self.average)
        try:
            yield
        finally:
            _assign(self.parameters, kept)

    def keep(self) -> None:
        """The averaged weights are the best so far."""
        _assign(self.best, self.average)

    def finish(self) -> None:
        """The model with the best weights, for good."""
        _assign(self.parameters, self.best)

    def tensors(self) -> dict[str, Tensor]:
        """Everything to go on from, by name."""
        tensors: dict[str, Tensor] = {}
        for name, p, mean, best in zip(self.names, self.parameters, self.average, self.best, strict=True):
            tensors |= {f"weights/{name}": p, f"average/{name}": mean, f"best/{name}": best}
            tensors |= {f"optimizer/{name}/{key}": value for key, value in self.optimizer.state[p].items()}
        return {name: value.detach().clone() for name, value in tensors.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        for name, p, mean, best in zip(self.names, self.parameters, self.average, self.best, strict=True):
            _assign([p, mean, best], [tensors[f"{kind}/{name}"] for kind in ("weights", "average", "best")])
            prefix = f"optimizer/{name}/"
            # Steps are counted on the CPU; the moments live beside their parameter.
            self.optimizer.state[p] = {
                key.removeprefix(prefix): value if value.ndim == 0 and key.endswith("/step") else value.to(p.device)
                for key, value in tensors.items()
                if key.startswith(prefix)
            }


class Trainer(abc.ABC):
    """A fit that counts its steps, validates and logs every so many of them, and goes on from a checkpoint.

    A member has its ``model``, ``options``, ``optimisation`` and ``identity`` (what makes it this fit and no other),
    and says what a step minimises and what validation finds.
    """

    quantity: ClassVar[str]
    """What is minimised, as it is called in the log and the checkpoint."""
    model: nn.Module
    options: Any
    optimisation: OptimizerState
    identity: dict[str, Any]
    unit: float = 1.0
    """The loss of a step times this is the quantity that is logged."""

    def __init__(self) -> None:
        self.step, self.best, self.sum, self.count = 0, math.inf, 0.0, 0
        self.log: list[list[float]] = []

    @abc.abstractmethod
    def step_loss(self) -> Tensor:
        """The loss of the present step, a function of its number and the weights alone."""

    @abc.abstractmethod
    def held_out(self) -> float:
        """The quantity on what is held out, with the weights that the model has now."""

    @property
    def columns(self) -> tuple[str, ...]:
        return ("step", "learning_rate", self.quantity, f"validation_{self.quantity}", f"best_{self.quantity}")

    def rng(self, *number: int) -> np.random.Generator:
        """A stream of random numbers by its name, whatever was drawn before."""
        return np.random.default_rng([self.options.seed, *number])

    def loop(self, checkpoint: Path | None, progress: bool) -> None:
        """All steps that are left; the model ends with its best weights."""
        options = self.options
        with progress_bar(progress) as bar:
            task = bar.add_task("fit", total=options.steps, completed=self.step)
            self.model.train()
            while self.step < options.steps:
                self.advance()
                bar.update(task, completed=self.step)
                last = self.step == options.steps
                if last or self.step % options.validate_every == 0:
                    row = self.validate()
                    bar.update(task, description=f"fit  {self.quantity} {row[2]:.3g}  validation {row[3]:.3g}")
                if checkpoint is not None and (last or self.step % options.checkpoint_every == 0):
                    self.save(checkpoint)
        self.optimisation.finish()

    def advance(self) -> None:
        losses: list[Tensor] = []

        def loss() -> Tensor:
            losses.append(self.step_loss())
            return losses[0]

        self.optimisation.advance(self.step, loss)
        self.step += 1
        self.sum, self.count = self.sum + float(losses[0].detach()) * self.unit, self.count + 1

    def validate(self) -> list[float]:
        """A row of the log, with the averaged weights."""
        self.model.eval()
        with torch.no_grad(), self.optimisation.averaged():
            found = self.held_out()
        self.model.train()
        if found < self.best:
            self.best = found
            self.optimisation.keep()
        rate, mean = self.options.rate(self.step - 1), self.sum / max(1, self.count)
        self.log.append([self.step, rate, mean, found, self.best])
        self.sum, self.count = 0.0, 0
        return self.log[-1]

    def save(self, file: Path) -> None:
        best = {f"best_{self.quantity}": self.best}
        numbers = {"step": self.step, **best, "sum": self.sum, "count": self.count, "log": self.log}
        save_checkpoint(file, self.optimisation.tensors(), numbers, self.identity, self.columns)

    def load(self, file: Path) -> None:
        tensors, numbers = load_checkpoint(file, self.identity, named_differences)
        self.step, self.best, self.log = numbers["step"], numbers[f"best_{self.quantity}"], numbers["log"]
        self.sum, self.count = numbers["sum"], numbers["count"]
        self.optimisation.restore(tensors)


def prepared(path: str | Path | None, resume: bool) -> Path | None:
    """The checkpoint of a fit in a folder, None without one; ``FileExistsError`` if it is not to be resumed."""
    if path is None:
        return None
    checkpoint = Path(path) / "checkpoint.safetensors"
    if checkpoint.exists() and not resume:
        raise FileExistsError(f"{path} holds a fit already; pass resume=True to go on with it, or choose another path.")
    for file in (checkpoint, checkpoint.with_name("log.csv")):
        tidy(file)
    return checkpoint


def save_checkpoint(
    file: Path,
    tensors: Mapping[str, Tensor],
    numbers: Mapping[str, Any],
    identity: Mapping[str, Any],
    columns: Sequence[str],
) -> None:
    """One file, so that tensors and numbers never disagree; beside it ``log.csv``, the rows of ``numbers["log"]``."""
    save_tensors(file, dict(tensors), {"numbers": json.dumps(numbers), "identity": json.dumps(identity)})
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([columns, *numbers["log"]])
    write_atomic(file.parent / "log.csv", table.getvalue())


def load_checkpoint(
    file: Path,
    identity: Mapping[str, Any],
    differences: Callable[[dict[str, Any], dict[str, Any]], list[str]],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and numbers of a checkpoint; ``ValueError`` that lists what sets its fit apart from this one."""
    cure = "Restore a copy, or delete it and resume: the fit then starts again."
    tensors, text = load_tensors(file, cure=cure)
    found = differences(json.loads(text["identity"]), json.loads(json.dumps(identity)))
    if found:
        raise ValueError(
            f"{file} belongs to another fit: {'; '.join(found)}. Resume with what it was started with, or "
            "choose another path."
        )
    return tensors, json.loads(text["numbers"])


def named_differences(stored: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Options by name and value, everything else by name."""
    then, now = stored.get("options", {}), asked.get("options", {})
    found = [f"options.{k}: {then.get(k)} there, {v} asked for" for k, v in now.items() if then.get(k) != v]
    return found + [f"{k} differs" for k, v in asked.items() if k != "options" and stored.get(k) != v]


def _assign(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for target, value in zip(targets, values, strict=True):
            target.copy_(value)
