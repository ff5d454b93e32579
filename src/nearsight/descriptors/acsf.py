"""Atom-centred symmetry functions on a lattice: sums over rings of neighbours and over pairs of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nearsight._validation import instance, number
from nearsight.descriptors._site_invariants import SiteInvariants
from nearsight.descriptors.descriptor import Descriptor
from nearsight.descriptors.symmetry_functions import (
    Angular,
    Radial,
    _Expansion,
    angular_functions,
    radial_functions,
)
from nearsight.fields import FieldType, check_field
from nearsight.fields.field_type import checked_field_type
from nearsight.fields.halo import pad_periodic
from nearsight.lattices import Lattice, site_group
from nearsight.lattices.lattice import checked_cutoff, checked_lattice

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class ACSF(Descriptor):
    r"""Behler's symmetry functions with the field in them, on any lattice.

    The field of every site is taken apart into irreps :math:`f_j^K` of its law (of its internal group, for spins). With
    their scalar products :math:`p_{jk} = f_j^K\cdot f_k^{K'}` and triple products :math:`b_{ijk}` (Clebsch-Gordan; the
    chirality :math:`\chi_{ijk} = S_i\cdot S_j\times S_k` of spins), the features of site i are

    .. math::
        G_{2a} = \sum_j F_2(R_{ij})\, f_j^{A_1}, \quad
        G_{2b} = \sum_j F_2(R_{ij})\, p_{ij}, \quad
        G_{3a,b} = \sum_{jk} F_3\, p_{jk}, \quad
        G_{3c} = \sum_{jk} F_3\, b_{ijk},

    and the invariants of the centre. Sums run over j, k ≠ i, j = k included. Products that the network can form by
    itself, such as G2b of two invariant components, are left out. ``feature_names`` says which is which: the symbol of
    the papers, the irreps [K K'], and the number of the function.

    The weights :math:`F_2` (:class:`Radial`) and :math:`F_3` (:class:`Angular`) depend on distances and angles only.
    The features are therefore invariant under the group of any site, on lattices with a basis and with open edges too,
    where a missing neighbour counts as zero. By Schur's lemma they are combinations of the products
    :math:`f_r \cdot f_s` of equal irreps of the site (mode "pairs" of :class:`Irreps`), those that an isotropic weight
    can form: they tell apart what these do at most, and neither correlations of three neighbours nor orbits at equal
    distance.

    G3c of spins is even under every operation of the lattice, since the distances and not a sense of rotation put j and
    k in order, and odd under S → -S. It enters as it is for ``internal="SO(n)"``. For "O(n)" the squares enter and the
    products of successive ones, which are even and keep the relative signs. It takes d1 ≠ d2: with the functions of
    the papers, symmetric in j and k, it is identically zero.

    Parameters
    ----------
    lattice: any lattice with sites of one species; laws other than "trivial" need one site per cell.
    field_type: components of the field and their law.
    cutoff: R_c, in units of a; all weights vanish there.
    radial: functions F2; by default :func:`radial_functions`, one ring for each multiple of the shortest distance.
    angular: functions F3; by default :func:`angular_functions` with rings at one, two, three times that, inside the
        cutoff.

    The angular functions are expanded in harmonics, which makes a sum over n² pairs the product of two convolutions.
    With D different rings, n neighbours and exponents up to ζ this takes n D (2ζ + 1) multiplications a site in the
    plane and n D (ζ + 1)² in space, for all functions together. A condition on the distance of j and k (``pair``)
    cannot be separated and costs up to n² D for each different (ζ, λ, pair).

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(6)
    >>> descriptor = ns.descriptors.ACSF(lattice, ns.fields.occupation(), cutoff=2.0)
    >>> cluster = torch.tensor([[1.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    >>> field = torch.nn.functional.pad(cluster, (1, 1, 1, 1))
    >>> features, turned = (descriptor(f.reshape(36, 1)).view(6, 6, -1) for f in (field, field.rot90()))
    >>> torch.allclose(turned, features.rot90(), atol=1e-5)  # a quarter turn moves the features with their sites
    True

    References
    ----------
    J. Behler, J. Chem. Phys. 134, 074106 (2011). Zhang, Zhang, Chern, "Descriptors for machine learning model of
    generalized force field in condensed matter systems" (2022), equations (49)-(59) and (95)-(97).
    """

    open_boundaries = True
    _parts: ClassVar = Descriptor._parts | {
        "radial": lambda told: [Radial.from_config(f) for f in told],
        "angular": lambda told: [Angular.from_config(f) for f in told],
    }

    def __init__(
        self,
        lattice: Lattice,
        field_type: FieldType,
        cutoff: float = 5.0,
        *,
        radial: Sequence[Radial] | None = None,
        angular: Sequence[Angular] | None = None,
    ) -> None:
        super().__init__()
        checked_lattice(lattice)
        checked_field_type(field_type)
        cutoff = checked_cutoff(lattice, number(cutoff, "cutoff", above=0))
        for name, given, kind in (("radial", radial, Radial), ("angular", angular, Angular)):
            if given is not None and not isinstance(given, list | tuple):
                raise TypeError(f"{name} must be a list of {kind.__name__}(...), got {given!r}.")
            for k, function in enumerate(given or ()):
                instance(function, kind, f"{name}[{k}]")
        if len(set(lattice.species)) > 1:
            raise ValueError(
                f"{lattice!r} has sites of {len(set(lattice.species))} species, which sums over all neighbours do not "
                f"tell apart. Where distances do, give all sites one species."
            )
        if lattice.n_basis > 1 and set(field_type.law) != {"trivial"}:
            raise ValueError(
                f"{lattice!r} has sites with different axes, on which the law {field_type.law} means different things; "
                f"symmetry functions of such a lattice need components that are 'trivial'."
            )
        self.lattice, self.field_type, self.cutoff = lattice, field_type, cutoff
        unit = lattice.spacing
        inside = [d for d in (unit, 2 * unit, 3 * unit) if d < cutoff]
        self.radial = tuple(radial_functions(cutoff, unit) if radial is None else radial)
        self.angular = tuple(angular_functions(inside, unit) if angular is None else angular)
        self.invariants = SiteInvariants(field_type, site_group(lattice))
        self.components = self.invariants.components
        self.expansion = _Expansion(self.angular)
        self.neighbourhoods = tuple(lattice.neighbourhood(cutoff, centre=b) for b in range(lattice.n_basis))
        self._filters, self._collect = self._make_filters()
        unequal = [k for k, f in enumerate(self.angular) if f.distances[0] != f.distances[1]]
        every = list(range(len(self.angular)))
        self._pairs = [(pair, every) for pair in self.invariants.pairs]
        self._pairs += [((b, a), unequal) for a, b in self.invariants.pairs if a != b]
        self._triples = [(t, unequal if t.antisymmetric else every) for t in self.invariants.triples]
        self._triples += [(t.exchanged(), unequal) for t in self.invariants.triples if t.kinds[1] != t.kinds[2]]
        self.feature_names = tuple(self._names())
        self.features = len(self.feature_names)

    def _names(self) -> list[str]:
        invariants, rings = self.invariants, range(len(self.radial))
        names = [f"f[{k}]" for k in invariants.singles] + [f"p[{a}{b}]" for a, b in invariants.onsite]
        names += [f"G2a[{k}]({n})" for k in invariants.singles for n in rings]
        names += [f"G2b[{a}{b}]({n})" for a, b in self._bonds() for n in rings]
        singles = invariants.singles
        names += [f"G3{'a' if a in singles else 'b'}[{a}{b}]({n})" for (a, b), chosen in self._pairs for n in chosen]
        for triple, chosen in self._triples:
            kinds = "".join(map(str, triple.kinds))
            if invariants.even:
                names += [f"G3c[{kinds}]({n})²" for n in chosen]
                names += [f"G3c[{kinds}]({n})·({m})" for n, m in itertools.pairwise(chosen)]
            else:
                names += [f"G3c[{kinds}]({n})" for n in chosen]
        return names

    def evaluate(self, field: Tensor) -> Tensor:
        tables = self.tables(field)
        lattice, batch = self.lattice, field.shape[:-2]
        f = (field.reshape(-1, lattice.n_sites, self.components) @ tables.basis).movedim(-1, 1)
        grid = f.reshape(-1, *lattice.shape, lattice.n_basis).movedim(-1, 1)
        sums = CONVOLUTIONS[lattice.dim](_padded(grid, lattice, self.reach), tables.kernel)
        # (batch, component, sublattice, filter, cell): whole rows of cells are contiguous for all that follows.
        sums = sums.reshape(len(f), self.components, lattice.n_basis, -1, lattice.n_cells)
        centre = f.reshape(len(f), self.components, lattice.n_cells, lattice.n_basis).transpose(-1, -2)
        features = self._features(centre, sums, tables)
        return features.movedim(1, -1).transpose(1, 2).reshape(*batch, lattice.n_sites, self.features)

    def of_neighbourhoods(self, values: Tensor, *, sublattice: int = 0) -> Tensor:
        """Features ``(*batch, feature)`` of neighbourhoods ``(*batch, neighbour, component)`` of one sublattice.

        The neighbours follow ``neighbourhoods[sublattice]``. For single sites, as after the flip of one of them; whole
        lattices are faster by calling the descriptor.
        """
        around = self.neighbourhoods[sublattice]
        check_field(values, len(around), self.components)
        tables = self.tables(values)
        f = (values.reshape(-1, len(around), self.components) @ tables.basis).movedim(0, -1)  # neighbour, K, point
        sums = torch.einsum("fn,ncp->cfp", tables.filters[sublattice], f)
        features = self._features(f[None, 0, :, None], sums[None, :, None], tables)
        return features[0, :, 0].T.reshape(*values.shape[:-2], self.features)

    def at(self, field: Tensor, sites: Tensor | int) -> Tensor:
        lattice, sites = self.lattice, torch.as_tensor(sites, device=field.device)
        flat = sites.reshape(-1)
        index = flat.cpu().numpy()
        features = field.new_empty(*field.shape[:-2], len(flat), self.features)
        for b, around in enumerate(self.neighbourhoods):
            here = np.flatnonzero(lattice.sublattice[index] == b)
            table = lattice.index(lattice.cells[index[here], None] + around.cells, around.sublattice)
            neighbours = torch.as_tensor(table, device=field.device)
            values = torch.where(neighbours[..., None] < 0, 0.0, field[..., neighbours.clamp_min(0), :])
            features[..., torch.as_tensor(here, device=field.device), :] = self.of_neighbourhoods(values, sublattice=b)
        return features.reshape(*field.shape[:-2], *sites.shape, self.features)

    # --- sums and products ------------------------------------------------------------------------------------------

    def _make_filters(self) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Filters ``(filter, neighbour)`` of every sublattice, and how products of the angular ones are summed."""
        around = self.neighbourhoods
        # One expansion for the neighbours of all sublattices together: a filter then means the same on each of them.
        angular, collect = self.expansion.filters(np.concatenate([n.vectors for n in around]), self.cutoff)
        distances = np.concatenate([n.distances for n in around])
        rows = [np.where(distances > 0, ring(distances, self.cutoff), 0.0) for ring in self.radial]
        filters = np.concatenate([np.reshape(rows, (-1, len(distances))), angular.reshape(-1, len(distances))])
        return tuple(np.split(filters, np.cumsum([len(n) for n in around])[:-1], axis=1)), collect

    def _bonds(self) -> list[tuple[int, int]]:
        """Pairs of irreps on the centre and on a neighbour, but for products of two singles."""
        pairs = [pair for pair in self.invariants.pairs if pair[0] not in self.invariants.singles]
        return pairs + [(b, a) for a, b in pairs if a != b]

    def _features(self, centre: Tensor, sums: Tensor, tables: _Tables) -> Tensor:
        """Features ``(batch, feature, sublattice, cell)``, in the order of ``feature_names``.

        ``centre`` is the field ``(batch, component, sublattice, cell)``, ``sums`` what the filters make of it
        ``(batch, component, sublattice, filter, cell)``.
        """
        invariants, kinds = self.invariants, self.invariants.kinds
        rings = sums[..., : len(self.radial), :]
        features = [centre[:, kinds[k]] for k in invariants.singles]
        features += [(centre[:, kinds[a]] * centre[:, kinds[b]]).sum(1, keepdim=True) for a, b in invariants.onsite]
        features += [rings[:, kinds[k]].squeeze(1).transpose(1, 2) for k in invariants.singles]
        features += [
            (centre[:, kinds[a], :, None] * rings[:, kinds[b]]).sum(1).transpose(1, 2) for a, b in self._bonds()
        ]
        if not self.angular:
            return torch.cat(features, 1)
        harmonics = sums[..., len(self.radial) :, :].unflatten(-2, (len(self.expansion.rings), -1))
        first = harmonics.index_select(3, tables.pairs[0])
        second = harmonics.index_select(3, tables.pairs[1])
        for (a, b), chosen in self._pairs:
            products = (first[:, kinds[a]] * second[:, kinds[b]]).sum(1)
            features.append(tables.combine(products, chosen))
        for triple, chosen in self._triples:
            on, near, far = (kinds[k] for k in triple.kinds)
            f, u, v = centre[:, on, :, None, None], first[:, near], second[:, far]
            products = sum(
                float(triple.tensor[x]) * f[:, x[0]] * (u[:, x[1]] * v[:, x[2]])
                for x in zip(*np.nonzero(np.abs(triple.tensor) > 1e-12), strict=True)
            )
            values = tables.combine(products, chosen)
            features += [values.square(), values[:, 1:] * values[:, :-1]] if invariants.even else [values]
        return torch.cat(features, 1)

    def make_tables(self, like: Tensor) -> _Tables:
        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=like.dtype, device=like.device)

        lattice = self.lattice
        box = tuple(2 * r + 1 for r in self.reach)
        kernel = np.zeros((lattice.n_basis, len(self._filters[0]), lattice.n_basis, int(np.prod(box))))
        for b, (around, filters) in enumerate(zip(self.neighbourhoods, self._filters, strict=True)):
            slots = np.ravel_multi_index(tuple((around.cells + np.array(self.reach)).T), box)
            kernel[b, :, around.sublattice, slots] = filters.T
        first, second = np.array(self.expansion.pairs, dtype=np.int64).reshape(-1, 2).T
        return _Tables(
            tensor(self.invariants.basis),
            tuple(map(tensor, self._filters)),
            tensor(kernel.reshape(-1, lattice.n_basis, *box)),
            (torch.as_tensor(first, device=like.device), torch.as_tensor(second, device=like.device)),
            tensor(self._collect),
            tensor(self.expansion.weights(lattice.dim)),
        )


@dataclass(frozen=True, eq=False)
class _Tables:
    """The constants of a descriptor in one precision on one device, always converted from double precision."""

    basis: Tensor
    filters: tuple[Tensor, ...]
    kernel: Tensor
    pairs: tuple[Tensor, Tensor]
    collect: Tensor
    weights: Tensor

    def combine(self, products: Tensor, chosen: list[int]) -> Tensor:
        """Sums ``(batch, function, sublattice, cell)`` from products ``(batch, sublattice, pair, y, cell)``."""
        harmonics = (self.collect @ products).flatten(-3, -2)
        return (self.weights[chosen] @ harmonics).transpose(1, 2)


def _padded(grid: Tensor, lattice: Lattice, reach: tuple[int, ...]) -> Tensor:
    """A grid ``(batch, channel, *shape)`` with a halo: the other side of the lattice, or zeros beyond an open edge."""
    flags: tuple[bool, ...] = lattice.periodic  # type: ignore[assignment]
    for axis, (width, periodic) in enumerate(zip(reach, flags, strict=True), start=2):
        if periodic:
            grid = pad_periodic(grid, (width,), first=axis)
        else:
            grid = F.pad(grid, [0, 0] * (grid.ndim - 1 - axis) + [width, width])
    return grid
