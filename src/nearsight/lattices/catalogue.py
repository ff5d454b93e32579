"""Named lattices, in units of the nearest-neighbour distance a = 1."""

from __future__ import annotations

import numpy as np

from nearsight._validation import integer
from nearsight.lattices.lattice import Lattice


def square(length: int, width: int | None = None, *, periodic: bool | tuple[bool, bool] = True) -> Lattice:
    """Square lattice of ``length`` × ``width`` sites (``width = length`` if not given).

    Site (x, y) has index ``x * width + y``, so a field reshapes to ``(*batch, length, width, component)``.
    """
    return Lattice("square", np.eye(2), np.zeros((1, 2)), _cells(2, length=length, width=width), periodic)


def chain(length: int, *, periodic: bool = True) -> Lattice:
    """Chain of ``length`` sites in one dimension."""
    return Lattice("chain", np.eye(1), np.zeros((1, 1)), _cells(1, length=length), periodic)


def triangular(length: int, width: int | None = None, *, periodic: bool | tuple[bool, bool] = True) -> Lattice:
    """Triangular lattice, six neighbours at distance 1, the first along x."""
    vectors = np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])
    return Lattice("triangular", vectors, np.zeros((1, 2)), _cells(2, length=length, width=width), periodic)


def honeycomb(length: int, width: int | None = None, *, periodic: bool | tuple[bool, bool] = True) -> Lattice:
    """Honeycomb lattice, two sites per cell, three neighbours at distance 1, the first of sublattice 0 along x."""
    vectors = np.array([[1.5, np.sqrt(0.75)], [0.0, np.sqrt(3.0)]])
    return Lattice(
        "honeycomb", vectors, np.array([[0.0, 0.0], [1.0, 0.0]]), _cells(2, length=length, width=width), periodic
    )


def kagome(length: int, width: int | None = None, *, periodic: bool | tuple[bool, bool] = True) -> Lattice:
    """Kagome lattice of corner-sharing triangles, three sites per cell, four neighbours at distance 1."""
    vectors = np.array([[2.0, 0.0], [1.0, np.sqrt(3.0)]])
    basis = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    return Lattice("kagome", vectors, basis, _cells(2, length=length, width=width), periodic)


def cubic(
    length: int, width: int | None = None, height: int | None = None, *, periodic: bool | tuple[bool, bool, bool] = True
) -> Lattice:
    """Simple cubic lattice; site (x, y, z) has index ``(x * width + y) * height + z``."""
    return Lattice("cubic", np.eye(3), np.zeros((1, 3)), _cells(3, length=length, width=width, height=height), periodic)


def fcc(length: int, *, periodic: bool | tuple[bool, bool, bool] = True) -> Lattice:
    """Face-centred cubic lattice on its primitive cell, twelve neighbours at distance 1 along (0, 1, 1)."""
    vectors = np.sqrt(0.5) * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    return Lattice("fcc", vectors, np.zeros((1, 3)), _cells(3, length=length), periodic)


def bcc(length: int, *, periodic: bool | tuple[bool, bool, bool] = True) -> Lattice:
    """Body-centred cubic lattice on its primitive cell, eight neighbours at distance 1 along (1, 1, 1)."""
    vectors = np.sqrt(1 / 3) * np.array([[-1.0, 1.0, 1.0], [1.0, -1.0, 1.0], [1.0, 1.0, -1.0]])
    return Lattice("bcc", vectors, np.zeros((1, 3)), _cells(3, length=length), periodic)


def diamond(length: int, *, periodic: bool | tuple[bool, bool, bool] = True) -> Lattice:
    """Diamond lattice on the primitive fcc cell, two sites per cell, four neighbours at distance 1 along ±(1, 1, 1)."""
    cube = 4 / np.sqrt(3)  # edge of the conventional cube
    vectors = cube / 2 * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    return Lattice("diamond", vectors, np.array([[0.0] * 3, [cube / 4] * 3]), _cells(3, length=length), periodic)


def _cells(dim: int, **lengths: int | None) -> tuple[int, ...]:
    """Numbers of cells along ``dim`` axes; an axis without a number of its own has that of the first."""
    if isinstance(lengths["length"], tuple | list):
        raise TypeError(
            f"Lengths are arguments of their own: write {', '.join(map(str, lengths['length']))}, without brackets."
        )
    given = {name: integer(n, name, least=1) for name, n in lengths.items() if n is not None or name == "length"}
    return tuple(given.get(name, given["length"]) for name in (*lengths, *("length",) * (dim - len(lengths))))
