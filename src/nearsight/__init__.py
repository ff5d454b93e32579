"""nearsight: exact electrons on small lattices in, fast symmetry-exact force fields and large-scale dynamics out.

Subpackages load when they are first named, so that ``import nearsight as ns`` costs nothing:

>>> import nearsight as ns
>>> ns.lattices.square(30)
square, 30 × 30 sites, periodic

Every package imports only from those above it in this list:

==========================  ======================================================================================
storage                     atomic files and their hashes, one append-only table
parallel                    independent tasks on local cores or a Dask cluster, resumable at any moment
groups                      finite point groups: elements, real irreps, Clebsch-Gordan coefficients
lattices                    Bravais lattices with a basis: bonds, neighbourhoods, nearest images
fields                      what lives on a site and how it transforms
hamiltonians | solvers      field → matrix and classical energy | matrix → density matrix and potentials
descriptors | networks      invariants of a neighbourhood | learned functions
forcefields                 exact or learned, one call: field → ``Forces(force, energy or None)``
moves | properties          energies of discrete moves | intensive properties of a configuration
reproductions               published networks and other models to compare with
dynamics                    equations of motion, one a file; ``dynamics.run`` is the machinery of a restartable run
sampling                    Markov chains of classical models and exact referees
analysis                    structure, order, coarsening, spins, clusters, locality, statistics
training                    data sets, fits, imports of foreign data
inference                   Hamiltonians from observations of a system in equilibrium
gravity                     gravitational waves of compact binaries beyond general relativity
crystals                    phonons, thermal displacements, and properties such as gaps that depend on them
plots                       arrays in, pictures out
studies                     reproducible questions and their reports
cli                         the command line
==========================  ======================================================================================

The force fields, exact and learned, are found here directly, ``ns.ExactForceField``, ``ns.LearnedForceField``, and so
are ``ns.pretrained``, which gives those that come with the library, ``ns.Audit``, which measures their error in a run,
and ``ns.scan``, a function on a grid of parameters.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearsight import (
        analysis,
        crystals,
        descriptors,
        dynamics,
        fields,
        forcefields,
        gravity,
        groups,
        hamiltonians,
        inference,
        lattices,
        moves,
        networks,
        parallel,
        plots,
        properties,
        reproductions,
        sampling,
        solvers,
        storage,
        studies,
        training,
    )
    from nearsight.dynamics import Audit
    from nearsight.forcefields import (
        ExactForceField,
        ForceField,
        Forces,
        LearnedForceField,
        SumForceField,
        pretrained,
    )
    from nearsight.parallel import scan

__version__ = "0.2.0"

__all__ = [
    "Audit",
    "ExactForceField",
    "ForceField",
    "Forces",
    "LearnedForceField",
    "SumForceField",
    "__version__",
    "analysis",
    "crystals",
    "descriptors",
    "dynamics",
    "fields",
    "forcefields",
    "gravity",
    "groups",
    "hamiltonians",
    "inference",
    "lattices",
    "moves",
    "networks",
    "parallel",
    "plots",
    "pretrained",
    "properties",
    "reproductions",
    "sampling",
    "scan",
    "solvers",
    "storage",
    "studies",
    "training",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'nearsight' has no attribute {name!r}; it has {', '.join(__all__)}.")
    if name == "scan":
        return importlib.import_module("nearsight.parallel").scan
    if name == "Audit":
        return importlib.import_module("nearsight.dynamics").Audit
    if name == "pretrained":
        return importlib.import_module("nearsight.forcefields").pretrained
    if name.islower():
        return importlib.import_module(f"nearsight.{name}")
    return getattr(importlib.import_module("nearsight.forcefields"), name)


def __dir__() -> list[str]:
    return __all__
