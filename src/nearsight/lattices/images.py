"""Nearest images on a torus: the shortest of all displacements that differ by whole periods."""

from __future__ import annotations

import numpy as np

from nearsight._validation import array
from nearsight.lattices.lattice import Lattice, checked_lattice
from nearsight.lattices.reduction import _whole_numbers, reduced, shortest


def nearest_image(vectors: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Displacements ``(..., dim)`` between sites, each replaced by its shortest image along the periodic axes."""
    checked_lattice(lattice)
    return shortest(_displacements(vectors, lattice.dim), periods(lattice))


def torus_distance(vectors: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Length ``(...)`` of the shortest image of displacements ``(..., dim)`` along the periodic axes."""
    return np.linalg.norm(nearest_image(vectors, lattice), axis=-1)


def periods(lattice: Lattice) -> np.ndarray:
    """Translations of the torus as rows ``(periodic axes, dim)``, reduced: short vectors that span all of them."""
    return reduced((lattice.vectors * np.asarray(lattice.shape)[:, None])[np.asarray(lattice.periodic)])


def half_period(lattice: Lattice) -> float:
    """Half the shortest translation of the torus, or half the shortest edge if no axis is periodic."""
    rows = periods(checked_lattice(lattice))
    if not len(rows):
        return 0.5 * float(np.min(np.linalg.norm(lattice.vectors, axis=1) * np.asarray(lattice.shape)))
    # n = r·p* bounds the coefficients of a vector no longer than the shortest row.
    bound = np.linalg.norm(rows, axis=1).min() * np.linalg.norm(np.linalg.pinv(rows), axis=0)
    turns = _whole_numbers(bound)
    return 0.5 * float(np.linalg.norm(turns[turns.any(axis=1)] @ rows, axis=1).min())


def _displacements(vectors: np.ndarray, dim: int) -> np.ndarray:
    """Finite vectors ``(..., dim)``, float64."""
    shape = getattr(vectors, "shape", np.shape(vectors))
    return array(vectors, "vectors", (*(f"axis {k}" for k in range(len(shape) - 1)), dim))
