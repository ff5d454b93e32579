"""Hamiltonians from observations: configurations seen in equilibrium, and the energies they are evidence of.

:class:`Observations` are many configurations of one lattice, in the order in which Markov chains or cameras saw them.
"""

from nearsight.inference.observations import Observations
from nearsight.inference.observe import observe
from nearsight.inference.reference_set import EnergyErrors, ReferenceSet, energy_errors, reference_set

__all__ = ["EnergyErrors", "Observations", "ReferenceSet", "energy_errors", "observe", "reference_set"]
