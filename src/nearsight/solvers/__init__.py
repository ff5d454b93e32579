"""One-electron matrices in, density matrices and thermodynamic potentials out."""

from nearsight.solvers.dense import Dense
from nearsight.solvers.fermi_poles import FermiPoles, fermi_poles
from nearsight.solvers.solver import Electrons, Solver

__all__ = ["Dense", "Electrons", "FermiPoles", "Solver", "fermi_poles"]
