"""Independent tasks, one after the other, on local processes, or on a cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from nearsight.parallel._processes import DIED, on_processes, unpacked

if TYPE_CHECKING:
    from distributed import Client

MINUTE = 60.0
"""Seconds between two lines of progress where there is no terminal."""


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g} {self.unit}/s")


class _Lines(Progress):
    """Where no terminal redraws a bar: a line a minute."""

    def start(self) -> None:
        self.told = time.monotonic()

    def stop(self) -> None:
        """There is nothing to be taken down."""

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._tell(task_id)

    def _tell(self, number: TaskID) -> None:
        if self.disable or time.monotonic() - self.told < MINUTE:
            return
        self.told = time.monotonic()
        task = self._tasks[number]
        left = "" if task.time_remaining is None else f", {timedelta(seconds=int(task.time_remaining))} left"
        line = f"{task.description} {task.completed:.0f}/{task.total:.0f}{left}"
        self.console.print(line, highlight=False, markup=False)


def progress_bar(show: bool = True, *, unit: str = "") -> Progress:
    """A bar that counts tasks, or steps, and guesses the time that remains; with a unit it tells how many a second.

    It goes to standard error: a bar in a terminal or a notebook, a line a minute elsewhere.
    """
    console = Console(stderr=True)
    rate = [_Rate(unit)] if unit else []
    name, count = TextColumn("{task.description}", markup=False), MofNCompleteColumn()
    kind = Progress if console.is_terminal or console.is_jupyter else _Lines
    return kind(name, BarColumn(), count, *rate, TimeRemainingColumn(), console=console, disable=not show)


def completed(
    function: Callable[..., Any],
    shared: Any,
    tasks: Sequence[tuple[Any, ...]],
    *,
    workers: int = 1,
    client: Client | None = None,
) -> Iterator[tuple[int, Any]]:
    """(number of the task, ``function(shared, *task)``) as they finish; the rest as in :func:`resumable`.

    Local processes never import the script that called and so need no main guard; functions and classes of the script
    travel with the tasks. They talk through pipes that nobody else can open, and end with this process however it ends.
    """
    if client is not None:
        yield from _on_cluster(function, shared, tasks, client)
    elif min(workers, len(tasks)) > 1:
        yield from on_processes(function, shared, tasks, min(workers, len(tasks)))
    else:
        for number, task in enumerate(tasks):
            yield number, function(shared, *task)


def _on_cluster(
    function: Callable[..., Any], shared: Any, tasks: Sequence[tuple[Any, ...]], client: Client
) -> Iterator[tuple[int, Any]]:
    import cloudpickle
    from distributed import as_completed

    client.wait_for_workers(1)
    # Bytes, which a worker takes whatever it can import: what fails in reading them fails in a task, and is told.
    [handle] = client.scatter([cloudpickle.dumps(shared)], broadcast=True, hash=False)
    futures = {client.submit(_call, handle, function, *task, pure=False): number for number, task in enumerate(tasks)}
    try:
        for future in as_completed(list(futures), loop=client.loop):
            with _deaths():
                result = future.result()
            yield futures[future], result
    finally:
        client.cancel(list(futures))


_READ: dict[int, tuple[bytes, Any]] = {}


def _call(packed: bytes, function: Callable[..., Any], *task: Any) -> Any:
    """On a worker: what was sent is unpacked once, and again only for another computation."""
    if id(packed) not in _READ:
        found = unpacked(packed)
        _READ.clear()
        # The bytes are kept with it, so that no other object has their id.
        _READ[id(packed)] = packed, found
    return function(_READ[id(packed)][1], *task)


@contextlib.contextmanager
def _deaths() -> Iterator[None]:
    """What a scheduler says when workers die: over one task several times, or all of them with what was sent."""
    from distributed import CancelledError, KilledWorker

    try:
        yield
    except (KilledWorker, CancelledError) as error:
        raise RuntimeError(DIED) from error
