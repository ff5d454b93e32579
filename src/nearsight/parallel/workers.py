"""The cores of this machine: how many, and how many threads use them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

WORTHWHILE = 6.0
"""Seconds of work above which local processes are started by default: starting them takes 2 to 3."""


def cores() -> int:
    """Cores this process may use: those the system lets it have, and at most ``NEARSIGHT_CORES`` where that is set."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = os.environ.get("NEARSIGHT_CORES", "").strip()
    if not most:
        return there
    if not most.isdecimal() or int(most) < 1:
        raise ValueError(f"NEARSIGHT_CORES = {most!r} is no number of cores; set it to 1 or more, or unset it.")
    return min(there, int(most))


@contextlib.contextmanager
def threads(number: int | None) -> Iterator[None]:
    """So many threads of torch inside the block (None: as before it).

    With one, small matrices lose nothing, and the last bits of a result do not depend on how many threads there are.
    """
    import torch  # here, because a worker whose task needs no torch starts in a tenth of the time

    before = torch.get_num_threads()
    try:
        if number is not None:
            torch.set_num_threads(number)
        yield
    finally:
        torch.set_num_threads(before)
