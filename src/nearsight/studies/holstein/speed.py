"""What a force costs, exact and learned."""

from __future__ import annotations

import time

import torch

from nearsight.analysis import Verdict
from nearsight.forcefields import ForceField, SumForceField
from nearsight.studies.holstein.config import Config
from nearsight.studies.holstein.physics import hot, teacher
from nearsight.training.workers import threads

CALLS = 9
TARGET = 100.0
"""Exact time over learned time on 30 × 30 sites; a smaller lattice is timed but not judged."""


def compare(config: Config, learned: SumForceField) -> list[Verdict]:
    """Seconds for one force of the electrons, both on one thread of this machine; the springs are the same for both."""
    exact = teacher(config, config.comparison.speed_length).electrons
    electrons: ForceField = learned.parts[0]  # type: ignore[assignment]
    field = hot(config, exact.lattice, 1, torch.Generator().manual_seed(0))
    dtype = next(learned.parameters()).dtype
    with threads(1):
        slow, fast = seconds(exact, field), seconds(electrons.on(exact.lattice), field.to(dtype))
    side = config.comparison.speed_length
    return [
        Verdict(
            f"electron force on {side} × {side}, one thread",
            exact=f"{1e3 * slow:.3g} ms",
            learned=f"{1e3 * fast:.3g} ms",
            target=f"{TARGET:.0f} times faster",
            passed=slow / fast >= TARGET if side >= 30 else None,
            note=f"{slow / fast:.3g} times faster, median of {CALLS} calls each",
        )
    ]


def seconds(forcefield: ForceField, field: torch.Tensor) -> float:
    """Time of one call, the median of a few after one that warms up."""
    times = []
    with torch.no_grad():
        for _ in range(CALLS + 1):
            start = time.perf_counter()
            forcefield(field)
            times.append(time.perf_counter() - start)
    return sorted(times[1:])[CALLS // 2]
