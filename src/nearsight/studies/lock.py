"""One process in one run folder."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path


class RunLockedError(RuntimeError):
    """Another process works in this run folder."""


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold ``folder/lock`` while the block runs.

    The file names the process that holds it. A lock whose process has died on this machine is taken over; a process on
    another machine cannot be asked, so its lock must be removed by hand.
    """
    path = folder / "lock"
    claim = folder / f".lock.{os.getpid()}"
    claim.write_text(json.dumps(_this_process()))
    try:
        while True:
            try:
                os.link(claim, path)  # appears with its content, or not at all, also on a network file system
                break
            except FileExistsError:
                _remove_if_stale(path)
    finally:
        claim.unlink()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _remove_if_stale(path: Path) -> None:
    try:
        holder = json.loads(path.read_text())
        host, pid, started = holder["host"], int(holder["pid"]), holder["started"]
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        raise RunLockedError(f"{path} is damaged. Delete it if no process works in {path.parent}.") from None
    if host != platform.node():
        raise RunLockedError(
            f"{path.parent} is in use by process {pid} on {host}, which cannot be asked from here. "
            f"Delete {path} if that process is gone."
        )
    if _alive(pid, started):
        raise RunLockedError(f"{path.parent} is in use by process {pid}. Wait for it, or give this run another name.")
    # Of two processes that find the same dead holder only one succeeds in moving its lock aside.
    aside = path.with_name(f".lock.stale.{os.getpid()}.{time.monotonic_ns()}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
        if json.loads(aside.read_text()) != holder:  # a third process was faster: its claim stands
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()


def _this_process() -> dict[str, object]:
    return {"host": platform.node(), "pid": os.getpid(), "started": _start_time(os.getpid())}


def _alive(pid: int, started: str | None) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    # Process numbers are reused; the start time tells two processes of one number apart where the system reports it.
    return started is None or _start_time(pid) == started


def _start_time(pid: int) -> str | None:
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if status[0] == "Z" else status[19]
