"""Hamiltonians from observations: configurations seen in equilibrium, and the energies they are evidence of.

:class:`Observations` are many configurations of one lattice, in the order in which Markov chains or cameras saw them.
:func:`observe` makes them of a model, :func:`load_observations` reads a user's, :func:`examine` says how many are
independent and which symmetries they show. A :class:`ReferenceSet` of all energies judges what was learned.

:func:`learn_couplings` finds the couplings of given :class:`Terms`, bonds of spins or products of more, each with an
error bar, and :func:`select_couplings` says which of many the observations support. :func:`predict` carries them to
other sizes and temperatures.

:func:`fit_likelihood` fits an autoregressive probability to them, whose energy is an :class:`AutoregressiveEnergy`;
:func:`entropy`, :func:`cross_entropy` and :func:`reweight` say what it knows, with error bars, and how good it is.
:func:`distil` turns this energy, or any other, into a :class:`~nearsight.hamiltonians.TileModel`, a table that holds on
lattices of all sizes.
"""

from nearsight.inference._symmetries import SymmetryTest
from nearsight.inference.autoregressive_energy import AutoregressiveEnergy
from nearsight.inference.couplings import LearnedCouplings, learn_couplings
from nearsight.inference.distil import Distilled, distil
from nearsight.inference.entropy import Measured, Reweighted, cross_entropy, entropy, reweight
from nearsight.inference.examine import Examination, examine
from nearsight.inference.likelihood import LikelihoodOptions, fit_likelihood
from nearsight.inference.load import load_observations
from nearsight.inference.observations import Observations
from nearsight.inference.observe import observe
from nearsight.inference.predict import predict
from nearsight.inference.reference_set import EnergyErrors, ReferenceSet, energy_errors, reference_set
from nearsight.inference.selection import SelectedCouplings, select_couplings
from nearsight.inference.terms import Terms

__all__ = [
    "AutoregressiveEnergy",
    "Distilled",
    "EnergyErrors",
    "Examination",
    "LearnedCouplings",
    "LikelihoodOptions",
    "Measured",
    "Observations",
    "ReferenceSet",
    "Reweighted",
    "SelectedCouplings",
    "SymmetryTest",
    "Terms",
    "cross_entropy",
    "distil",
    "energy_errors",
    "entropy",
    "examine",
    "fit_likelihood",
    "learn_couplings",
    "load_observations",
    "observe",
    "predict",
    "reference_set",
    "reweight",
    "select_couplings",
]
