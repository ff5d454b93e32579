"""Independent tasks, one after the other or on local processes."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nearsight.parallel.workers import local_client

if TYPE_CHECKING:
    from distributed import Client


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
    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        raise RuntimeError(
            'Workers import the script again: put its calls below `if __name__ == "__main__":`, or pass workers=1.'
        )
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
