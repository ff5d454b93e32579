"""Hamiltonians from observations: configurations seen in equilibrium, and the energies they are evidence of.

:class:`Observations` are many configurations of one lattice, in the order in which Markov chains or cameras saw them.
:func:`observe` makes them of a model, :func:`load_observations` reads a user's, :func:`examine` says how many are
independent and which symmetries they show. A :class:`ReferenceSet` of all energies judges what was learned.
"""

from nearsight.inference._symmetries import SymmetryTest
from nearsight.inference.examine import Examination, examine
from nearsight.inference.load import load_observations
from nearsight.inference.observations import Observations
from nearsight.inference.observe import observe
from nearsight.inference.reference_set import EnergyErrors, ReferenceSet, energy_errors, reference_set

__all__ = [
    "EnergyErrors",
    "Examination",
    "Observations",
    "ReferenceSet",
    "SymmetryTest",
    "energy_errors",
    "examine",
    "load_observations",
    "observe",
    "reference_set",
]
