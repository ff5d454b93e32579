"""The fastest solver for a model, by measurement."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nearsight.solvers.dense import Dense
from nearsight.solvers.fermi_poles import fermi_poles
from nearsight.solvers.lanczos import spectrum
from nearsight.solvers.poles import Poles
from nearsight.solvers.solver import Solver
from nearsight.solvers.sparse import Pattern, SparseMatrix

PROBE = 384
"""Size of the matrices whose eigenproblem and product are timed; longer times follow from the number of operations."""

HANDICAP = 2.0
"""Time of an elimination over that of its matrix products alone."""

SHORT = 1.0
"""Seconds that a trial may take; beyond, operations are counted."""

SOLUTIONS = 4
"""How often the poles are solved for one chemical potential at fixed filling."""


class Listed(Protocol):
    """What is asked of a model: a matrix given by its elements (every ``Hamiltonian`` has it)."""

    rows: Tensor
    columns: Tensor

    @property
    def orbitals(self) -> int: ...
    @property
    def positions(self) -> tuple[Tensor, Tensor]: ...
    @property
    def cuts(self) -> Tensor: ...
    def elements(self, field: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Choice:
    """A solver, the seconds each candidate is expected to take for one matrix, and the reason in words."""

    solver: Solver
    seconds: dict[str, float]
    reason: str

    def __str__(self) -> str:
        return f"{self.solver!r}: {self.reason}"


def choose(
    model: Listed,
    field: Tensor,
    *,
    kT: float,
    filling: float | None = None,
    mu: float | None = None,
    accuracy: float | None = 1e-6,
) -> Choice:
    """The solver that takes least time for ``field`` and fields like it ``(site, component)``, on its device.

    The eigenproblem of a small matrix is timed and scaled with n³. :class:`Poles` are tried on the field itself where
    that is a matter of a second, and otherwise counted, Σ n³ over blocks and poles at the speed of a matrix product
    (times the solutions that a chemical potential takes at fixed filling). A few seconds at most, and no dense matrix
    of the size of the model is built. Other users of the machine disturb what is close.

    accuracy: largest error of the elements of ρ; ``None`` wants an exact solver, and so does kT = 0.
    """
    if field.ndim != 2:
        raise ValueError(f"Give one field (site, component) to choose for, got the shape {tuple(field.shape)}.")
    ensemble = {"filling": filling} if filling is not None else {"mu": mu}
    dense = Dense(kT=kT, filling=filling, mu=mu)
    pattern = Pattern(*model.positions, model.orbitals, model.cuts)
    matrix = SparseMatrix(pattern, model.elements(field))
    n, device = model.orbitals, field.device
    dtype = torch.complex128 if matrix.values.is_complex() else torch.float64
    probe = torch.randn(PROBE, PROBE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probe = (probe + probe.mT).to(device)
    seconds = {"Dense": _seconds(lambda: torch.linalg.eigh(probe.to(dtype)), device) * (n / PROBE) ** 3}
    if accuracy is None or kT == 0:
        why = "at kT = 0 the Fermi function is a step" if kT == 0 else "no error is allowed"
        return Choice(dense, seconds, f"{why}, so every matrix is diagonalised")
    try:
        levels = spectrum(matrix, vectors=1)
        centre = float(levels.energy.median()) if mu is None else mu
        count = len(
            fermi_poles(
                (centre - float(levels.lowest)) / kT, (float(levels.highest) - centre) / kT, tol=0.5 * accuracy
            ).z
        )
    except ArithmeticError:
        return Choice(dense, seconds, f"no sum over poles has an error of {accuracy:g} at kT = {kT:g}")
    product = probe.to(torch.complex64 if accuracy >= 1e-6 else torch.complex128)
    order = pattern.dissection(model.rows, model.columns)
    rate = 8.0 * PROBE**3 / _seconds(lambda: product @ product, device)
    one = HANDICAP * count * order.flops / rate
    if one < SHORT:
        # Small blocks cost their overhead, which is measured rather than counted.
        trial = Poles(kT=kT, mu=centre, tol=accuracy)
        one = _seconds(lambda: trial.solve(matrix, model.rows, model.columns), device)
    solutions = 1 if filling is None else SOLUTIONS
    seconds["Poles"] = solutions * one
    poles = Poles(kT=kT, tol=accuracy, **ensemble)
    named: dict[str, Solver] = {"Dense": dense, "Poles": poles}
    best = min(seconds, key=seconds.__getitem__)
    times = ", ".join(f"{name} {value:.2g} s" for name, value in seconds.items())
    return Choice(
        named[best],
        seconds,
        f"{times} for {n} orbitals on this machine ({order!r}, {count} poles, {solutions} solution"
        f"{'s' if solutions > 1 else ''})",
    )


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """The faster of two calls after a first one."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])
