"""Statistical mechanics of classical models: samplers, and the exact results that referee them.

Exact, each as :class:`Thermodynamics` per site: :func:`ising_torus` (square lattice of any size), :func:`ising_bulk`
(infinite lattices).
"""

from nearsight.sampling.exact_ising import ising_torus
from nearsight.sampling.exact_ising_bulk import critical_temperature, ising_bulk, spontaneous_magnetisation
from nearsight.sampling.thermodynamics import Thermodynamics

__all__ = [
    "Thermodynamics",
    "critical_temperature",
    "ising_bulk",
    "ising_torus",
    "spontaneous_magnetisation",
]
