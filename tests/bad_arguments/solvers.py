"""Solvers: ensembles, accuracies, probes, matrices."""

import math

import torch

from bad_arguments import NOT_FINITE, NOT_OBJECTS, NOT_WHOLE, each, row
from nearsight.solvers import Chebyshev, Dense, Poles, unit_vectors

GIVEN = [v for v in NOT_FINITE if v is not None]  # None leaves the choice to the other ensemble or the solver
SOLVERS = [Dense, Poles, Chebyshev]
SITES = torch.arange(2)

ROWS = [
    *(r for solver in SOLVERS for r in each(solver, "kT", [*NOT_FINITE, -0.1], mu=0.0)),
    *(r for solver in SOLVERS for r in each(solver, "mu", GIVEN, kT=0.1)),
    *(r for solver in SOLVERS for r in each(solver, "filling", [*GIVEN, 0.0, 1.0, 5], kT=0.1)),
    *(row(solver, kT=0.1) for solver in SOLVERS),
    *each(Poles, "tol", [*NOT_FINITE, 0.0, 1], kT=0.1, mu=0.0),
    *each(Poles, "dtype", ["complex64", torch.float64, 3], kT=0.1, mu=0.0),
    *each(Chebyshev, "accuracy", [*NOT_FINITE, 0.0, 1], kT=0.1, mu=0.0),
    *each(Chebyshev, "moments", [v for v in NOT_WHOLE if v is not None] + [2], kT=0.1, mu=0.0),
    *each(Chebyshev, "margin", [*NOT_FINITE, 0.0, 1], kT=0.1, mu=0.0),
    *each(Chebyshev, "probes", [v for v in NOT_OBJECTS if v is not None] + [unit_vectors], kT=0.1, mu=0.0),
    *each(Chebyshev, "rng", [0, 7, "seed", torch.Generator], kT=0.1, mu=0.0),
    *each(Chebyshev, "kernel", ["jakson", 3], kT=0.1, mu=0.0, moments=64),
    *(
        row(solver(kT=0.1, mu=0.0).solve, matrix, SITES, SITES)
        for solver in SOLVERS
        for matrix in (None, [[1.0]], "h", torch.zeros(2, 3), torch.full((2, 2), math.nan))
    ),
]
