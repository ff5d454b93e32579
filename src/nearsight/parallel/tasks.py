"""Independent tasks, one after the other, on local processes, or on a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from nearsight.parallel._processes import DIED, on_processes, unpacked

if TYPE_CHECKING:
    from distributed import Client


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g} {self.unit}/s")


def progress_bar(show: bool = True, *, unit: str = "") -> Progress:
    """A bar that counts tasks, or steps, and guesses the time that remains; with a unit it tells how many a second."""
    rate = [_Rate(unit)] if unit else []
    name, count = TextColumn("{task.description}", markup=False), MofNCompleteColumn()
    return Progress(name, BarColumn(), count, *rate, TimeRemainingColumn(), disable=not show)


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
