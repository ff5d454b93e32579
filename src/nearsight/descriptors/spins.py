"""Invariants of spins whose rotations are independent of the lattice: bonds and chiralities in irreps of the site."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import choice, number
from nearsight.descriptors._contractions import CONTRACTIONS, MODES
from nearsight.descriptors._pair_stencil import PairStencil
from nearsight.descriptors._spin_variables import ReversalGroup, SpinVariables, spin_blocks, spin_families
from nearsight.descriptors.descriptor import _GridDescriptor
from nearsight.fields import FieldType, check_field, scalar
from nearsight.fields.field_type import checked_field_type
from nearsight.groups import PointGroup
from nearsight.lattices import Lattice, Neighbourhood, aligned_neighbourhoods, site_group
from nearsight.lattices.lattice import checked_cutoff

SPIN_MODES = tuple(mode for mode in MODES if mode != "eigenvalues")


class _SpinDescriptor(_GridDescriptor):
    """What is known of chosen sites from the spins that each of them sees."""

    @abc.abstractmethod
    def _seen(self, sites: Tensor) -> Tensor:
        """The neighbourhoods ``(*sites, neighbour)`` of chosen sites, which stand first in them."""

    @abc.abstractmethod
    def _of_spins(self, values: Tensor) -> Tensor:
        """Features ``(*batch, feature)`` from the spins ``(*batch, neighbour, component)`` of neighbourhoods."""

    def at(self, field: Tensor, sites: Tensor | int) -> Tensor:
        return self._of_spins(field[..., self._seen(torch.as_tensor(sites)), :])

    def delta(self, field: Tensor, site: Tensor | int, change: Tensor) -> tuple[Tensor, Tensor]:
        site = torch.as_tensor(site, device=field.device)
        centres = self.touched(site)
        seen = self._seen(centres)
        moved = (seen == site[..., None, None])[..., None] * change.to(field)[..., None, None, :]
        return centres, self._of_spins(field[..., seen, :] + moved)


class SpinInvariants(_SpinDescriptor):
    r"""Invariants of the spins around a site under rotations of all spins, and under the point group of the site.

    The scalars of the spins come first: the bonds :math:`S_i \cdot S_j` of the centre i with every neighbour within
    ``cutoff``, the bonds :math:`S_j \cdot S_k` of neighbours no further apart than ``bond_cutoff``, the scalar
    chiralities :math:`\chi_{ijk} = S_i \cdot (S_j \times S_k)` of those within ``chirality_cutoff``, and
    :math:`|S_j|^2` if lengths vary. The point group permutes them, and reverses a chirality when it exchanges j and k.
    Orbit by orbit they are decomposed into irreps, which are contracted as the mode says: see :class:`Irreps`.

    Time reversal is part of the group if ``field_type.internal`` is "O(n)". χ is odd under it, and its coefficients
    form irreps of their own (Γ-, while those of the bonds are Γ+), so that every feature is even in them. With
    "SO(n)", as in a magnetic field or for a broken symmetry, its invariant part is a feature as it stands.

    XY spins (two components) have no chirality; their odd scalars are the turns
    :math:`S_j \times S_k = \sin(\phi_k - \phi_j)`, of the centre too. Under "O(n)" reflections of the XY plane reverse
    them.

    Parameters
    ----------
    lattice: a periodic lattice of any dimension, with one site or several equivalent sites per cell.
    field_type: a spin, ``fields.spin(...)``.
    cutoff: radius of the neighbourhood in units of a, the sites at the cutoff included.
    bond_cutoff: largest distance of two neighbours that form a bond, twice the shortest one if not given; 0 leaves the
        bonds of the centre alone.
    chirality_cutoff: the same for χ and the turns; by default ``bond_cutoff``, 0 for none.
    mode: one of ``MODES``, but "eigenvalues", which knows no signs.
    eps: softening ε of the references, in units of a typical scalar, |S|².

    On the triangular lattice ``cutoff=6, bond_cutoff=2`` selects 126 + 933 bonds and 933 chiralities. Bonds and cross
    products of neighbours are formed once for the whole lattice and shared by all centres; the cost per site is that of
    one product of 12 × 12 per orbit, and the memory that of the features.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> rng, lattice = torch.Generator().manual_seed(1), ns.lattices.square(6)
    >>> descriptor = ns.descriptors.SpinInvariants(lattice, ns.fields.spin(), cutoff=1.0)
    >>> descriptor.counts()  # bonds of the centre, bonds and chiralities of its four neighbours
    {'S·S': 4, 's·s': 6, 'S·s×s': 6}
    >>> spins = ns.fields.random_spins(lattice, rng)
    >>> rotation = torch.linalg.qr(torch.randn(3, 3, generator=rng).double()).Q
    >>> torch.allclose(descriptor(spins @ rotation.T), descriptor(spins))  # all spins turned at once
    True

    References
    ----------
    Zhang, Zhang, Chern, "Descriptors for machine learning model of generalized force field in condensed matter
    systems" (2022), section VI.
    """

    def __init__(
        self,
        lattice: Lattice,
        field_type: FieldType,
        cutoff: float,
        *,
        bond_cutoff: float | None = None,
        chirality_cutoff: float | None = None,
        mode: str = "lifted",
        eps: float = 0.4,
    ) -> None:
        super().__init__()
        self._checked_lattice(lattice)
        self.components = _check_spins(field_type, type(self).__name__)
        choice(mode, "mode", SPIN_MODES)
        self.lattice, self.field_type = lattice, field_type
        self.cutoff, self.mode, self.eps = checked_cutoff(lattice, cutoff), mode, number(eps, "eps", least=0)
        bond_cutoff = 2.0 * lattice.spacing if bond_cutoff is None else bond_cutoff
        self.bond_cutoff = checked_cutoff(lattice, bond_cutoff, "bond_cutoff, one of the distances,")
        chirality_cutoff = self.bond_cutoff if chirality_cutoff is None else chirality_cutoff
        self.chirality_cutoff = checked_cutoff(lattice, chirality_cutoff, "chirality_cutoff, one of the distances,")
        self.around = aligned_neighbourhoods(lattice, cutoff)
        around = self.neighbourhood = self.around[0]
        around.without_centre()  # refuses a cutoff that holds no neighbour
        site = site_group(lattice)
        self.group: PointGroup = ReversalGroup(site) if field_type.internal == "O(n)" else site
        families = spin_families(
            around,
            site,
            self.components,
            bond_cutoff=self.bond_cutoff,
            chirality_cutoff=self.chirality_cutoff,
            varying_length=field_type.values != "unit",
        )
        blocks, family_of, sites = spin_blocks(families, self.group)
        self.variables = SpinVariables(
            group=self.group,
            blocks=blocks,
            vectors=np.array([around.vectors[list(s)].mean(0) for s in sites]),
            field_type=scalar("scalars of spins"),  # what is left to contract is invariant under rotations of the spins
            components=1,
            families=tuple(families),
            family_of=family_of,
            sites=sites,
            around=around,
            unit=lattice.spacing,
        )
        self.contraction = CONTRACTIONS[mode](self.variables, self.eps)
        self.smooth = self.contraction.smooth
        self.feature_names = self.contraction.names
        self.features = len(self.feature_names)

    def counts(self) -> dict[str, int]:
        """How many scalars of every kind there are: S is the spin at the centre, s are its neighbours."""
        return {family.symbol: len(family) for family in self.variables.families}

    def multiplicities(self) -> dict[str, int]:
        """How often each irrep occurs among the scalars."""
        return self.variables.multiplicities()

    def _of_grid(self, grid: Tensor, centre: Tensor, *, halo: bool) -> Tensor:
        grid, centre = (x.movedim((-1, -2), (0, 1)) for x in (grid, centre))
        families, stencils = self.variables.families, self.tables(grid)
        terms = [
            s(f.u(centre), self._channels(k, grid), halo=halo)
            for k, (f, s) in enumerate(zip(families, stencils, strict=True))
        ]
        return self.contraction(torch.cat(terms))

    def of_neighbourhoods(self, values: Tensor) -> Tensor:
        """Features ``(*batch, feature)`` of neighbourhoods ``(*batch, neighbour, component)``.

        The neighbours follow ``neighbourhood``, that of sublattice 0. Every scalar is formed for every centre: for
        single sites, as after a move of one spin; whole lattices are faster by calling the descriptor.
        """
        check_field(values, len(self.neighbourhood), self.components)
        return self._of_spins(values)

    def _of_spins(self, values: Tensor) -> Tensor:
        spins = values.reshape(-1, *values.shape[-2:]).movedim(-1, 0).contiguous()
        centre = spins[:, :, 0, None, None]
        bases = [basis for stencil in self.tables(spins) for basis in stencil.bases]
        rows = []
        for basis, members, which in zip(bases, self.variables.members, self.variables.family_of, strict=True):
            sites = torch.as_tensor(members, device=spins.device)
            family = self.variables.families[which]
            scalars = family.of(centre, *(spins[:, :, sites[..., j]] for j in range(family.sites)))
            rows.append(torch.bmm(basis, scalars.permute(1, 2, 0)).flatten(0, 1))
        return self.contraction(torch.cat(rows)).view(-1, *values.shape[:-2]).movedim(0, -1)

    def _seen(self, sites: Tensor) -> Tensor:
        return _neighbour_sites(self.lattice, self.around, sites)

    # --- on a periodic grid -----------------------------------------------------------------------------------------

    def _steps(self, number: int) -> list[tuple[int, int, tuple[int, ...]]]:
        """The channels of a family of pairs: the sublattices of the two sites and the cells between them."""
        found = set()
        for block, owner in enumerate(self.variables.family_of):
            if owner == number:
                for around in self.around:
                    first, second = np.moveaxis(self.variables.members[block].reshape(-1, 2), 1, 0)
                    steps = around.cells[second] - around.cells[first]
                    found |= set(
                        zip(
                            around.sublattice[first].tolist(),
                            around.sublattice[second].tolist(),
                            map(tuple, steps.tolist()),
                            strict=True,
                        )
                    )
        return sorted(found)

    def _channels(self, number: int, grid: Tensor) -> Tensor:
        """The channels ``(channel, a, ...)`` of a family, from the field as ``(component, basis, batch, *shape)``."""
        family = self.variables.families[number]
        if family.sites == 1:
            return family.w(grid).movedim(1, 0)
        axes = tuple(range(2, grid.ndim - 1))
        pairs = ((grid[:, a], grid[:, b].roll([-n for n in step], axes)) for a, b, step in self._steps(number))
        return torch.stack([family.w(s, t) for s, t in pairs])

    def make_tables(self, like: Tensor) -> list[PairStencil]:
        return [self._stencil(number, like) for number in range(len(self.variables.families))]

    def _stencil(self, number: int, like: Tensor) -> PairStencil:
        channels, offsets, bases = [], [], []
        numbers = {}
        if self.variables.families[number].sites == 2:
            numbers = {step: c for c, step in enumerate(self._steps(number))}
        for k, (block, owner) in enumerate(zip(self.variables.blocks, self.variables.family_of, strict=True)):
            if owner != number:
                continue
            sites = self.variables.members[k]
            first, second = sites[..., 0], sites[..., -1]
            channel = np.empty((*first.shape, len(self.around)), dtype=int)
            for b, around in enumerate(self.around):
                channel[..., b] = around.sublattice[first]
                if numbers:
                    steps = (around.cells[second] - around.cells[first]).tolist()
                    for where in np.ndindex(first.shape):
                        a, c = around.sublattice[first[where]], around.sublattice[second[where]]
                        channel[(*where, b)] = numbers[int(a), int(c), tuple(steps[where[0]][where[1]])]
            channels.append(channel)
            offsets.append(np.stack([around.cells[first] for around in self.around], axis=-2))
            bases.append(torch.as_tensor(block.basis, dtype=like.dtype, device=like.device))
        return PairStencil(self.reach, tuple(channels), tuple(offsets), tuple(bases))


def _check_spins(field_type: FieldType, who: str) -> int:
    """The number of spin components; refuses fields that spin descriptors do not serve."""
    checked_field_type(field_type)
    if field_type.internal not in ("SO(n)", "O(n)") or len(field_type.law) not in (2, 3):
        raise ValueError(
            f"{who} serves spins of 2 or 3 components with internal 'SO(n)' or 'O(n)', such as fields.spin(); "
            f"{field_type.name} has {len(field_type.law)} and {field_type.internal!r}. Take Irreps for fields that "
            f"turn with the lattice."
        )
    return len(field_type.law)


def _neighbour_sites(lattice: Lattice, around: Sequence[Neighbourhood], sites: Tensor) -> Tensor:
    """The neighbours of chosen sites ``(*sites, neighbour)``, in the order of the aligned neighbourhoods ``around``."""
    chosen = sites.cpu().numpy()
    offsets, targets = (np.stack([getattr(a, name) for a in around]) for name in ("cells", "sublattice"))
    basis = lattice.sublattice[chosen]
    found = lattice.index(lattice.cells[chosen][..., None, :] + offsets[basis], targets[basis])
    return torch.as_tensor(found, device=sites.device)
