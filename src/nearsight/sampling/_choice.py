"""Which sampler and which start :func:`sample` takes where it is left to choose."""

from __future__ import annotations

import math

import numpy as np

from nearsight.hamiltonians import ClassicalModel, Ising
from nearsight.sampling._clusters import alignment, cluster_costs
from nearsight.sampling.exact_ising_bulk import critical_temperature
from nearsight.sampling.samplers import _not_checkerboard

CRITICAL_WINDOW = 0.4
"""Within so many |J| of the transition of the square Ising model "auto" takes Swendsen-Wang."""
WALLED = 1e-6
"""Weight of states with a wall across the lattice that is left to a sampler which would not find them."""


def choose(model: ClassicalModel, kT: float) -> str:
    """The sampler that "auto" stands for."""
    try:
        cluster_costs(model)
    except ValueError:
        return "heat-bath"
    if _not_checkerboard(model) is None:
        tc = critical_temperature("square", J=model.J[0])  # type: ignore[attr-defined]
        near = abs(kT - tc) < CRITICAL_WINDOW * abs(model.J[0])  # type: ignore[attr-defined]
        if near or (kT < tc and weight_of_walls(model, kT) > WALLED):  # type: ignore[arg-type]
            return "swendsen-wang"
        return "metropolis" if kT < 2 * tc else "heat-bath"
    return "swendsen-wang"


def weight_of_walls(model: Ising, kT: float) -> float:
    r"""Estimated weight of states with walls right across the lattice, below kT_c, relative to those without:

    .. math:: w = \sum_d \tfrac12 \left(n_d\, e^{-f E_d/kT}\right)^2, \qquad
              f = 1 + \frac{kT}{2|J|} \ln\tanh\frac{|J|}{kT} \text{ (square)}, \quad
              1 - \frac{kT}{kT_c} \text{ (others)},

    a pair of walls (one between open ends: without the square and the half) in n_d places along the direction d, each
    of energy E_d = 2|J| times the bonds it cuts, with the ratio f of its free energy to its energy: Onsager's surface
    tension along an axis. Local moves build and remove such walls only past states of all energies between.

    References
    ----------
    L. Onsager, Phys. Rev. 65, 117 (1944).
    """
    lattice, J = model.lattice, abs(model.J[0])
    shape = np.array(lattice.shape)
    steps = lattice.cells[model.pairs.j] - lattice.cells[model.pairs.i]
    around = np.array(lattice.periodic) * shape
    steps -= around * np.rint(steps / np.maximum(shape, 1)).astype(int)
    cut = np.abs(steps).sum(0) / shape
    f = 1 - kT / critical_temperature(lattice, J=model.J[0])
    if lattice.name == "square":
        f = 1 + kT / (2 * J) * math.log(math.tanh(J / kT))
    with np.errstate(under="ignore"):
        walls = shape * np.exp(-2 * J * cut * max(f, 0.0) / kT)
    return float(np.where(lattice.periodic, walls**2 / 2, walls)[shape > 1].sum())


def choose_start(model: ClassicalModel, kT: float) -> str:
    """The start that "auto" stands for: ordered where theory knows the phase, else mixed."""
    unknown = type(model) is not Ising or len(model.J) > 1 or (model.h != 0 and model.J[0] < 0)
    # An odd side frustrates an antiferromagnet.
    if unknown or alignment(model) is None:
        return "mixed"
    try:
        # An antiferromagnet that never orders has the transition temperature 0.
        below = kT < critical_temperature(model.lattice, J=model.J[0])  # type: ignore[attr-defined]
    except ValueError:
        return "mixed"
    return "ordered" if below and weight_of_walls(model, kT) < WALLED else "mixed"  # type: ignore[arg-type]
