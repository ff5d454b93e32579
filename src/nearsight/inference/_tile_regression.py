"""Least squares for the table of a tile model, in the unique coordinates of its energy."""

from __future__ import annotations

import itertools
import math

import numba
import numpy as np

from nearsight.hamiltonians import TileModel
from nearsight.hamiltonians._tile_clusters import from_modes, tile_clusters, to_modes

CONVERGED = 1e-10
"""The Krylov space is complete when a new direction is shorter than this, relative to the first."""


@numba.njit(nogil=True, cache=True)
def tile_codes(states, sites, powers, codes):
    """Codes of all tiles ``(configuration, tile)`` of states ``(configuration, site)``."""
    for i in range(len(states)):
        for t in range(len(sites)):
            code = 0
            for k in range(len(powers)):
                code += states[i, sites[t, k]] * powers[k]
            codes[i, t] = code


@numba.njit(nogil=True, cache=True)
def _sums(table, codes, result):
    for i in range(len(codes)):
        total = 0.0
        for t in range(codes.shape[1]):
            total += table[codes[i, t]]
        result[i] = total


@numba.njit(nogil=True, cache=True)
def _histogram(codes, weight, result):
    for i in range(len(codes)):
        w = weight[i]
        for t in range(codes.shape[1]):
            result[codes[i, t]] += w


class TileRegression:
    r"""Energies Σ_t T[c_t] of labelled configurations as a linear function of independent parameters θ.

    One parameter for every orbit of clusters under translations and, if ``symmetric``, the point group; tables of
    smallest norm. In units in which parameters have features of variance 1 over random states, which are orthogonal
    there: the normal matrix of random configurations is their number times the unit matrix, but for fluctuations.
    The constant is left out.
    """

    def __init__(self, model: TileModel, *, symmetric: bool, internal: bool) -> None:
        tiles = model.tiles
        assert tiles is not None
        self.model, self.tiles, self.q = model, tiles, model.n_states
        self.clusters = clusters = tile_clusters(model.shape, model.stride, self.q)
        orbits = (
            clusters.orbits(model.lattice)
            if symmetric
            else np.where(clusters.complete, np.arange(len(clusters.classes)), -1)
        )
        sizes = np.count_nonzero(clusters.classes[:, None] // self.q ** np.arange(clusters.n) % self.q, axis=1)
        orbits = np.where(sizes == 0, -1, orbits)
        if internal and self.q == 2:
            orbits = np.where(sizes % 2 == 1, -1, orbits)
        self.average = internal and self.q > 2
        kept, self.label = np.unique(orbits, return_inverse=True)
        if kept[0] == -1:
            self.label -= 1
        self.parameters = int(self.label.max()) + 1
        if not self.parameters:
            raise ValueError(f"Tiles of {model.shape} cells at stride {model.stride} hold no symmetric cluster.")
        members = np.bincount(self.label[self.label >= 0], minlength=self.parameters)
        self.unit = 1 / np.sqrt(model.lattice.n_sites * members)

    def codes(self, states: np.ndarray) -> np.ndarray:
        kind = np.uint16 if self.tiles.table.size <= 2**16 else np.uint32
        codes = np.empty((len(states), len(self.tiles)), kind)
        tile_codes(states, self.tiles.sites, self.tiles.powers, codes)
        return codes

    def table(self, theta: np.ndarray) -> np.ndarray:
        """T of parameters θ."""
        padded = np.append(theta * self.unit, 0.0)  # the last one for classes without a parameter, numbered -1
        table = from_modes(self.clusters.modes(padded[self.label]), self.q)
        return _state_average(table, self.q) if self.average else table

    def energies(self, theta: np.ndarray, codes: np.ndarray) -> np.ndarray:
        result = np.empty(len(codes))
        _sums(self.table(theta), codes, result)
        return result

    def adjoint(self, codes: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Σ_i weight_i ∂E_i/∂θ."""
        histogram = np.zeros(self.tiles.table.size)
        _histogram(codes, weight, histogram)
        if self.average:
            histogram = _state_average(histogram, self.q)
        classes = self.clusters.gather(to_modes(histogram, self.q) * histogram.size)
        kept = self.label >= 0
        return np.bincount(self.label[kept], classes[kept], self.parameters) * self.unit

    def solutions(
        self, codes: np.ndarray, labels: np.ndarray, weight: np.ndarray, ridges: np.ndarray, iterations: int
    ) -> np.ndarray:
        """θ that minimises Σ_i w_i (E_i - label_i - const)² + λ Σ_i w_i θ², ``(ridge, parameter)`` for every λ.

        Lanczos's basis of the Krylov space of the normal matrix is the same for every λ; each solution costs nothing
        more.
        """
        total = weight.sum()

        def centred(x: np.ndarray) -> np.ndarray:
            return weight * (x - (weight @ x) / total)

        start = self.adjoint(codes, centred(labels))
        length = np.linalg.norm(start)
        if length == 0:
            return np.zeros((len(ridges), self.parameters))
        basis, diagonal, beside = [start / length], [], []
        for _ in range(min(iterations, self.parameters)):
            image = self.adjoint(codes, centred(self.energies(basis[-1], codes)))
            diagonal.append(basis[-1] @ image)
            known = np.array(basis)
            for _ in range(2):  # twice is enough
                image -= known.T @ (known @ image)
            norm = np.linalg.norm(image)
            if norm <= CONVERGED * diagonal[0]:
                break
            beside.append(norm)
            basis.append(image / norm)
        k = len(diagonal)
        small = np.diag(diagonal) + np.diag(beside[: k - 1], 1) + np.diag(beside[: k - 1], -1)
        values, vectors = np.linalg.eigh(small)
        inside = vectors.T[:, 0] * length
        # Directions that no label sees are left at zero.
        seen = values > 1e-12 * values.max()
        factors = np.where(seen, inside / np.where(seen, values + ridges[:, None] * total, 1.0), 0.0)
        return (factors @ vectors.T) @ np.array(basis[:k])


def _state_average(table: np.ndarray, q: int) -> np.ndarray:
    """The mean over all permutations of the states."""
    n = round(math.log(table.size, q))
    grid, total = table.reshape((q,) * n), np.zeros((q,) * n)
    permutations = list(itertools.permutations(range(q)))
    for p in permutations:
        total += grid[np.ix_(*[p] * n)]
    return (total / len(permutations)).reshape(-1)
