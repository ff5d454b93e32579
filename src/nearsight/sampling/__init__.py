"""Statistical mechanics of classical models: samplers, and the exact results that referee them.

Exact, each as :class:`Thermodynamics` per site: :func:`ising_torus` (square lattice of any size), :func:`ising_bulk`
(infinite lattices), :func:`chain_thermodynamics` (any model on a chain). Exact as a :class:`DensityOfStates`, which
serves every temperature at once: :func:`ising_levels` (square torus), :func:`enumerate_states` (any small system).
"""

from nearsight.sampling.density_of_states import DensityOfStates, ising_levels
from nearsight.sampling.enumeration import enumerate_states
from nearsight.sampling.exact_ising import ising_torus
from nearsight.sampling.exact_ising_bulk import critical_temperature, ising_bulk, spontaneous_magnetisation
from nearsight.sampling.thermodynamics import Thermodynamics
from nearsight.sampling.transfer_matrix import chain_thermodynamics

__all__ = [
    "DensityOfStates",
    "Thermodynamics",
    "chain_thermodynamics",
    "critical_temperature",
    "enumerate_states",
    "ising_bulk",
    "ising_levels",
    "ising_torus",
    "spontaneous_magnetisation",
]
