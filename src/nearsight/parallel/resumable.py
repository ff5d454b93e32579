"""Independent tasks whose results are kept as they come, so that killed work goes on where it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nearsight._validation import filename, integer
from nearsight.parallel.clusters import _current_client
from nearsight.parallel.tasks import completed, progress_bar
from nearsight.parallel.workers import WORTHWHILE, cores

if TYPE_CHECKING:
    from distributed import Client

    from nearsight.storage.table import Table

T = TypeVar("T", bound="Table")


def resumable(
    function: Callable[..., Any],
    tasks: Iterable[tuple[Any, ...]],
    folder: str | Path | None = None,
    *,
    shared: tuple[Any, ...] = (),
    plan: Mapping[str, Any] | None = None,
    workers: int | None = None,
    client: Client | None = None,
    seconds: float | None = None,
    title: str = "tasks",
    progress: bool = True,
) -> Sequence[Any]:
    """``function(*shared, *task)`` for every task, in the order of the tasks.

    With a ``folder`` every result, a dict of tensors or arrays by name, is kept there as soon as it is finished, in one
    hashed file. Killed at any moment, the same call finds what is there, makes the rest, and ends with the same bits if
    a task's result follows from its arguments alone. A file that was damaged meanwhile is named by a
    ``storage.DamagedFileWarning`` and made again. The results are read from the folder when they are asked for.
    Without a folder results are whatever the function returns: for work of seconds, or tasks that keep their own.

    Parameters
    ----------
    shared: first arguments of all tasks, which travel to every worker once.
    plan: plain data that decide the results. A folder with the results of another plan is refused, and the difference
        named.
    workers: local processes of one thread each; 0 or 1 works in this process. By default one for every core, or this
        process if the work is a matter of seconds.
    client: a :class:`distributed.Client` of your own, to whose workers the tasks go; by default that of
        :func:`cluster`, if the call is made inside one. Workers need no common file system: results come back to
        this process, which alone writes.
    seconds: what all tasks together would take on one core, if known.
    title: what the progress bar counts.

    Raises what a task raises, a ``RuntimeError`` if workers die over a task, and ``storage.LockedError`` if another
    process works in the folder.
    """
    tasks = list(tasks)
    workers = None if workers is None else integer(workers, "workers", least=0)

    def work(missing: Sequence[int], keep: Callable[[int, Any], None]) -> None:
        if not missing:
            return
        number = workers
        if number is None:
            left = None if seconds is None else seconds * len(missing) / len(tasks)
            number = cores() if left is None or left >= WORTHWHILE else 1
        place = client or (_current_client() if workers is None else None)
        with progress_bar(progress) as bar:
            shown = bar.add_task(title, total=len(tasks), completed=len(tasks) - len(missing))
            todo = [tasks[k] for k in missing]
            for k, result in completed(_apply, (function, *shared), todo, workers=number, client=place):
                keep(missing[k], result)
                bar.advance(shown)

    if folder is None:
        results: list[Any] = [None] * len(tasks)
        work(range(len(tasks)), results.__setitem__)
        return results
    # Not at the head: a worker imports this package, and starts in a tenth of the time if its task needs no torch.
    from nearsight.parallel.parts import Parts
    from nearsight.storage import lock

    folder = filename(folder, "folder")
    with lock(folder, beside=True):
        parts = Parts(folder, len(tasks), {"tasks": len(tasks)} if plan is None else plan)
        work(parts.missing(), parts.save)
    return parts


def once(
    kind: type[T], path: Path, plan: Mapping[str, Any], build: Callable[[Path], Path], *, resume: bool = True
) -> T:
    """The table at ``path``, which ``build(folder)`` makes somewhere in a folder for its parts if it is not there.

    Only one process makes it, it appears as a whole, and the folder ``path.parts`` goes. A table that was made by
    another plan is refused; without ``resume`` so is any that is there, finished or not.
    """
    from nearsight.parallel.parts import _refuse_other
    from nearsight.storage import lock, recover, tidy

    folder = path.with_name(path.name + ".parts")
    recover(path)
    if not resume and (path.exists() or folder.exists()):
        raise FileExistsError(
            f"{path if path.exists() else folder} exists; delete it, or pass resume=True to go on with it."
        )
    if not path.exists():
        with lock(path, beside=True):
            if not path.exists():  # nor has another process finished it meanwhile
                tidy(path)
                os.rename(build(folder), path)
    table = kind.open(path)
    _refuse_other(table.attrs, plan, path)
    shutil.rmtree(folder, ignore_errors=True)
    return table


def _apply(shared: tuple[Any, ...], *task: Any) -> Any:
    function, *first = shared
    return function(*first, *task)
