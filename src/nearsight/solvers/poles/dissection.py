"""An order in which to eliminate the orbitals of a sparse matrix: by nested dissection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LEAF = 40
"""Pieces up to this size are not cut further: below it a step costs its overhead, not its arithmetic."""

GAIN = 0.5
"""A separator is worth its price where the smaller of the pieces it cuts off has at least this part of its orbitals."""


class _Link(NamedTuple):
    """Where the borders of some fronts lie in the fronts from which they were cut.

    ``first`` to ``last`` are the fronts, neighbours in their group; ``group`` and ``front`` ``(front,)`` those they
    were cut from, and ``place`` ``(front, border)`` tells which of its orbitals, pivots first, every orbital is.
    """

    first: int
    last: int
    group: int
    front: Tensor
    place: Tensor

    def flat(self, size: int) -> Tensor:
        """Every pair of border orbitals in matrices ``(front, size, size)`` of that group, flattened."""
        corner = self.front * size * size
        return (corner[:, None, None] + self.place[:, :, None] * size + self.place[:, None, :]).reshape(-1)


@dataclass(frozen=True, eq=False)
class _Fronts:
    """Fronts of one depth and one shape, which are worked on together.

    A front eliminates its ``pivots`` ``(front, s)`` from the equations of these and of its ``border`` ``(front, b)``:
    the orbitals that are eliminated later and feel it.
    """

    pivots: Tensor
    border: Tensor
    links: tuple[_Link, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """How many fronts, and how many orbitals each eliminates and keeps."""
        return self.pivots.shape[0], self.pivots.shape[1], self.border.shape[1]

    @property
    def size(self) -> int:
        """Orbitals of one front, s + b."""
        return self.pivots.shape[1] + self.border.shape[1]

    def to(self, device: torch.device) -> _Fronts:
        links = tuple(x._replace(front=x.front.to(device), place=x.place.to(device)) for x in self.links)
        return _Fronts(self.pivots.to(device), self.border.to(device), links)


class _Place(NamedTuple):
    """Elements that lie in the fronts of one group: which of those listed, and (a, b) and (b, a) in its flat matrices
    ``(front, s + b, s + b)``."""

    element: Tensor
    over: Tensor
    under: Tensor


@dataclass(frozen=True, eq=False)
class NestedDissection:
    r"""Pieces of a sparse matrix within pieces.

    A set of orbitals is cut in two by the smallest separator that leaves no large piece: on a lattice by a slab as
    thick as hops are long, on a torus by two. Either half is cut in the same way, until it has at most ``LEAF``
    orbitals. The innermost pieces are eliminated first, and the separators from the smallest to the largest: what is
    eliminated changes the equations of its border alone. Such a *front* of s orbitals with b on its border costs
    s³ + 3 s² b + 3 s b² complex multiplications for Green's function on it; added up over a lattice of L × L sites
    that is O(L³), where a chain of columns costs O(L⁴).

    ``groups`` hold the fronts from the outermost separators to the innermost pieces.

    Examples
    --------
    >>> import torch
    >>> from nearsight.solvers import NestedDissection
    >>> def chain(length):
    ...     i, j = torch.arange(length - 1), torch.arange(1, length)
    ...     return NestedDissection.of(torch.cat([i, j]), torch.cat([j, i]), length)
    >>> round(chain(512).flops / chain(256).flops, 1)  # the cost of all bonds of a chain is linear in its length
    2.0

    References
    ----------
    A. George, SIAM J. Numer. Anal. 10, 345 (1973); L. Lin, C. Yang, J. Meza, J. Lu, L. Ying, W. E, ACM Trans. Math.
    Softw. 37, 40 (2011), selected inversion.
    """

    size: int
    groups: tuple[_Fronts, ...]
    _keys: np.ndarray = field(repr=False)
    _depth: np.ndarray = field(repr=False)
    _front: np.ndarray = field(repr=False)
    _where: np.ndarray = field(repr=False)
    _known: dict[tuple[str, torch.device], tuple[Tensor, Tensor, list[_Place]]] = field(
        default_factory=dict, repr=False
    )
    _moved: dict[torch.device, tuple[_Fronts, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, rows: Tensor, columns: Tensor, size: int, cuts: Tensor | None = None) -> NestedDissection:
        """For elements at ``(rows, columns)`` of a matrix with ``size`` orbitals.

        cuts: integer labels ``(family, orbital)``, such as the cell of every orbital along each axis: hints where to
        begin, without which the ends of the graph are looked for.
        """
        from scipy.sparse import csr_array  # imported when needed: the door of the library stays light

        i, j = rows.cpu().numpy(), columns.cpu().numpy()
        ones = np.ones(2 * len(i), dtype=np.int32)
        graph = csr_array((ones, (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(size, size))
        graph.sum_duplicates()
        labels = np.empty((0, size), dtype=np.int64) if cuts is None else cuts.cpu().numpy()
        pivots, parent, depth = _cut_up(graph, labels)
        border = _borders(graph, pivots, parent, depth)
        return cls(size, *_grouped(size, pivots, border, parent, depth))

    def __repr__(self) -> str:
        largest = max(s + b for _, s, b in (group.shape for group in self.groups))
        fronts = sum(group.shape[0] for group in self.groups)
        return f"NestedDissection of {self.size} orbitals into {fronts} fronts of up to {largest}"

    @property
    def flops(self) -> float:
        """Real operations of one elimination with selected inversion."""
        return 8.0 * sum(n * (float(s) ** 3 + 3.0 * s * s * b + 3.0 * s * b * b) for n, s, b in self.shapes)

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        return [group.shape for group in self.groups]

    @property
    def elements(self) -> int:
        """Numbers held at once for one energy."""
        return sum(n * (s + b) ** 2 for n, s, b in self.shapes)

    def on(self, device: torch.device) -> tuple[_Fronts, ...]:
        """The groups on a device."""
        if device not in self._moved:
            self._moved[device] = tuple(group.to(device) for group in self.groups)
        return self._moved[device]

    def holds(self, rows: Tensor, columns: Tensor) -> bool:
        """Whether each of these positions lies in a front."""
        return bool((self._find(rows.cpu().numpy(), columns.cpu().numpy())[2] >= 0).all())

    def places(
        self, name: str, rows: Tensor, columns: Tensor, device: torch.device, *, diagonal: bool = True
    ) -> list[_Place]:
        """Where each of the listed elements lies, for every group; computed once for each ``name``.

        diagonal: whether elements on the diagonal count.
        """
        known = self._known.get((name, device))
        if known is None or known[0] is not rows or known[1] is not columns:
            # The tensors are kept with the answer, so that nothing else can take their identity.
            known = (
                rows,
                columns,
                [_Place(*(x.to(device) for x in place)) for place in self._places(rows, columns, diagonal)],
            )
            self._known[name, device] = known
        return known[2]

    def _places(self, rows: Tensor, columns: Tensor, diagonal: bool) -> Iterator[_Place]:
        front, i, j = self._find(rows.cpu().numpy(), columns.cpu().numpy())
        first = 0
        for group in self.groups:
            count, m = group.shape[0], group.size
            mine = np.flatnonzero((front >= first) & (front < first + count) & (diagonal | (i != j)))
            corner = (front[mine] - first) * m * m
            over, under = corner + i[mine] * m + j[mine], corner + j[mine] * m + i[mine]
            yield _Place(*(torch.from_numpy(x) for x in (mine, over, under)))
            first += count

    def _find(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The front that eliminates the first of two orbitals, and the places of both in it, or -1."""
        front = np.where(self._depth[rows] >= self._depth[columns], self._front[rows], self._front[columns])
        places = []
        for orbital in (rows, columns):
            key = front * self.size + orbital
            at = np.searchsorted(self._keys, key).clip(max=len(self._keys) - 1)
            places.append(np.where(self._keys[at] == key, self._where[at], -1))
        there = (places[0] >= 0) & (places[1] >= 0)
        return front, places[0], np.where(there, places[1], -1)


