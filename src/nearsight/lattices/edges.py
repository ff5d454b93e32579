"""Directed edges from every site to its neighbours in rectangular tables, and functions of the vectors along them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import integer, number
from nearsight.lattices.lattice import Lattice
from nearsight.lattices.pairs import bonds_within


@dataclass(frozen=True, eq=False)
class Edges:
    """The neighbours of every site within a cutoff, repeated images included, each row as long as the longest.

    ``neighbour`` ``(site, n)`` are indices, ``vectors`` ``(site, n, dim)`` the displacements to them and ``present``
    ``(site, n)`` says which places are filled. Empty places point to the site itself, at a distance of the cutoff,
    where all functions with a cutoff vanish.

    :func:`edges` returns them.
    """

    neighbour: np.ndarray
    vectors: np.ndarray
    present: np.ndarray
    cutoff: float


@lru_cache(maxsize=16)
def edges(lattice: Lattice, cutoff: float) -> Edges:
    """The table of neighbours of a lattice or cloud; a site without any has an empty row.

    >>> from nearsight.lattices import edges, square
    >>> edges(square(4), 1.0).neighbour.shape
    (16, 4)
    """
    bonds = bonds_within(lattice, cutoff)
    i, j = np.concatenate([bonds.i, bonds.j]), np.concatenate([bonds.j, bonds.i])
    away = np.concatenate([bonds.displacement, -bonds.displacement])
    order = np.lexsort((j, i))
    i, j, away = i[order], j[order], away[order]
    count = np.bincount(i, minlength=lattice.n_sites)
    width = max(int(count.max(initial=0)), 1)
    place = np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
    neighbour = np.tile(np.arange(lattice.n_sites)[:, None], (1, width))
    vectors = np.zeros((lattice.n_sites, width, lattice.dim))
    vectors[..., 0] = cutoff
    present = np.zeros((lattice.n_sites, width), dtype=bool)
    neighbour[i, place], vectors[i, place], present[i, place] = j, away, True
    return Edges(neighbour, vectors, present, cutoff)


@dataclass(frozen=True)
class EdgeBasis(Described):
    r"""Functions of a vector R to a neighbour: a radial one times a Cartesian harmonic,

    .. math:: \phi_{nlm}(\mathbf R) = T_n(2R/R_c - 1)\, (1 - R^2/R_c^2)^3\, Y_{lm}(\mathbf R / R),

    with Chebyshev polynomials T_n; the envelope vanishes at the cutoff with two derivatives. :math:`Y_0 = 1`, Y_1 are
    the components of the unit vector, and Y_2 those of its traceless symmetric tensor, in an orthonormal basis, in any
    dimension: :math:`\sum_m Y_{lm}(a) Y_{lm}(b)` is a function of the angle between a and b.

    Parameters
    ----------
    cutoff: R_c.
    radial: number of radial functions, n < radial.
    degree: largest l, 0 to 2.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> basis = ns.lattices.EdgeBasis(cutoff=2.0, radial=3)
    >>> basis.sizes(3)  # harmonics of l = 0, 1, 2 in space
    (1, 3, 5)
    >>> a, b = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.6, 0.8, 0.0])  # unit vectors with cos θ = 0.6
    >>> Y = basis.angular_values(a) * basis.angular_values(b)
    >>> [round(float(part.sum()), 4) for part in Y.split((1, 3, 5))]  # 1, cos θ, cos² θ - 1/3: angles alone count
    [1.0, 0.6, 0.0267]
    """

    cutoff: float
    radial: int = 8
    degree: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "cutoff", number(self.cutoff, "cutoff", above=0))
        object.__setattr__(self, "radial", integer(self.radial, "radial", least=1))
        object.__setattr__(self, "degree", integer(self.degree, "degree", least=0, most=2))

    def sizes(self, dim: int) -> tuple[int, ...]:
        """Number of harmonics of every l."""
        return (1, dim, dim * (dim + 1) // 2 - 1)[: self.degree + 1]

    def radial_values(self, vectors: Tensor) -> Tensor:
        """The radial functions ``(..., radial)`` of vectors ``(..., dim)``, differentiable."""
        x = vectors.norm(dim=-1, keepdim=True) / self.cutoff
        envelope = (1 - x.square()).clamp_min(0.0).pow(3)
        rows = [torch.ones_like(x), 2 * x - 1]
        while len(rows) < self.radial:
            rows.append(2 * rows[1] * rows[-1] - rows[-2])
        return torch.cat(rows[: self.radial], -1) * envelope

    def angular_values(self, vectors: Tensor) -> Tensor:
        """The harmonics ``(..., lm)`` of vectors ``(..., dim)``, l by l."""
        unit = vectors / vectors.norm(dim=-1, keepdim=True)
        values = [torch.ones_like(unit[..., :1]), unit]
        if self.degree == 2:
            M = torch.as_tensor(quadrupoles(vectors.shape[-1]), dtype=unit.dtype, device=unit.device)
            values.append(torch.einsum("...a,...b,mab->...m", unit, unit, M))
        return torch.cat(values[: self.degree + 1], -1)


@lru_cache(maxsize=8)
def quadrupoles(dim: int) -> np.ndarray:
    """An orthonormal basis of the traceless symmetric matrices ``(m, dim, dim)``."""
    rows = []
    for a in range(dim):
        for b in range(a):
            M = np.zeros((dim, dim))
            M[a, b] = M[b, a] = 0.5**0.5
            rows.append(M)
    for k in range(1, dim):
        rows.append(np.diag([1.0] * k + [-float(k)] + [0.0] * (dim - k - 1)) / (k * (k + 1)) ** 0.5)
    return np.array(rows).reshape(-1, dim, dim)
