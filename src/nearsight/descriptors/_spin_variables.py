"""Scalars of a spin field around a site (bonds, lengths, chiralities), permuted and reversed by the lattice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from nearsight.descriptors._contraction import Variables
from nearsight.descriptors.blocks import _Block
from nearsight.groups import Irrep, PointGroup
from nearsight.lattices import Neighbourhood, Selection, lengths, select_pairs, select_sites, select_triplets


class ReversalGroup(PointGroup):
    """A point group and the reversal Φ → -Φ (or, for XY spins, a reflection) that commutes with all of it.

    Elements are those of the point group, then the same ones with the reversal. Every irrep Γ occurs twice: Γ+ is even
    and Γ- odd under it. Only A1+ is invariant.
    """

    def __init__(self, lattice_group: PointGroup) -> None:
        order, dim = len(lattice_group), lattice_group.dim
        matrices = np.zeros((2 * order, dim + 1, dim + 1))
        matrices[:, :dim, :dim] = np.tile(lattice_group.matrices, (2, 1, 1))
        matrices[:, dim, dim] = np.repeat([1.0, -1.0], order)
        object.__setattr__(self, "matrices", matrices)
        object.__setattr__(self, "lattice_group", lattice_group)

    lattice_group: PointGroup

    @cached_property
    def name(self) -> str:
        return f"{self.lattice_group.name} with reversal"

    @cached_property
    def irreps(self) -> tuple[Irrep, ...]:
        return tuple(
            Irrep(irrep.name + label, np.concatenate([irrep.matrices, sign * irrep.matrices]), irrep.kind)
            for label, sign in (("+", 1.0), ("-", -1.0))
            for irrep in self.lattice_group.irreps
        )


@dataclass(frozen=True, eq=False)
class Family:
    """Scalars u(S_i)·w(S_j, ...) of one kind, one for every member of a selection, from spins ``(component, ...)``.

    u is the spin at the centre, or 1 for scalars ``without_centre``, and ``w`` what the spins of a member make.
    ``antisymmetric`` scalars change sign when two members are exchanged, ``odd`` ones under the reversal of the spins
    (of a reflection for XY spins).
    """

    symbol: str
    selection: Selection
    w: Callable[..., Tensor]
    without_centre: bool = False
    antisymmetric: bool = False
    odd: bool = False

    def u(self, centre: Tensor) -> Tensor:
        return torch.ones_like(centre[:1]) if self.without_centre else centre

    def of(self, centre: Tensor, *spins: Tensor) -> Tensor:
        return (self.u(centre) * self.w(*spins)).sum(0)

    def __len__(self) -> int:
        return len(self.selection)

    @property
    def sites(self) -> int:
        """How many neighbours enter, the centre not counted."""
        return 1 if self.selection.kind == "sites" else 2

    def oriented(self, orbit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Members ``(size, sites)`` of an orbit in the order and orientation in which the group reaches them, and T(g).

        Orbits with the same stabiliser then have the same T(g), and their irreps are worked out once.
        """
        selection = self.selection
        reached, first = np.unique(selection.permutations[:, orbit[0]], return_index=True)  # ascending, as the orbit is
        order = np.argsort(first)
        members = selection.members[reached[order], -self.sites :]
        action = selection.representation(orbit, antisymmetric=self.antisymmetric)[:, order[:, None], order]
        if not self.antisymmetric:
            return members, action
        signs = selection.signs[first[order], orbit[0]]
        return np.where(signs[:, None] > 0, members, members[:, ::-1]), signs[:, None] * action * signs


def _dot(s: Tensor, t: Tensor) -> Tensor:
    return (s * t).sum(0, keepdim=True)


def _square(s: Tensor) -> Tensor:
    return _dot(s, s)


def _quarter_turned(s: Tensor) -> Tensor:
    """Of which S × s in the plane is the scalar product with S."""
    return torch.stack([s[1], -s[0]])


def _cross_in_plane(s: Tensor, t: Tensor) -> Tensor:
    return _dot(s, _quarter_turned(t))


