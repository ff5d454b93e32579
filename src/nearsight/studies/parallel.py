"""Independent tasks on all cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nearsight.training.workers import WORTHWHILE, cores, local_client


def run(function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], *, seconds: float, title: str) -> list[Any]:
    """``function(*task)`` for every task, in their order; ``seconds`` is a guess of the whole work.

    Long work is shared by one process for every core (Dask), which end with this process even if it is killed. Tasks
    keep their own progress on disk, where a resumed run finds it.
    """
    workers = min(cores(), len(tasks))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        shown = bar.add_task(title, total=len(tasks))
        if workers < 2 or seconds < WORTHWHILE:
            results = []
            for task in tasks:
                results.append(function(*task))
                bar.advance(shown)
            return results
        from distributed import as_completed

        with local_client(workers) as client:
            futures = [client.submit(function, *task, pure=False) for task in tasks]
            for future in as_completed(futures):
                future.result()
                bar.advance(shown)
            return [future.result() for future in futures]
