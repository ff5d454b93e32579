"""Statistical mechanics of classical models: samplers, and the exact results that referee them.

Exact, each as :class:`Thermodynamics` per site: :func:`ising_torus` (square lattice of any size), :func:`ising_bulk`
(infinite lattices), :func:`planar_thermodynamics` (planar and toroidal lattices with any couplings: glasses),
:func:`chain_thermodynamics` (any model on a chain). Exact as a :class:`DensityOfStates`, which
serves every temperature at once: :func:`ising_levels` (square torus), :func:`enumerate_states` (any small system).
:class:`ExactBlocks` gives the probability of every configuration of a block inside a large square Ising lattice.

Sampled: :func:`sample` draws independent configurations at many temperatures into a store of :class:`Snapshots`. It
runs the chains of a :class:`Sampler`, :class:`Metropolis`, :class:`HeatBath`, :class:`SwendsenWang` or :class:`Wolff`,
which can be run by hand; :class:`ParallelTempering` and :func:`anneal` serve glasses. :func:`autocorrelation_time`,
:func:`agreement` and :func:`mean_and_error` judge a series; :class:`MultiHistogram` joins temperatures.
"""

from nearsight.sampling.annealing import Annealed, anneal
from nearsight.sampling.autocorrelation import AutocorrelationTime, agreement, autocorrelation_time, mean_and_error
from nearsight.sampling.density_of_states import DensityOfStates, ising_levels
from nearsight.sampling.enumeration import enumerate_states
from nearsight.sampling.equilibrium import sample
from nearsight.sampling.exact_ising import ising_torus
from nearsight.sampling.exact_ising_blocks import ExactBlocks
from nearsight.sampling.exact_ising_bulk import critical_temperature, ising_bulk, spontaneous_magnetisation
from nearsight.sampling.planar_ising import planar_thermodynamics
from nearsight.sampling.reweighting import MultiHistogram, Reweighted
from nearsight.sampling.sampler import Sampler
from nearsight.sampling.samplers import HeatBath, Metropolis, SwendsenWang, Wolff
from nearsight.sampling.snapshots import Batch, Snapshots
from nearsight.sampling.tempering import ParallelTempering, temperature_ladder
from nearsight.sampling.thermodynamics import Thermodynamics
from nearsight.sampling.transfer_matrix import chain_thermodynamics

__all__ = [
    "Annealed",
    "AutocorrelationTime",
    "Batch",
    "DensityOfStates",
    "ExactBlocks",
    "HeatBath",
    "Metropolis",
    "MultiHistogram",
    "ParallelTempering",
    "Reweighted",
    "Sampler",
    "Snapshots",
    "SwendsenWang",
    "Thermodynamics",
    "Wolff",
    "agreement",
    "anneal",
    "autocorrelation_time",
    "chain_thermodynamics",
    "critical_temperature",
    "enumerate_states",
    "ising_bulk",
    "ising_levels",
    "ising_torus",
    "mean_and_error",
    "planar_thermodynamics",
    "sample",
    "spontaneous_magnetisation",
    "temperature_ladder",
]
