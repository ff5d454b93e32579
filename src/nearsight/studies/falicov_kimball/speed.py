"""What an attempt costs: diagonalisations, Green's functions, learned energies."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from nearsight.analysis import Verdict
from nearsight.moves import MoveEnergies
from nearsight.parallel import threads
from nearsight.studies.falicov_kimball.config import Config
from nearsight.studies.falicov_kimball.physics import exact, scattered, scheme
from nearsight.studies.run import Run
from nearsight.studies.speed import seconds

EXACT_TARGET = 100.0
"""Times faster than the four diagonalisations that the thesis spends on an attempt, on 30 × 30 sites."""
LEARNED_TARGET = 1e4
"""Attempts per second, on all cores together."""
STEPS = 5


def compare(run: Run, config: Config, student: MoveEnergies) -> list[Verdict]:
    """Both processes on one thread of this machine, in one go: random positions, which accept most."""
    with threads(1):
        return [exact_speed(run, config), learned_speed(run, config, student)]


def exact_speed(run: Run, config: Config) -> Verdict:
    length = config.comparison.speed_length
    energies = exact(config, length)
    field = scattered(config, energies.lattice, 1, run.rng("speed"))[0]
    per_attempt, accepted = attempt(config, energies, field, run.rng("speed", "chance"))
    # Levels are all that a free energy needs: no eigenvectors, no forces.
    four = 4 * seconds(lambda n: torch.linalg.eigvalsh(energies.model.matrix(n)), field)
    return Verdict(
        f"one exact attempt on {length} × {length} against four diagonalisations, one thread",
        exact=f"{1e3 * per_attempt:.3g} ms, {1e3 * four:.3g} ms",
        target=f"{EXACT_TARGET:.0f} times faster",
        passed=four / per_attempt >= EXACT_TARGET if length >= 30 else None,
        note=f"{four / per_attempt:.3g} times faster at an acceptance of {accepted:.2g}, which falls later",
    )


def learned_speed(run: Run, config: Config, student: MoveEnergies) -> Verdict:
    rates = {}
    for length in config.large.speed_lengths:
        energies = student.on(exact(config, 4).lattice.resized(length, length))
        field = scattered(config, energies.lattice, 1, run.rng("speed", length))[0]
        rates[length] = 1.0 / attempt(config, energies, field, run.rng("speed", "chance"))[0]
    slowest = min(rates.values())
    return Verdict(
        "learned attempts per second, random positions, one thread",
        learned="; ".join(f"{rate:.3g} on {length} × {length}" for length, rate in rates.items()),
        target=f"≥ {LEARNED_TARGET:.0e} on two cores",
        passed=2 * slowest >= LEARNED_TARGET,
    )


def attempt(config: Config, energies: MoveEnergies, field: Tensor, rng: torch.Generator) -> tuple[float, float]:
    """Seconds of one attempt and the share that is accepted, over the first steps of a quench."""
    rule = scheme(config, energies)
    state = rule.step(rule.start(field, None, rng), None, rng)  # compiled by now
    before = float(state.tally["accepted"])
    start = time.perf_counter()
    for _ in range(STEPS):
        state = rule.step(state, None, rng)
    count = STEPS * float(field.sum())
    return (time.perf_counter() - start) / count, (float(state.tally["accepted"]) - before) / count
