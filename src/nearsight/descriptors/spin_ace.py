"""Invariants of spins from a few weighted sums of them: linear in the number of neighbours, not quadratic."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from nearsight._validation import boolean, generator, integer, number
from nearsight.descriptors._products import exchange_symmetric
from nearsight.descriptors._stencil import Stencil, gather
from nearsight.descriptors.blocks import symmetry_blocks
from nearsight.descriptors.spins import _check_spins, _neighbour_sites, _SpinDescriptor
from nearsight.fields import FieldType, check_field
from nearsight.groups import clebsch_gordan
from nearsight.lattices import Lattice, aligned_neighbourhoods, site_group
from nearsight.lattices.lattice import checked_cutoff


class SpinACE(_SpinDescriptor):
    r"""Invariants of spins in the form of the atomic cluster expansion: products of weighted sums over the neighbours.

    Every channel k adds up the coefficients of the spins in the lattice irreps Γ with weights of its own,

    .. math:: A_k^{\Gamma\mu} = \sum_r w^\Gamma_{kr} \sum_j X^{\Gamma\mu}_{rj}\, S_j ,

    r running over the copies of Γ in the orbits of neighbours (so that w is a radial function on every orbit). These
    are vectors in spin space, and :math:`(\Gamma, \mu)` on the lattice. Features contract both:

    * bonds of the centre :math:`S_i \cdot A_k^{A_1}`, and :math:`\sum_\mu A_k^{\Gamma\mu} \cdot A_l^{\Gamma\mu}`;
    * chiralities :math:`\sum_\mu S_i \cdot (A_k^{\Gamma\mu} \times A_l^{\Gamma\mu})`; of XY spins the turns
      :math:`S_i \times A_k^{A_1}` and :math:`\sum_\mu A_k^{\Gamma\mu} \times A_l^{\Gamma\mu}`. Under "O(n)" these are
      odd, and enter by their products with one reference c, their own generic combination, over
      :math:`\sigma = \sqrt{\epsilon^2 + c^2}`;
    * with ``order=4``, products that fix the phases between different irreps, with Clebsch-Gordan tensors C:
      :math:`\sum C_{\mu\nu\lambda}\, (S_i \cdot A_k^{\Gamma\mu})\, (A_k^{\Gamma'\nu} \cdot A_k^{\Gamma''\lambda})`;
    * :math:`|S_i|^2` and :math:`\sum_r w^{A_1}_{kr} \sum_j X_{rj} |S_j|^2` if lengths vary.

    Parameters
    ----------
    lattice: a periodic lattice of any dimension, with one site or several equivalent sites per cell.
    field_type: a spin, ``fields.spin(...)``.
    cutoff: radius of the neighbourhood in units of a, the sites at the cutoff included.
    channels: K, the number of templates w. With K as large as the number of copies they span all of them.
    order: the number of spins in a product: 2 bonds, 3 and chiralities, 4 and phases.
    learnable: whether w are parameters, trained with the network; otherwise they stay what they are.
    eps: softening ε of the reference of the chiralities.
    rng: draws w, normal numbers that decay as 1/(1 + r); without it equal calls give equal weights.

    The cost per site is :math:`O(nK + K^2)` for n neighbours, against :math:`O(n^2)` pairs of :class:`SpinInvariants`;
    it sees no pair by itself. Without the phases the sums of every irrep may be turned in spin space apart from the
    others: of the 23 degrees of freedom of 13 spins on the triangular lattice, order 3 sees 13 with any number of
    channels, and order 4 all of them with two.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> rng, lattice = torch.Generator().manual_seed(1), ns.lattices.triangular(6)
    >>> descriptor = ns.descriptors.SpinACE(lattice, ns.fields.spin(), cutoff=1.0, channels=2)
    >>> spins = ns.fields.random_spins(lattice, rng).float()
    >>> rotation = torch.linalg.qr(torch.randn(3, 3, generator=rng)).Q
    >>> torch.allclose(descriptor(spins @ rotation.T), descriptor(spins), atol=1e-5)  # all spins turned at once
    True

    References
    ----------
    R. Drautz, Phys. Rev. B 99, 014104 (2019); for spins, Phys. Rev. B 102, 024104 (2020).
    """

    def __init__(
        self,
        lattice: Lattice,
        field_type: FieldType,
        cutoff: float,
        channels: int = 8,
        *,
        order: int = 4,
        learnable: bool = True,
        eps: float = 0.4,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self._checked_lattice(lattice)
        self.components = _check_spins(field_type, type(self).__name__)
        self.lattice, self.field_type, self.cutoff = lattice, field_type, checked_cutoff(lattice, cutoff)
        self.channels = integer(channels, "channels, a positive number,", least=1)
        self.order = integer(order, "order", least=2, most=4)
        self.learnable, self.eps = boolean(learnable, "learnable"), number(eps, "eps", above=0)
        self.group = site_group(lattice)
        self.around = tuple(around.without_centre() for around in aligned_neighbourhoods(lattice, cutoff))
        self.neighbourhood = self.around[0]
        self.blocks = symmetry_blocks(self.neighbourhood, self.group, np.ones((len(self.group), 1, 1)))
        copies: dict[str, list[float]] = {irrep.name: [] for irrep in self.group.irreps}
        for block in self.blocks:
            for name, count in block.copies:
                copies[name] += np.repeat(self.neighbourhood.distances[block.members[:, 0]], count).tolist()
        rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        self.weights = nn.ParameterDict()
        for name, distances in copies.items():
            if distances:
                scale = 1 / (1 + torch.tensor(distances) / lattice.spacing)
                drawn = torch.randn(self.channels, len(distances), generator=rng) * scale / scale.norm()
                self.weights[name] = nn.Parameter(drawn, requires_grad=self.learnable)
        self.couplings = tuple(self._couplings()) if self.order == 4 else ()
        self.feature_names = (*self._names(),)
        self.features = len(self.feature_names)

    def _of_grid(self, grid: Tensor, centre: Tensor, *, halo: bool) -> Tensor:
        values = self._values(grid)
        f = self.tables(grid)(values.flatten(0, 1)[..., None], halo=halo)
        return self._invariants(self._values(centre).flatten(1), f.unflatten(1, (len(values), -1)))

    def of_neighbourhoods(self, centre: Tensor, values: Tensor) -> Tensor:
        """Features ``(*batch, feature)`` of spins ``(*batch, component)`` among ``(*batch, neighbour, component)``.

        The neighbours follow ``neighbourhood``, that of sublattice 0, without the centre.
        """
        check_field(values, len(self.neighbourhood), self.components)
        return self._of_spins(torch.cat([centre[..., None, :], values], -2))

    def _of_spins(self, values: Tensor) -> Tensor:
        channels = self._values(values.reshape(-1, *values.shape[-2:]))  # channel, point, site
        f = gather(self.blocks, self.tables(values).bases, channels[..., 1:].flatten(0, 1)[..., None])
        features = self._invariants(channels[..., 0], f.unflatten(1, (len(channels), -1)))
        return features.view(-1, *values.shape[:-2]).movedim(0, -1)

    def _seen(self, sites: Tensor) -> Tensor:
        return torch.cat([sites[..., None], _neighbour_sites(self.lattice, self.around, sites)], -1)

    # --- the sums over neighbours and their products ----------------------------------------------------------------

    def _values(self, field: Tensor) -> Tensor:
        """What is summed over neighbours: the components, and the squared length if it varies, as leading axis."""
        components = field.movedim(-1, 0)
        if self.field_type.values == "unit":
            return components
        return torch.cat([components, (components * components).sum(0, keepdim=True)])

    def _invariants(self, centre: Tensor, f: Tensor) -> Tensor:
        """Features ``(feature, point)`` of centres ``(value, point)`` with coefficients ``(row, value, point)``."""
        n, values, points = self.components, *f.shape[1:]
        sums: dict[str, Tensor] = {}
        for name, weights, view in self._pieces(f.flatten(1)):
            term = (weights @ view.flatten(0, 1).flatten(1)).view(self.channels, -1, values, points)
            sums[name] = sums[name] + term if name in sums else term
        trivial, vectors = self.group.irreps[0].name, {name: a[:, :, :n] for name, a in sums.items()}
        spin = centre[:n]
        bonds = {name: (a * spin).sum(2) for name, a in vectors.items()}  # S·A (channel, component, point)
        features = [bonds[trivial][:, 0]]
        if values > n:
            features += [centre[n:], sums[trivial][:, 0, n]]
        for name in self.weights:
            a = vectors[name].unbind()
            features += [(torch.stack(a[: k + 1]) * a[k]).sum((1, 2)) for k in range(self.channels)]
        if self.order > 2:
            odd = torch.cat([*self._odd(spin, vectors)])
            features.append(odd if self.field_type.internal == "SO(n)" else self._paired(odd))
        features += self._phases(bonds, vectors)
        return torch.cat(features)

    def _odd(self, spin: Tensor, vectors: Mapping[str, Tensor]) -> Iterator[Tensor]:
        """Chiralities of the centre, or turns in the plane, ``(feature, point)``."""
        if self.components == 2:
            a = vectors[self.group.irreps[0].name][:, 0]
            yield spin[0] * a[:, 1] - spin[1] * a[:, 0]
        yield spin[:0]  # one channel has no pairs
        for name in self.weights:
            a = vectors[name]
            if self.components == 3:  # S·(A_k × A_l) = A_k·(A_l × S)
                crossed = torch.linalg.cross(a, spin.expand_as(a), dim=2)
            else:
                crossed = torch.stack([a[:, :, 1], -a[:, :, 0]], 2)
            others, channels = a.unbind(), crossed.unbind()
            for k in range(1, self.channels):
                yield (torch.stack(others[:k]) * channels[k]).sum((1, 2))

    def _phases(self, bonds: Mapping[str, Tensor], vectors: Mapping[str, Tensor]) -> Iterator[Tensor]:
        """Products of S·A with two sums of the same channel, ``(channel, point)`` each."""
        single = {name: bond.unbind(1) for name, bond in bonds.items()}
        split = {name: a.unbind(1) for name, a in vectors.items()}
        known: dict[tuple[str, int, str, int], Tensor] = {}
        for (first, second, third), tensor in self.couplings:
            total: Tensor | float = 0.0
            for m, i, j in np.argwhere(tensor):
                key = second, int(i), third, int(j)
                if key not in known:
                    known[key] = (split[second][i] * split[third][j]).sum(1)
                total = float(tensor[m, i, j]) * single[first][m] * known[key] + total
            assert isinstance(total, Tensor)
            yield total

    def _paired(self, odd: Tensor) -> Tensor:
        """Even features from odd ones ``(feature, point)``: products with one combination of them, and its size."""
        if not len(odd):
            return odd
        # A quadratic Weyl sequence: generic numbers make the reference vanish only where all of them do.
        generic = 2 * (np.arange(1, len(odd) + 1) ** 2 * (np.sqrt(5) - 1) / 2 % 1) - 1
        weights = torch.as_tensor(generic / np.linalg.norm(generic), dtype=odd.dtype, device=odd.device)
        reference = (weights[:, None] * odd).sum(0, keepdim=True)
        sigma = (reference.square() + self.eps**2).sqrt()
        return torch.cat([odd * (reference / sigma), sigma])

    def _pieces(self, flat: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Irrep, weights ``(channel, copy)`` and coefficients ``(orbit, copy, component, point)``, piece by piece."""
        used = dict.fromkeys(self.weights, 0)
        parts = flat.split([block.basis.shape[0] * block.basis.shape[1] for block in self.blocks])
        for block, part in zip(self.blocks, parts, strict=True):
            sizes = [count * self.group.irrep(name).dim for name, count in block.copies]
            pieces = part.unflatten(0, (len(block.members), -1)).split(sizes, dim=1)
            for (name, count), piece in zip(block.copies, pieces, strict=True):
                start, number = used[name], len(block.members) * count
                used[name] += number
                yield name, self.weights[name][:, start : start + number].to(flat), piece.unflatten(1, (count, -1))

    def _couplings(self) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
        """The independent invariants of S·A in one irrep and the product of two more sums of the same channel.

        An invariant S·A would give products of features that are there already.
        """
        names = [irrep.name for irrep in self.group.irreps if irrep.name in self.weights]
        for first in names[1:]:
            for second, third in itertools.combinations_with_replacement(names, 2):
                sizes = [1, 2] if second == third else [1, 1, 1]
                for tensor in exchange_symmetric(clebsch_gordan(self.group, first, second, third), sizes):
                    yield (first, second, third), tensor

    def _names(self) -> Iterator[str]:
        channels = range(1, self.channels + 1)
        yield from (f"S·a{k}" for k in channels)
        if self.field_type.values != "unit":
            yield "|S|²"
            yield from (f"|s|²{k}" for k in channels)
        for name in self.weights:
            yield from (f"a{j}·a{k}[{name}]" for k in channels for j in range(1, k + 1))
        if self.order > 2:
            odd = [f"S×a{k}" for k in channels] if self.components == 2 else []
            pair = "a{}×a{}[{}]" if self.components == 2 else "S·a{}×a{}[{}]"
            odd += [pair.format(j, k, name) for name in self.weights for k in channels for j in range(1, k)]
            if self.field_type.internal == "SO(n)":
                yield from odd
            elif odd:
                yield from (f"({name})·ref" for name in odd)
                yield "σ"
        for (first, second, third), _ in self.couplings:
            yield from (f"(S·a{k}[{first}])(a{k}[{second}]·a{k}[{third}])" for k in channels)

    def make_tables(self, like: Tensor) -> Stencil:
        frames, *bases = (
            torch.as_tensor(a, dtype=like.dtype, device=like.device)
            for a in (np.ones((1, 1, 1)), *(block.basis for block in self.blocks))
        )
        frame = (0,) * len(self.around)  # spins do not turn with the lattice
        return Stencil(self.lattice.shape, self.around, frames, frame, self.blocks, tuple(bases))
