"""Independent tasks on all cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nearsight.parallel import resumable


def run(function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], *, seconds: float, title: str) -> list[Any]:
    """``function(*task)`` for every task, in their order; ``seconds`` is a guess of the whole work.

    Long work is shared by one process for every core, which end with this process even if it is killed. Tasks
    keep their own progress on disk, where a resumed run finds it.
    """
    return list(resumable(function, tasks, seconds=seconds, title=title))
