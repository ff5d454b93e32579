"""Weights on their way to a minimum: the part of a fit that does not ask what is learned."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nearsight.storage import owned
from nearsight.training import _distributed
from nearsight.training.optimizers.soap import SOAP
from nearsight.training.options import TrainerOptions


class OptimizerState:
    """The optimiser's state, the running mean of the weights and the best mean so far.

    A step depends on these, the gradient and its own number only, so that a fit resumed from :meth:`tensors` ends with
    the bits of an undisturbed one.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], options: TrainerOptions) -> None:
        self.names, self.parameters, self.options = list(parameters), list(parameters.values()), options
        for p in self.parameters:
            # The state of an optimiser follows the order in memory of its parameter; from a file it comes contiguous.
            p.data = owned(p.data)
        settings: dict[str, Any] = {"lr": options.learning_rate, "weight_decay": options.weight_decay}
        self.optimizer: torch.optim.Optimizer = (
            SOAP(self.parameters, **settings)
            if options.optimizer == "soap"
            else torch.optim.AdamW(self.parameters, foreach=False, **settings)
        )
        self.average = [p.detach().clone() for p in self.parameters]
        self.best = [p.detach().clone() for p in self.parameters]

    def advance(self, step: int, loss: Callable[[], Tensor]) -> None:
        """Step number ``step``, from 0, down the gradient of a loss, averaged over the processes."""
        rate = self.options.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss().backward()
        _distributed.average_gradients(self.parameters)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.options.clip)
        if not bool(torch.isfinite(norm)):
            raise ArithmeticError(f"The gradient is not finite at step {step}; lower learning_rate (now {rate:.1e}).")
        self.optimizer.step()
        # A young average would remember the initial weights: its memory grows with the number of steps.
        memory = min(self.options.average, (2 + step) / (11 + step)) if self.options.average > 0 else 0.0
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

    def save_best(self) -> None:
        """The averaged weights are the best so far."""
        _assign(self.best, self.average)

    def load_best(self) -> None:
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
        """The state that :meth:`tensors` gave."""
        for name, p, mean, best in zip(self.names, self.parameters, self.average, self.best, strict=True):
            _assign([p, mean, best], [tensors[f"{kind}/{name}"] for kind in ("weights", "average", "best")])
            prefix = f"optimizer/{name}/"
            # Steps are counted on the CPU; the moments live beside their parameter.
            self.optimizer.state[p] = {
                key.removeprefix(prefix): value if value.ndim == 0 and key.endswith("/step") else value.to(p.device)
                for key, value in tensors.items()
                if key.startswith(prefix)
            }


def _assign(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for target, value in zip(targets, values, strict=True):
            target.copy_(value)
