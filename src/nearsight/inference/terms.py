"""What an energy may be made of: sums of equal interactions over the lattice, each with one coupling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import choice, instance, integer, integers, state_tensor
from nearsight.inference import _interactions
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice

_ROWS = 2**14
"""States that are unpacked at a time."""


@dataclass(frozen=True, eq=False)
class Term:
    """Clusters of sites ``(cluster, site)`` that share one coupling, and what states of a cluster count.

    ``table`` ``(state,) * sites`` is symmetric under exchange of its sites. ``kind`` and ``shell`` say what a named
    model calls it: "ising", "potts", "clock", "blume-capel" with the neighbour shell, "field", or "product".
    """

    name: str
    clusters: np.ndarray
    table: np.ndarray
    kind: str
    shell: int = 0


class Terms:
    r"""Interactions with one coupling each,

    .. math:: E(a) = -\sum_k J_k\, \varphi_k(a), \qquad \varphi_k(a) = \sum_{c \in k} t_k(a_c),

    sums over clusters c of sites: bonds with :math:`s_i s_j`, plaquettes with a product of four spins, single sites.
    Where all translates share a coupling there are few; with one for every bond (``by="bond"``) it is that of a spin
    glass. Terms add: ``Terms.pairs(lattice, 2) + Terms.plaquettes(lattice)``.

    Constructors: :meth:`pairs`, :meth:`fields`, :meth:`products`, :meth:`plaquettes`.

    Example
    -------
    >>> from nearsight.inference import Terms
    >>> from nearsight.lattices import square
    >>> Terms.pairs(square(8), shells=2) + Terms.plaquettes(square(8))
    3 terms on square, 8 × 8 sites, periodic: J1, J2, plaquette
    >>> len(Terms.pairs(square(8), by="displacement")), len(Terms.pairs(square(8), by="bond"))
    (33, 128)
    >>> spins_one = {"n_states": 3, "kind": "blume-capel"}
    >>> (Terms.pairs(square(8), **spins_one) + Terms.fields(square(8), **spins_one)).names
    ('J1', 'h', 'D')
    """

    def __init__(self, lattice: Lattice, terms: Iterable[Term], n_states: int = 2) -> None:
        self.lattice, self.n_states = checked_lattice(lattice), integer(n_states, "n_states", least=2, most=127)
        if not np.iterable(terms) or not all(isinstance(term, Term) for term in terms):
            raise TypeError("Terms are made by Terms.pairs, fields, products or plaquettes, and added.")
        self.terms = tuple(terms)
        if not self.terms:
            raise ValueError("There is no term, and no coupling to learn; Terms.pairs(lattice) makes some.")
        names = [term.name for term in self.terms]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"The term {twice} is there twice, and its two couplings would only count as a sum.")

    # --- constructors -----------------------------------------------------------------------------------------------

    @classmethod
    def pairs(
        cls,
        lattice: Lattice,
        shells: int | Sequence[int] | None = None,
        *,
        by: Literal["shell", "displacement", "bond"] = "shell",
        n_states: int = 2,
        kind: Literal["ising", "potts", "clock", "blume-capel"] | None = None,
    ) -> Terms:
        r"""Pair couplings: :math:`s_i s_j` ("ising", and "blume-capel" with s = -1, 0, 1 for the states 0, 1, 2),
        :math:`\delta_{a_i a_j}` ("potts") or :math:`\cos 2\pi(a_i - a_j)/q` ("clock"), each bond once.

        Parameters
        ----------
        shells: number of neighbour shells from the first, or their numbers; by default the first, and by displacement
            all pairs of the lattice.
        by: "shell", one coupling for all bonds of equal length; "displacement", one for every vector and its inverse
            (33 on 8 × 8 cells); "bond", one for every bond.
        n_states: q.
        kind: by default "ising" for two states and "potts" for more.
        """
        checked_lattice(lattice)
        n_states = integer(n_states, "n_states", least=2, most=127)
        choice(by, "by", ("shell", "displacement", "bond"))
        form = "ising" if n_states == 2 else "potts"
        form = form if kind is None else choice(kind, "kind", ("ising", "potts", "clock", "blume-capel"))
        if form == "ising" and n_states != 2:
            raise ValueError(f"{n_states} states are no Ising spins; pass kind='potts' or 'clock'.")
        _check_spin_one(form, n_states)
        table = _pair_table(form, n_states)
        if shells is None and by == "displacement":
            everything = np.stack(np.triu_indices(lattice.n_sites, 1), axis=-1)
            return cls(lattice, _by_displacement(lattice, everything, table, form), n_states)
        chosen = (1,) if shells is None else _shells(shells)
        bonds = {k: np.stack([lattice.bonds(k).i, lattice.bonds(k).j], axis=-1) for k in chosen}
        terms: list[Term]
        if by == "shell":
            terms = [Term(f"J{k}", pairs, table, form, k) for k, pairs in bonds.items()]
        else:
            unique = {k: np.unique(np.sort(pairs, axis=1), axis=0) for k, pairs in bonds.items()}
            if by == "displacement":
                return cls(
                    lattice, _by_displacement(lattice, np.concatenate([*unique.values()]), table, form), n_states
                )
            if any(len(unique[k]) < len(bonds[k]) for k in chosen):
                raise ValueError(f"Two bonds of {lattice!r} join the same sites; take a larger lattice for by='bond'.")
            terms = [Term(f"J {i}-{j}", np.array([[i, j]]), table, form, k) for k in chosen for i, j in bonds[k]]
        return cls(lattice, terms, n_states)

    @classmethod
    def fields(
        cls,
        lattice: Lattice,
        *,
        by: Literal["lattice", "site"] = "lattice",
        n_states: int = 2,
        kind: Literal["ising", "potts", "blume-capel"] | None = None,
    ) -> Terms:
        r"""Fields: :math:`s_i` ("ising"); :math:`\delta_{a_i a}` with a = 1 .. q - 1, against state 0 ("potts"); field
        and crystal field of spins one, h with :math:`s_i` and D with :math:`-s_i^2` ("blume-capel").

        Parameters
        ----------
        by: "lattice", the same on all sites, or "site", one for each.
        n_states: q.
        kind: by default "ising" for two states and "potts" for more.
        """
        n_states = integer(n_states, "n_states", least=2, most=127)
        choice(by, "by", ("lattice", "site"))
        form = "ising" if n_states == 2 else "potts"
        form = form if kind is None else choice(kind, "kind", ("ising", "potts", "blume-capel"))
        if form == "ising" and n_states != 2:
            raise ValueError(f"{n_states} states are no Ising spins; pass kind='potts'.")
        _check_spin_one(form, n_states)
        sites = np.arange(checked_lattice(lattice).n_sites)[:, None]
        spin = np.arange(n_states) - 1.0
        tables = {
            "ising": {"h": np.array([-1.0, 1.0])},
            "potts": {f"h {a}": np.eye(n_states)[a] for a in range(1, n_states)},
            "blume-capel": {"h": spin, "D": -(spin**2)},
        }[form]
        groups = {"": sites} if by == "lattice" else {f" {i}": sites[i : i + 1] for i in range(len(sites))}
        terms = [Term(f"{a}{where}", c, t, "field") for where, c in groups.items() for a, t in tables.items()]
        return cls(lattice, terms, n_states)

    @classmethod
    def products(cls, lattice: Lattice, *shapes: Any, name: str = "product") -> Terms:
        """One coupling for the products of Ising spins over all translates of one or more shapes.

        A shape is cell offsets ``(spin, dim)``, or ``(spin, dim + 1)`` with the sublattice last; translates that do not
        fit between open edges are left out, and a cluster met twice counts once.
        """
        found = []
        for shape in shapes:
            offsets = np.asarray(shape)
            dim = checked_lattice(lattice).dim
            if offsets.dtype.kind not in "iu" or offsets.ndim != 2 or offsets.shape[1] not in (dim, dim + 1):
                raise ValueError(f"A shape is whole cell offsets (spin, {dim}) or (spin, {dim + 1}), with sublattices.")
            sublattice = offsets[:, dim] if offsets.shape[1] > dim else np.zeros(len(offsets), int)
            if ((sublattice < 0) | (sublattice >= lattice.n_basis)).any():
                raise ValueError(f"Sublattices lie in 0..{lattice.n_basis - 1}, got {sublattice.tolist()}.")
            sites = lattice.index(lattice.cells[:: lattice.n_basis][:, None] + offsets[:, :dim], sublattice)
            sites = np.sort(sites[(sites >= 0).all(1)], axis=1)
            if (np.diff(sites, axis=1) == 0).any() or not len(sites):
                raise ValueError(f"The shape {offsets.tolist()} does not fit on {lattice!r} without meeting itself.")
            found.append(sites)
        if not found or len({sites.shape[1] for sites in found}) > 1:
            raise ValueError("products takes one or more shapes of equally many spins.")
        clusters = np.unique(np.concatenate(found), axis=0)
        return cls(lattice, [Term(instance(name, str, "name"), clusters, _spin_product(clusters.shape[1]), "product")])

    @classmethod
    def plaquettes(cls, lattice: Lattice) -> Terms:
        """Products of the four spins around every square of a lattice with orthogonal axes and one site a cell."""
        vectors, dim = checked_lattice(lattice).vectors, lattice.dim
        gram = vectors @ vectors.T
        if dim < 2 or lattice.n_basis > 1 or np.abs(gram - np.diag(np.diag(gram))).max() > 1e-9 * gram.max():
            raise ValueError(f"{lattice!r} has no square plaquettes; Terms.products takes other shapes.")
        if min(lattice.shape) < 3:
            raise ValueError(f"Plaquettes of {lattice!r} meet themselves; take three or more cells along every axis.")
        e = np.eye(dim, dtype=int)
        shapes = [np.stack([0 * e[0], e[a], e[b], e[a] + e[b]]) for a in range(dim) for b in range(a)]
        return cls.products(lattice, *shapes, name="plaquette")

    # --- what they are ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.terms)

    def __add__(self, other: Terms) -> Terms:
        instance(other, Terms, "other", "Terms are added to terms.")
        if not self.lattice.coincides(other.lattice) or self.n_states != other.n_states:
            raise ValueError("Terms that are added live on one lattice and have one number of states.")
        return Terms(self.lattice, self.terms + other.terms, self.n_states)

    def __repr__(self) -> str:
        names = ", ".join(self.names if len(self) <= 8 else (*self.names[:4], "…", self.names[-1]))
        return f"{len(self)} term{'s' * (len(self) > 1)} on {self.lattice!r}: {names}"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(term.name for term in self.terms)

    def take(self, chosen: Sequence[int] | np.ndarray) -> Terms:
        """Some of the terms, by their places or by a mask."""
        places = np.arange(len(self))[np.asarray(chosen)]
        return Terms(self.lattice, [self.terms[k] for k in places], self.n_states)

    def statistics(self, states: Tensor) -> Tensor:
        r"""φ_k ``(*batch, term)``, float64, of states ``(*batch, site)``: the energy is -φ @ J."""
        state_tensor(states, self.lattice.n_sites, self.n_states)
        flat = states.reshape(-1, states.shape[-1]).to(torch.int8).numpy()
        return torch.from_numpy(self._statistics(flat)).reshape(*states.shape[:-1], len(self))

    def _statistics(self, states: np.ndarray) -> np.ndarray:
        """φ ``(snapshot, term)`` of states ``(snapshot, site)``, int8; clusters with a state -1 count 0."""
        values = np.zeros((len(states), len(self)))
        sites, first, term, at, tables = self._clusters
        for start in range(0, len(states), _ROWS):
            rows = slice(start, start + _ROWS)
            columns = np.ascontiguousarray(states[rows].T)
            _interactions.sum_clusters(columns, sites, first, term, at, tables, self.n_states, values[rows])
        return values

    @cached_property
    def _clusters(self) -> tuple[np.ndarray, ...]:
        """All clusters in one row: their sites and where each begins, their terms, their tables."""
        tables, at = self._tables
        sizes = np.concatenate([[len(row) for row in term.clusters] for term in self.terms])
        term = np.repeat(np.arange(len(self)), [len(term.clusters) for term in self.terms])
        sites = np.concatenate([term.clusters.ravel() for term in self.terms])
        return sites.astype(np.int64), np.concatenate([[0], np.cumsum(sizes)]), term, at[term], tables

    @cached_property
    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """The tables of all terms in one row, and where that of each term begins."""
        sizes = [term.table.size for term in self.terms]
        tables = np.concatenate([term.table.ravel() for term in self.terms])
        return tables, np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)


def translated_shapes(lattice: Lattice, term: Term) -> list[tuple[tuple[int, ...], ...]] | None:
    """The clusters of a term up to translations, as cells from 0 on; None if they are not all translates of some."""
    if lattice.n_basis > 1 or not all(lattice.periodic):  # type: ignore[arg-type]
        return None
    shape, cells = np.array(lattice.shape), lattice.cells[term.clusters]
    steps = _nearest(cells - cells[:, :1], shape, np.array(lattice.periodic))
    steps -= steps.min(1, keepdims=True)
    found = Counter(tuple(sorted(map(tuple, cluster))) for cluster in steps.tolist())
    return list(found) if set(found.values()) == {lattice.n_cells} else None


def _spin_product(spins: int) -> np.ndarray:
    table = np.ones((2,) * spins)
    for axis in range(spins):
        table = table * np.array([-1.0, 1.0]).reshape([2 if k == axis else 1 for k in range(spins)])
    return table


def _pair_table(kind: str, q: int) -> np.ndarray:
    if kind == "ising":
        return _spin_product(2)
    step = np.arange(q)
    if kind == "blume-capel":
        return np.outer(step - 1.0, step - 1.0)
    return np.eye(q) if kind == "potts" else np.cos(2 * np.pi / q * (step[:, None] - step))


def _check_spin_one(kind: str, n_states: int) -> None:
    if kind == "blume-capel" and n_states != 3:
        raise ValueError(f"The spins of a Blume-Capel model have three states, -1, 0 and 1, not {n_states}.")


def _shells(shells: Any) -> tuple[int, ...]:
    if np.iterable(shells):
        chosen = integers(shells, "shells", least=1)
        if not chosen:
            raise ValueError("shells must name at least one neighbour shell.")
        return chosen
    return tuple(range(1, integer(shells, "shells", least=1) + 1))


def _by_displacement(lattice: Lattice, pairs: np.ndarray, table: np.ndarray, kind: str) -> list[Term]:
    """One term for every vector between cells, up to its sign, and pair of sublattices, the shortest first."""
    shape, periodic = np.array(lattice.shape), np.array(lattice.periodic)
    groups: dict[tuple[int, ...], list[np.ndarray]] = {}
    for pair in pairs:
        a, b = lattice.sublattice[pair]
        step = lattice.cells[pair[1]] - lattice.cells[pair[0]]
        both = [
            (*(int(x) for x in _nearest(sign * step, shape, periodic)), int(first), int(second))
            for sign, first, second in ((1, a, b), (-1, b, a))
        ]
        groups.setdefault(max(both), []).append(pair)
    length = {key: np.linalg.norm(_vector(lattice, key)) for key in groups}
    single = lattice.n_basis == 1
    return [
        Term(f"J{key[:-2] if single else key}".replace(",)", ")"), np.array(groups[key]), table, kind)
        for key in sorted(groups, key=lambda key: (round(length[key], 9), tuple(-x for x in key)))
    ]


def _nearest(step: np.ndarray, shape: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """Cell steps on the torus between -L/2 (left out) and L/2."""
    wrapped = (step + (shape - 1) // 2) % shape - (shape - 1) // 2
    return np.where(periodic, wrapped, step)


def _vector(lattice: Lattice, key: tuple[int, ...]) -> np.ndarray:
    *step, a, b = key
    return np.asarray(step) @ lattice.vectors + lattice.basis[b] - lattice.basis[a]
