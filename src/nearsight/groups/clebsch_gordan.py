"""Invariant tensors of products of three irreps: how two covariants couple to a third, or three to a number."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np

from nearsight._validation import instance
from nearsight.groups.irreps import TOLERANCE
from nearsight.groups.point_group import PointGroup


def clebsch_gordan(group: PointGroup, a: str, b: str, c: str) -> np.ndarray:
    r"""Orthonormal invariant tensors of :math:`D_a \otimes D_b \otimes D_c` as ``(copies, dim a, dim b, dim c)``.

    Every copy C obeys, in the gauge of ``group.irreps``,

    .. math:: \sum_{ijk} D^a_{li}(g)\, D^b_{mj}(g)\, D^c_{nk}(g)\, C_{ijk} = C_{lmn}, \qquad
              \sum_{ijk} C^{(r)}_{ijk} C^{(s)}_{ijk} = \delta_{rs} ,

    and all such tensors are combinations of them. Then :math:`w_k = \sum_{ij} C_{ijk} u_i v_j` transforms like c, and
    :math:`\sum_k w_k z_k` is the bispectrum of three coefficients u, v, z.

    There are :math:`\langle\chi_a \chi_b \chi_c\rangle` copies: the multiplicity of c in the product of a and b, and
    twice that for a c of complex type, whose plane may be turned by any angle. D4, D6, Td, O and Oh have at most one
    copy; T has two of T × T × T. Copies that keep their sign under the exchange of equal irreps come first, those that
    change it last: with one vector for equal irreps only the former differ from zero. The order of a, b, c does not
    matter, ``clebsch_gordan(group, b, a, c)`` is ``clebsch_gordan(group, a, b, c).transpose(0, 2, 1, 3)``.
    """
    instance(group, PointGroup, "group", "site_group(lattice) makes one.")
    names = [irrep.name for irrep in group.irreps]
    rank = [names.index(group.irrep(name).name) for name in (a, b, c)]
    order = sorted(range(3), key=rank.__getitem__)
    sorted_tensors = _invariants(group, *(rank[k] for k in order))
    return sorted_tensors.transpose(0, *(1 + order.index(k) for k in range(3)))


@lru_cache(maxsize=4096)
def _invariants(group: PointGroup, *ranks: int) -> np.ndarray:
    irreps = [group.irreps[k] for k in ranks]
    shape = tuple(irrep.dim for irrep in irreps)
    size = int(np.prod(shape))
    # The average of the product over the group projects on the invariant tensors.
    average = np.einsum("gil,gjm,gkn->ijklmn", *(i.matrices for i in irreps), optimize=True) / len(group)
    found: list[np.ndarray] = []
    for symmetriser in _exchange(ranks):
        space = sum(sign * average.transpose(*permutation, 3, 4, 5) for permutation, sign in symmetriser.items())
        found.extend(_basis(np.asarray(space).reshape(size, size)))
    tensors = np.array(found).reshape(-1, *shape)
    tensors.setflags(write=False)
    return tensors


def _exchange(ranks: tuple[int, ...]) -> list[dict[tuple[int, ...], float]]:
    """Projectors on tensors even, mixed and odd under the exchange of equal irreps, as weights of permutations."""
    allowed = [p for p in itertools.permutations(range(3)) if all(ranks[k] == ranks[p[k]] for k in range(3))]
    if len(allowed) == 1:
        return [{allowed[0]: 1.0}]
    even = {p: 1 / len(allowed) for p in allowed}
    odd = {p: np.linalg.det(np.eye(3)[list(p)]) / len(allowed) for p in allowed}
    mixed = {p: float(p == (0, 1, 2)) - even[p] - odd[p] for p in allowed}
    return [even, mixed, odd]


def _basis(projector: np.ndarray) -> list[np.ndarray]:
    """Orthonormal vectors that span the image of a projector: its first columns that earlier ones do not exhaust."""
    basis: list[np.ndarray] = []
    count = round(float(np.trace(projector)))
    while len(basis) < count:
        # The n - len(basis) missing vectors have this weight in at least one column.
        column = projector[:, np.flatnonzero(np.diag(projector) > 0.5 / len(projector))[0]]
        vector = column / np.linalg.norm(column)
        vector[np.abs(vector) < TOLERANCE] = 0.0
        basis.append(vector / np.linalg.norm(vector))
        projector = projector - np.outer(basis[-1], basis[-1])
    return basis
