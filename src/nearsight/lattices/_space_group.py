"""The operations that map a crystal onto itself within a tolerance, for cells of hundreds of sites."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from nearsight.lattices.reduction import shortest

TYPED = 0.01
"""How far typed positions may lie from symmetric ones, in units of the shortest distance: a unit of three digits."""
EXACT = 1e-9
"""Positions that agree to this, in units of the shortest distance, agree up to rounding of the arithmetic."""
NEIGHBOURS = 16
"""Closest sites by which the surroundings of sites are told apart."""


class SpaceGroup(NamedTuple):
    """All operations {W | t} of a crystal: a translation first, then one operation for every W.

    An operation sends the site b to the site π(b): as the translations of a crystal are a subgroup and all operations
    of one W differ by translations, few permutations stand for many operations.
    """

    W: np.ndarray
    """``(operation, dim, dim)``, whole numbers, in a reduced basis."""
    sites: np.ndarray
    """π, one operation for every W ``(operation, basis)``."""
    translations: np.ndarray
    """π of all translations ``(translation, basis)``."""
    misfit: float
    """By how much operations fail to map the crystal onto itself at most, a length."""


class Crystal:
    """A reduced basis, fractional positions, and their species.

    Sites are found from positions by bins, a quarter of the shortest distance wide, so that none is near two sites.
    """

    def __init__(self, B: np.ndarray, x: np.ndarray, kinds: np.ndarray, nearest: float) -> None:
        self.B, self.x, self.kinds = B, x, kinds
        self.tolerance, self.exact, self.width = TYPED * nearest, EXACT * nearest, nearest / 4
        # Operations within the tolerance differ by a translation within twice of it, which moves a site that is carried
        # to its place by the first by up to four times as much.
        self.limit = 4.1 * self.tolerance
        steps = np.array(list(itertools.product((0, -1, 1), repeat=len(B))))
        margin = self.limit * np.linalg.norm(np.linalg.inv(B), axis=0)
        images = (x - np.floor(x) + steps[:, None]).reshape(-1, len(B))
        near = ((images >= -margin) & (images <= 1 + margin)).all(axis=1)
        self.images, site = images[near] @ B, np.tile(np.arange(len(x)), len(steps))[near]
        corners = np.array(list(itertools.product((-1, 1), repeat=len(B))))
        self.bins, where = np.unique(self._bin(self.images + self.limit * corners[:, None]).ravel(), return_index=True)
        self.image = where % len(site)
        self.site = site[self.image]
        # A site to which fewest others are alike, by species and by distances to the closest sites: an operation
        # changes sorted distances by no more than any distance.
        around = np.sort(np.linalg.norm(shortest((x[:, None] - x) @ B, B), axis=-1), axis=1)[:, :NEIGHBOURS]
        alike = (np.abs(around[:, None] - around) <= 2 * self.limit).all(axis=-1) & (kinds[:, None] == kinds)
        self.first = int(alike.sum(axis=1).argmin())
        self.targets = np.append(self.first, np.setdiff1d(np.flatnonzero(alike[self.first]), self.first))

    def _bin(self, positions: np.ndarray) -> np.ndarray:
        """The number of the bin of every position in or close to the cell."""
        corners = np.array(list(itertools.product((0, 1), repeat=len(self.B)))) @ self.B
        low = (corners.min(axis=0) - 2 * self.limit) // self.width
        high = (corners.max(axis=0) + 2 * self.limit) // self.width
        strides = np.append(1, np.cumprod(high - low + 1)[:-1]).astype(int)
        return (positions // self.width - low).astype(int) @ strides

    def _at(self, x: np.ndarray) -> np.ndarray:
        """The site at every fractional position ``(..., dim)``; -1 where there is none."""
        positions = (x - np.floor(x)) @ self.B
        number = self._bin(positions)
        found = np.searchsorted(self.bins, number).clip(max=len(self.bins) - 1)
        distance = np.linalg.norm(positions - self.images[self.image[found]], axis=-1)
        return np.where((self.bins[found] == number) & (distance <= self.limit), self.site[found], -1)

    def _carried(self, W: np.ndarray, targets: np.ndarray, few: int) -> tuple[np.ndarray, np.ndarray]:
        """The targets for which W about the first site carries the first ``few`` to sites, and to which it does."""
        found = self._at(self.x[targets, None] + (self.x[:few] - self.x[self.first]) @ W)
        fitting = ((found >= 0) & (self.kinds[found] == self.kinds[:few])).all(axis=1)
        return targets[fitting], found[fitting]

    def sites(self, W: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """π of the operations {W | t} that carry the first site to one of ``targets`` ``(operation, basis)``."""
        found = self._carried(W, targets, len(self.x))[1]
        return found[(np.sort(found, axis=1) == np.arange(len(self.x))).all(axis=1)]

    def one(self, W: np.ndarray) -> np.ndarray | None:
        """π of an operation {W | t} within the tolerance, the first that is found: the identity where W is."""
        for target in self._carried(W, self.targets, 6)[0]:
            for sites in self.sites(W, target[None]):
                if self.fit(W, sites[None])[1][0] <= self.tolerance:
                    return sites
        return None

    def fit(self, W: np.ndarray, sites: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cells n_b ``(operation, basis, dim)`` of operations of one W, and their misfits."""
        difference = (self.x @ W)[None] - self.x[sites]
        difference -= difference[:, [self.first]]
        cells = np.rint(difference)
        rest = difference - cells
        rest -= rest.mean(axis=1, keepdims=True)
        return cells, np.linalg.norm(rest @ self.B, axis=-1).max(axis=1)

    def group(self) -> SpaceGroup | None:
        """The operations within the widest tolerance in which they are a group; None if they hold to rounding."""
        W, strain = _rotations(self.B, self.tolerance)
        found = [self.one(w) for w in W]
        kept = [k for k, known in enumerate(found) if known is not None]
        W, strain, sites = W[kept], strain[kept], np.array([found[k] for k in kept])
        identity = np.eye(len(self.B))
        translations = self.sites(identity, self._carried(identity, self.targets, 6)[0])
        # All operations of one W are a translation, then the one that is known.
        if max(strain.max(), self.fit(identity, translations)[1].max()) <= self.exact and all(
            self.fit(w, p[None])[1][0] <= self.exact for w, p in zip(W, sites, strict=True)
        ):
            return None
        misfits = np.array(
            [np.maximum(s, self.fit(w, p[translations])[1]) for w, s, p in zip(W, strain, sites, strict=True)]
        )
        tolerance = self.tolerance
        while (group := self._within(tolerance, W, sites, translations, misfits)) is None:
            tolerance /= 2
        return None if group.misfit <= self.exact else group

    def _within(
        self, tolerance: float, W: np.ndarray, sites: np.ndarray, translations: np.ndarray, misfits: np.ndarray
    ) -> SpaceGroup | None:
        """The operations within a tolerance, if the product of any two is one of them.

        ``misfits`` ``(W, translation)`` are those of a translation followed by the operation known for W.
        """
        close = misfits <= tolerance
        kept = close.any(axis=1)
        close, W, sites = close[kept], W[kept], sites[kept]
        T = translations[close[(np.eye(W.shape[1]) == W).all(axis=(1, 2))][0]]
        first = np.array([p[translations[k][0]] for p, k in zip(sites, close, strict=True)])
        number = np.full(len(self.x), -1)
        number[T[:, self.first]] = np.arange(len(T))

        def translates(sites: np.ndarray) -> bool:
            found = number[sites[:, self.first]]
            return bool((found >= 0).all() and (T[found] == sites).all())

        for p, p0, k in zip(sites, first, close, strict=True):
            if set(p[translations[k, self.first]]) != set(p0[T[:, self.first]]):
                return None
        if not all(translates(t[T]) for t in T):
            return None
        inverse = np.argsort(first, axis=1)
        if not all(translates(i[T[:, p]]) for i, p in zip(inverse, first, strict=True)):
            return None
        index = {tuple(w.ravel()): k for k, w in enumerate(W)}
        for (a, p), (b, q) in itertools.product(zip(W, first, strict=True), repeat=2):
            third = index.get(tuple((a @ b).ravel()))
            if third is None or not translates(inverse[third][q[p]][None]):
                return None
        return SpaceGroup(W, first, T, float(misfits[kept][close].max()))


def _rotations(B: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """All W ``(rotation, dim, dim)`` that keep the metric of a reduced basis within a tolerance, and their strains."""
    dim = len(B)
    turns = np.array(list(itertools.product(range(-2, 3), repeat=dim)), dtype=float)
    images, length = turns @ B, np.linalg.norm(B, axis=1)
    choices = [turns[np.abs(np.linalg.norm(images, axis=1) - n) <= tolerance] for n in length]
    picks = np.stack(np.meshgrid(*(np.arange(len(c)) for c in choices), indexing="ij"), -1).reshape(-1, dim)
    W = np.stack([c[k] for c, k in zip(choices, picks.T, strict=True)], axis=1)
    change = np.abs(W @ B @ B.T @ W.transpose(0, 2, 1) - B @ B.T) / (length[:, None] + length)
    strain = change.max(axis=(1, 2))
    kept = (strain <= tolerance) & (np.abs(np.abs(np.linalg.det(W)) - 1) < 0.5)
    return W[kept], strain[kept]
