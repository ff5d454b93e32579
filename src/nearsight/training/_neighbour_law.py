"""How much of the fields on spins their neighbours explain: a wrong order of sites destroys nearsightedness."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from nearsight.lattices import Lattice


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of sites within a cutoff on the torus: from, to, shell ``(pair,)``, and the axes they go around."""

    i: np.ndarray
    j: np.ndarray
    shell: np.ndarray
    around: np.ndarray
    """``(pair, dim)``: whether the way from i to j leaves the grid along each axis."""
    distances: np.ndarray
    sites: int

    @classmethod
    def of(cls, lattice: Lattice, cutoff: float) -> Pairs:
        torus = replace(lattice, periodic=True)
        distances = torus.shell_distances[torus.shell_distances <= cutoff * (1 + 1e-3)]
        edges = 0.5 * (distances[1:] + distances[:-1])
        cells, shape = torus.cells[:: torus.n_basis], np.array(torus.shape)
        rows = []
        for b in range(torus.n_basis):
            near = torus.neighbourhood(cutoff, centre=b).without_centre()
            length = np.linalg.norm(near.vectors, axis=1)
            target = cells[:, None] + near.cells[None]
            j = torus.index(target, near.sublattice[None])
            i = np.broadcast_to(np.arange(len(cells))[:, None] * torus.n_basis + b, j.shape)
            shell = np.broadcast_to(np.digitize(length, edges), j.shape)
            outside = (target < 0) | (target >= shape)
            rows.append((i.ravel(), j.ravel(), shell.ravel(), outside.reshape(-1, torus.dim)))
        i, j, shell, around = (np.concatenate(x) for x in zip(*rows, strict=True))
        return cls(i, j, shell, around, distances, torus.n_sites)

    def within(self, periodic: tuple[bool, ...]) -> Pairs:
        """The pairs that are neighbours on a lattice with these boundaries."""
        keep = ~(self.around & ~np.array(periodic)).any(1)
        return replace(self, i=self.i[keep], j=self.j[keep], shell=self.shell[keep], around=self.around[keep])

    @cached_property
    def matrices(self) -> list[csr_array]:
        """How often j is a neighbour of i, for every shell ``(site, site)``."""
        shells = [self.shell == s for s in range(len(self.distances))]
        return [csr_array((np.ones(n.sum()), (self.i[n], self.j[n])), (self.sites,) * 2) for n in shells]

    @cached_property
    def _keys(self) -> np.ndarray:
        return np.unique((self.shell * self.sites + self.i) * self.sites + self.j)

    def unchanged_by(self, place: np.ndarray) -> bool:
        """Whether neighbours stay neighbours if site i is taken to ``place[i]``."""
        moved = np.unique((self.shell * self.sites + place[self.i]) * self.sites + place[self.j])
        return np.array_equal(moved, self._keys)

    def sums(self, field: np.ndarray, shell: int) -> np.ndarray:
        """Sums of ``(snapshot, site, component)`` over the neighbours in a shell."""
        flat = self.matrices[shell] @ field.transpose(1, 0, 2).reshape(self.sites, -1)
        return flat.reshape(self.sites, len(field), -1).transpose(1, 0, 2)


class Law(NamedTuple):
    """A fit of fields on unit spins by their neighbours."""

    coefficients: np.ndarray
    left: float
    """Rms of what is not explained over that of the fields, corrected for the number of coefficients: 1 by chance."""
    rest: np.ndarray
    """Mean square of what is not explained, by site ``(site,)``."""


def normal(vectors: np.ndarray, spins: np.ndarray) -> np.ndarray:
    """The part of vectors normal to unit spins."""
    return vectors - (vectors * spins).sum(-1, keepdims=True) * spins


def linear_law(pairs: Pairs, field: np.ndarray, fields: np.ndarray) -> Law:
    r""":math:`\mathbf H_\perp \approx (\sum_s c_s \sum_{j \in s} \mathbf S_j)_\perp`, ``(snapshot, site, 3)``."""
    return _least_squares([pairs.sums(field, s) for s in range(len(pairs.distances))], field, fields)


def neighbour_law(pairs: Pairs, field: np.ndarray, fields: np.ndarray) -> Law:
    r"""The linear law, and neighbours that count more or less where spins are parallel.

    With :math:`w_{ij} = \mathbf S_i \cdot \mathbf S_j` and :math:`a_i = \sum_j w_{ij}` the nearest neighbours enter
    again with :math:`w_{ij}`, :math:`w_{ij}^2`, :math:`a_i`, :math:`a_i^2` and :math:`a_j` as weights. Double exchange
    needs them: near half filling its charges sit where neighbours are parallel, and the linear law leaves up to 99 %.
    """
    columns = [pairs.sums(field, s) for s in range(len(pairs.distances))]
    near = columns[0]
    a = (near * field).sum(-1, keepdims=True)
    columns += [near * a, near * a * a, pairs.sums(field * a, 0)]
    # Σ w S_j = S_i · Σ S_j S_j, and Σ w² S_j likewise: sums of products of components do for all pairs at once.
    second = pairs.sums(_products(field, field), 0)
    third = pairs.sums(_products(_products(field, field), field), 0)
    shape = (*field.shape, 3)
    columns.append(np.einsum("bia,biac->bic", field, second.reshape(shape)))
    columns.append(np.einsum("bia,bid,biadc->bic", field, field, third.reshape(*shape, 3)))
    return _least_squares(columns, field, fields)


def _products(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x[..., :, None] * y[..., None, :]).reshape(*x.shape[:-1], -1)


def _least_squares(columns: list[np.ndarray], field: np.ndarray, fields: np.ndarray) -> Law:
    design = np.stack([normal(x, field).ravel() for x in columns], 1)
    y = fields.ravel()
    # On small tori shells coincide: the smallest solution shares a coupling among them.
    c, _, rank, _ = np.linalg.lstsq(design, y, rcond=1e-10)
    labels = 2 * y.size // 3  # a normal field has two components
    if labels <= rank or not y.any():
        return Law(c, float("nan"), np.full(fields.shape[1], np.nan))
    rest = np.square((y - design @ c).reshape(fields.shape)).sum(-1).mean(0) / (1 - rank / labels)
    return Law(c, float(np.sqrt(rest.sum() / np.square(fields).sum(-1).mean(0).sum())), rest)
