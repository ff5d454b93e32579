"""The cores of this machine: how many, how many threads use one, and processes on each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from distributed import Client

WORTHWHILE = 6.0
"""Seconds of work above which local processes are started by default: starting two and importing torch takes 2 to 3."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def threads(number: int | None) -> Iterator[None]:
    """So many threads of torch inside the block (None: as before it).

    With one, small matrices lose nothing, and the last bits of a result do not depend on how many threads there are.
    """
    before = torch.get_num_threads()
    try:
        if number is not None:
            torch.set_num_threads(number)
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def local_client(workers: int) -> Iterator[Client]:
    """Processes of one thread each on this machine; they end with the caller, even if it is killed."""
    # A LocalCluster of processes and not dask's process scheduler: both start in 1.5 to 2 s, but the cluster hands
    # results back one by one as they finish, restarts a worker that dies, takes its workers along when this process
    # is killed, and is driven by the same calls as a cluster on SLURM. The scheduler also gives short lists of tasks
    # to one process only.
    import dask.config
    from distributed import Client, LocalCluster

    try:
        # The second worker that dies over a task proves that it is the task.
        with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                memory_limit=0,
                silence_logs=50,
            )
    except RuntimeError as error:
        raise RuntimeError(
            'The local workers did not start. In a script, calls belong below `if __name__ == "__main__":`, because '
            "every worker imports the script again; workers=1 works without."
        ) from error
    with cluster, Client(cluster) as client:
        yield client
