"""Independent tasks, one after the other or on local processes."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nearsight.parallel.workers import local_client

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 60.0
"""Seconds without a single worker after which a computation is given up: starting one takes 2 to 10."""
POLL = 2.0
"""Seconds between two looks at the workers."""


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
    An error in a task is raised here. A ``RuntimeError`` says so if a worker cannot read ``shared``, if workers die
    over a task, or if for a minute there is no local worker; those of a ``client`` are waited for, as long as a queue
    takes.
    """
    if client is None and min(workers, len(tasks)) <= 1:
        for number, task in enumerate(tasks):
            yield number, function(shared, *task)
        return
    refuse_in_child()
    import cloudpickle
    from distributed import wait

    with contextlib.ExitStack() as stack:
        own = client is None
        if client is None:
            client = stack.enter_context(local_client(min(workers, len(tasks))))
        _await_worker(client, PATIENCE if own else math.inf)
        # Bytes, which a worker takes whatever it can import: what fails in reading them fails in a task, and is told.
        [handle] = client.scatter([cloudpickle.dumps(shared)], broadcast=True, hash=False)
        futures = {
            client.submit(_call, handle, function, *task, pure=False): number for number, task in enumerate(tasks)
        }
        try:
            left = set(futures)
            while left:
                with contextlib.suppress(TimeoutError), _deaths():
                    wait(list(left), timeout=POLL, return_when="FIRST_COMPLETED")
                done = {future for future in left if future.done()}
                left -= done
                for future in sorted(done, key=futures.__getitem__):
                    with _deaths():
                        result = future.result()
                    yield futures[future], result
                if not done and own:
                    _await_worker(client, PATIENCE)
        finally:
            client.cancel(list(futures))


_READ: dict[int, tuple[bytes, Any]] = {}


def _call(packed: bytes, function: Callable[..., Any], *task: Any) -> Any:
    """On a worker: what was sent is unpacked once, and again only for another computation."""
    if id(packed) not in _READ:
        try:
            found = pickle.loads(packed)
        except Exception as error:
            raise RuntimeError(
                f"A worker cannot read its work: {type(error).__name__}: {error}. Workers need the packages and "
                f"sources of the process that started them; workers=1 works without workers."
            ) from error
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
        raise RuntimeError(
            "Workers died over a task: out of memory, most likely, or a crash in compiled code. Take fewer workers; "
            "workers=1 shows what happens."
        ) from error


def _await_worker(client: Client, patience: float) -> None:
    """Return as soon as there is a worker; none for so many seconds is an error, and not a reason to wait on."""
    start = time.monotonic()
    while not client.scheduler_info()["workers"]:
        if time.monotonic() - start > patience:
            raise RuntimeError(
                f"No worker has lived for {patience:g} s. A local one that does not start prints its error above: a "
                f"package that cannot be imported, or sources that changed under it; on a cluster, see the logs of "
                f"its jobs. workers=1 works without."
            )
        time.sleep(min(POLL, 0.2))
