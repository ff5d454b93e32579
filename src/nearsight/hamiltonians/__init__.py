"""Models: a classical field in, a one-electron matrix and a classical energy out."""

from nearsight.hamiltonians.hamiltonian import Hamiltonian
from nearsight.hamiltonians.holstein import Holstein
from nearsight.hamiltonians.jahn_teller import JahnTeller

__all__ = ["Hamiltonian", "Holstein", "JahnTeller"]
