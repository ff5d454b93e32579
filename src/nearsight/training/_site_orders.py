"""Orders in which a program may have written the sites of a lattice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nearsight.analysis import sublattice_sign
from nearsight.lattices import Lattice

SHAPES = 24
"""Other shapes that are tried, those nearest to a cube first."""


class SiteOrder(NamedTuple):
    """A reading of the same list of sites: the k-th of them sits at site ``place[k]`` of ``lattice``."""

    name: str
    lattice: Lattice
    place: np.ndarray

    def arranged(self, values: np.ndarray) -> np.ndarray:
        """Values ``(snapshot, site, component)`` in the order of ``lattice``."""
        result = np.empty_like(values)
        result[:, self.place] = values
        return result


def axis_orders(lattice: Lattice) -> list[SiteOrder]:
    """Axes of the grid exchanged or reversed, and the sites of a cell exchanged."""
    result = []
    signs = list(itertools.product((1, -1), repeat=lattice.dim))
    if lattice.n_basis == 1:
        signs = [s for s in signs if s[0] > 0]  # the reversal of all axes is a symmetry
    for basis in itertools.permutations(range(lattice.n_basis)) if lattice.n_basis <= 3 else [range(lattice.n_basis)]:
        for axes in itertools.permutations(range(lattice.dim)):
            if any(lattice.shape[a] != n for a, n in zip(axes, lattice.shape, strict=True)):
                continue
            for sign in signs:
                cells = lattice.cells[:, axes]
                cells = np.where(np.array(sign) > 0, cells, np.array(lattice.shape) - 1 - cells)
                place = lattice.index(cells, np.array(basis)[lattice.sublattice])
                result.append(SiteOrder(_axes_name(axes, sign, tuple(basis)), lattice, place))
    return result


def file_orders(lattice: Lattice) -> Iterator[SiteOrder]:
    """Other shapes of as many sites, and other orders in which programs run over them."""
    sites, shape, basis = np.arange(lattice.n_sites), lattice.shape, lattice.n_basis
    for other in _shapes(lattice.n_cells, lattice.dim):
        if other != shape:
            yield SiteOrder(f"shape: {list(other)}", lattice.resized(*other), sites)
    cells = np.arange(lattice.n_cells)
    if basis > 1:
        yield SiteOrder(
            "one sublattice after the other (the axis basis first)",
            lattice,
            (cells[None] * basis + np.arange(basis)[:, None]).ravel(),
        )
    if lattice.dim == 1:
        return
    first = np.ravel_multi_index(np.unravel_index(cells, shape, order="F"), shape)
    yield SiteOrder("the first axis running fastest (Fortran order)", lattice, _with_basis(first, basis))
    grid = np.stack(np.unravel_index(cells, shape))
    snake = grid.copy()
    snake[-1] = np.where(grid[:-1].sum(0) % 2, shape[-1] - 1 - grid[-1], grid[-1])
    yield SiteOrder(
        "every second row backwards (a snake)", lattice, _with_basis(np.ravel_multi_index(tuple(snake), shape), basis)
    )
    if all(n % 2 == 0 for n in shape):
        blocks = cells.reshape([m for n in shape for m in (n // 2, 2)])
        blocks = blocks.transpose(*range(0, 2 * lattice.dim, 2), *range(1, 2 * lattice.dim, 2))
        name = " × ".join("2" * lattice.dim)
        yield SiteOrder(f"one block of {name} cells after the other", lattice, _with_basis(blocks.ravel(), basis))
    if basis == 1:
        try:
            colour = sublattice_sign(lattice)
        except ValueError:
            return
        yield SiteOrder("one sublattice after the other", lattice, np.argsort(-colour, kind="stable"))


def _with_basis(cells: np.ndarray, basis: int) -> np.ndarray:
    return (cells[:, None] * basis + np.arange(basis)).ravel()


def _shapes(cells: int, dim: int) -> list[tuple[int, ...]]:
    found = [s for s in _factorisations(cells, dim) if min(s) > 1]
    return sorted(found, key=lambda s: (max(s) / min(s), s))[:SHAPES]


def _factorisations(n: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (n,)
        return
    divisors = {d for k in range(1, math.isqrt(n) + 1) if n % k == 0 for d in (k, n // k)}
    for d in sorted(divisors):
        for rest in _factorisations(n // d, parts - 1):
            yield (d, *rest)


def _axes_name(axes: tuple[int, ...], signs: tuple[int, ...], basis: tuple[int, ...]) -> str:
    moved = [f"axes in the order {', '.join(map(str, axes))}"] if axes != tuple(sorted(axes)) else []
    moved += [f"axis {k} reversed" for k, sign in enumerate(signs) if sign < 0]
    moved += [f"the sites of a cell in the order {', '.join(map(str, basis))}"] if basis != tuple(sorted(basis)) else []
    return " and ".join(moved)
