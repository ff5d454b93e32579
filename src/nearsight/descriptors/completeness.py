"""How much a descriptor can tell apart, decided by enumeration: every occupation of a small neighbourhood, once."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from nearsight._validation import array, boolean, instance, number
from nearsight.groups import PointGroup
from nearsight.lattices import Neighbourhood, neighbour_permutations

LARGEST = 24
"""Sites beyond which 2ⁿ occupations do not fit in memory."""


def inequivalent_occupations(
    neighbourhood: Neighbourhood, group: PointGroup, *, centre: bool = False, flip: bool = False
) -> np.ndarray:
    r"""One of every class of equivalent occupations 0/1 of a neighbourhood, ``(class, neighbour)``.

    Two are equivalent if an operation of the group turns one into the other, or, with ``flip``, into the opposite of
    the other. By Burnside's lemma there are :math:`\langle 2^{c(g)} \rangle_g` of them, where g moves the sites in c(g)
    cycles. With ``centre=False`` the sites at distance 0 are left out, from the answer too.
    """
    instance(neighbourhood, Neighbourhood, "neighbourhood", "lattice.neighbourhood(1.5) makes one.")
    instance(group, PointGroup, "group", "site_group(lattice) makes one.")
    centre, flip = boolean(centre, "centre"), boolean(flip, "flip")
    chosen = np.flatnonzero((np.linalg.norm(neighbourhood.vectors, axis=1) > 0) | centre)
    n = len(chosen)
    if n > LARGEST:
        raise ValueError(f"{n} sites have 2^{n} occupations; take a cutoff with at most {LARGEST} sites.")
    permutations = np.searchsorted(chosen, neighbour_permutations(neighbourhood, group)[:, chosen])
    codes = np.arange(2**n, dtype=np.int64)
    smallest = codes.copy()
    for permutation in permutations:
        image = np.zeros_like(codes)
        for k, target in enumerate(permutation):
            image |= (codes >> k & 1) << target
        np.minimum(smallest, image, out=smallest)
        if flip:
            np.minimum(smallest, image ^ (2**n - 1), out=smallest)
    return (np.flatnonzero(smallest == codes)[:, None] >> np.arange(n) & 1).astype(float)


def count_distinct(features: Tensor | np.ndarray, *, tolerance: float = 1e-6) -> int:
    """The number of different rows ``(point, feature)``, up to rounding far below the tolerance.

    Rows are compared by a 64-bit hash of their rounded numbers; two different ones among n agree by accident with
    probability n² / 2⁶⁵.
    """
    tolerance = number(tolerance, "tolerance", above=0)
    features = array(features, "features", ("point", "feature"))
    # The shift keeps numbers that symmetry makes equal (0, 1/2, √2) away from the edges between two roundings.
    steps = np.floor(features / tolerance + 0.377).astype(np.int64).astype(np.uint64)
    odd = np.array(2 * np.random.default_rng(0).integers(0, 2**62, size=steps.shape[1]) + 1, dtype=np.uint64)
    mixed = np.zeros(len(steps), dtype=np.uint64)
    for k in range(steps.shape[1]):
        mixed = (mixed ^ steps[:, k]) * odd[k]
        mixed ^= mixed >> np.uint64(29)
    return len(np.unique(mixed))
