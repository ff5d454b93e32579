"""Independent tasks, one after the other or on local processes."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nearsight.parallel.workers import local_client

if TYPE_CHECKING:
    from distributed import Client


def refuse_in_child() -> None:
    """A script without a main guard is run again by each of its workers: say so, start no workers of workers."""
    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        raise RuntimeError(
            'Workers import the script again: put its calls below `if __name__ == "__main__":`, or pass workers=1.'
        )


def progress_bar(show: bool = True) -> Progress:
    """A bar that counts tasks, or steps, and guesses the time that remains."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), disable=not show
    )


def completed(
    function: Callable[..., Any],
    shared: Any,
    tasks: Sequence[tuple[Any, ...]],
    *,
    workers: int = 1,
    client: Client | None = None,
) -> Iterator[tuple[int, Any]]:
    """(number of the task, ``function(shared, *task)``) as they finish; ``shared`` travels to every worker once.

    With ``workers`` 0 or 1, and no ``client`` of your own (SLURM), the tasks run in this process in their order.
    """
    if client is None and min(workers, len(tasks)) <= 1:
        for number, task in enumerate(tasks):
            yield number, function(shared, *task)
        return
    refuse_in_child()
    from distributed import as_completed

    with contextlib.ExitStack() as stack:
        if client is None:
            client = stack.enter_context(local_client(min(workers, len(tasks))))
        [handle] = client.scatter([shared], broadcast=True, hash=False)
        futures = {client.submit(function, handle, *task, pure=False): number for number, task in enumerate(tasks)}
        try:
            for future, result in as_completed(futures, with_results=True):
                yield futures[future], result
        finally:
            client.cancel(list(futures))
