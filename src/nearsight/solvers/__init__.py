"""One-electron matrices in, density matrices and thermodynamic potentials out."""

from nearsight.solvers.dense import Dense
from nearsight.solvers.solver import Electrons, Solver

__all__ = ["Dense", "Electrons", "Solver"]
