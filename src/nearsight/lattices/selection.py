"""Sets of sites, pairs and triplets of a neighbourhood that are closed under its group: what variables are built on."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nearsight._validation import array, boolean, instance
from nearsight.groups import PointGroup
from nearsight.lattices.neighbourhood import Neighbourhood
from nearsight.lattices.symmetry import neighbour_permutations


@dataclass(frozen=True, eq=False)
class Selection:
    """Some sites, pairs or triplets of a neighbourhood, which the operations of a group permute among themselves.

    :func:`select_sites`, :func:`select_pairs` and :func:`select_triplets` make one. It prints its orbits by size, so
    that a count quoted in a paper can be checked: ``316 sites in 48 orbits of D4 (17 × 4 + 31 × 8), |r| <= 10``.

    Parameters
    ----------
    kind: "sites", "pairs" or "triplets".
    members: neighbour indices ``(member, 1, 2 or 3)``, ascending in every row: a member is a set.
    permutations: ``permutations[g, m]`` is the member at which member m arrives under g.
    signs: ±1 ``(order, member)``, the parity of the permutation that sorts the indices again after g. A variable that
        changes sign when two of its sites are exchanged, such as the chirality of three spins, takes this factor.
    """

    kind: str
    neighbourhood: Neighbourhood
    group: PointGroup
    members: np.ndarray
    permutations: np.ndarray
    signs: np.ndarray

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        sizes = " + ".join(f"{n} × {size}" for size, n in sorted(Counter(map(len, self.orbits)).items()))
        return (
            f"{len(self)} {self.kind} in {len(self.orbits)} orbits of {self.group.name} ({sizes}), "
            f"|r| <= {self.neighbourhood.cutoff:.6g}"
        )

    @cached_property
    def orbits(self) -> tuple[np.ndarray, ...]:
        """Members ``(size,)`` of every orbit, ordered by their first member."""
        first = self.permutations.min(axis=0, initial=len(self))
        return tuple(np.flatnonzero(first == m) for m in np.unique(first))

    def representation(self, orbit: np.ndarray, *, antisymmetric: bool = False) -> np.ndarray:
        """T(g) ``(order, size, size)`` of one orbit: permutations, with ``antisymmetric`` including the signs.

        ``group.decompose`` takes it apart into irreps.
        """
        arrival = np.searchsorted(orbit, self.permutations[:, orbit])
        moves = np.eye(len(orbit))[arrival].transpose(0, 2, 1)
        return moves * self.signs[:, None, orbit] if antisymmetric else moves


def select_sites(
    neighbourhood: Neighbourhood,
    group: PointGroup,
    where: Callable[[np.ndarray], np.ndarray] | None = None,
    *,
    centre: bool = True,
) -> Selection:
    """The sites of a neighbourhood for which ``where(r)`` holds, ``centre=False`` without the site at the centre.

    ``where`` receives all vectors from the centre ``(n, dim)`` and answers with ``(n,)`` booleans:
    ``lambda r: lengths(r) <= 7``, or ``lambda r: np.abs(r).max(axis=1) <= 1.5`` for a cube. The selection must be
    closed under the group; ``ValueError`` names a site whose image is missing.
    """
    candidates = np.arange(_first(neighbourhood, centre), len(neighbourhood))[:, None]
    return _select("sites", neighbourhood, group, candidates, where)


def select_pairs(
    neighbourhood: Neighbourhood,
    group: PointGroup,
    where: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None,
    *,
    centre: bool = True,
) -> Selection:
    """The pairs {m, n} of sites for which ``where(r_m, r_n, r_mn)`` holds, with ``r_mn = r_n - r_m``.

    All three arguments are vectors ``(pair, dim)``, m the one nearer to the centre; the pairs of the centre itself have
    r_m = 0 and are left out by ``centre=False``. ``lambda r_m, r_n, r_mn: lengths(r_mn) <= 2`` limits the
    length of the bond. Every pair occurs once.
    """
    first, n = _first(neighbourhood, centre), len(neighbourhood)
    candidates = np.stack(np.triu_indices(n - first, 1), axis=1) + first
    return _select("pairs", neighbourhood, group, candidates, where)


def select_triplets(
    neighbourhood: Neighbourhood,
    group: PointGroup,
    where: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> Selection:
    """The triplets {centre, m, n} for which ``where(r_m, r_n, r_mn)`` holds, as for :func:`select_pairs`.

    The scalar chirality S₀·(Sₘ × Sₙ) of such a triplet changes sign under operations that exchange m and n in the
    order of the neighbours: use ``signs``. The centre must be a site.
    """
    _first(neighbourhood, True)
    if not neighbourhood.on_site:
        raise ValueError("A triplet is the site at the centre and two others; here the centre is no site. Take pairs.")
    pairs = np.stack(np.triu_indices(len(neighbourhood) - 1, 1), axis=1) + 1
    candidates = np.concatenate([np.zeros((len(pairs), 1), dtype=pairs.dtype), pairs], axis=1)
    return _select("triplets", neighbourhood, group, candidates, where)


def lengths(vectors: np.ndarray) -> np.ndarray:
    """Lengths ``(...)`` of vectors ``(..., dim)``, without rounding errors where the square is a simple fraction.

    √3 comes out as ``3**0.5`` on every bond, so that ``<=``, ``<`` and ``==`` in a condition mean what they say.
    """
    axes = [f"axis {k}" for k in range(max(np.ndim(vectors), 1))]
    square = np.square(array(vectors, "vectors", axes)).sum(axis=-1)
    # In a unit in which lattices have simple squares: a, or where it is none the shortest of the vectors.
    least = np.min(square, where=square > 1e-9 * np.max(square, initial=0.0), initial=np.inf)
    unit = 1.0 if not np.isfinite(least) or (least > 1e-3 and _simple(least) != least) else least
    return np.sqrt(unit * _simple(square / unit))


def _simple(square: np.ndarray) -> np.ndarray:
    """Numbers rounded to multiples of 1/720 where they are that up to rounding."""
    fraction = np.round(square * 720) / 720
    return np.where(np.abs(square - fraction) < 1e-9, fraction, square)


def _first(neighbourhood: Neighbourhood, centre: bool) -> int:
    instance(neighbourhood, Neighbourhood, "neighbourhood", "lattice.neighbourhood(2.0) makes one.")
    return int(neighbourhood.on_site and not boolean(centre, "centre"))


def _select(
    kind: str, neighbourhood: Neighbourhood, group: PointGroup, candidates: np.ndarray, where: Callable | None
) -> Selection:
    members = candidates
    if where is not None and not callable(where):
        raise TypeError(f"where must be a function of vectors that answers with booleans, got {where!r}.")
    if where is not None:
        vectors = [neighbourhood.vectors[k] for k in candidates.T[-2:]]
        arguments = vectors if kind == "sites" else [*vectors, vectors[1] - vectors[0]]
        chosen = np.asarray(where(*arguments))
        if chosen.shape != (len(candidates),) or chosen.dtype != bool:
            raise ValueError(
                f"where must answer with one boolean for each of the {len(candidates)} {kind}, got {chosen.dtype} of "
                f"shape {chosen.shape}; it receives vectors, whose lengths(...) may be compared."
            )
        members = candidates[chosen]
    moved = neighbour_permutations(neighbourhood, group)[:, members]  # (order, member, site)
    base = len(neighbourhood) ** np.arange(members.shape[1])[::-1]
    codes = members @ base  # ascending, since the rows are in lexical order
    images = np.sort(moved, axis=2) @ base
    arrival = np.searchsorted(codes, images).clip(max=len(codes) - 1) if len(codes) else images
    if len(codes) and (codes[arrival] != images).any():
        g, m = np.argwhere(codes[arrival] != images)[0]
        inside, outside = (neighbourhood.vectors[k].round(4).tolist() for k in (members[m], np.sort(moved[g, m])))
        raise ValueError(
            f"The selection is not closed under {group.name}: it holds the {kind[:-1]} at {inside} but not its image "
            f"at {outside}. Let the condition depend on lengths and angles only, use lengths(...) for limits that lie "
            f"on a shell, or take a smaller group."
        )
    inversions = sum(moved[:, :, a] > moved[:, :, b] for a, b in itertools.combinations(range(members.shape[1]), 2))
    signs = 1 - 2 * (np.broadcast_to(inversions, arrival.shape) % 2)
    return Selection(kind, neighbourhood, group, members, arrival, signs)
