"""Which solver of steady states takes less time, by measurement."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from nearsight.solvers.negf._chain import ChainGreen
from nearsight.solvers.negf._driven import DrivenSolver
from nearsight.solvers.negf.closed_form import NEGF
from nearsight.solvers.negf.recursive import RecursiveNEGF, _chain, _positions
from nearsight.solvers.negf.reservoirs import Reservoir
from nearsight.solvers.sparse import SparseMatrix

PROBE = 256
"""Orbitals of the matrix that is diagonalised."""

LARGE = 0.6
"""Operations of large matrices take this part of the time of those of the probe."""

RULE = 15
"""Energies of an interval."""

PANELS, WIDTHS, PER_LEVEL = 24, 10.0, 2.0
"""Intervals of a smooth window, how many widths each may be long, and how many a level that stands alone takes."""


def _choose_driven(
    matrix: SparseMatrix, reservoirs: tuple[Reservoir, ...], orbitals: int, accuracy: float | None
) -> tuple[DrivenSolver, dict[str, float], str]:
    """Solver, expected seconds, and the reason; a flat matrix ``(element,)``."""
    closed = NEGF(*reservoirs, orbitals=orbitals)
    one = SparseMatrix(matrix.pattern, closed._checked(matrix).values[None])
    n = matrix.size
    probe = torch.randn(PROBE, PROBE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a = torch.complex(probe + probe.T, -torch.diag(probe[0].abs())).to(one.values.device)
    seconds = {"NEGF": LARGE * _seconds(lambda: torch.linalg.eig(a)) * (n / PROBE) ** 3}
    if accuracy is None:
        return closed, seconds, "no error is allowed, so every matrix is diagonalised"
    recursive = RecursiveNEGF(*reservoirs, tol=max(accuracy, 1e-12), orbitals=orbitals)
    contacts = recursive._contacts(one)
    own = torch.arange(n, device=one.values.device)
    place = _positions(one.pattern, own, own, own.device)
    try:
        poles = _seconds(lambda: recursive._filled(one, contacts, 0, place))
        energies = 0
        if not recursive.in_equilibrium:
            energies = _energies(recursive, one)
    except ArithmeticError as error:
        return closed, seconds, str(error)
    chain = _chain(one.pattern, contacts.orbitals[recursive._seed(contacts)])
    green = ChainGreen(one, contacts.total, chain)
    sites = torch.cat([contacts.orbitals[r] for group in contacts.groups[1:] for r in group] or [own[:0]]).unique()
    some: Tensor = torch.linspace(-1, 1, min(RULE, green.together), dtype=torch.float64, device=own.device)
    sweep = _seconds(lambda: green.at(some, torch.zeros_like(own[:1]).expand(len(some)), sites)) / len(some)
    seconds["RecursiveNEGF"] = len(contacts.groups) * poles + energies * sweep
    solver: DrivenSolver = closed if seconds["NEGF"] <= seconds["RecursiveNEGF"] else recursive
    words = f"NEGF {seconds['NEGF']:.2g} s, RecursiveNEGF {seconds['RecursiveNEGF']:.2g} s (about {energies} energies)"
    return solver, seconds, f"{words} for {n} orbitals on this machine"


def _energies(solver: RecursiveNEGF, matrix: SparseMatrix) -> int:
    """About how many the window takes, from the number of levels in it."""
    reach = math.log(1 / solver.tol)
    low, high = (
        extreme(r.mu + sign * reach * r.kT for r in solver.reservoirs) for extreme, sign in ((min, -1), (max, 1))
    )
    hot = max(r.kT for r in solver.reservoirs)
    filled = []
    for mu in (low, high):
        alike = RecursiveNEGF(
            *(r.replaced(mu=mu, kT=hot) for r in solver.reservoirs), tol=1e-3, orbitals=solver.orbitals
        )
        none = torch.zeros(0, dtype=torch.long, device=matrix.values.device)
        filled.append(float(alike.solve(matrix, none, none).number.sum()))
    narrowest = float(solver._contacts(matrix).total.min())
    intervals = PER_LEVEL * (filled[1] - filled[0])
    if narrowest:
        intervals = min(intervals, (high - low) / (WIDTHS * narrowest))
    return RULE * (PANELS + int(intervals))


def _seconds(call: object) -> float:
    """The faster of two calls."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        call()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return min(times)
