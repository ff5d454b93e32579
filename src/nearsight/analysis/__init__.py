"""Structure, order, coarsening, spins, clusters, locality, statistics: what configurations and ensembles say.

Eight namespaces, whose names are all importable from here too:

===========  ===========================================================================================
structure    structure factors, pair correlations, correlation lengths, wave vectors, the Brillouin zone
order        staggered order parameters, domains and the density of walls
coarsening   growth laws, local exponents, dynamical scaling, the shape of walls
spins        spin structure factors, peaks, chirality, topological charge, temperature
glasses      disordered spins: correlations by distance, glassy lengths, overlaps of replicas, aging
clusters     patches of checkerboard and super-clusters of lattice gases, potentials of test particles
locality     how far the range of a force field reaches: response, truncation, learning curves
statistics   means, errors, bootstrap, comparison of ensembles, calibration of posteriors, power laws, collapse
===========  ===========================================================================================

Site fields are tensors or arrays ``(*batch, site)`` or labelled arrays with a dimension "site"; results are labelled,
with ``long_name`` and ``units`` in their attributes.
"""

from nearsight.analysis import clusters, coarsening, glasses, locality, order, spins, statistics, structure
from nearsight.analysis.clusters import *  # noqa: F403
from nearsight.analysis.coarsening import *  # noqa: F403
from nearsight.analysis.glasses import *  # noqa: F403
from nearsight.analysis.locality import *  # noqa: F403
from nearsight.analysis.order import *  # noqa: F403
from nearsight.analysis.spins import *  # noqa: F403
from nearsight.analysis.statistics import *  # noqa: F403
from nearsight.analysis.structure import *  # noqa: F403

__all__ = [
    "clusters",
    "coarsening",
    "glasses",
    "locality",
    "order",
    "spins",
    "statistics",
    "structure",
    *clusters.__all__,
    *coarsening.__all__,
    *glasses.__all__,
    *locality.__all__,
    *order.__all__,
    *spins.__all__,
    *statistics.__all__,
    *structure.__all__,
]
