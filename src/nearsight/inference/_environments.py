"""A site in the surroundings that its terms see: what conditional probabilities are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nearsight.inference import _interactions
from nearsight.inference._blocks import Blocks
from nearsight.inference.terms import Terms

CODES = 2**16
"""Environments with at most so many codes are counted; others are looked at one by one."""
COUNTS = 2**26
"""Numbers in the counts of all blocks, at most."""
DIGITS = 10
"""Decimals in which features are compared: those of a term are numbers of about 1."""
RECORDS = 2**15
"""Records of which features are in memory at a time."""


@dataclass(frozen=True, eq=False)
class Kind:
    """Sites that see their surroundings alike: ``members`` (site, member), the site itself first, and its clusters."""

    members: np.ndarray
    terms: np.ndarray
    local: np.ndarray
    table_at: np.ndarray
    first: np.ndarray
    position: np.ndarray


@dataclass(frozen=True, eq=False)
class Records:
    """Environments of one kind of site: features ``(record, state, term)`` of the ``terms``, the state that the site
    has, and how often each record was seen, in all and in every block (or the block it was seen in)."""

    terms: np.ndarray
    features: np.ndarray
    own: np.ndarray
    weight: np.ndarray
    blocks: np.ndarray

    def add_to_blocks(self, sums: np.ndarray, values: np.ndarray) -> None:
        """Add ``values`` (record, ...) of all records to the sums ``(block, ...)`` of those in which they were seen."""
        if self.blocks.ndim == 2:
            sums += np.tensordot(self.blocks, values, 1)
        else:
            np.add.at(sums, self.blocks, values)


class Local(NamedTuple):
    """Of every record: the objective (to be made small) ``(record,)``, minus its gradient ``(record, term)``; and the
    second derivatives ``(term, term)``, summed with the weights."""

    objective: np.ndarray
    score: np.ndarray
    curvature: np.ndarray


class Environments:
    """All sites of all observations in their surroundings.

    Small surroundings are counted in one pass, a table of how often each was seen; a fit then costs what the table
    costs, however many snapshots there were. So are larger ones that are few to the terms, which see how many
    neighbours of a shell are in a state and not which: by these numbers where their table is small, else as they
    come. All others are read again at every pass.
    """

    def __init__(self, blocks: Blocks, terms: Terms) -> None:
        self.blocks, self.terms = blocks, terms
        self.kinds = site_kinds(terms)
        self.tables = terms._tables[0]
        q = terms.n_states
        codes = [q ** k.members.shape[1] for k in self.kinds]
        numbers = len(blocks) * sum(codes)
        # A table larger than what there is to count is no gain.
        few = max(codes) <= CODES and numbers <= min(COUNTS, max(2**20, 4 * self.number))
        self._records = self._count(codes) if few else self._summed() or self._collapsed()
        self.counted = self._records is not None

    def __iter__(self) -> Iterator[Records]:
        yield from self._records if self._records is not None else self._read()

    @property
    def number(self) -> float:
        """How many environments were seen."""
        return float(len(self.terms.lattice.cells)) * float(self.blocks.edges[-1])

    def _features(self, kind: Kind, records: np.ndarray) -> np.ndarray:
        q = self.terms.n_states
        features = np.zeros((len(records), q, len(kind.terms)))
        _interactions.features(records, kind.local, kind.table_at, kind.first, kind.position, self.tables, q, features)
        return features

    def _count(self, codes: list[int]) -> list[Records]:
        q = self.terms.n_states
        counts = [np.zeros((len(self.blocks), number), np.int32) for number in codes]
        for states, block in self.blocks.rows():
            for kind, table in zip(self.kinds, counts, strict=True):
                _interactions.count_environments(states, block, kind.members, q, table)
        records = []
        for kind, table in zip(self.kinds, counts, strict=True):
            weight = table.sum(0, dtype=np.int64)
            there = np.flatnonzero(weight)
            width = kind.members.shape[1]
            digits = there[:, None] // q ** np.arange(width - 1, -1, -1) % q
            features = self._features(kind, digits.astype(np.int8))
            records.append(Records(kind.terms, features, digits[:, 0], weight[there].astype(float), table[:, there]))
        return records

    def _summed(self) -> list[Records] | None:
        """Records by how many clusters of every term act alike; None where that makes too large a table."""
        sums = [ClusterSums.of(kind, self.tables, self.terms.n_states) for kind in self.kinds]
        if sum(x.size for x in sums) * len(self.blocks) > min(COUNTS, max(2**20, 4 * self.number)):
            return None
        counts = [np.zeros((len(self.blocks), x.size), np.int32) for x in sums]
        for rows, block in self.blocks.rows():
            states = np.ascontiguousarray(rows.T)
            for kind, x, table in zip(self.kinds, sums, counts, strict=True):
                _interactions.count_sums(
                    states, block, kind.members, self.terms.n_states, kind.first, kind.position, x.add, x.add_at,
                    x.own, table,
                )  # fmt: skip
        records = []
        for kind, x, table in zip(self.kinds, sums, counts, strict=True):
            weight = table.sum(0, dtype=np.int64)
            there = np.flatnonzero(weight)
            features, own = x.features(there)
            records.append(Records(kind.terms, features, own, weight[there].astype(float), table[:, there]))
        return records

    def _collapsed(self) -> list[Records] | None:
        """Records with equal features and states, counted; None if they hardly ever are equal."""
        kinds = [_Distinct(len(self.blocks)) for _ in self.kinds]
        seen = 0
        for number, records in self._read_numbered():
            seen += len(records.own)
            kinds[number].add(records)
            distinct = sum(len(kind) for kind in kinds)
            if distinct * len(self.blocks) > COUNTS or 4 * distinct > max(seen, RECORDS):
                return None
        return [
            Records(kind.terms, *distinct.parts())
            for kind, distinct in zip(self.kinds, kinds, strict=True)
            if len(distinct)
        ]

    def _read(self) -> Iterator[Records]:
        for _, records in self._read_numbered():
            yield records

    def _read_numbered(self) -> Iterator[tuple[int, Records]]:
        """Records of all observations, a batch at a time, and the number of their kind."""
        for states, block in self.blocks.rows():
            for number, kind in enumerate(self.kinds):
                step = max(1, RECORDS // len(kind.members))
                for start in range(0, len(states), step):
                    part = states[start : start + step]
                    records = part[:, kind.members].reshape(-1, kind.members.shape[1])
                    where = np.repeat(block[start : start + step], len(kind.members))
                    seen = (records >= 0).all(1)
                    if not seen.all():
                        records, where = records[seen], where[seen]
                    features = self._features(kind, records)
                    own = records[:, 0].astype(np.int64)
                    yield number, Records(kind.terms, features, own, np.ones(len(records)), where)


@dataclass(frozen=True, eq=False)
class ClusterSums:
    """The surroundings of a site as one number: its own state times ``own``, and for every term how many of its
    clusters there are of each class but the last. Clusters of a class give the states of the site equal energies.

    add: what cluster e adds to the number, at ``add_at[e]`` plus the code of its other sites.
    classes: of every term their energies ``(class, state)``, how many clusters it has, and the strides of the classes.
    """

    own: int
    size: int
    add: np.ndarray
    add_at: np.ndarray
    classes: list[tuple[np.ndarray, int, list[int]]]

    @classmethod
    def of(cls, kind: Kind, tables: np.ndarray, q: int) -> ClusterSums:
        codes = [q ** int(n) for n in np.diff(kind.first)]
        columns = [tables[a : a + n * q].reshape(n, q) for a, n in zip(kind.table_at, codes, strict=True)]
        add_at = np.concatenate([[0], np.cumsum(codes)])
        add, classes, stride = np.zeros(add_at[-1], np.int32), [], 1
        for k in range(len(kind.terms)):
            own = np.flatnonzero(kind.local == k)
            every = np.concatenate([columns[e] for e in own])
            _, one, which = np.unique(every.round(DIGITS), axis=0, return_index=True, return_inverse=True)
            values = every[one]
            strides = [stride * (len(own) + 1) ** c for c in range(len(values) - 1)] + [0]
            stride *= (len(own) + 1) ** (len(values) - 1)
            if stride > COUNTS:
                return cls(0, COUNTS + 1, add, add_at, [])
            places = np.concatenate([np.arange(add_at[e], add_at[e + 1]) for e in own])
            add[places] = np.array(strides)[which.ravel()]
            classes.append((values, len(own), strides))
        return cls(stride, q * stride, add, add_at[:-1], classes)

    def features(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features ``(number, state, term)`` of surroundings, and the states that the site has."""
        found = np.zeros((len(numbers), self.classes[0][0].shape[1], len(self.classes)))
        for k, (values, clusters, strides) in enumerate(self.classes):
            left = np.full(len(numbers), clusters)
            for energies, stride in zip(values[:-1], strides[:-1], strict=True):
                count = numbers // stride % (clusters + 1)
                found[:, :, k] += count[:, None] * energies
                left -= count
            found[:, :, k] += left[:, None] * values[-1]
        return found, numbers // self.own


