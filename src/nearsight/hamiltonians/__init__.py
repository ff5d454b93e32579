"""Models: a classical field in, a one-electron matrix and a classical energy out.

A :class:`ClassicalModel` (:class:`Ising`, :class:`EdwardsAnderson`, :class:`Potts`, :class:`BlumeCapel`, and
:class:`TileModel` for couplings of any number of sites) has the energy alone; ``nearsight.sampling`` draws its states
and knows the exact answers.

A model of your own is a subclass of :class:`Hamiltonian` that hands over its matrix: :func:`hopping_matrix` makes the
constant part, of any orbitals, shells and twists.
"""

from nearsight.hamiltonians.blume_capel import BlumeCapel
from nearsight.hamiltonians.classical_model import ClassicalModel, Neighbours, Pairs
from nearsight.hamiltonians.falicov_kimball import FalicovKimball
from nearsight.hamiltonians.hamiltonian import Hamiltonian
from nearsight.hamiltonians.heisenberg import Heisenberg
from nearsight.hamiltonians.holstein import Holstein
from nearsight.hamiltonians.hopping import bond_phases, hopping_elements, hopping_matrix
from nearsight.hamiltonians.ising import EdwardsAnderson, Ising
from nearsight.hamiltonians.jahn_teller import JahnTeller
from nearsight.hamiltonians.pair_functions import RKKY, Exponential, PairFunction
from nearsight.hamiltonians.peierls import Peierls
from nearsight.hamiltonians.potts import Potts
from nearsight.hamiltonians.reduction import Reduction
from nearsight.hamiltonians.sd_magnet import FieldError, SDModel, double_exchange, skyrmion_magnet
from nearsight.hamiltonians.spin_energy import SpinEnergy
from nearsight.hamiltonians.tile_model import ClusterCoupling, TileModel

__all__ = [
    "RKKY",
    "BlumeCapel",
    "ClassicalModel",
    "ClusterCoupling",
    "EdwardsAnderson",
    "Exponential",
    "FalicovKimball",
    "FieldError",
    "Hamiltonian",
    "Heisenberg",
    "Holstein",
    "Ising",
    "JahnTeller",
    "Neighbours",
    "PairFunction",
    "Pairs",
    "Peierls",
    "Potts",
    "Reduction",
    "SDModel",
    "SpinEnergy",
    "TileModel",
    "bond_phases",
    "double_exchange",
    "hopping_elements",
    "hopping_matrix",
    "skyrmion_magnet",
]
