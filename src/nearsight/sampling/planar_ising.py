"""Ising spins with any couplings on planar and toroidal lattices, exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nearsight._validation import instance
from nearsight.hamiltonians import ClassicalModel
from nearsight.sampling._kac_ward import bond_moments
from nearsight.sampling.thermodynamics import Thermodynamics, _temperatures


def planar_thermodynamics(model: ClassicalModel, kT: ArrayLike) -> Thermodynamics:
    r"""Ising spins without a field whose bonds do not cross, uniform or disordered: a glass, exactly.

    .. math::
        Z = 2^N \prod_b \cosh K_b \; \tfrac12 \left[-r_{00} + r_{01} + r_{10} + r_{11}\right], \qquad
        r_{xy} = \sqrt{\det (1 - W_{xy} S)}, \qquad W = \operatorname{diag} \tanh K_b, \quad K_b = J_b / kT

    on a torus, r alone on a cylinder or an open lattice. S are the turns of Kac and Ward between directed edges, the
    signs of W are reversed at the boundaries whose digit is 1, and the roots have their sign from Pfaffians. Square,
    triangular, honeycomb and kagome lattices with nearest neighbours, each axis periodic or open; couplings of any
    strength and sign, zero included.

    F, U and C have about 13 digits down to |K| of one or two. Where it is so cold that moments of the bonds would be
    wrong by more than 10⁻⁷, below kT = 0.3 to 0.5 J for Gaussian couplings and 0.7 J for ±J, it is refused: the error
    is measured, not assumed. It grows where another boundary condition has a much lower energy than the true one.
    Costs O(B³) for B bonds: 0.03 s for 8 × 8 sites, 0.6 s for 16 × 16 and 7 s for 24 × 24, per temperature.

    ``ValueError`` for other models, ``ArithmeticError`` where it is too cold.

    Examples
    --------
    >>> import nearsight as ns
    >>> glass = ns.hamiltonians.EdwardsAnderson(ns.lattices.square(8), seed=1)
    >>> print(f"{ns.sampling.planar_thermodynamics(glass, kT=1.0).energy:.6f}")
    -0.989931

    References
    ----------
    M. Kac, J. C. Ward, Phys. Rev. 88, 1332 (1952); P. W. Kasteleyn, J. Math. Phys. 4, 287 (1963); D. Cimasoni,
    Commun. Math. Phys. 347, 107 (2016) (surfaces).
    """
    instance(model, ClassicalModel, "model", "Pass one such as EdwardsAnderson(square(8), seed=1).")
    _check(model)
    T = _temperatures(kT)
    J, n = model.pairs.strength, model.lattice.n_sites
    found = np.empty((T.size, 3))
    for row, t in zip(found, T.reshape(-1), strict=True):
        moments = bond_moments(model.lattice, J / t)
        row[:] = moments.log_partition, J @ moments.mean, J @ moments.covariance @ J
    return Thermodynamics.from_log_partition(T, *(x.reshape(T.shape) / n for x in found.T))


def _check(model: ClassicalModel) -> None:
    """Refuse what has no Pfaffian."""
    lattice, pairs = model.lattice, model.pairs
    if model.n_states != 2 or not np.array_equal(model.interaction, [[1, -1], [-1, 1]]):
        raise ValueError(f"Pfaffians are for Ising spins, s s' = ±1, not for {model!r}; see enumerate_states.")
    if model.tiles is not None or np.ptp(model.onsite):
        raise ValueError(
            "The model has tiles or a field, with which it has no Pfaffian; enumerate_states takes both, up to 26 "
            "spins, and ParallelTempering any number."
        )
    if lattice.dim != 2:
        raise ValueError(
            f"{lattice!r} is not two-dimensional: take chain_thermodynamics for chains, or sample the model."
        )
    bonds = lattice.bonds(1)
    if not (np.array_equal(pairs.i, bonds.i) and np.array_equal(pairs.j, bonds.j)):
        raise ValueError("Pfaffians need bonds of nearest neighbours alone, each once, as EdwardsAnderson has them.")
