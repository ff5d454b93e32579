"""A Dask scheduler that takes every list of tasks: one that runs already, or one of our own with workers from SLURM."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import signal
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearsight._validation import choice, filename, integer

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 30
"""Seconds in which a scheduler must answer. Workers are waited for as long as a queue takes."""

_CLIENT: ContextVar[Client | None] = ContextVar("client", default=None)


def _current_client() -> Client | None:
    """The client of the innermost :func:`cluster` around the call."""
    return _CLIENT.get()


@contextlib.contextmanager
def cluster(*, scheduler: str | None = None, slurm: str | Path | None = None) -> Iterator[Client | None]:
    """Inside, every list of independent tasks that names no workers goes to the workers of a Dask scheduler.

    With neither argument nothing changes. The results are the same, bit for bit, if the machines compute alike.

    Parameters
    ----------
    scheduler: address of a running scheduler, such as "tcp://node7:8786".
    slurm: a YAML file with keyword arguments of ``dask_jobqueue.SLURMCluster``: ``cores`` and ``memory`` of one job,
        ``n_workers`` to start, and what your queue asks for. A worker has one thread unless ``processes`` says
        otherwise. Jobs are queued at the start and cancelled at the end.

    Raises ``ValueError`` for a file or address that cannot be meant, ``ImportError`` that names the extra if Dask is
    missing, and ``OSError`` if no scheduler answers.
    """
    if scheduler is None and slurm is None:
        yield None
        return
    if scheduler is not None and slurm is not None:
        raise ValueError("Workers come from a running scheduler or from SLURM; name one of the two.")
    with contextlib.ExitStack() as stack:
        if slurm is not None:
            place = stack.enter_context(_slurm_cluster(filename(slurm, "slurm")))
        elif re.fullmatch(r"([a-z]+://)?\S+:\d+", str(scheduler)):
            place = scheduler
        else:
            raise ValueError(f"The address of a scheduler is like tcp://HOST:8786, got {scheduler!r}.")
        distributed = _extra("distributed", "cluster")
        client = stack.enter_context(distributed.Client(place, timeout=PATIENCE, set_as_default=False))
        token = _CLIENT.set(client)
        try:
            yield client
        finally:
            _CLIENT.reset(token)


def _slurm_cluster(file: Path) -> Any:
    from nearsight.storage import read_yaml

    options = read_yaml(file, cure="It lists keyword arguments of SLURMCluster, one a line, such as cores: 4.")
    if not isinstance(options, dict):
        raise ValueError(f"{file} must list keyword arguments of SLURMCluster, one a line, such as cores: 4.")
    for name in ("cores", "memory", "n_workers"):
        if name not in options:
            raise ValueError(f"{file} lacks {name}: give cores and memory of one job, and n_workers to start.")
    for name in ("cores", "n_workers"):
        integer(options[name], f"{name} in {file}", least=1)
    kind = _extra("dask_jobqueue", "slurm").SLURMCluster
    base = next(k for k in kind.__mro__ if k.__name__ == "JobQueueCluster")
    given = [p for k in (*kind.job_cls.__mro__, base) for p in inspect.signature(k.__init__).parameters.values()]
    known = {p.name for p in given if p.default is not p.empty}
    for name in options:
        choice(name, f"The name of an option in {file}", sorted(known))
    return kind(**{"processes": options["cores"], **options})


def _extra(module: str, extra: str) -> Any:
    # dask_jobqueue takes Ctrl-C for itself when it is imported, after which no program would hear of it.
    interrupt = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is missing ({error}): pip install 'nearsight[{extra}]'.") from error
    finally:
        if interrupt is not None:
            signal.signal(signal.SIGINT, interrupt)
