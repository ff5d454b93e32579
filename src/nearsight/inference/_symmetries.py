"""Whether data are symmetric: p-values that hold for correlated chains, by turning independent stretches of data."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nearsight.inference.observations import Observations
from nearsight.lattices import Lattice, site_permutations, torus_group

STRETCHES, FEWEST = 64, 8
"""Independent stretches that data are cut into if they can be, and the fewest with which a symmetry is tested."""
GAP, WORTH = 4.0, 50.0
"""Autocorrelation times left out between two stretches of a chain; a chain of fewer than 50 is one stretch."""
SHELLS = 5
"""Neighbour shells whose correlations are compared in different directions; translations compare the first two."""
ELEMENTS = 2**22
"""Numbers that are permuted at a time."""


@dataclass(frozen=True)
class SymmetryTest:
    """Whether data are invariant under the operations called ``name``: the ``pvalue``, or why there is none.

    ``stretches`` is the number of independent stretches of data that were turned against each other.

    :attr:`Examination.symmetries` holds them.
    """

    name: str
    pvalue: float | None
    stretches: int
    reason: str = ""

    def __str__(self) -> str:
        if self.pvalue is None:
            return f"{self.name}: not tested, {self.reason}"
        said = "no evidence against it" if self.pvalue >= 0.05 else "doubtful" if self.pvalue >= 0.002 else "violated"
        return f"{self.name}: {said} (p = {self.pvalue:.3g} from {self.stretches} independent stretches of data)"


def stretches(seen: Observations, tau: float) -> list[slice]:
    """Stretches of rows that are independent of each other: several of a long chain, apart in time; or whole chains.

    Chains of one snapshot each are put together.
    """
    edges = np.flatnonzero(np.diff(seen.chain)) + 1
    starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(seen)]])
    if len(starts) >= STRETCHES:
        cuts = np.linspace(0, len(starts), STRETCHES + 1).round().astype(int)
        return [slice(int(starts[a]), int(ends[b - 1])) for a, b in itertools.pairwise(cuts)]
    wanted, gap = -(-STRETCHES // len(starts)), int(np.ceil(GAP * tau))
    found = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        length = end - start
        parts = min(wanted, int(length / (3 * gap))) if length >= WORTH * tau else 1
        size = (length - (parts - 1) * gap) / max(parts, 1) if parts > 1 else length
        places = [start + round(k * (size + gap)) for k in range(max(parts, 1))]
        found += [slice(place, min(place + int(size), end)) for place in places]
    return found


def turned_pvalue(
    sums: np.ndarray, turn: Callable[[np.ndarray, int], np.ndarray], draws: int, rng: np.random.Generator
) -> float:
    r"""p-value of the hypothesis that every stretch is as likely as any of its images under a group of operations.

    ``sums`` ``(stretch, class, member)`` are contributions x_b of the stretches to averages that the symmetry makes
    zero: densities or correlations minus their average over the group. Statistics are Σ_i X_i² and max_i |X_i| of
    X = Σ_b x_b, for each class of members. Drawn anew with every stretch turned by a random element of the group, of
    its own, they have the distribution of the hypothesis whatever the stretches are like inside (a randomisation test);
    the smallest of the levels of all statistics is compared with its own distribution.

    ``turn(rows, number)`` gives so many random images of one stretch ``(number, class, member)``.
    """
    _, classes, members = sums.shape
    total = np.empty((draws + 1, classes, members))
    total[0] = sums.sum(0)
    step = max(ELEMENTS // (classes * members), 1)
    for first in range(1, draws + 1, step):
        count = min(step, draws + 1 - first)
        total[first : first + count] = sum(turn(stretch, count) for stretch in sums)
    statistics = np.concatenate([(total**2).sum(2), np.abs(total).max(2)], axis=1)  # (draw, 2 class)
    # Rounding must not order draws that are equal, as all are where a stretch is only turned into itself.
    scale = np.maximum(np.abs(statistics).max(0), 1e-300)
    statistics = np.round(statistics / scale, 9)
    ordered = np.sort(statistics, axis=0)
    level = np.stack(
        [len(s) - np.searchsorted(o, s, side="left") for s, o in zip(statistics.T, ordered.T, strict=True)]
    ).min(0)
    smaller, equal = int((level[1:] < level[0]).sum()), int((level[1:] == level[0]).sum())
    # Ties are broken at random: p-values are then uniform for any number of draws and stretches.
    return (smaller + 1 + int(rng.integers(0, equal + 1))) / (draws + 1)


# --- averages of a stretch --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairClasses:
    """Pairs of sites, ordered by the cell of the first: those at one place belong together under translations."""

    first: np.ndarray
    second: np.ndarray
    """Sites ``(cell, pair)``; the second is -1 beyond an open edge."""


def pair_classes(lattice: Lattice, shells: int) -> PairClasses:
    """All pairs of the first neighbour shells, from every cell."""
    first, second = [], []
    for shell in range(1, min(shells, len(lattice.shell_distances)) + 1):
        radius = lattice.shell_distances[shell - 1]
        for a in range(lattice.n_basis):
            cells, sublattice, distance = lattice._around(lattice.basis[a], radius)
            on = np.abs(distance - radius) <= lattice.tolerance
            for cell, b in zip(cells[on], sublattice[on], strict=True):
                if (*cell, b) > (*(-cell), a):
                    grid = lattice.cells[:: lattice.n_basis]
                    first.append(lattice.index(grid, a))
                    second.append(lattice.index(grid + cell, int(b)))
    return PairClasses(np.stack(first, 1), np.stack(second, 1))


def densities(seen: Observations, parts: list[slice], stride: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """How often a site is in a state, ``(stretch, site, state)``, and the rows of every stretch that are looked at.

    Sites that were not seen do not count; densities are over the rows in which one was.
    """
    rows = [np.arange(part.start, part.stop, stride) for part in parts]
    result = np.zeros((len(parts), seen.lattice.n_sites, seen.n_states))
    for b, index in enumerate(rows):
        for chunk in np.array_split(index, max(len(index) // 2**14, 1)):
            states = seen.states(chunk).numpy()
            known = None if seen.missing is None else ~seen.missing[chunk]
            for a in range(seen.n_states):
                there = states == a
                result[b, :, a] += (there if known is None else there & known).sum(0)
        result[b] /= np.maximum(result[b].sum(-1, keepdims=True), 1)
    return result, rows


def pair_averages(seen: Observations, rows: list[np.ndarray], pairs: PairClasses) -> np.ndarray:
    """How often the two sites of a pair are in the same state, ``(stretch, cell, pair)``; 0 beyond an open edge."""
    i, j = pairs.first, pairs.second
    result = np.zeros((len(rows), *i.shape))
    for b, index in enumerate(rows):
        seen_both = np.zeros(i.shape)
        for chunk in np.array_split(index, max(len(index) * i.size // 2**24, 1)):
            states = seen.states(chunk).numpy()
            known = None if seen.missing is None else ~seen.missing[chunk]
            for k in range(i.shape[1]):
                same = states[:, i[:, k]] == states[:, j[:, k]]
                if known is None:
                    result[b, :, k] += same.sum(0)
                else:
                    both = known[:, i[:, k]] & known[:, j[:, k]]
                    result[b, :, k] += (same & both).sum(0)
                    seen_both[:, k] += both.sum(0)
        result[b] /= np.maximum(seen_both, 1) if seen.missing is not None else len(index)
        result[b][j < 0] = 0.0
    return result


# --- the symmetries ---------------------------------------------------------------------------------------------------


def symmetry_tests(
    seen: Observations, tau: float, *, rows: int, draws: int, rng: np.random.Generator
) -> tuple[SymmetryTest, ...]:
    """Translations, point group and permutations of the states, each tested on its own."""
    lattice, parts = seen.lattice, stretches(seen, tau)
    names = ["translations", "point group", *_internal(seen.n_states)]
    if len(parts) < FEWEST:
        reason = (
            f"the data hold {len(parts)} independent stretches and {FEWEST} are needed: observe more chains, or longer "
            f"ones (the slowest average has an autocorrelation time of {tau:.3g} rows)"
        )
        return tuple(SymmetryTest(name, None, len(parts), reason) for name in names)
    stride = max(sum(part.stop - part.start for part in parts) // rows, 1)
    density, looked = densities(seen, parts, stride)
    weight = np.array([len(index) for index in looked], float)
    weight /= weight.sum()
    pairs = pair_classes(lattice, SHELLS)
    average = pair_averages(seen, looked, pairs)
    if seen.missing is not None and any(seen.missing[index].all(0).any() for index in looked):
        reason = "some sites were never seen in a stretch of data"
        return tuple(SymmetryTest(name, None, len(parts), reason) for name in names)
    common = (density, average, weight, pairs, draws, rng)
    return (
        _translations(lattice, *common),
        _point_group(lattice, *common),
        *_permuted_states(seen.n_states, density, weight, draws, rng),
    )


def _translations(
    lattice: Lattice,
    density: np.ndarray,
    average: np.ndarray,
    weight: np.ndarray,
    pairs: PairClasses,
    draws: int,
    rng: np.random.Generator,
) -> SymmetryTest:
    """Densities, and correlations in the first two shells, of all cells are the same."""
    periodic = np.array(lattice.periodic)
    if not periodic.any() or lattice.n_cells == 1:
        return SymmetryTest("translations", None, len(weight), "no axis is periodic")
    count = len(weight)
    near = pair_classes(lattice, 2).first.shape[1]
    site = density[..., 1:].reshape(count, lattice.n_cells, -1)
    classes = [site, average[:, :, :near]]
    axes = tuple(1 + np.flatnonzero(periodic))

    def contrasts(x: np.ndarray) -> np.ndarray:
        grid = x.reshape(count, *lattice.shape, -1)
        grid = (grid - grid.mean(axes, keepdims=True)) * weight.reshape(-1, *[1] * (grid.ndim - 1))
        return grid.reshape(count, lattice.n_cells, -1)

    # Columns of one class lie side by side; shorter classes are filled up with zeros, which no turn changes.
    width = max(x.shape[2] for x in classes)
    sums = np.stack([np.pad(contrasts(x), ((0, 0), (0, 0), (0, width - x.shape[2]))) for x in classes], axis=1)
    cells, shape = lattice.cells[:: lattice.n_basis], np.array(lattice.shape)

    def turn(x: np.ndarray, number: int) -> np.ndarray:
        shift = rng.integers(0, shape, (number, lattice.dim)) * periodic
        moved = np.ravel_multi_index(tuple(np.moveaxis((cells + shift[:, None]) % shape, -1, 0)), lattice.shape)
        grid = x.reshape(len(classes), lattice.n_cells, width)
        return np.moveaxis(grid[:, moved], 0, 1).reshape(number, len(classes), -1)

    p = turned_pvalue(sums.reshape(count, len(classes), -1), turn, draws, rng)
    return SymmetryTest("translations", p, count)


def _point_group(
    lattice: Lattice,
    density: np.ndarray,
    average: np.ndarray,
    weight: np.ndarray,
    pairs: PairClasses,
    draws: int,
    rng: np.random.Generator,
) -> SymmetryTest:
    """Correlations in the first shells, averaged over translations, are the same in all equivalent directions."""
    count = len(weight)
    if not all(lattice.periodic):  # type: ignore[arg-type]
        return SymmetryTest("point group", None, count, "the lattice has an open edge")
    group = torus_group(lattice)
    name = f"point group {group.name}"
    if len(group) == 1:
        return SymmetryTest(name, None, count, "it has no operation but the identity")
    images = _directions(lattice, pairs, site_permutations(lattice, group))
    directions = average.mean(1)
    sums = (directions - directions[:, images].mean(1)) * weight[:, None]

    def turn(x: np.ndarray, number: int) -> np.ndarray:
        return x[0][images[rng.integers(0, len(images), number)]][:, None]

    if np.abs(images - np.arange(images.shape[1])).max() == 0:
        return SymmetryTest(name, None, count, "no correlation of the first shells changes under it")
    return SymmetryTest(name, turned_pvalue(sums[:, None], turn, draws, rng), count)


def _directions(lattice: Lattice, pairs: PairClasses, permutations: np.ndarray) -> np.ndarray:
    """``images[g, k]``: the class of pairs that those of class k become under operation g."""
    known: dict[tuple[int, int], int] = {}
    for k in range(pairs.first.shape[1]):
        for i, j in zip(pairs.first[:, k].tolist(), pairs.second[:, k].tolist(), strict=True):
            known.setdefault((i, j), k)
            known.setdefault((j, i), k)
    first, second = pairs.first[0], pairs.second[0]
    return np.array([[known[(int(p[i]), int(p[j]))] for i, j in zip(first, second, strict=True)] for p in permutations])


def _internal(q: int) -> list[str]:
    return ["spin inversion"] if q == 2 else ["reversal of the states", "permutations of the states"]


def _permuted_states(
    q: int, density: np.ndarray, weight: np.ndarray, draws: int, rng: np.random.Generator
) -> list[SymmetryTest]:
    """All states that the symmetry exchanges are equally likely, on every site and on average."""
    tests = []
    for name in _internal(q):
        every = name.startswith("permutations")
        mirror = density[..., ::-1]
        centre = density.mean(-1, keepdims=True) if every else (density + mirror) / 2
        contrast = (density - centre) * weight[:, None, None]
        # The mean over the sites is a class of its own, in which a small field adds up.
        sums = np.stack([contrast, np.broadcast_to(contrast.mean(1, keepdims=True), contrast.shape)], axis=1)
        shape = sums.shape[1:]

        def turn(x: np.ndarray, number: int, every: bool = every, shape: tuple[int, ...] = shape) -> np.ndarray:
            order = np.tile(np.arange(q), (number, 1))
            order = (
                rng.permuted(order, axis=1)
                if every
                else np.where(rng.integers(0, 2, (number, 1)), order, order[:, ::-1])
            )
            x = x.reshape(shape)
            return np.moveaxis(x[..., order], -2, 0).reshape(number, shape[0], -1)

        p = turned_pvalue(sums.reshape(len(weight), shape[0], -1), turn, draws, rng)
        tests.append(SymmetryTest(name, p, len(weight)))
    return tests