class _Distinct:
    """Different records of one kind, in the order in which they came, and how often each was seen in every block."""

    def __init__(self, blocks: int) -> None:
        self.keys, self.numbers = np.zeros(0), np.zeros(0, np.int64)  # sorted, and the records they stand for
        self.features: list[np.ndarray] = []
        self.own: list[np.ndarray] = []
        self.counts = np.zeros((256, blocks), np.int32)

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, records: Records) -> None:
        if not len(records.own):
            return
        # The order in which neighbours are summed shall not make records different.
        flat = records.features.reshape(len(records.own), -1).round(DIGITS)
        # Fixed weights without a common measure: different records have different sums but for an accident of 1e-16.
        weights = np.random.default_rng(0).uniform(1.0, 2.0, flat.shape[1] + 1)
        sums = (flat * weights[1:]).sum(1) + weights[0] * records.own
        keys, first, index = np.unique(sums, return_index=True, return_inverse=True)
        new = ~np.isin(keys, self.keys)
        if new.any():
            numbers = len(self) + np.arange(int(new.sum()))
            order = np.argsort(together := np.concatenate([self.keys, keys[new]]))
            self.keys, self.numbers = together[order], np.concatenate([self.numbers, numbers])[order]
            self.features.append(records.features[first[new]])
            self.own.append(records.own[first[new]])
            if len(self) > len(self.counts):
                more = np.zeros((2 * len(self) - len(self.counts), self.counts.shape[1]), np.int32)
                self.counts = np.concatenate([self.counts, more])
        place = self.numbers[np.searchsorted(self.keys, keys)][index]
        np.add.at(self.counts, (place, records.blocks), 1)

    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Features, own states, weights and counts, as :class:`Records` has them."""
        counts = self.counts[: len(self)].T
        weight = counts.sum(0, dtype=np.int64).astype(float)
        return np.concatenate(self.features), np.concatenate(self.own), weight, counts


def site_kinds(terms: Terms) -> list[Kind]:
    """The sites of all terms, those together that have equal terms on equally placed neighbours."""
    lattice = terms.lattice
    cells, sublattice, shape = lattice.cells, lattice.sublattice, np.array(lattice.shape)
    periodic, at = np.array(lattice.periodic), terms._tables[1]
    seen: dict[int, list[tuple[int, tuple, tuple[int, ...]]]] = {}
    for k, term in enumerate(terms.terms):
        for cluster in term.clusters.tolist():
            for site in cluster:
                others = [j for j in cluster if j != site]
                steps = cells[others] - cells[site]
                steps = np.where(periodic, steps % shape, steps)
                places = sorted(
                    ((*step, int(sublattice[j])), j) for step, j in zip(map(tuple, steps.tolist()), others, strict=True)
                )
                seen.setdefault(site, []).append((k, tuple(p for p, _ in places), tuple(j for _, j in places)))
    groups: dict[tuple, list[list[int]]] = {}
    for site, clusters in seen.items():
        clusters.sort()
        members = list(dict.fromkeys([site, *(j for _, _, others in clusters for j in others)]))
        place = {j: m for m, j in enumerate(members)}
        pattern = tuple((k, tuple(place[j] for j in others)) for k, _, others in clusters)
        groups.setdefault(pattern, []).append(members)
    kinds = []
    for pattern, rows in groups.items():
        used, local = np.unique([k for k, _ in pattern], return_inverse=True)
        first = np.concatenate([[0], np.cumsum([len(others) for _, others in pattern])])
        position = np.array([m for _, others in pattern for m in others], np.int64)
        kinds.append(Kind(np.array(rows), used, local.astype(np.int64), at[used][local], first, position))
    return kinds