# --- cutting up -------------------------------------------------------------------------------------------------------


def _cut_up(graph: csr_array, labels: np.ndarray) -> tuple[list[np.ndarray], list[int], list[int]]:
    """The orbitals of every front, the front from which it was cut (-1: none) and how often it was cut."""
    pivots: list[np.ndarray] = []
    parent: list[int] = []
    depth: list[int] = []
    waiting = [(piece, -1, 0) for piece in _connected(graph, np.arange(graph.shape[0]))]
    while waiting:
        piece, above, level = waiting.pop()
        separator, rest = _separator(graph, piece, labels)
        name = len(pivots)
        pivots.append(separator)
        parent.append(above)
        depth.append(level)
        waiting.extend((part, name, level + 1) for part in _connected(graph, rest))
    return pivots, parent, depth


def _connected(graph: csr_array, piece: np.ndarray) -> list[np.ndarray]:
    from scipy.sparse.csgraph import connected_components

    if not len(piece):
        return []
    count, name = connected_components(graph[piece][:, piece], directed=False)
    order = np.argsort(name, kind="stable")
    return np.split(piece[order], np.cumsum(np.bincount(name, minlength=count))[:-1])


def _separator(graph: csr_array, piece: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The orbitals of a connected piece that separate the others, and these others."""
    if len(piece) <= LEAF:
        return piece, piece[:0]
    part = graph[piece][:, piece]
    best, cut, beyond = np.inf, np.ones(len(piece), dtype=bool), None
    for beginnings in (_layers(labels[:, piece], labels.max(-1, initial=0) + 1), _ends(part)):
        for first in beginnings:
            level = _levels(part, first)
            sizes = np.bincount(level)
            below = np.cumsum(sizes) - sizes
            smaller = np.minimum(below, len(piece) - below - sizes)
            score = np.where(smaller >= GAIN * sizes, sizes / np.sqrt(np.maximum(smaller, 1)), np.inf)
            k = int(np.argmin(score))
            if score[k] < 0.999 * best:
                best, cut, beyond = score[k], level == k, level > k
        if beyond is not None:
            break
    if beyond is not None:
        # What touches nothing beyond the separator belongs to the side before it.
        cut &= part @ beyond.astype(np.int32) > 0
    return piece[cut], piece[~cut]


def _layers(labels: np.ndarray, periods: np.ndarray) -> Iterator[np.ndarray]:
    """Masks of orbitals to begin with: the first layers of every family of labels."""
    for label, period in zip(labels, periods, strict=True):
        present = np.unique(label)
        # A piece of a torus may go across the seam of the labels: it begins after the widest gap between them.
        gaps = np.diff(present, prepend=present[-1] - period)
        present = np.roll(present, -int(np.argmax(gaps)))
        for width in (1, 2):
            if width < len(present):
                yield np.isin(label, present[:width])


def _ends(graph: csr_array) -> Iterator[np.ndarray]:
    """From any orbital to one farthest away, and from there again: an end, as far as a few steps can tell."""
    end, orbitals = 0, np.arange(graph.shape[0])
    for _ in range(3):
        end = int(_levels(graph, orbitals == end).argmax())
    yield orbitals == end


def _levels(graph: csr_array, first: np.ndarray) -> np.ndarray:
    """Distance of every orbital of a connected graph from the first ones, in steps."""
    level = np.where(first, 0, -1)
    frontier, depth = first, 0
    while frontier.any():
        frontier = (graph @ frontier.astype(np.int32) > 0) & (level < 0)
        depth += 1
        level[frontier] = depth
    return level


# --- fronts -----------------------------------------------------------------------------------------------------------


def _borders(graph: csr_array, pivots: list[np.ndarray], parent: list[int], depth: list[int]) -> list[np.ndarray]:
    """What every front feels of those outside it: its own neighbours, and the borders of what was cut from it."""
    level = np.empty(graph.shape[0], dtype=np.int64)
    for p, d in zip(pivots, depth, strict=True):
        level[p] = d
    border = [np.empty(0, dtype=np.int64)] * len(pivots)
    inherited: dict[int, list[np.ndarray]] = defaultdict(list)
    for name in sorted(range(len(pivots)), key=lambda name: -depth[name]):
        reached = np.concatenate([graph[pivots[name]].indices, *inherited.pop(name, [])])
        outside = np.unique(reached[level[reached] < depth[name]])
        # The pivots of the front above come first, as they do in that front.
        border[name] = outside[np.argsort(-level[outside], kind="stable")]
        if parent[name] >= 0:
            inherited[parent[name]].append(border[name])
    return border


def _grouped(
    size: int, pivots: list[np.ndarray], border: list[np.ndarray], parent: list[int], depth: list[int]
) -> tuple[tuple[_Fronts, ...], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fronts by depth and shape, and how to find an orbital in them."""
    rank: list[int] = []
    seen: dict[int, int] = defaultdict(int)
    for above in parent:
        rank.append(seen[above])
        seen[above] += 1
    members: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for name in range(len(pivots)):
        members[depth[name], len(pivots[name]), len(border[name])].append(name)
    shapes = sorted(members)
    group, place = np.empty(len(pivots), dtype=np.int64), np.empty(len(pivots), dtype=np.int64)

    def kind(name: int) -> tuple[int, int]:
        # First pieces of their separators are not mixed with second ones: no two are added to one front at once.
        return rank[name], int(group[parent[name]]) if parent[name] >= 0 else -1

    for number, shape in enumerate(shapes):
        members[shape].sort(key=kind)  # groups of lower depth are complete
        group[members[shape]], place[members[shape]] = number, np.arange(len(members[shape]))
    order = [name for shape in shapes for name in members[shape]]
    front_of, depth_of = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    for number, name in enumerate(order):
        front_of[pivots[name]], depth_of[pivots[name]] = number, depth[name]
    both = [np.concatenate([pivots[name], border[name]]) for name in order]
    keys = np.concatenate([number * size + orbitals for number, orbitals in enumerate(both)])
    where = np.concatenate([np.arange(len(orbitals)) for orbitals in both])
    sort = np.argsort(keys)
    keys, where = keys[sort], where[sort]
    start = np.cumsum([0] + [len(members[shape]) for shape in shapes])
    groups = []
    for shape in shapes:
        p, b = (
            torch.from_numpy(np.stack([orbitals[name] for name in members[shape]])) for orbitals in (pivots, border)
        )
        links, first = [], 0
        for (_, outer), run in groupby(members[shape] if b.shape[1] else [], key=kind):
            fronts = place[[parent[name] for name in run]]
            last = first + len(fronts)
            at = np.searchsorted(keys, (start[outer] + fronts)[:, None] * size + b[first:last].numpy())
            links.append(_Link(first, last, outer, torch.from_numpy(fronts), torch.from_numpy(where[at])))
            first = last
        groups.append(_Fronts(p, b, tuple(links)))
    return tuple(groups), keys, depth_of, front_of, where
