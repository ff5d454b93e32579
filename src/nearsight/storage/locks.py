"""One writer at a time in a folder, on whatever machine it runs."""

from __future__ import annotations

import _thread
import contextlib
import errno
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

LEASE = 120.0
"""Seconds without a sign of life after which a writer counts as gone; file servers may hide a sign for 60 s."""
HEARTBEAT = 5.0
"""Seconds between two signs of life."""

log = logging.getLogger(__name__)
_HELD: dict[Path, int] = {}


class LockedError(RuntimeError):
    """Another process writes here, or has taken this place over."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, by which queues and ``kill`` stop a process: what ends for Ctrl-C ends for it."""


@contextlib.contextmanager
def lock(path: str | Path | None, *, beside: bool = False) -> Iterator[None]:
    """Be the only writer of a folder while the block runs; None locks nothing.

    A hidden file ``path/.lock`` names the process; with ``beside``, for a file or for a folder that appears whole, it
    is ``.NAME.lock`` next to it. A thread touches it every few seconds. A lock whose process has died on this machine
    is taken over at once, any other after two minutes without a sign of life, from whatever machine; clocks need not
    agree. A process that loses its lock so, after a long sleep, stops at its next instruction.

    A block inside a block of the same thread is the same writer: a study that runs a simulation in its folder.

    SIGTERM inside the block raises :class:`Terminated`, so that the lock is released and temporary files go.

    In a folder where this process cannot write it is not locked either: what is finished there can be read.

    Raises :class:`LockedError` if the other process lives, which takes a few seconds to find out.
    """
    if path is None:
        yield
        return
    path = Path(path).absolute()
    marker = path.with_name(f".{path.name}.lock") if beside else path / ".lock"
    if _HELD.get(marker) == threading.get_ident():
        yield
        return
    made = not marker.parent.exists()
    marker.parent.mkdir(parents=True, exist_ok=True)
    interrupt = threading.current_thread() is threading.main_thread()
    lease = SoftFileLease(
        marker,
        lease_duration=LEASE,
        heartbeat_interval=HEARTBEAT,
        on_compromise=lambda _: _thread.interrupt_main() if interrupt else None,
        poll_interval=min(0.5, HEARTBEAT / 4),
    )
    try:
        with _stopped_by_sigterm():
            _acquire(lease, marker, path)
            _HELD[marker] = threading.get_ident()
            try:
                yield
            except KeyboardInterrupt:
                if lease.compromise is None:
                    raise
            finally:
                _HELD.pop(marker, None)
                lease.release()
            if lease.compromise is not None:
                raise LockedError(
                    f"{marker} was taken away ({lease.compromise.reason}): this process gave no sign of life for "
                    f"{LEASE:g} s, or somebody deleted the file. Another process may be writing {path}; wait for it, "
                    f"then resume."
                )
    finally:
        if made:  # and nothing was written
            with contextlib.suppress(OSError):
                marker.parent.rmdir()


def locked(path: str | Path) -> bool:
    """Whether a folder has a writer that has given a sign of life lately."""
    try:
        return time.time() - (Path(path) / ".lock").lstat().st_mtime < LEASE
    except FileNotFoundError:
        return False


def _acquire(lease: SoftFileLease, marker: Path, path: Path) -> None:
    if _tried(lease, 0):
        return
    if lease.is_lock_held_by_us:
        raise LockedError(f"{path} is in use by this process already; wait for the other call, or choose another path.")
    first, start = _sign_of_life(marker), time.monotonic()
    log.warning("%s is marked as in use by %s; looking whether it still lives ...", path, _holder(lease))
    while time.monotonic() - start < LEASE + HEARTBEAT:
        if _tried(lease, HEARTBEAT / 2):
            return
        sign = _sign_of_life(marker)
        if sign is None or first is None or sign[0] != first[0]:  # let go, or taken by another who was faster
            first, start = sign, time.monotonic()
        elif sign != first:
            raise LockedError(
                f"{path} is in use by {_holder(lease)}. Wait for it, or choose another folder or name. (If you know "
                f"that it is gone, delete {marker}.)"
            )
    # A lease is taken over by exchanging two names, which some file systems refuse, above all those of a network.
    with contextlib.suppress(OSError):
        marker.unlink()
    if not _tried(lease, 0):
        raise LockedError(f"{marker} does not let anybody in. Delete it if no process writes {path}.")


def _tried(lease: SoftFileLease, patience: float) -> bool:
    try:
        lease.acquire(timeout=patience)
    except (Timeout, LeaseSettingsMismatch):
        return False
    except OSError as error:
        if os.path.lexists(lease.lock_file):  # another user's, or no file
            time.sleep(patience)
            return False
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return True  # where nothing can be written nothing needs a lock: what is there may be read
        raise
    return True


def _sign_of_life(marker: Path) -> tuple[int, int] | None:
    try:
        found = marker.lstat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _holder(lease: SoftFileLease) -> str:
    owner = lease.owner
    return "a process that left no name" if owner is None else f"process {owner.pid} on {owner.hostname}"


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM as an exception, where nobody else has a use for it."""
    free = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not free:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
