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
            with _processes() as processes:
                for number, result in processes.run(function, shared, left, workers):
                    del left[number]
                    yield number, result
            return
        except BrokenProcessPool as error:
            # The second death proves that it is the task.
            if not again:
                raise RuntimeError(DIED) from error


@contextlib.contextmanager
def kept_workers() -> Iterator[None]:
    """Inside, the workers that one call starts take the tasks of the next: each costs 2 to 5 seconds to start.

    It is for several calls of :func:`resumable`, or of what is built on it, one after another; a study is carried out
    inside one. Workers that wait hold no results and nothing of the last call. They end with the block, with a call
    that is interrupted or fails, and with the process that started them, however it ends.

    Examples
    --------
    >>> import math
    >>> from nearsight.parallel import kept_workers, resumable
    >>> with kept_workers():
    ...     first = resumable(math.factorial, [(3,), (4,)], workers=2, progress=False)
    ...     second = resumable(math.isqrt, [(n,) for n in first], workers=2, progress=False)
    >>> second
    [2, 4]
    """
    outer, _KEPT[:] = _KEPT[:], [None]
    try:
        yield
    finally:
        inner, _KEPT[:] = _KEPT[0], outer
        if inner is not None:
            inner.close()


_KEPT: list[_Processes | None] = []
"""Empty, or the processes of the innermost block that keeps them, None before the first call."""


@contextlib.contextmanager
def _processes() -> Iterator[_Processes]:
    """Those that are kept, or others that end with the block."""
    there = (_KEPT[0] if _KEPT else None) or _Processes()
    kept = bool(_KEPT)
    if kept:
        _KEPT[0] = None  # until the call has succeeded: nothing goes on with processes that an error has left
    try:
        yield there
    except BaseException:
        there.close(at_once=True)
        raise
    if kept and _KEPT[0] is None:
        _KEPT[0] = there
    else:
        there.close()


def unpacked(work: bytes) -> Any:
    """On a worker: what was sent to it."""
    try:
        return pickle.loads(work)
    except Exception as error:
        raise RuntimeError(
            f"A worker cannot read its work: {type(error).__name__}: {error}. Workers need the packages and "
            f"sources of the process that started them; workers=1 works without workers."
        ) from error


class _Processes:
    """Processes that take tasks until they are closed, and end if this process does."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.theirs, self.ours = self.context.Pipe(duplex=False)
        self.folder = tempfile.TemporaryDirectory(prefix="nearsight-")
        self.pools: list[ProcessPoolExecutor] = []
        self.calls = itertools.count()

    def run(
        self, function: Callable[..., Any], shared: Any, tasks: Mapping[int, tuple[Any, ...]], workers: int
    ) -> Iterator[tuple[int, Any]]:
        import cloudpickle

        # A file and not an argument: a process that starts reads its arguments late, and the next one would wait.
        work = Path(self.folder.name) / f"work-{next(self.calls)}"
        work.write_bytes(cloudpickle.dumps((function, shared)))
        while len(self.pools) < workers:
            # An executor for each process: while one starts its second, it may find itself breaking up over its first.
            self.pools.append(ProcessPoolExecutor(1, self.context, _begin, (self.theirs,)))
        packed = ((number, cloudpickle.dumps(task)) for number, task in list(tasks.items()))
        running: dict[Future[bytes], tuple[int, ProcessPoolExecutor]] = {}

        def give(pool: ProcessPoolExecutor) -> None:
            for number, task in itertools.islice(packed, 1):
                running[pool.submit(_call, work, task)] = number, pool

        try:
            with _quiet_start():
                for pool in self.pools[:workers]:
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
        for pool in self.pools[:workers]:
            pool.submit(_forget)
        work.unlink()

    def close(self, *, at_once: bool = False) -> None:
        """End the processes, when they have finished or, if something has failed, at once."""
        if at_once:
            self.ours.close()
        for pool in self.pools:
            with contextlib.suppress(OSError):  # a pool that is breaking up just now
                pool.shutdown(cancel_futures=True)
        self.ours.close()
        self.theirs.close()
        self.folder.cleanup()


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

_WORK: dict[Path, tuple[Any, ...]] = {}
"""What was last sent: a function and its first arguments, by the file they came in."""


def _begin(parent: Connection) -> None:
    for stop in STOPS:
        signal.signal(stop, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Connection) -> None:
    """End as soon as nobody holds the other end of the pipe: the parent has been killed, or wants no more."""
    with contextlib.suppress(EOFError, OSError):
        parent.recv()
    os._exit(1)


def _forget() -> None:
    _WORK.clear()


def _call(work: Path, task: bytes) -> bytes:
    import cloudpickle

    try:
        if work not in _WORK:
            _WORK.clear()
            _WORK[work] = unpacked(work.read_bytes())
        function, shared = _WORK[work]
        return cloudpickle.dumps((False, function(shared, *pickle.loads(task))))
    except Exception as error:
        error.add_note(f"On a worker:\n{traceback.format_exc()}")
        try:
            return cloudpickle.dumps((True, error))
        except Exception:
            return cloudpickle.dumps((True, RuntimeError(f"{type(error).__name__} on a worker: {error}")))
