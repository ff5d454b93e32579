"""Tasks on processes of this machine."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SINGLE = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
DIED = (
    "Workers died over a task: out of memory, most likely, or a crash in compiled code. Take fewer workers; workers=1 "
    "shows what happens."
)
STOPS = (signal.SIGINT, signal.SIGTERM)


def on_processes(
    function: Callable[..., Any], shared: Any, tasks: Sequence[tuple[Any, ...]], workers: int
) -> Iterator[tuple[int, Any]]:
    """(number, ``function(shared, *task)``) as they finish; see :func:`nearsight.parallel.tasks.completed`.

    Why not a local Dask cluster: its workers import the script that called, which then needs a main guard, and its
    scheduler listens on a port that every user of the machine may open.
    """
    left = dict(enumerate(tasks))
    for again in (True, False):
        try:
            for number, result in _pool(function, shared, left, workers):
                del left[number]
                yield number, result
            return
        except BrokenProcessPool as error:
            # The second death proves that it is the task.
            if not again:
                raise RuntimeError(DIED) from error


def unpacked(work: bytes) -> Any:
    """On a worker: what was sent to it."""
    try:
        return pickle.loads(work)
    except Exception as error:
        raise RuntimeError(
            f"A worker cannot read its work: {type(error).__name__}: {error}. Workers need the packages and "
            f"sources of the process that started them; workers=1 works without workers."
        ) from error


def _pool(
    function: Callable[..., Any], shared: Any, tasks: Mapping[int, tuple[Any, ...]], workers: int
) -> Iterator[tuple[int, Any]]:
    import cloudpickle

    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="nearsight-") as folder:
        # A file and not an argument: a process that starts reads its arguments late, and the next one would wait.
        work = Path(folder) / "work"
        work.write_bytes(cloudpickle.dumps((function, shared)))
        # An executor for each process: while one starts its second, it may find itself breaking up over its first.
        pools = [ProcessPoolExecutor(1, context, _begin, (theirs, work)) for _ in range(workers)]
        packed = ((number, cloudpickle.dumps(task)) for number, task in list(tasks.items()))
        running: dict[Future[bytes], tuple[int, ProcessPoolExecutor]] = {}

        def give(pool: ProcessPoolExecutor) -> None:
            for number, task in itertools.islice(packed, 1):
                running[pool.submit(_call, task)] = number, pool

        try:
            try:
                with _quiet_start():
                    for pool in pools:
                        give(pool)
            except OSError as error:  # a pipe to a process that has died already
                raise BrokenProcessPool("A worker died as it started.") from error
            while running:
                done = wait(running, return_when=FIRST_COMPLETED).done
                for future in sorted(done, key=lambda future: running[future][0]):
                    number, pool = running.pop(future)
                    result = _result(future.result())
                    give(pool)
                    yield number, result
        except BaseException:
            ours.close()  # the workers end at once
            raise
        finally:
            for pool in pools:
                with contextlib.suppress(OSError):  # a pool that is breaking up just now
                    pool.shutdown(cancel_futures=True)
            ours.close()
            theirs.close()


def _result(packed: bytes) -> Any:
    failed, found = pickle.loads(packed)
    if failed:
        raise found
    return found


@contextlib.contextmanager
def _quiet_start() -> Iterator[None]:
    """Processes that start inside have one thread, do not import the script that runs here, and leave Ctrl-C to us.

    A blocked signal waits for this process, and is inherited by those that start.
    """
    main, environment = sys.modules["__main__"], {name: os.environ.get(name) for name in SINGLE}
    blocks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS) if blocks else None
    try:
        sys.modules["__main__"] = types.ModuleType("__main__")
        os.environ.update(SINGLE)
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in environment.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- on a worker ----------------------------------------------------------------------------------------------------

_WORK: list[Any] = []


def _begin(parent: Connection, work: Path) -> None:
    for stop in STOPS:
        signal.signal(stop, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _WORK[:] = [work]


def _end_with(parent: Connection) -> None:
    """End as soon as nobody holds the other end of the pipe: the parent has been killed, or wants no more."""
    with contextlib.suppress(EOFError, OSError):
        parent.recv()
    os._exit(1)


def _call(task: bytes) -> bytes:
    import cloudpickle

    try:
        if isinstance(_WORK[0], Path):
            _WORK[:] = unpacked(_WORK[0].read_bytes())
        function, shared = _WORK
        return cloudpickle.dumps((False, function(shared, *pickle.loads(task))))
    except Exception as error:
        error.add_note(f"On a worker:\n{traceback.format_exc()}")
        try:
            return cloudpickle.dumps((True, error))
        except Exception:
            return cloudpickle.dumps((True, RuntimeError(f"{type(error).__name__} on a worker: {error}")))
