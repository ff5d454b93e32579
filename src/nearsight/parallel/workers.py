"""The cores of this machine: how many, and how many threads use them."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator

WORTHWHILE = 6.0
"""Seconds of work above which local processes are started by default: starting them takes 2 to 3."""
WALL, PROCESSOR = 0.75, 1.5
"""What twice as many threads may take at most, in units of the seconds and of the processor seconds before."""
ROUNDS, PATIENCE = 10, 2.0
"""Calls with each number of threads at most, and seconds after which three are enough."""


def cores() -> int:
    """Cores this process may use: those the system lets it have, and at most ``NEARSIGHT_CORES`` where that is set."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = os.environ.get("NEARSIGHT_CORES", "").strip()
    if not most:
        return there
    if not most.isdecimal() or int(most) < 1:
        raise ValueError(f"NEARSIGHT_CORES = {most!r} is no number of cores; set it to 1 or more, or unset it.")
    return min(there, int(most))


@contextlib.contextmanager
def threads(number: int | None) -> Iterator[None]:
    """So many threads of torch inside the block (None: as before it).

    With one, small matrices lose nothing, and the last bits of a result do not depend on how many threads there are.
    """
    import torch  # here, because a worker whose task needs no torch starts in a tenth of the time

    before = torch.get_num_threads()
    try:
        if number is not None:
            torch.set_num_threads(number)
        yield
    finally:
        torch.set_num_threads(before)


def fastest_threads(work: Callable[[], object], most: int) -> int:
    """The number of torch's threads, of 1, 2, 4, ... up to ``most``, with which ``work`` is done soonest.

    Twice as many threads are taken only where they clearly pay on the machine as it is now: ``work`` must take at most
    three quarters of the seconds and one and a half times the processor seconds (medians of calls taken in turn). Where
    other programs use the cores, threads wait for each other, spinning, and are many times slower than one.

    Costs some seconds, or six calls of ``work`` for each doubling where one call takes longer than that.
    """
    with threads(1):
        best = 1
        while 2 * best <= most:
            one, two = _in_turn(work, (best, 2 * best))
            if two[0] > WALL * one[0] or two[1] > PROCESSOR * one[1]:
                break
            best *= 2
    return best


def _in_turn(work: Callable[[], object], numbers: tuple[int, ...]) -> list[tuple[float, float]]:
    """Median seconds and processor seconds of ``work`` for numbers of threads; the first call of each is not counted,
    as it starts threads and fills caches."""
    import torch

    found: list[list[tuple[float, float]]] = [[] for _ in numbers]
    begun = time.perf_counter()
    while len(found[0]) < 3 or (len(found[0]) < ROUNDS and time.perf_counter() - begun < PATIENCE):
        for number, times in zip(numbers, found, strict=True):
            torch.set_num_threads(number)
            wall, processor = time.perf_counter(), time.process_time()
            work()
            times.append((time.perf_counter() - wall, time.process_time() - processor))
    return [tuple(map(statistics.median, zip(*times[1:], strict=True))) for times in found]
