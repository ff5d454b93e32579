"""One-electron matrices in, density matrices and thermodynamic potentials out."""

from nearsight.solvers.chebyshev import Chebyshev, ChebyshevElectrons, DensityOfStates
from nearsight.solvers.choose import Choice, choose
from nearsight.solvers.dense import Dense
from nearsight.solvers.dissection import Dissection
from nearsight.solvers.error_bars import ErrorBars
from nearsight.solvers.fermi_poles import FermiPoles, fermi_poles
from nearsight.solvers.lanczos import Spectrum, spectrum
from nearsight.solvers.local_changes import Drift, LocalChanges
from nearsight.solvers.pair_changes import PairChanges, pair_changes
from nearsight.solvers.poles import Poles
from nearsight.solvers.probing import Probes, coloured_vectors, lattice_colours, random_vectors, unit_vectors
from nearsight.solvers.products import NumbaProducts, Products, TorchProducts
from nearsight.solvers.solver import Electrons, Solver
from nearsight.solvers.sparse import Pattern, SparseMatrix

__all__ = [
    "Chebyshev",
    "ChebyshevElectrons",
    "Choice",
    "Dense",
    "DensityOfStates",
    "Dissection",
    "Drift",
    "Electrons",
    "ErrorBars",
    "FermiPoles",
    "LocalChanges",
    "NumbaProducts",
    "PairChanges",
    "Pattern",
    "Poles",
    "Probes",
    "Products",
    "Solver",
    "SparseMatrix",
    "Spectrum",
    "TorchProducts",
    "choose",
    "coloured_vectors",
    "fermi_poles",
    "lattice_colours",
    "pair_changes",
    "random_vectors",
    "spectrum",
    "unit_vectors",
]
