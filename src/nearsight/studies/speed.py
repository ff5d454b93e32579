"""What a force costs, exact and learned."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from nearsight.forcefields import ForceField
from nearsight.parallel import threads
from nearsight.studies.checks import Above, Check

CALLS = 9
TARGET = 100.0
"""Exact time over learned time on 30 × 30 sites; a smaller lattice is timed but not judged."""


def speedup(exact: ForceField, learned: ForceField, field: torch.Tensor) -> Check:
    """Time of an exact force of the electrons over that of a learned one, both on one thread of this machine."""
    dtype = next(learned.parameters()).dtype
    with threads(1):
        slow, fast = seconds(exact, field), seconds(learned.on(exact.lattice), field.to(dtype))
    shape = exact.lattice.shape
    return Check(
        f"time of an exact over a learned electron force on {' × '.join(map(str, shape))}, one thread",
        value=slow / fast,
        criterion=Above(TARGET) if math.prod(shape) >= 900 else None,
        note=f"{1e3 * slow:.3g} ms and {1e3 * fast:.3g} ms, median of {CALLS} calls each",
    )


def seconds(call: Callable[[torch.Tensor], object], field: torch.Tensor) -> float:
    """Time of one call, the median of a few after one that warms up."""
    times = []
    with torch.no_grad():
        for _ in range(CALLS + 1):
            start = time.perf_counter()
            call(field)
            times.append(time.perf_counter() - start)
    return sorted(times[1:])[CALLS // 2]
