"""Magnetic symmetry functions of sites at arbitrary positions: narrow rings of neighbours, and pairs within them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import boolean, integer, number, numbers
from nearsight.descriptors.descriptor import Descriptor
from nearsight.fields import FieldType
from nearsight.fields.field_type import checked_field_type
from nearsight.lattices import Lattice, edges
from nearsight.lattices.lattice import checked_lattice

NEGLIGIBLE = 1e-8
"""Weights of a pair of neighbours below this are left out."""


class MagneticACSF(Descriptor):
    r"""Symmetry functions with the spins in them, on lattices and point clouds,

    .. math::
        G_{2,n} = \sum_j F_2(R_{ij}; d_n, w)\, \mathbf S_i \cdot \mathbf S_j, \qquad
        G_{3,n\lambda d'} = \sum_{jk} F_3\, \mathbf S_j \cdot \mathbf S_k, \\
        F_3 = 2^{1-\zeta} (1 + \lambda \cos\theta_{ijk})^\zeta\, F_2(R_{ij}; d_n, w)\, F_2(R_{ik}; d_n, w)\,
              F_2(R_{jk}; d', w'), \qquad
        F_2(R; d, w) = e^{-(R - d)^2 / w^2} f_c(R)

    with :math:`f_c = \frac12 (\cos \pi R/R_c + 1)` within the cutoff and 0 beyond, λ = ±1, and j, k running over the
    neighbours of i, j = k included. With the defaults, those of the thesis, there are 50 rings and 2 distances d': 250
    features, and 450 with ``chirality``.

    ``chirality`` adds :math:`\sum_{jk} F_3\, \mathbf S_i \cdot (\mathbf S_j \times \mathbf S_k)`. As printed in the
    thesis, with one ring d_n for both neighbours, F_3 is symmetric in j and k and the sum vanishes identically; here k
    lies in the next ring, d_{n+1}. It changes sign when all spins are reversed: for a field type without time reversal
    (``spin(time_reversal=False)``) it enters as it is and breaks it; with time reversal its square enters.

    Unlike :class:`ACSF`, which expands the angles in harmonics on a grid, the pairs are listed: n² per site with R_ij
    close to R_ik, about a hundred numbers for each of them. It is the reference of the thesis, not the fastest choice:
    ``networks.SpinMessagePassing``.

    Parameters
    ----------
    lattice: of any kind and dimension, periodic or open; sites of one species.
    field_type: of the spins.
    cutoff: R_c. radii: first and last d_n, and their number. width: w.
    pairs: distances d'. pair_width: w'. zeta: ζ. chirality: whether to add it.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(8)
    >>> descriptor = ns.descriptors.MagneticACSF(lattice, ns.fields.spin(), radii=(1.0, 1.414, 2))
    >>> up = ns.fields.ferromagnet(lattice)
    >>> neel = up * torch.tensor((-1.0) ** lattice.cells.sum(1))[:, None]
    >>> ratio = descriptor(neel)[0, :2] / descriptor(up)[0, :2]
    >>> ratio.round(decimals=4).tolist()  # S_i·S_j of first neighbours is reversed, that of second ones is not
    [-1.0, 1.0]

    References
    ----------
    S. Zhang, PhD thesis (University of Virginia, 2024), eqs. 4.9-4.16 and sec. 4.4.
    """

    open_boundaries = True

    def __init__(
        self,
        lattice: Lattice,
        field_type: FieldType,
        cutoff: float = 2.5,
        *,
        radii: tuple[float, float, int] = (0.5, 2.46, 50),
        width: float = 0.05,
        pairs: tuple[float, ...] = (1.0, 2.0),
        pair_width: float = 1.0,
        zeta: int = 1,
        chirality: bool = False,
    ) -> None:
        super().__init__()
        self.lattice, self.field_type = checked_lattice(lattice), checked_field_type(field_type)
        if len(set(lattice.species)) > 1:
            raise ValueError(f"{lattice!r} has several species, which sums over all neighbours do not tell apart.")
        if set(field_type.law) != {"trivial"} or field_type.internal not in ("O(n)", "SO(n)"):
            raise ValueError(f"Magnetic symmetry functions are for spins, fields.spin(); got {field_type!r}.")
        self.components = len(field_type.law)
        self.cutoff = number(cutoff, "cutoff", above=0)
        first, last, count = numbers(radii, "radii", length=3)
        self.radii = (number(first, "radii[0]", above=0), number(last, "radii[1]", above=first), int(count))
        integer(self.radii[2], "radii[2]", least=2)
        self.width, self.pair_width = number(width, "width", above=0), number(pair_width, "pair_width", above=0)
        self.pairs, self.zeta = numbers(pairs, "pairs"), integer(zeta, "zeta", least=1)
        self.chirality = boolean(chirality, "chirality")
        if self.chirality and self.components != 3:
            raise ValueError("The chirality is a triple product of spins of three components.")
        functions = self.radii[2] * 2 * len(self.pairs)
        self.features = self.radii[2] + functions * (2 if self.chirality else 1)
        self.even = field_type.internal == "O(n)"

    @property
    def rings(self) -> np.ndarray:
        """d_n, and the one after the last."""
        first, last, count = self.radii
        return np.append(np.linspace(first, last, count), last + (last - first) / (count - 1))

    def evaluate(self, field: Tensor) -> Tensor:
        t, batch = self.tables(field), field.shape[:-2]
        S = field.reshape(-1, *field.shape[-2:]).movedim(0, 1)  # (site, replica, component)
        sites = len(S)
        bonds = (S[t.neighbour] * S[:, None]).sum(-1)  # (site, edge, replica)
        rows = [torch.bmm(t.rings, bonds)]  # (site, ring, replica)
        products = (S[t.j] * S[t.k]).sum(-1)
        rows.append(self._of_triplets(t.weights, t.symmetric, products, sites))
        if self.chirality:
            chi = (S[t.i] * torch.linalg.cross(S[t.j], S[t.k])).sum(-1)
            odd = self._of_triplets(t.weights, t.antisymmetric, chi, sites)
            rows.append(odd.square() if self.even else odd)
        return torch.cat(rows, 1).movedim(-1, 0).reshape(*batch, sites, self.features)

    def _of_triplets(self, weights: Tensor, rings: tuple[Tensor, Tensor], products: Tensor, sites: int) -> Tensor:
        """Σ over the triplets of every site and ring ``(site, ring · function, replica)``."""
        each = weights[..., None] * products[:, None]  # (triplet, function, replica)
        total = _Product.apply(each.flatten(1), *rings)
        return total.view(sites, self.radii[2] * weights.shape[1], -1)

    def make_tables(self, like: Tensor) -> _Tables:
        table = edges(self.lattice, self.cutoff)
        vectors, rings = table.vectors, self.rings
        R = np.linalg.norm(vectors, axis=-1)
        fc = np.where(table.present, 0.5 * (np.cos(np.pi * np.minimum(R / self.cutoff, 1.0)) + 1.0), 0.0)
        ring = np.exp(-(((R[..., None] - rings) / self.width) ** 2)) * fc[..., None]  # (site, edge, ring + 1)
        reach = self.width * np.sqrt(-2 * np.log(NEGLIGIBLE)) + (rings[1] - rings[0])
        i, a, b = np.nonzero(
            (np.abs(R[:, :, None] - R[:, None]) < reach)
            & table.present[:, :, None]
            & table.present[:, None]
            & (np.arange(R.shape[1])[:, None] <= np.arange(R.shape[1]))
        )
        first, second = vectors[i, a], vectors[i, b]
        between = np.linalg.norm(first - second, axis=-1)
        cosine = (first * second).sum(-1) / (R[i, a] * R[i, b])
        cosine = np.clip(cosine, -1.0, 1.0)
        twice = np.where(a == b, 1.0, 2.0)  # (j, k) and (k, j)
        f = 0.5 * (np.cos(np.pi * np.minimum(between / self.cutoff, 1.0)) + 1.0)
        weights = [
            twice * 2.0 ** (1 - self.zeta) * (1 + sign * cosine) ** self.zeta
            * np.exp(-(((between - d) / self.pair_width) ** 2)) * f
            for sign in (1, -1) for d in self.pairs
        ]  # fmt: skip
        fj, fk = ring[i, a], ring[i, b]
        symmetric = fj[:, :-1] * fk[:, :-1]
        antisymmetric = 0.5 * (fj[:, :-1] * fk[:, 1:] - fk[:, :-1] * fj[:, 1:])

        def index(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values, device=like.device)

        def real(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values, dtype=like.dtype, device=like.device)

        shape = (self.lattice.n_sites * self.radii[2], len(i))
        return _Tables(
            index(table.neighbour),
            real(ring[..., :-1].swapaxes(1, 2)),
            index(i),
            index(table.neighbour[i, a]),
            index(table.neighbour[i, b]),
            real(np.stack(weights, -1)),
            _sparse(symmetric, i, shape, real),
            _sparse(antisymmetric, i, shape, real),
        )


class _Tables(NamedTuple):
    """Neighbours and rings of every site, the triplets (i, j, k), and what of each ring they are part of."""

    neighbour: Tensor
    rings: Tensor
    i: Tensor
    j: Tensor
    k: Tensor
    weights: Tensor
    symmetric: tuple[Tensor, Tensor]
    antisymmetric: tuple[Tensor, Tensor]


def _sparse(values: np.ndarray, site: np.ndarray, shape: tuple[int, int], real: Any) -> tuple[Tensor, Tensor]:
    """The matrix from triplets to rings ``(site · ring, triplet)`` of weights ``(triplet, ring)``; its transpose."""
    triplet, ring = np.nonzero(np.abs(values) > NEGLIGIBLE)
    rows = torch.from_numpy(site[triplet] * values.shape[1] + ring)
    found = real(values[triplet, ring])
    columns = torch.from_numpy(triplet).to(found.device)
    rows = rows.to(found.device)
    return tuple(
        torch.sparse_coo_tensor(torch.stack(pair), found, size, check_invariants=True).coalesce()
        for pair, size in (((rows, columns), shape), ((columns, rows), shape[::-1]))
    )  # type: ignore[return-value]


class _Product(torch.autograd.Function):
    """A sparse matrix times ``(column, any)``, differentiable any number of times."""

    @staticmethod
    def forward(ctx, x: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.matrices = transposed, matrix
        return matrix @ x

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Product.apply(gradient, *ctx.matrices), None, None
