"""One-electron matrices in, density matrices and thermodynamic potentials out."""

from nearsight.solvers.choose import Choice, choose
from nearsight.solvers.dense import Dense
from nearsight.solvers.kpm.chebyshev import Chebyshev
from nearsight.solvers.kpm.error_bars import ChebyshevElectrons, DensityOfStates, ErrorBars
from nearsight.solvers.kpm.local_elements import local_elements
from nearsight.solvers.kpm.probing import (
    ProbeSet,
    coloured_vectors,
    distance_colours,
    lattice_colours,
    random_vectors,
    unit_vectors,
)
from nearsight.solvers.lanczos import Spectrum, spectrum
from nearsight.solvers.mean_field.self_consistent import MeanField, SelfConsistent
from nearsight.solvers.negf.closed_form import NEGF
from nearsight.solvers.negf.recursive import RecursiveNEGF
from nearsight.solvers.negf.reservoirs import Reservoir, electrodes
from nearsight.solvers.negf.steady_state import SteadyState
from nearsight.solvers.poles.dissection import NestedDissection
from nearsight.solvers.poles.fermi_poles import FermiPoles, fermi_poles
from nearsight.solvers.poles.poles import Poles
from nearsight.solvers.products import NumbaProducts, SparseProducts, TorchProducts
from nearsight.solvers.protocols import Alternating, Protocol, Pulse, Ramp, Step, Superposition
from nearsight.solvers.solver import Electrons, Solver
from nearsight.solvers.sparse import Pattern, SparseMatrix
from nearsight.solvers.updates.low_rank_updates import Drift, LowRankUpdates
from nearsight.solvers.updates.two_site_updates import TwoSiteUpdates, two_site_updates

__all__ = [
    "NEGF",
    "Alternating",
    "Chebyshev",
    "ChebyshevElectrons",
    "Choice",
    "Dense",
    "DensityOfStates",
    "Drift",
    "Electrons",
    "ErrorBars",
    "FermiPoles",
    "LowRankUpdates",
    "MeanField",
    "NestedDissection",
    "NumbaProducts",
    "Pattern",
    "Poles",
    "ProbeSet",
    "Protocol",
    "Pulse",
    "Ramp",
    "RecursiveNEGF",
    "Reservoir",
    "SelfConsistent",
    "Solver",
    "SparseMatrix",
    "SparseProducts",
    "Spectrum",
    "SteadyState",
    "Step",
    "Superposition",
    "TorchProducts",
    "TwoSiteUpdates",
    "choose",
    "coloured_vectors",
    "distance_colours",
    "electrodes",
    "fermi_poles",
    "lattice_colours",
    "local_elements",
    "random_vectors",
    "spectrum",
    "two_site_updates",
    "unit_vectors",
]
