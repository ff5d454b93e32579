"""Independent tasks on all cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nearsight.parallel import WORTHWHILE, completed, cores, progress_bar


def run(function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], *, seconds: float, title: str) -> list[Any]:
    """``function(*task)`` for every task, in their order; ``seconds`` is a guess of the whole work.

    Long work is shared by one process for every core, which end with this process even if it is killed. Tasks
    keep their own progress on disk, where a resumed run finds it.
    """
    workers = min(cores(), len(tasks)) if seconds >= WORTHWHILE else 1
    results: list[Any] = [None] * len(tasks)
    with progress_bar() as bar:
        shown = bar.add_task(title, total=len(tasks))
        for number, result in completed(_call, function, tasks, workers=workers):
            results[number] = result
            bar.advance(shown)
    return results


def _call(function: Callable[..., Any], *task: Any) -> Any:
    return function(*task)
