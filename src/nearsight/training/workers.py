"""Worker processes on the cores of this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client


@contextlib.contextmanager
def local_client(workers: int) -> Iterator[Client]:
    """Processes of one thread each on this machine; they end with the caller, even if it is killed."""
    # A LocalCluster of processes and not dask's process scheduler: both start in 1.5 to 2 s, but the cluster hands
    # results back one by one as they finish, restarts a worker that dies, takes its workers along when this process
    # is killed, and is driven by the same calls as a cluster on SLURM. The scheduler also gives short lists of tasks
    # to one process only.
    from distributed import Client, LocalCluster

    try:
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
