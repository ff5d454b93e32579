"""Seconds of a call on a machine that others use too."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor


def best(call: Callable[[], object], seconds: float = 0.3, *, clock: Callable[[], float] = time.perf_counter) -> float:
    """The fastest of the calls that fit into ``seconds`` (three at least): the time the machine needs undisturbed.

    One call before warms up. With ``time.process_time`` as clock, work of others on the same core does not count.
    """
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = clock()
        call()
        times.append(clock() - start)
    return min(times)


def in_turn(calls: dict[str, Callable[[], object]], rounds: int = 5, patience: float = 0.0) -> dict[str, float]:
    """Processor seconds of the fastest call of each, taken in turn; slow ones are called once a round, fast ones for
    ``patience``."""
    fastest = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            spent = 0.0
            while spent == 0.0 or spent + fastest[name] < patience:
                start = time.process_time()
                call()
                seconds = time.process_time() - start
                fastest[name], spent = min(fastest[name], seconds), spent + seconds
    return fastest


def passes(function: Callable[[Tensor], Tensor], field: Tensor, seconds: float = 0.3) -> tuple[float, float]:
    """Microseconds per site of ``function(field)`` without a graph, and of its value with the gradient by the field."""
    sites = field.shape[-2] * field[..., 0, 0].numel()

    def forward() -> None:
        with torch.no_grad():
            function(field)

    def both() -> None:
        leaf = field.clone().requires_grad_()
        function(leaf).sum().backward()

    return 1e6 * best(forward, seconds) / sites, 1e6 * best(both, seconds) / sites
