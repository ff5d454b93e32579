"""Data-parallel fits: what the processes of ``torchrun`` tell each other. A single process tells nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


def ranks() -> int:
    """How many processes share a fit."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    if dist.is_available() and dist.is_torchelastic_launched() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RuntimeError(
            "Processes of torchrun that do not know each other would all fit the same. Call "
            "torch.distributed.init_process_group() at the beginning of the script."
        )
    return 1


def rank() -> int:
    """The number of this process, from 0: the first one reads and writes files."""
    return dist.get_rank() if ranks() > 1 else 0


def share(items: Any) -> Any:
    """Of the items of a batch those of this process."""
    return items[rank() :: ranks()]


def from_first(value: Callable[[], T]) -> T:
    """What the first process finds, for all; an exception there is one everywhere."""
    if ranks() == 1:
        return value()
    box: list[Any] = [None, None]
    if rank() == 0:
        try:
            box[0] = value()
        except Exception as error:
            box[1] = error
    dist.broadcast_object_list(box)
    if box[1] is not None:
        raise box[1]
    return box[0]


def copy_first(tensors: Iterable[Tensor]) -> None:
    """Every process takes over these tensors from the first."""
    for tensor in tensors if ranks() > 1 else ():
        value = tensor.detach().contiguous()
        dist.broadcast(value, src=0)
        tensor.detach().copy_(value)


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes, without a graph."""
    if ranks() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / ranks()


def variance(values: Tensor) -> Tensor:
    """The unbiased variance over the batch; of several processes, that whose mean over them, and gradient, it is."""
    if ranks() == 1:
        return values.var()
    centred = values - mean(values.mean())
    return centred.square().sum() * ranks() / (ranks() * len(values) - 1)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Σ w x / Σ w; of several processes, a number whose mean over them, and gradient, it is."""
    return (weights * values).sum() / mean(weights.sum())


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """The same gradients everywhere: their mean over the processes, in one message."""
    if ranks() == 1:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    joined = mean(torch.cat([g.flatten() for g in gradients]))
    for p, gradient in zip(parameters, joined.split([p.numel() for p in parameters]), strict=True):
        p.grad = gradient.view_as(p).clone()
