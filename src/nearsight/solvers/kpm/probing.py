"""Vectors that look at a matrix: all unit vectors, random vectors, and random vectors on coloured orbitals.

Every kind is a matrix R of few columns with ⟨R R†⟩ = 1. Orbital i has a random number of modulus one in the column
that belongs to its colour and 0 elsewhere, so that f(H) R shows ρ_ij disturbed by the ρ_il with l of the colour of j,
and by nothing else: electrons are nearsighted, and colours of orbitals that lie far apart disturb little.

The orbitals of a site may share their random number, as long as each of them has columns of its own: R = r ⊗ 1. Then R
commutes with every rotation within the sites, and the estimate has that symmetry exactly. The noise of an s-d magnet
turns with its spins, leaves their total torque at zero, and vanishes with the coupling as the magnet itself does.

References
----------
J. M. Tang, Y. Saad, Numer. Linear Algebra Appl. 19, 485 (2012); Z. Wang, G.-W. Chern, C. D. Batista, K. Barros,
J. Chem. Phys. 148, 094107 (2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import choice, indices, instance, integer
from nearsight.lattices import Lattice, bonds_within


@dataclass(frozen=True, eq=False, repr=False)
class ProbeSet(Described):
    """How orbitals are looked at; use :func:`unit_vectors`, :func:`random_vectors` or :func:`coloured_vectors`.

    ``kind``: unit, random or coloured. ``colours``: a label for every orbital ``(orbital,)``, or ``distance``: two
    orbitals of one colour are more than this many hops of the matrix apart. ``repeats``: random columns in a set, None:
    left to the solver. ``sets``: independent sets, whose spread is the error. ``orbitals``: of a site, which share a
    random number.
    """

    kind: str = "unit"
    colours: Tensor | None = None
    distance: int | None = None
    repeats: int | None = 1
    sets: int = 1
    phases: str = "phase"
    orbitals: int = 1

    def __post_init__(self) -> None:
        choice(self.kind, "kind", KINDS)
        choice(self.phases, "phases", PHASES)
        # The spread over sets is the error bar; unit vectors need none.
        least = {"distance": 1, "repeats": 1, "sets": 1 if self.exact else 2, "orbitals": 1}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None or name in ("sets", "orbitals"):
                object.__setattr__(self, name, integer(value, name, least=smallest))
        if self.distance is not None and self.colours is not None:
            raise ValueError("Give either distance= (in hops of the matrix) or colours= (a label for every orbital).")
        if self.colours is not None:
            colours = indices(instance(self.colours, Tensor, "colours, a label ≥ 0 for every orbital,"), "colours")
            if not len(colours):
                raise ValueError("colours must be a label ≥ 0 for every orbital, got none.")
            object.__setattr__(self, "colours", colours)

    @property
    def exact(self) -> bool:
        """Whether every orbital has a column of its own, so that nothing is random."""
        return self.kind == "unit"

    @property
    def open(self) -> bool:
        """Whether their number is left to the solver."""
        return self.repeats is None or (self.kind == "coloured" and self.distance is None and self.colours is None)

    def start(self) -> ProbeSet:
        """ProbeSet to begin with where their number is open; themselves otherwise."""
        if not self.open:
            return self
        if self.kind == "random":
            return replace(self, repeats=-(-PILOT // (self.sets * self.orbitals)))
        return replace(self, distance=2)

    def enlarged(self, ratio: float, history: list[tuple[int, float]]) -> ProbeSet:
        """ProbeSet whose noise should be ``ratio`` times smaller, from ``history`` of distances and their noise."""
        if self.kind == "random":
            return replace(self, repeats=math.ceil(1.1 * (self.repeats or 1) * ratio**2))
        step = 1
        if len(history) > 1:
            (before, noise), (last, least) = history[-2:]
            # Noise falls about exponentially with the distance; a step too far costs more than one more step.
            rate = math.log(noise / least) / (last - before) if noise > least else 0.0
            step = min(4, max(1, math.floor(math.log(ratio) / rate))) if rate > 0 else 2
        return replace(self, distance=(self.distance or 1) + step)


PILOT = 64
"""Random vectors from which the number that an accuracy needs is predicted."""

KINDS = ("unit", "random", "coloured")
PHASES = ("phase", "sign", "gaussian")
SETS = 4
"""Independent sets of random vectors: their spread is the error bar."""


def unit_vectors() -> ProbeSet:
    """Every orbital by itself: exact up to the number of moments, at a cost that grows as the square of the size."""
    return ProbeSet()


def random_vectors(count: int | None = None, *, phases: str = "phase", sets: int = SETS, orbitals: int = 1) -> ProbeSet:
    """``count`` vectors with a random number on every orbital, in ``sets`` independent groups.

    count: None: as many as the accuracy of the solver asks for.
    phases: ``phase``, e^{iφ} with uniform φ (the smallest error for a complex matrix); ``sign``, ±1, which keeps a real
    matrix real; ``gaussian``, complex normal numbers, which err more.
    orbitals: of a site, in rows site · orbitals + μ of the matrix, which share a number and have vectors of their own:
    2 for the spins of a magnet, whose torques then err two to four times less.

    The error of an element of ρ is about √(n_e / count) with n_e = Σ_l |ρ_il|² ≤ 1, independent of the size.
    """
    sets, orbitals = integer(sets, "sets", least=2), integer(orbitals, "orbitals", least=1)
    count = None if count is None else integer(count, "count")
    if count is not None and (count < sets * orbitals or count % (sets * orbitals)):
        least = f"sets = {sets}" + (f" times orbitals = {orbitals}" if orbitals > 1 else "")
        raise ValueError(f"count must be a multiple of {least}, got {count}.")
    repeats = None if count is None else count // (sets * orbitals)
    return ProbeSet("random", repeats=repeats, sets=sets, phases=phases, orbitals=orbitals)


def coloured_vectors(
    distance: int | None = None,
    *,
    colours: Tensor | None = None,
    phases: str = "phase",
    sets: int = 2,
    orbitals: int = 1,
) -> ProbeSet:
    """One vector for every colour, in ``sets`` independent copies.

    distance: orbitals of one colour are more than this many hops of the matrix apart (greedy colouring of any graph);
    colours: a label for every orbital instead, such as :func:`lattice_colours` gives, and :func:`distance_colours` for
    point clouds, where hops of the matrix say little about distances.
    orbitals: of a site, in rows site · orbitals + μ of the matrix, which share a random number under colours of their
    own: 2 for the spins of a magnet, whose torques then err less, by half where colours are few. Distances are then
    hops between sites.

    With neither, the distance is as large as the accuracy of the solver asks for. The two spins of a site are joined by
    the matrix, and so never share a colour.
    """
    return ProbeSet(
        "coloured", colours=colours, distance=distance, repeats=1, sets=sets, phases=phases, orbitals=orbitals
    )


def lattice_colours(lattice: Lattice, period: int, orbitals: int = 1) -> Tensor:
    """Colours that repeat every ``period`` cells along every axis, one for each basis site and orbital ``(orbital,)``.

    These are ``period**dim * n_basis * orbitals`` colours, for orbital μ of site i in row i · orbitals + μ of the
    matrix. Fewer than a greedy colouring needs for the same distance. Where an axis is periodic, ``period`` must
    divide it.
    """
    instance(lattice, Lattice, "lattice")
    period, orbitals = integer(period, "period", least=1), integer(orbitals, "orbitals", least=1)
    for cells, closed in zip(lattice.shape, lattice.periodic, strict=True):  # type: ignore[arg-type]
        if closed and cells % period:
            fitting = [p for p in range(1, cells + 1) if cells % p == 0]
            raise ValueError(
                f"{period} colours per axis do not fit {lattice!r}: use one of {fitting}, or "
                "coloured_vectors(distance), or the colours of distance_colours(lattice, distance)"
            )
    folded = np.ravel_multi_index(tuple((lattice.cells % period).T), (period,) * lattice.dim)
    site = folded * lattice.n_basis + lattice.sublattice
    return torch.from_numpy((site[:, None] * orbitals + np.arange(orbitals)).reshape(-1))


def distance_colours(lattice: Lattice, distance: float, orbitals: int = 1) -> Tensor:
    """Colours of sites that lie further apart than a distance, on point clouds and lattices alike ``(orbital,)``.

    The sites within ``distance`` of each other (the nearest image counts) make a graph, which is coloured greedily:
    every site takes the smallest colour that none of its neighbours has, those with most neighbours first (Welsh,
    Powell), so that there are at most one more colours than a site has neighbours. Orbital μ of site i, in row
    i · orbitals + μ of the matrix, has a colour of its own.

    On a cloud ρ decays with the distance of sites, while hops of a matrix whose hopping is long reach far. An element
    ρ_ij is disturbed little if ``distance`` exceeds that of i and j by the range of ρ; fields of spins need the blocks
    of single sites alone. On a lattice
    :func:`lattice_colours` needs fewer colours. Cost: linear in the number of pairs within the distance.

    >>> from nearsight.lattices import chain
    >>> distance_colours(chain(6), 2.0).tolist()
    [0, 1, 2, 0, 1, 2]

    References
    ----------
    D. J. A. Welsh, M. B. Powell, Comput. J. 10, 85 (1967).
    """
    from nearsight.solvers._sparse_kernels import greedy_colours

    instance(lattice, Lattice, "lattice")
    orbitals, sites = integer(orbitals, "orbitals", least=1), lattice.n_sites
    bonds = bonds_within(lattice, distance)
    joined = np.unique(np.concatenate([bonds.i * sites + bonds.j, bonds.j * sites + bonds.i]))
    row, col = joined // sites, joined % sites
    first = np.argsort(-np.bincount(row, minlength=sites), kind="stable")
    rank = np.empty(sites, dtype=np.int64)
    rank[first] = np.arange(sites)
    order = np.lexsort((rank[col], rank[row]))
    crow = np.searchsorted(rank[row][order], np.arange(sites + 1))
    site = greedy_colours(crow, rank[col][order], 1)[rank]
    return torch.from_numpy((site[:, None] * orbitals + np.arange(orbitals)).reshape(-1))


@dataclass(frozen=True)
class _Layout:
    """The columns of one set: ``colours`` of all orbitals ``(orbital,)``, ``count`` colours, ``repeats`` of each."""

    colours: np.ndarray
    count: int
    repeats: int
    sets: int
    phases: str
    exact: bool
    orbitals: int = 1

    @property
    def columns(self) -> int:
        """Vectors of one set."""
        return self.count * self.repeats

    @property
    def vectors(self) -> int:
        """Vectors of all sets."""
        return self.columns * self.sets

    @property
    def real(self) -> bool:
        """Whether the vectors are real."""
        return self.exact or self.phases == "sign"

    def draw(self, batch: int, rng: torch.Generator | None) -> np.ndarray:
        """The numbers of one set on all orbitals ``(repeat, batch, orbital)``."""
        if self.exact:
            return np.ones((self.repeats, batch, len(self.colours)))
        shape = (self.repeats, batch, len(self.colours) // self.orbitals)
        return self._numbers(shape, rng).repeat(self.orbitals, axis=-1)

    def _numbers(self, shape: tuple[int, ...], rng: torch.Generator | None) -> np.ndarray:
        if self.phases == "sign":
            return 2.0 * torch.randint(2, shape, generator=rng).numpy() - 1.0
        if self.phases == "gaussian":
            return torch.randn(shape, generator=rng, dtype=torch.complex128).numpy()
        angle = 2 * math.pi * torch.rand(shape, generator=rng, dtype=torch.float64).numpy()
        return np.exp(1j * angle)


def layout(probes: ProbeSet, crow: np.ndarray, col: np.ndarray) -> _Layout:
    """The columns that ``probes`` need for a matrix of this sparsity (CSR)."""
    size, orbitals = len(crow) - 1, probes.orbitals
    if probes.exact:
        return _Layout(np.arange(size), size, 1, 1, probes.phases, True)
    if size % orbitals:
        raise ValueError(
            f"{size} orbitals are no whole number of sites with {orbitals} each; give the right orbitals=."
        )
    own = np.arange(size) % orbitals
    if probes.kind == "random":
        colours = own
    elif probes.colours is None:
        from nearsight.solvers._sparse_kernels import greedy_colours

        colours = greedy_colours(*_sites(crow, col, orbitals), probes.distance or 1).repeat(orbitals) * orbitals + own
    else:
        colours = np.unique(probes.colours.cpu().numpy(), return_inverse=True)[1]
        if len(colours) != size:
            raise ValueError(
                f"{len(colours)} orbitals have a colour, but the matrix has {size}; give the lattice_colours or "
                "distance_colours of its lattice with its orbitals per site."
            )
        together = np.sort(colours.reshape(-1, orbitals), axis=1)
        if (together[:, 1:] == together[:, :-1]).any():
            raise ValueError(
                "Orbitals of one site that share a number need different colours: use "
                f"lattice_colours(lattice, period, {orbitals})."
            )
    count = int(colours.max()) + 1
    if count == size:
        # Every orbital alone: nothing need be random any more, and one set is the exact answer.
        return _Layout(np.arange(size), size, 1, 1, probes.phases, True)
    return _Layout(colours.astype(np.int64), count, probes.repeats or 1, probes.sets, probes.phases, False, orbitals)


def _sites(crow: np.ndarray, col: np.ndarray, orbitals: int) -> tuple[np.ndarray, np.ndarray]:
    """The graph (CSR) of sites of which any orbitals are joined."""
    if orbitals == 1:
        return crow, col
    sites = (len(crow) - 1) // orbitals
    row = np.repeat(np.arange(len(crow) - 1), np.diff(crow)) // orbitals
    joined = np.unique(row * sites + col // orbitals)
    return np.searchsorted(joined, np.arange(sites + 1) * sites), joined % sites
