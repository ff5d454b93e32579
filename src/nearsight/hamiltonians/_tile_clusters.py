"""The cluster expansion of a tile: products of single-site functions, sorted by translations and by the point group.

With functions f_0 = 1, f_1, ..., f_{q-1} of one site, orthonormal over its states (for two states f_1 = s, for more the
real characters √2 cos and √2 sin of 2πka/q), every table is a sum over modes m,

.. math:: T(a) = \\sum_m t_m \\prod_k f_{m_k}(a_k), \\qquad t_m = q^{-n} \\sum_a T(a) \\prod_k f_{m_k}(a_k),

for q = 2 the Walsh-Hadamard transform. A mode lives on its cluster, the sites with m_k ≠ 0. Tiles overlap, and an
energy sees only the sum of t over all places of a cluster in the tile: many tables are one energy. Its unique
coordinates are the sums for every class of modes that are translations of each other; places are told apart by where
they fall modulo the stride, since tiles at that stride reach only those.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache

import numpy as np

from nearsight.lattices import Lattice, site_group

Shape = tuple[int, ...]
MAX_TABLE = 2**24
"""Entries of the largest table."""


def site_functions(q: int) -> np.ndarray:
    """f_k(a) ``(q, q)``, a row for every function: f_0 = 1 and (1/q) Σ_a f_k(a) f_l(a) = δ_kl."""
    if q == 2:
        return np.array([[1.0, 1.0], [-1.0, 1.0]])
    angle = 2 * np.pi / q * np.arange(q)
    rows = [np.ones(q)]
    for k in range(1, q // 2 + 1):
        if 2 * k == q:
            rows.append(np.cos(k * angle))
        else:
            rows += [math.sqrt(2) * np.cos(k * angle), math.sqrt(2) * np.sin(k * angle)]
    return np.stack(rows)


def to_modes(table: np.ndarray, q: int) -> np.ndarray:
    """t_m of a table, both ``(q^n,)``."""
    return _every_digit(table, site_functions(q) / q)


def from_modes(modes: np.ndarray, q: int) -> np.ndarray:
    """The table of t_m, both ``(q^n,)``."""
    return _every_digit(modes, site_functions(q).T)


def _every_digit(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """One matrix on every digit of the index: each pass moves the first digit to the end."""
    q, size = len(matrix), x.size
    n = round(math.log(size, q))
    for _ in range(n):
        x = (matrix @ x.reshape(q, -1)).T.reshape(-1)
    return x


class TileClusters:
    """Modes of a tile of ``shape`` at ``stride`` with q states a site; site k of the tile is digit k of a code."""

    def __init__(self, shape: Shape, stride: Shape, q: int) -> None:
        self.shape, self.stride, self.q = shape, stride, q
        self.n, self.phases = math.prod(shape), math.prod(stride)
        self.cells = np.stack(np.unravel_index(np.arange(self.n), shape), axis=-1)
        steps = np.array([math.prod(shape[axis + 1 :]) for axis in range(len(shape))])
        modes = np.arange(q**self.n)
        corner = np.full((len(modes), len(shape)), max(shape))
        for k, cell in enumerate(self.cells):
            corner = np.where((modes // q**k % q != 0)[:, None], np.minimum(corner, cell), corner)
        corner[0] = 0
        # Moved to the corner of the tile no site leaves it, so that digits move by one number of places.
        canonical = modes // q ** (corner @ steps)
        self.phase = np.ravel_multi_index(tuple((corner % stride).T), stride)
        self.classes, self.label = np.unique(canonical, return_inverse=True)
        place = self.label * self.phases + self.phase
        self._places = np.bincount(place, minlength=len(self.classes) * self.phases)
        self.share = 1.0 / self._places[place]
        """1 / number of places of a mode that are the same modulo the stride ``(mode,)``."""
        self.share[0] = self.phases
        self._place = place

    @cached_property
    def complete(self) -> np.ndarray:
        """Whether the modes of a class find places everywhere modulo the stride ``(class,)``."""
        somewhere = self._places.reshape(-1, self.phases) > 0
        somewhere[0] = True
        return np.asarray(somewhere.all(1))

    def modes(self, sums: np.ndarray) -> np.ndarray:
        """The t_m ``(mode,)`` of smallest norm with the sums ``(class,)`` of an energy per site."""
        return sums[self.label] * self.share

    def gather(self, modes: np.ndarray) -> np.ndarray:
        """The adjoint of :meth:`modes`."""
        return np.bincount(self.label, modes * self.share, len(self.classes))

    def by_phase(self, modes: np.ndarray) -> np.ndarray:
        """Sums of t_m over the places of every class, apart by their places modulo the stride ``(class, phase)``."""
        found = np.bincount(self._place, modes, len(self.classes) * self.phases).reshape(-1, self.phases)
        found[0] = modes[0] / self.phases
        return found

    def index(self, mode: int) -> int:
        """The class of a mode."""
        return int(self.label[mode])

    def cluster(self, mode: int) -> tuple[tuple[int, ...], ...]:
        """The cells of a mode."""
        digits = mode // self.q ** np.arange(self.n) % self.q
        return tuple(map(tuple, self.cells[digits != 0].tolist()))

    def sizes(self) -> np.ndarray:
        """How many sites the modes of every class live on ``(class,)``."""
        digits = self.classes[:, None] // self.q ** np.arange(self.n) % self.q
        return np.count_nonzero(digits, axis=1)

    def images(self, lattice: Lattice) -> np.ndarray:
        """Where every class goes under every operation of the site group, ``(operation, class)``; -1: outside."""
        found = []
        for g in cell_operations(lattice):
            moved = self.cells @ g.T
            low = np.full((len(self.classes), len(self.shape)), np.iinfo(np.int64).max)
            digits = [self.classes // self.q**k % self.q for k in range(self.n)]
            for digit, cell in zip(digits, moved, strict=True):
                low = np.where((digit != 0)[:, None], np.minimum(low, cell), low)
            image, inside = np.zeros_like(self.classes), np.ones(len(self.classes), bool)
            for digit, cell in zip(digits, moved, strict=True):
                there = np.where((digit != 0)[:, None], cell - low, 0)
                inside &= (there < self.shape).all(1)
                place = np.ravel_multi_index(tuple(there.T), self.shape, mode="clip")
                image += digit * self.q**place
            found.append(np.where(inside, self.label[np.where(inside, image, 0)], -1))
        return np.stack(found)

    def orbits(self, lattice: Lattice) -> np.ndarray:
        """Classes that the site group carries into each other have one number ``(class,)``, from 0 on.

        -1 marks those that no energy with all symmetries of the lattice has: modes that lack places, or an image.
        """
        images = self.images(lattice)
        whole = (images >= 0).all(0) & self.complete[np.maximum(images, 0)].all(0)
        orbits = np.full(len(self.classes), -1)
        orbits[whole] = np.unique(images[:, whole].min(0), return_inverse=True)[1]
        return orbits


@lru_cache(maxsize=16)
def tile_clusters(shape: Shape, stride: Shape, q: int) -> TileClusters:
    return TileClusters(shape, stride, q)


def cell_operations(lattice: Lattice) -> np.ndarray:
    """The site group on cell coordinates as columns, integers ``(operation, dim, dim)``."""
    V = lattice.vectors.T
    return np.rint(np.linalg.inv(V) @ site_group(lattice).matrices @ V).astype(np.int64)