def spin_families(
    around: Neighbourhood,
    group: PointGroup,
    components: int,
    *,
    bond_cutoff: float,
    chirality_cutoff: float,
    varying_length: bool,
) -> list[Family]:
    """The scalars of spins with 2 or 3 ``components`` within a neighbourhood: see :class:`SpinInvariants`."""

    def within(cutoff: float) -> Callable[..., np.ndarray]:
        return lambda m, n, mn: lengths(mn) <= cutoff + around.tolerance

    neighbours = select_sites(around, group, centre=False)
    near = select_pairs(around, group, within(bond_cutoff), centre=False)
    families = [Family("S·S", neighbours, torch.positive), Family("s·s", near, _dot, without_centre=True)]
    if varying_length:
        families.append(Family("|s|²", select_sites(around, group), _square, without_centre=True))
    if chirality_cutoff > 0 and components == 3:
        chiral = select_triplets(around, group, within(chirality_cutoff))
        families.append(Family("S·s×s", chiral, partial(torch.linalg.cross, dim=0), antisymmetric=True, odd=True))
    elif chirality_cutoff > 0:
        turned = select_pairs(around, group, within(chirality_cutoff), centre=False)
        families.append(Family("S×S", neighbours, _quarter_turned, odd=True))
        families.append(Family("s×s", turned, _cross_in_plane, without_centre=True, antisymmetric=True, odd=True))
    return [family for family in families if len(family)]


@dataclass(frozen=True, eq=False)
class SpinVariables(Variables):
    """The scalars around a centre as coefficients of irreps: families one after the other, blocks within each.

    ``members`` of the blocks are indices into ``sites``, which lists for every scalar the neighbours that it holds;
    ``family_of`` is the family of every block.
    """

    numbered = " #"

    families: tuple[Family, ...]
    family_of: tuple[int, ...]
    sites: tuple[tuple[int, ...], ...]
    around: Neighbourhood

    @cached_property
    def distances(self) -> np.ndarray:
        """How far a scalar reaches: the mean distance of its sites from the centre and the separation of the two."""
        r = self.around.distances
        return np.array([r[list(sites)].mean() + self._separation(sites) for sites in self.sites])

    def _separation(self, sites: tuple[int, ...]) -> float:
        return float(np.linalg.norm(self.around.vectors[sites[0]] - self.around.vectors[sites[-1]]))

    @cached_property
    def members(self) -> tuple[np.ndarray, ...]:
        """The neighbours in every scalar of every block ``(orbit, member, site)``."""
        return tuple(np.array([[self.sites[m] for m in orbit] for orbit in block.members]) for block in self.blocks)

    def place(self, block: int, orbit: np.ndarray) -> str:
        """``S·s×s r=1,1 d=1.732`` for neighbours at r and r′ with the separation d."""
        sites = self.sites[orbit[0]]
        r = ",".join(f"{x:.4g}" for x in sorted(self.around.distances[list(sites)]))
        apart = f" d={self._separation(sites):.4g}" if len(sites) > 1 else ""
        return f"{self.families[self.family_of[block]].symbol} r={r}{apart}"

    def table(self) -> str:
        """The orbits and their irreps, a line each: ``6 × S·s×s r=1,1 d=1: A2 + B1 + E1 + E2``."""
        return "\n".join(
            f"{len(orbit)} × {self.place(b, orbit)}: {block.irreps}"
            for b, block in enumerate(self.blocks)
            for orbit in block.members
        )


def spin_blocks(
    families: Sequence[Family], group: PointGroup
) -> tuple[list[_Block], tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """Decompose the signed permutations of the scalars: blocks, the family of every block, the sites of every scalar.

    ``group`` is that of the selections, or a :class:`ReversalGroup` of it.
    """
    reversal = isinstance(group, ReversalGroup)
    blocks: list[_Block] = []
    family_of: list[int] = []
    sites: list[tuple[int, ...]] = []
    known: dict[tuple[bool, bytes], tuple[np.ndarray, tuple[tuple[str, int], ...]]] = {}
    for number, family in enumerate(families):
        kinds: dict[tuple[bool, bytes], list[np.ndarray]] = {}
        for orbit in family.selection.orbits:
            members, action = family.oriented(orbit)
            size, key = len(members), (family.odd, action.tobytes())
            if key not in known:
                full = np.concatenate([action, -action if family.odd else action]) if reversal else action
                copies = group.decompose(full)
                # (copies, size, dim) -> rows: copy by copy, component by component.
                basis = np.concatenate([x.transpose(0, 2, 1).reshape(-1, size) for x in copies.values()])
                known[key] = basis, tuple((name, len(x)) for name, x in copies.items())
            kinds.setdefault(key, []).append(np.arange(len(sites), len(sites) + size))
            sites += map(tuple, members.tolist())
        for key, indices in kinds.items():
            basis, named = known[key]
            blocks.append(_Block(np.array(indices), np.repeat(basis[None], len(indices), axis=0), named))
            family_of.append(number)
    return blocks, tuple(family_of), tuple(sites)
