"""Energies of overlapping tiles: any local Hamiltonian of a discrete variable, as a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nearsight._validation import array, boolean, integer, integers, number
from nearsight.fields import FieldType, ising, potts
from nearsight.hamiltonians._tile_clusters import (
    MAX_TABLE,
    Shape,
    TileClusters,
    cell_operations,
    from_modes,
    site_functions,
    tile_clusters,
    to_modes,
)
from nearsight.hamiltonians.classical_model import ClassicalModel, Tiles
from nearsight.hamiltonians.ising import VALUES
from nearsight.lattices import Lattice, site_permutations, torus_group
from nearsight.lattices.lattice import checked_lattice

Cluster = tuple[tuple[int, ...], ...]
"""Sites of one cluster by their cells, up to a translation: ((0, 0), (0, 1)) is a bond along the second axis."""
WIDE_TABLE = 2**16
"""Entries of the largest table that is made of smaller ones: half a megabyte stays close to a processor."""
SAME = 1e-12
"""Energies closer than this, relative to the largest of the table, are one: symmetry to rounding."""


class ClusterCoupling(NamedTuple):
    """One coupling of a :class:`TileModel`, read from its table.

    ``cluster``: one of the clusters that the point group carries into each other, of which there are ``multiplicity``
    for each site of the lattice. ``value``: J of E = -J Σ Π s for two states; for more the energy gain
    ``(state, ..., state)`` of the cluster's sites, in the order listed, zero on average over the states of each of
    them. ``spread``: the largest difference of a member from the value, 0 for a table with the lattice's symmetry.
    """

    cluster: Cluster
    value: float | np.ndarray
    multiplicity: int
    spread: float


class TileModel(ClassicalModel):
    r"""An energy of overlapping tiles, each an entry of one table,

    .. math:: E = \sum_t T[c_t], \qquad c_t = \sum_k a_{t,k}\, q^k, \qquad a = 0, \dots, q - 1,

    where tile t holds ``shape`` sites and tiles lie ``stride`` apart along every axis; site k counts the tile's cells
    in C order. Every energy of clusters that fit into a tile is one of these, with couplings of any number of sites;
    :meth:`from_couplings` writes it and :meth:`couplings` reads it. A table learned on a small lattice holds on every
    larger one: :meth:`on`.

    For two states (s = 2a - 1) the field is s, and the energy as a function of the field is the multilinear extension,
    the sum of all couplings times products of s: the mean energy of independent spins with the averages s. For more
    states the field is one-hot, and the energy the same function of the averages of its components.

    Tables that differ may give equal energies, as tiles overlap. A translation-invariant energy of 4 × 4 tiles at
    stride 2 has clusters of at most 3 × 3 cells and is one of 3 × 3 tiles at stride 1, where odd lattices are possible;
    :meth:`retiled` turns one into the other. Few, large tiles are fast to sample, small ones easy to store: 3 states on
    4 × 4 sites would be 4·10⁷ entries, on 3 × 3 they are 19683.

    Parameters
    ----------
    lattice: periodic, one site per cell, no axis shorter than the tile, each a multiple of the stride.
    table: energy of every code ``(q^n,)``.
    shape: cells of a tile along every axis, at most 2^24 entries in all.
    stride: cells from one tile to the next, at most those of a tile.
    n_states: q, 2 to 127.

    Examples
    --------
    >>> from nearsight.hamiltonians import TileModel
    >>> from nearsight.lattices import square
    >>> bond, plaquette = ((0, 0), (0, 1)), ((0, 0), (0, 1), (1, 0), (1, 1))
    >>> model = TileModel.from_couplings(square(8), {bond: 1.0, plaquette: 0.2})
    >>> [(c.cluster, round(c.value, 12), c.multiplicity) for c in model.couplings() if abs(c.value) > 1e-12]
    [(((0, 0), (0, 1)), 1.0, 2), (((0, 0), (0, 1), (1, 0), (1, 1)), 0.2, 1)]
    >>> model.on(square(24)).lattice
    square, 24 × 24 sites, periodic

    References
    ----------
    K. Mills et al., Chem. Sci. 10, 4129 (2019) (sums of tiles of focus and context).
    """

    def __init__(
        self,
        lattice: Lattice,
        table: ArrayLike,
        *,
        shape: Sequence[int] = (4, 4),
        stride: Sequence[int] = (2, 2),
        n_states: int = 2,
    ) -> None:
        self.shape, self.stride, q = _checked_tile(lattice, shape, stride, n_states)
        given = table.numpy(force=True) if isinstance(table, Tensor) else table
        self.table = array(given, "table, one energy for every code,", (q ** math.prod(self.shape),))
        self.table.setflags(write=False)
        _check_fit(lattice, self.shape, self.stride)
        none = np.zeros(0, np.int64)
        bonds = (none, none, np.zeros(0))
        values = VALUES if q == 2 else torch.eye(q, dtype=torch.float64)
        super().__init__(lattice, _symmetric_field(self.table, q), values, torch.eye(values.shape[-1]), bonds)
        self.tiles = Tiles(_tile_sites(lattice, self.shape, self.stride), self.table.copy(), q)

    # --- as a model -------------------------------------------------------------------------------------------------

    def classical_energy(self, field: Tensor) -> Tensor:
        tiles, q = self.tiles, self.n_states
        assert tiles is not None
        # How much of each state a site is: sums to 1, and is 0 and 1 for allowed values.
        weight = (1 + field * self.values.T.to(field)) / 2 if q == 2 else field - field.mean(-1, keepdim=True) + 1 / q
        seen = weight.index_select(-2, torch.from_numpy(tiles.sites.reshape(-1)).to(field.device))
        seen = seen.unflatten(-2, tiles.sites.shape)
        # Σ_c T_c Π_k w_k(a_k) as a bilinear form of the products over the first half of the sites and over the rest.
        half = seen.shape[-2] // 2
        low, high = _products(seen[..., :half, :]), _products(seen[..., half:, :])
        table = torch.from_numpy(tiles.table).to(field).view(high.shape[-1], low.shape[-1])
        return ((high @ table) * low).sum((-2, -1))

    @cached_property
    def disordered(self) -> bool:  # type: ignore[override]
        """Whether some translation or point operation of the torus changes the energy: a table may break any."""
        lattice, rng = self.lattice, torch.Generator().manual_seed(0)
        states = self.random_states(rng, 4)
        energy, scale = self.energy(states), SAME * len(self.tiles) * (np.abs(self.table).max() or 1.0)  # type: ignore[arg-type]
        group = torus_group(lattice)
        moves = list(site_permutations(lattice, group))
        moves += [lattice.index(lattice.cells + step, lattice.sublattice) for step in np.eye(lattice.dim, dtype=int)]
        return any(float((self.energy(states[:, torch.from_numpy(p)]) - energy).abs().max()) > scale for p in moves)

    @cached_property
    def wide_tiles(self) -> Tiles:
        """The same energy in fewer tiles around a site, if a table of 2^16 entries holds what 2^dim tiles do."""
        wide = tuple(n + s for n, s in zip(self.shape, self.stride, strict=True))
        stride, q = tuple(2 * s for s in self.stride), self.n_states
        assert self.tiles is not None

        def around(shape: Shape, stride: Shape) -> int:
            return math.prod(-(-n // s) for n, s in zip(shape, stride, strict=True))

        fits = all(n >= w and n % s == 0 for n, w, s in zip(self.lattice.shape, wide, stride, strict=True))
        if not fits or q ** math.prod(wide) > WIDE_TABLE or around(wide, stride) >= around(self.shape, self.stride):
            return self.tiles
        table, codes = np.zeros(q ** math.prod(wide)), np.arange(q ** math.prod(wide))
        cells = np.stack(np.unravel_index(np.arange(math.prod(self.shape)), self.shape), axis=-1)
        for corner in np.ndindex(*(2,) * self.lattice.dim):
            places = np.ravel_multi_index(tuple((cells + np.array(corner) * self.stride).T), wide)
            table += self.table[sum(codes // q**place % q * q**k for k, place in enumerate(places.tolist()))]
        return Tiles(_tile_sites(self.lattice, wide, stride), table, q)

    # --- couplings --------------------------------------------------------------------------------------------------

    @classmethod
    def from_couplings(
        cls,
        lattice: Lattice,
        couplings: Mapping[Cluster, ArrayLike] | Iterable[ClusterCoupling],
        *,
        shape: Sequence[int] = (4, 4),
        stride: Sequence[int] = (2, 2),
        n_states: int = 2,
        symmetrise: bool = True,
    ) -> Self:
        r"""The model with given couplings, E = -Σ_C J_C Σ Π_{i ∈ C} s_i over all places of every cluster C.

        Every cluster of the lattice counts once: {((0, 0), (0, 1)): 1.0} is the Ising model with J = 1. A coupling
        between sites farther apart than a tile reaches, or than tiles at this stride reach everywhere, is a
        ``ValueError``. The table is that of smallest norm.

        Parameters
        ----------
        couplings: J of every cluster, or what :meth:`couplings` returned. ``()`` is the cluster of no sites, a constant
            gain per site; for more than two states J is an array ``(state, ...)`` with an axis for every site, such as
            ``J * np.eye(3)`` for a bond of the Potts model.
        symmetrise: each cluster stands for all that the point group of a site carries it into.
        """
        shape, stride, q = _checked_tile(lattice, shape, stride, n_states)
        boolean(symmetrise, "symmetrise")
        given = list(couplings.items()) if isinstance(couplings, Mapping) else [(c[0], c[1]) for c in couplings]
        clusters = tile_clusters(shape, stride, q)
        sums, taken = np.zeros(len(clusters.classes)), set()
        operations = cell_operations(lattice) if symmetrise else np.eye(lattice.dim, dtype=np.int64)[None]
        for cluster, value in given:
            cells = _checked_cluster(cluster, lattice.dim)
            J = _checked_coupling(value, cells, q)
            for image, gain in _images(cells, J, operations).items():
                if image in taken:
                    raise ValueError(f"The coupling of {image} is given twice: {cluster} is an image of one before it.")
                taken.add(image)
                _add_modes(sums, clusters, image, gain)
        return cls(lattice, from_modes(clusters.modes(sums), q), shape=shape, stride=stride, n_states=q)

    def couplings(self, *, sites: int = 4) -> tuple[ClusterCoupling, ...]:
        """What the table says, cluster by cluster: J of every cluster of up to ``sites`` sites, small ones first.

        The couplings of all clusters are unique, whatever the table: two tables are one energy if they agree here. Of
        places and images that differ in a table without symmetry, the mean is given, and the largest deviation as
        ``spread``.
        """
        sites = integer(sites, "sites", least=0)
        q, dim = self.n_states, self.lattice.dim
        clusters, places = tile_clusters(self.shape, self.stride, q), tile_clusters(self.shape, self.stride, 2)
        found = clusters.by_phase(to_modes(self.table, q))
        small = places.classes[places.sizes() <= sites]
        listed = [places.cluster(int(mode)) for mode in small]
        operations, seen, result = cell_operations(self.lattice), set(), []
        for cluster in sorted(listed, key=lambda c: (len(c), _extent(c, self.lattice), c)):
            if cluster in seen:
                continue
            images = np.array(cluster, dtype=np.int64).reshape(-1, dim) @ operations.swapaxes(1, 2)
            members = {_canonical(cells)[0] for cells in images}
            seen |= members
            J = np.stack([-_cluster_energy(found, clusters, cells) for cells in images])
            mean = J.mean((0, 1))
            spread = float(np.abs(J - mean).max())
            result.append(ClusterCoupling(cluster, float(mean) if mean.ndim == 0 else mean, len(members), spread))
        return tuple(result)

    def retiled(self, shape: Sequence[int], stride: Sequence[int]) -> Self:
        """The same energy with other tiles; ``ValueError`` if it has clusters that they do not hold everywhere.

        Small tables at stride 1 suit every lattice: ``model.retiled((3, 3), (1, 1)).on(square(15))``.
        """
        q = self.n_states
        shape, stride, _ = _checked_tile(self.lattice, shape, stride, q)
        old, new = tile_clusters(self.shape, self.stride, q), tile_clusters(shape, stride, q)
        found = old.by_phase(to_modes(self.table, q))
        scale = SAME * (np.abs(self.table).max() or 1.0) * old.n
        if np.ptp(found, axis=1).max() > scale:
            raise ValueError(
                f"The table is not the same energy after a translation by one cell, so that it needs its stride "
                f"{self.stride}; distil a symmetric one, or choose lattices whose sides are multiples of it."
            )
        sums = np.zeros(len(new.classes))
        value = found.mean(1)
        for mode, energy in zip(old.classes[np.abs(value) > scale].tolist(), value[np.abs(value) > scale], strict=True):
            digits = mode // q ** np.arange(old.n) % q
            place = _mode(old.cells[digits != 0], digits[digits != 0], new)
            sums[place] += energy
        return self._made(self.arguments | {"table": from_modes(new.modes(sums), q), "shape": shape, "stride": stride})


# --- arguments --------------------------------------------------------------------------------------------------------


def _checked_tile(lattice: Lattice, shape: Sequence[int], stride: Sequence[int], q: int) -> tuple[Shape, Shape, int]:
    """Shape and stride of tiles, and q, refused if they do not suit the lattice."""
    q = integer(q, "n_states", least=2, most=127)
    if checked_lattice(lattice).n_basis != 1:
        raise ValueError(f"Tiles are cut from lattices with one site per cell, {lattice!r} has {lattice.n_basis}.")
    if not all(lattice.periodic):  # type: ignore[arg-type]
        raise ValueError(f"Tiles cover a periodic lattice; make all axes of {lattice!r} periodic.")
    cells = f"one number for each of the {lattice.dim} axes,"
    shape = integers(shape, f"shape, {cells}", length=lattice.dim, least=1)
    stride = integers(stride, f"stride, {cells}", length=lattice.dim, least=1)
    if any(s > n for s, n in zip(stride, shape, strict=True)):
        raise ValueError(f"Tiles of {shape} cells at stride {stride} leave sites out; the stride is at most the shape.")
    if math.prod(shape) * math.log2(q) > math.log2(MAX_TABLE) + 1e-9:
        raise ValueError(
            f"A table of {q}^{math.prod(shape)} entries is too large (at most 2^24); take a smaller shape, such as "
            f"(3, 3) at stride (1, 1)."
        )
    return shape, stride, q


def _check_fit(lattice: Lattice, shape: Shape, stride: Shape) -> None:
    """Refuse a lattice on which tiles meet themselves or do not close."""
    if any(n < m for n, m in zip(lattice.shape, shape, strict=True)):
        raise ValueError(f"{lattice!r} is too small for tiles of {shape} cells, which would hold a site twice.")
    if any(n % s for n, s in zip(lattice.shape, stride, strict=True)):
        raise ValueError(
            f"The sides of {lattice!r} are not multiples of the stride {stride}; retiled(shape, stride=(1, ...)) on a "
            f"lattice of other sides makes a model that fits every one."
        )


def _tile_sites(lattice: Lattice, shape: Shape, stride: Shape) -> np.ndarray:
    """Sites of every tile ``(tile, n)``."""
    axes = [np.arange(0, n, s) for n, s in zip(lattice.shape, stride, strict=True)]
    corners = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 1, lattice.dim)
    cells = corners + np.stack(np.unravel_index(np.arange(math.prod(shape)), shape), axis=-1)
    return np.ravel_multi_index(tuple(np.moveaxis(cells, -1, 0)), lattice.shape, mode="wrap")


def _symmetric_field(table: np.ndarray, q: int) -> FieldType:
    """The field, with the internal symmetry that the table has: Z2 for two states, S(n) for more, or none."""
    scale = SAME * np.abs(table).max()
    if q == 2:
        return ising() if np.abs(table - table[::-1]).max() <= scale else FieldType("s", values="+-1")
    n = round(math.log(table.size, q))
    grid = table.reshape((q,) * n)
    exchange, shift = np.r_[1, 0, 2:q], np.roll(np.arange(q), 1)  # generate all permutations
    if all(np.abs(grid[np.ix_(*[p] * n)] - grid).max() <= scale for p in (exchange, shift)):
        return potts(q)
    return FieldType("p", ("trivial",) * q, values="one-hot")


def _checked_cluster(cluster: Cluster, dim: int) -> np.ndarray:
    """Cells of a cluster ``(site, dim)``."""
    try:
        cells = np.array([integers(cell, "cell", length=dim) for cell in cluster], np.int64).reshape(-1, dim)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"A cluster is a tuple of cells, each of {dim} whole numbers, got {cluster}: {error}"
        ) from None
    if len({*map(tuple, cells.tolist())}) < len(cells):
        raise ValueError(f"The sites of a cluster are all different, unlike those of {cluster}.")
    return cells


def _checked_coupling(value: ArrayLike, cells: np.ndarray, q: int) -> np.ndarray:
    """The energy gain of the states of a cluster ``(state, ...)``."""
    name = f"the coupling of {tuple(map(tuple, cells.tolist()))}"
    if q > 2 and len(cells):
        return array(value, name, (q,) * len(cells))
    gain = np.full((q,) * len(cells), number(value, name))
    for axis in range(len(cells)):
        gain *= VALUES[:, 0].numpy().reshape((2,) + (1,) * (len(cells) - 1 - axis))
    return gain


# --- clusters ---------------------------------------------------------------------------------------------------------


def _products(weight: Tensor) -> Tensor:
    """Π_k w_k(a_k) for all codes, from ``(..., n, q)`` to ``(..., q^n)``."""
    result = weight.new_ones((*weight.shape[:-2], 1))
    for k in range(weight.shape[-2]):
        result = (weight[..., k, :, None] * result[..., None, :]).flatten(-2)
    return result


def _canonical(cells: np.ndarray) -> tuple[Cluster, np.ndarray]:
    """A cluster moved to the corner with its sites in order, and that order."""
    if not len(cells):
        return (), np.zeros(0, np.int64)
    order = np.lexsort(cells.T[::-1])
    return tuple(map(tuple, (cells - cells.min(0))[order].tolist())), order


def _images(cells: np.ndarray, gain: np.ndarray, operations: np.ndarray) -> dict[Cluster, np.ndarray]:
    """All images of a cluster with what their states gain, the sites in order."""
    found: dict[Cluster, np.ndarray] = {}
    for g in operations:
        image, order = _canonical(cells @ g.T)
        moved = gain.transpose(order)
        if image in found and np.abs(found[image] - moved).max() > SAME * np.abs(gain).max():
            raise ValueError(f"The coupling of {image} changes under the point group; pass symmetrise=False.")
        found.setdefault(image, moved)
    return found


def _mode(cells: np.ndarray, digits: np.ndarray, clusters: TileClusters) -> int:
    """The class of one mode, given by its cells and functions; ``ValueError`` if the tile does not hold it."""
    if not len(cells):
        return 0
    cells = cells - cells.min(0)
    inside = bool((cells < clusters.shape).all())
    if inside:
        place = np.ravel_multi_index(tuple(cells.T), clusters.shape)
        found = clusters.index(int((digits * clusters.q**place).sum()))
    if not inside or not clusters.complete[found]:
        raise ValueError(
            f"The cluster {tuple(map(tuple, cells.tolist()))} does not fit everywhere into tiles of {clusters.shape} "
            f"cells at stride {clusters.stride}; take a larger shape, or a smaller stride."
        )
    return found


def _add_modes(sums: np.ndarray, clusters: TileClusters, cluster: Cluster, gain: np.ndarray) -> None:
    """Add -gain, a function of the states of a cluster, to the sums of its modes."""
    q, k = clusters.q, len(cluster)
    cells = np.array(cluster, dtype=np.int64).reshape(k, len(clusters.shape))
    # Digit j of the index is site j: the first axis has to be the last digit.
    modes = to_modes(gain.transpose().reshape(-1), q) if k else gain.reshape(1)
    for index in np.flatnonzero(np.abs(modes) > SAME * np.abs(modes).max()).tolist():
        digits = index // q ** np.arange(k) % q
        sums[_mode(cells[digits != 0], digits[digits != 0], clusters)] -= modes[index]


def _cluster_energy(found: np.ndarray, clusters: TileClusters, cells: np.ndarray) -> np.ndarray:
    """Energy of a cluster's own modes ``(phase, state, ...)``, for two states the factor of Π s ``(phase,)``."""
    q, k = clusters.q, len(cells)
    cells = cells - cells.min(0) if k else cells
    if k and not (cells < clusters.shape).all():
        return np.zeros((clusters.phases, *(() if q == 2 else (q,) * k)))
    powers = q ** np.ravel_multi_index(tuple(cells.T), clusters.shape) if k else np.zeros(0, np.int64)
    if q == 2 or not k:
        return found[clusters.index(int(powers.sum()))]
    energy = np.zeros((q,) * k + (clusters.phases,))
    for digits in np.ndindex(*(q - 1,) * k):
        energy[tuple(np.array(digits) + 1)] = found[clusters.index(int(((np.array(digits) + 1) * powers).sum()))]
    for _ in range(k):  # every pass turns one axis into states and moves it behind the others
        energy = np.tensordot(energy, site_functions(q), axes=(0, 0))
    return energy


def _extent(cluster: Cluster, lattice: Lattice) -> float:
    """The largest distance within a cluster, rounded so that equal ones compare equal."""
    positions = np.array(cluster, dtype=float).reshape(-1, lattice.dim) @ lattice.vectors
    return round(float(np.linalg.norm(positions[:, None] - positions[None], axis=-1).max(initial=0.0)), 9)
