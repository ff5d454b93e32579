"""One patch of checkerboard in every block of a lattice: super-clusters to order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr

from nearsight._validation import generator, integer
from nearsight.analysis._fields import SiteField, binned, relabel, site_field
from nearsight.analysis.order import sublattice_sign
from nearsight.lattices import Lattice, torus_group


def grow_checkerboard(lattice: Lattice, particles: int, *, rng: torch.Generator, span: int | None = None) -> np.ndarray:
    """A compact patch of checkerboard of random shape, as cells relative to its first particle ``(particle, dim)``.

    Starting from one particle, a random bond of the second shell that leads out of the patch gets the next one (Eden
    growth). All particles are on one sublattice.

    ``span`` bounds the cells from end to end along every axis. A patch that spans one cell less than a block has room
    on both sublattices of the block, however it is turned.
    """
    second = lattice.neighbourhood(float(_bravais(lattice).shell_distances[1]))
    steps = second.cells[second.distances > second.cutoff - lattice.tolerance]
    if particles < 1:
        raise ValueError(f"A patch has at least one particle, got {particles}.")
    patch = [(0,) * lattice.dim]
    while len(patch) < particles:
        taken = set(patch)
        ways = [c for p in patch for s in steps if (c := tuple(int(x) for x in p + s)) not in taken]
        if span is not None:
            ways = [c for c in ways if np.ptp([*patch, c], axis=0).max() < span]
        if not ways:
            raise ValueError(
                f"No more than {len(patch)} of {particles} particles found room within {span} cells; raise span, or "
                "grow fewer."
            )
        patch.append(ways[int(torch.randint(len(ways), (), generator=rng))])
    return np.array(patch)


def block_arrangements(
    lattice: Lattice,
    patch: np.ndarray,
    *,
    rng: torch.Generator,
    count: int = 1,
    blocks: tuple[int, ...] | None = None,
    polarity: np.ndarray | None = None,
) -> xr.Dataset:
    """Configurations with the same patch of checkerboard in every block, turned and moved at random.

    The lattice is cut into equal blocks. In every block the patch is turned by a random operation of the point group
    that fits the block, and put at a random place among those where it lies within the block whole and on the
    sublattice that a fair coin, or ``polarity``, decides. Super-clusters of any shape arise, of patches that are all
    alike.

    Parameters
    ----------
    patch: cells of the particles relative to any origin ``(particle, dim)``, all of one sublattice, such as
        :func:`grow_checkerboard` returns.
    count: number of configurations.
    blocks: number of blocks along each axis; three by default.
    polarity: the sublattice ±1 of every patch ``(configuration, block)``, or one row for all configurations.
        Fair coins seldom make states of large magnetisation: of 512 arrangements of nine blocks two have \\|M\\| = 9,
        and 252 have \\|M\\| = 1.

    Returns
    -------
    A Dataset with ``n`` (configuration, site), ``polarity`` (configuration, block) and the block magnetisation
    ``M`` (configuration) = Σ_J σ_J. Blocks are numbered in C order.

    References
    ----------
    S. Zhang, PhD thesis (University of Virginia, 2024), figs. 2.10 and 2.11.
    """
    division = _division(lattice, blocks)
    colour = sublattice_sign(_bravais(lattice)).reshape(lattice.shape)
    patch = np.asarray(patch)
    if patch.ndim != 2 or patch.shape[1] != lattice.dim or len(np.unique(patch, axis=0)) != len(patch):
        raise ValueError(f"patch lists different cells ({lattice.dim} whole numbers each), got shape {patch.shape}.")
    if len(np.unique(colour[tuple((patch % lattice.shape).T)])) != 1:
        raise ValueError("The particles of a patch of checkerboard are on one sublattice; this patch has both.")
    shapes = _turned(patch, lattice, division)
    signs = _signs(polarity, count, division.number, rng)
    n = np.zeros((count, *lattice.shape))
    for c in range(count):
        for J, corner in enumerate(division.corners):
            shape = shapes[int(torch.randint(len(shapes), (), generator=rng))]
            room = division.shape - shape.max(0)
            places = np.stack(np.meshgrid(*map(np.arange, room), indexing="ij"), -1).reshape(-1, lattice.dim) + corner
            fitting = places[colour[tuple((places + shape[0]).T)] == signs[c, J]]
            if not len(fitting):
                raise ValueError(
                    f"The patch fits its block of {division} cells on one sublattice only; take it smaller."
                )
            place = fitting[int(torch.randint(len(fitting), (), generator=rng))]
            n[(c, *(shape + place).T)] = 1.0
    total = signs.sum(1)
    return xr.Dataset(
        {
            "n": (("configuration", "site"), n.reshape(count, -1), {"long_name": "occupation", "units": "1"}),
            "polarity": (("configuration", "block"), signs, {"long_name": "sublattice of the patch", "units": "1"}),
            "M": ("configuration", total, {"long_name": "block magnetisation", "units": "1"}),
        }
    )


def spread_polarity(count: int, blocks: int, *, rng: torch.Generator) -> np.ndarray:
    """Sublattices ±1 ``(configuration, block)`` for :func:`block_arrangements`, evenly spread over magnetisations.

    Of ``count`` configurations every \\|M\\| = 1, 3, ... ``blocks`` - 2 is that of as many, with either sign, in blocks
    drawn at random; ``blocks`` is odd.
    """
    generator(rng)
    count, blocks = integer(count, "count", least=1), integer(blocks, "blocks", least=3)
    if blocks % 2 == 0:
        raise ValueError(f"An even number of blocks has arrangements of no magnetisation; got blocks={blocks}.")
    signs = np.ones((count, blocks))
    for k in range(count):
        down = torch.randperm(blocks, generator=rng)[: 1 + k % (blocks // 2)].numpy()
        signs[k, down] = -1
        signs[k] *= 2 * int(torch.randint(2, (), generator=rng)) - 1
    return signs


def block_polarity(
    sigma: SiteField, lattice: Lattice, *, blocks: tuple[int, ...] | None = None, dims: tuple[str, ...] | None = None
) -> xr.DataArray:
    """σ_J = ±1: the majority of σ in every block ``(*batch, block)``, 0 for a draw."""
    division = _division(lattice, blocks)
    labelled = site_field(sigma, lattice, dims)
    inside = np.ravel_multi_index(tuple((lattice.cells // division.shape).T), division.blocks)
    majority = np.sign(binned(labelled.values.reshape(-1, lattice.n_sites), inside, division.number)).astype(np.int8)
    return relabel(labelled, majority, "polarity", "majority in the block", block=division.number)


@dataclass(frozen=True)
class _Division:
    shape: np.ndarray
    """Cells of a block along every axis."""
    blocks: tuple[int, ...]

    @property
    def number(self) -> int:
        return int(np.prod(self.blocks))

    @property
    def corners(self) -> np.ndarray:
        grid = np.stack(np.meshgrid(*map(np.arange, self.blocks), indexing="ij"), -1)
        return grid.reshape(-1, len(self.blocks)) * self.shape

    def __str__(self) -> str:
        return " × ".join(map(str, self.shape))


def _division(lattice: Lattice, blocks: tuple[int, ...] | None) -> _Division:
    number = (3,) * lattice.dim if blocks is None else tuple(blocks)
    if len(number) != lattice.dim or min(number) < 1 or any(n % b for n, b in zip(lattice.shape, number, strict=True)):
        raise ValueError(f"{lattice!r} cannot be cut into {number} equal blocks; choose blocks= that divide its cells.")
    return _Division(np.array([n // b for n, b in zip(lattice.shape, number, strict=True)]), number)


def _bravais(lattice: Lattice) -> Lattice:
    if lattice.n_basis != 1:
        raise ValueError(f"Patches are moved from cell to cell: one site per cell is needed, unlike {lattice!r}.")
    return lattice


def _turned(patch: np.ndarray, lattice: Lattice, division: _Division) -> list[np.ndarray]:
    """All orientations of the patch that fit a block, each with its lowest cells at 0."""
    frame = np.linalg.inv(lattice.vectors).T
    group = torus_group(lattice.resized(*(int(n) for n in division.shape)))
    operations = [np.rint(frame @ g @ lattice.vectors.T).astype(int) for g in group.matrices]
    shapes = [p - p.min(0) for p in (patch @ g.T for g in operations)]
    fitting = [shape for shape in shapes if np.all(shape.max(0) < division.shape)]
    if not fitting:
        raise ValueError(f"The patch spans {np.ptp(patch, axis=0) + 1} cells and does not fit a block of {division}.")
    return fitting


def _signs(polarity: np.ndarray | None, count: int, blocks: int, rng: torch.Generator) -> np.ndarray:
    if polarity is None:
        return (2 * torch.randint(2, (count, blocks), generator=rng) - 1).numpy().astype(np.int8)
    signs = np.asarray(polarity)
    if signs.shape[-1:] != (blocks,) or not np.isin(signs, (-1, 1)).all() or signs.ndim > 2:
        raise ValueError(f"polarity holds ±1 for each of {blocks} blocks (configuration, block), got {signs.shape}.")
    if signs.ndim == 2 and len(signs) != count:
        raise ValueError(f"polarity has {len(signs)} rows for count={count} configurations; give as many.")
    return np.broadcast_to(signs, (count, blocks)).astype(np.int8)
