"""What the Chebyshev solver hands from step to step."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch

from nearsight.solvers.kpm._chebyshev_recursion import Block
from nearsight.solvers.kpm._chebyshev_series import FermiSeries
from nearsight.solvers.kpm._moment_thermodynamics import Potentials
from nearsight.solvers.kpm.probing import _Layout
from nearsight.solvers.products import NumbaProducts, Rows, SparseProducts


class Pairs(NamedTuple):
    """The wanted positions, every pair i <= j once: the other triangle is the conjugate."""

    i: np.ndarray
    j: np.ndarray
    weights: np.ndarray
    place: np.ndarray
    swapped: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, columns: np.ndarray, size: int) -> Pairs:
        key, place, count = np.unique(
            np.minimum(rows, columns) * size + np.maximum(rows, columns), return_inverse=True, return_counts=True
        )
        return cls(key // size, key % size, count, place, rows > columns)

    @property
    def asked(self) -> int:
        """Positions that were asked for."""
        return int(self.weights.sum())

    def unfold(self, values: np.ndarray) -> np.ndarray:
        """From one value for each pair to the positions that were asked for."""
        return np.where(self.swapped, values[:, self.place].conj(), values[:, self.place])


class Plan(NamedTuple):
    matrix: Rows
    pairs: Pairs
    series: FermiSeries


class Estimate(NamedTuple):
    """What one set of probes says ``(batch, ...)``: ``following`` is ∂ρ/∂μ where μ follows the number."""

    moments: np.ndarray
    rho: np.ndarray
    following: np.ndarray | None = None


class Part(NamedTuple):
    """What all sets say of a batch."""

    rho: np.ndarray
    potentials: Potentials
    truncation: np.ndarray
    mean_truncation: np.ndarray
    rounding: float
    noise: np.ndarray
    pieces: np.ndarray
    potential_noise: np.ndarray
    number_noise: np.ndarray
    energy_noise: np.ndarray
    moments: int
    layout: _Layout


def sum_of_blocks(
    products: SparseProducts, blocks: list[Block], work: Callable[[Block], tuple[np.ndarray, ...]]
) -> list[np.ndarray]:
    """The sum over all blocks of what ``work`` says; on the processor as many at a time as torch has threads."""
    threads = torch.get_num_threads() if isinstance(products, NumbaProducts) else 1
    with ThreadPoolExecutor(threads) if threads > 1 else nullcontext() as pool:
        # In the order of the blocks, so that sums do not depend on the number of threads.
        results = iter(pool.map(work, blocks) if pool else map(work, blocks))
        total = list(next(results))
        for result in results:
            for sum_, term in zip(total, result, strict=True):
                sum_ += term
    return total
