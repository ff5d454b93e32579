"""Hamiltonians from observations: configurations seen in equilibrium, and the energies they are evidence of.

:class:`Observations` are many configurations of one lattice, in the order in which Markov chains or cameras saw them.
"""

from nearsight.inference.observations import Observations

__all__ = ["Observations"]
