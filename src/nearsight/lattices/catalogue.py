"""Named lattices, in units of the nearest-neighbour distance a = 1."""

from __future__ import annotations

import numpy as np

from nearsight.lattices.lattice import Lattice


def square(length: int, width: int | None = None, *, periodic: bool | tuple[bool, bool] = True) -> Lattice:
    """Square lattice of ``length`` × ``width`` sites (``width = length`` if not given).

    Site (x, y) has index ``x * width + y``, so a field reshapes to ``(*batch, length, width, component)``.
    """
    return Lattice("square", np.eye(2), np.zeros((1, 2)), (length, width or length), periodic)


def chain(length: int, *, periodic: bool = True) -> Lattice:
    """Chain of ``length`` sites in one dimension."""
    return Lattice("chain", np.eye(1), np.zeros((1, 1)), (length,), periodic)
