"""A message-passing network of spins at arbitrary positions, exactly symmetric in space and in spin space."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nearsight._description import Described
from nearsight._validation import choice, generator, integer
from nearsight.fields import FieldType
from nearsight.fields.field_type import checked_field_type
from nearsight.lattices import EdgeBasis, Lattice, edges
from nearsight.lattices.edges import quadrupoles
from nearsight.lattices.lattice import checked_lattice
from nearsight.lattices.patches import cells_within

Head = Literal["energy", "force"]
CHUNK = 4096
"""Sites times replicas that are evaluated at once; larger systems go piece by piece, layer by layer."""
TABLE = 2**27
"""Numbers of edge functions that are kept from call to call; those of larger systems are computed piece by piece."""


class SpinMessagePassing(Described, nn.Module):
    r"""Local energies, or fields, of spins on a lattice or a point cloud, by messages between neighbours.

    Every site carries scalars x and vectors v of spin space, at first its species and its spin. In every layer the
    messages along the edges within the cutoff are added up, with the functions φ of ``lattices.EdgeBasis``,

    .. math::
        A^s_{nlm} = \sum_j \phi_{nlm}(\mathbf R_{ij})\, (1, b_{ij}^2, x_j), \qquad
        \mathbf A^v_{nlm} = \sum_j \phi_{nlm}(\mathbf R_{ij})\, (\mathbf S_j, b_{ij} \mathbf S_j, \mathbf v_j),
        \qquad b_{ij} = \mathbf S_i \cdot \mathbf S_j ,

    mixed into ``channels`` and contracted to invariants of both spaces: :math:`\mathbf S_i \cdot \mathbf A^v_0`,
    :math:`A_l \cdot A_l` of scalars and of vectors, and products of three, such as
    :math:`A^s_{2,\alpha\beta}\, \mathbf A^v_{1\alpha} \cdot \mathbf A^v_{1\beta}`. A perceptron turns them into the
    scalars of the next layer and into the weights of its vectors, and in the last layer into the local energy. With one
    layer this is a cluster expansion (products of up to four sums, and all functions of them); each further layer
    widens the receptive field by the cutoff.

    Only scalar products of spins occur: the energy is invariant under rotations of all spins and their reversal, under
    rotations, reflections and translations of the positions, and under permutations of equal sites, whatever the
    weights. It has three continuous derivatives by spins and two by positions.

    Parameters
    ----------
    lattice: any lattice or cloud; only its dimension and its species matter, positions may differ at every call.
    field_type: of the spins, ``fields.spin(...)`` with time reversal.
    cutoff: radius of one layer, in the unit of the positions.
    layers: number of layers; the receptive field is ``layers * cutoff``.
    channels: K, sums of every kind that are contracted, and scalars that are sent on.
    vectors: spin vectors that are sent on.
    radial, degree: of the edge functions of the first layer; later layers take up to six radial functions and l <= 1.
    hidden: width of the two hidden layers of every perceptron.
    head: "energy", whose gradient is the field; or "force", the field itself, which is no gradient.
    rng: draws the weights; without it equal calls give equal weights.

    Examples
    --------
    >>> import nearsight as ns, torch
    >>> cloud = ns.lattices.random_cloud(8, 0.8, 0.5, rng=torch.Generator().manual_seed(1))
    >>> model = ns.networks.SpinMessagePassing(cloud, ns.fields.spin(), layers=1, channels=2, hidden=4)
    >>> S = ns.fields.random_spins(cloud, torch.Generator().manual_seed(2)).float()
    >>> torch.allclose(model.local(S), model.local(S[:, [1, 2, 0]]), atol=1e-5)  # all spins turned by 120 degrees
    True

    References
    ----------
    R. Drautz, Phys. Rev. B 102, 024104 (2020), the expansion with spins; I. Batatia et al., NeurIPS 35 (2022), messages
    of many-body products.
    """

    _parts: ClassVar = {"lattice": Lattice.from_config, "field_type": FieldType.from_config}
    open_boundaries = True
    whole = True
    tile = 2**60
    blocks: Any

    def __init__(
        self,
        lattice: Lattice,
        field_type: FieldType,
        cutoff: float = 2.5,
        *,
        layers: int = 2,
        channels: int = 16,
        vectors: int = 4,
        radial: int = 8,
        degree: int = 2,
        hidden: int = 64,
        head: Head = "energy",
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.lattice, self.field_type = checked_lattice(lattice), checked_field_type(field_type)
        if field_type.internal != "O(n)":
            raise ValueError(
                f"{type(self).__name__} is symmetric under rotations and reversal of all spins: field_type must have "
                f"internal='O(n)', as fields.spin() has; got {field_type!r}."
            )
        self.components = len(field_type.law)
        self.layers = integer(layers, "layers", least=1)
        self.channels, self.vectors = integer(channels, "channels", least=1), integer(vectors, "vectors", least=1)
        self.hidden, self.head = integer(hidden, "hidden", least=1), choice(head, "head", ("energy", "force"))
        self.conservative = head == "energy"
        first = EdgeBasis(cutoff, radial, degree)
        self.cutoff, self.radial, self.degree = first.cutoff, first.radial, first.degree
        self.reach = cells_within(lattice, self.layers * self.cutoff)
        self.species = tuple(sorted(set(lattice.species), key=str))
        self._rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        kinds, blocks = len(self.species), []
        for k in range(self.layers):
            basis = first if k == 0 else EdgeBasis(first.cutoff, min(radial, 6), min(degree, 1))
            scalars = 2 * kinds if k == 0 else 2 * kinds + self.channels
            senders = 2 * kinds if k == 0 else 2 * kinds + self.vectors
            last = k == self.layers - 1
            blocks.append(_Layer(basis, lattice.dim, scalars, senders, self, last=last))
        self.blocks = nn.ModuleList(blocks)
        self._cache: dict[Any, _Geometry] = {}

    def _of_kind(self, lattice: Lattice) -> Lattice:
        if lattice.dim != self.lattice.dim:
            raise ValueError(f"{type(self).__name__} was made in dimension {self.lattice.dim}, got {lattice!r}.")
        unknown = sorted(set(lattice.species) - set(self.species), key=str)
        if unknown:
            raise ValueError(
                f"{type(self).__name__} knows the species {list(self.species)}, {lattice!r} has {unknown} as well: fit "
                f"a model to structures that hold all of them."
            )
        return lattice

    def on(self, lattice: Lattice) -> Self:
        other = super().on(lattice)
        if other is not self:
            other.reach, other._cache = cells_within(lattice, self.layers * self.cutoff), {}
        return other

    # --- evaluation -------------------------------------------------------------------------------------------------

    def local(self, field: Tensor, displacements: Tensor | None = None) -> Tensor:
        """Energies ``(*batch, site)``, or fields ``(*batch, site, component)``.

        ``displacements`` ``(site, dim)`` move the sites off the positions of the lattice, differentiably; the edges
        stay those of the lattice, so that no pair beyond the cutoff may come closer than it.
        """
        batch = field.shape[:-2]
        state, geometry = _State.of(field.reshape(-1, *field.shape[-2:])), self._geometry(field, displacements)
        for layer in self.blocks:
            state = self._through(layer, state, geometry)
        if self.head == "energy":
            return state.scalars[..., 0].transpose(0, 1).reshape(*batch, -1)
        return state.vectors[:, :, 0].transpose(0, 1).reshape(field.shape)

    def window(self, window: Tensor) -> Tensor:
        """:meth:`local` on the inner cells of a part of a lattice that is surrounded by its halo."""
        dim, reach = self.lattice.dim, self.reach
        cells = window.shape[-dim - 2 : -2]
        values = self.on(self.lattice.resized(*cells)).local(window.flatten(-dim - 2, -2))
        last = () if self.conservative else (self.components,)
        values = values.reshape(*window.shape[: -dim - 2], *cells, self.lattice.n_basis, *last)
        inner = tuple(slice(r, n - r) for n, r in zip(cells, reach, strict=True))
        return values[(*(slice(None),) * (window.ndim - dim - 2), *inner)]

    def atomic_forces(self, field: Tensor) -> Tensor:
        """Minus the derivative of the energy of one field ``(site, component)`` by the positions ``(site, dim)``.

        In the unit of the local energies, the ``scale`` of a force field's reference left out.
        """
        if self.head != "energy":
            raise ValueError("Forces on sites derive from an energy; this network has head='force'.")
        with torch.enable_grad():
            u = field.new_zeros(self.lattice.n_sites, self.lattice.dim).requires_grad_()
            (slope,) = torch.autograd.grad(self.local(field, u).sum(), u)
        return -slope

    @torch.no_grad()
    def calibrate(self, field: Tensor) -> None:
        """Scale the invariants of every layer to mean 0 and variance 1 over typical fields."""
        state, geometry = _State.of(field.reshape(-1, *field.shape[-2:])[:8]), self._geometry(field, None)
        for layer in self.blocks:
            layer.calibrate(state, geometry, slice(None))
            state = self._through(layer, state, geometry)

    def _through(self, layer: _Layer, state: _State, geometry: _Geometry) -> _State:
        """One layer on all sites, piece by piece where they are many; the pieces are computed again for gradients."""
        sites, replicas = state.spins.shape[:2]
        step = max(1, CHUNK // max(replicas, 1))
        if sites <= step or (self.training and torch.is_grad_enabled()):
            return _State(state.spins, *layer(*state, geometry, slice(None)))
        parts = []
        for start in range(0, sites, step):
            piece = slice(start, min(start + step, sites))
            if torch.is_grad_enabled():
                parts.append(checkpoint(layer, *state, geometry, piece, use_reentrant=False))
            else:
                parts.append(layer(*state, geometry, piece))
        return _State(state.spins, *(torch.cat(x) for x in zip(*parts, strict=True)))

    def _geometry(self, like: Tensor, displacements: Tensor | None) -> _Geometry:
        if displacements is not None:
            return self._make_geometry(like, displacements)
        key = like.dtype, like.device
        if key not in self._cache:
            with torch.inference_mode(False), torch.no_grad():
                self._cache[key] = self._make_geometry(like, None)
        return self._cache[key]

    def _make_geometry(self, like: Tensor, displacements: Tensor | None) -> _Geometry:
        table = edges(self.lattice, self.cutoff)
        neighbour = torch.as_tensor(table.neighbour, device=like.device)
        vectors = torch.as_tensor(table.vectors, dtype=torch.float64, device=like.device)
        if displacements is not None:
            vectors = vectors + displacements[neighbour] - displacements[:, None]
        codes = {s: k for k, s in enumerate(self.species)}
        own = np.array([codes[s] for s in self.lattice.species])[self.lattice.sublattice]
        kinds = torch.nn.functional.one_hot(torch.as_tensor(own, device=like.device), len(self.species))
        return _Geometry(neighbour, vectors, kinds.to(like.dtype), like.dtype, {})

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_cache": {}}


class _State(NamedTuple):
    """What sites carry: ``(site, replica, component)``, ``(site, replica, scalar)``, ``(…, vector, component)``."""

    spins: Tensor
    scalars: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, field: Tensor) -> _State:
        """That of sites which have heard of nothing yet, from spins ``(replica, site, component)``."""
        spins = field.transpose(0, 1)
        nothing = spins.new_zeros(*spins.shape[:2], 0)
        return cls(spins, nothing, nothing[..., None].expand(*nothing.shape, spins.shape[2]))


class _Geometry(NamedTuple):
    """Edges in the precision of a field, and the tables of edge functions that are kept."""

    neighbour: Tensor
    vectors: Tensor
    kinds: Tensor
    dtype: torch.dtype
    tables: dict[EdgeBasis, tuple[Tensor, ...]]

    def functions(self, basis: EdgeBasis, piece: slice) -> Tensor:
        """φ ``(site, edge, lm · radial)`` of the sites of a piece."""
        kept = self.tables.get(basis) or self._kept(basis)
        if len(kept) == 1:
            return kept[0][piece]
        if kept:
            return _joined(kept[0][piece], kept[1][piece])
        vectors = self.vectors[piece].to(self.dtype)
        return _joined(basis.radial_values(vectors), basis.angular_values(vectors))

    def _kept(self, basis: EdgeBasis) -> tuple[Tensor, ...]:
        """What fits into the memory of all sites: the products, or their factors, a quarter of it, or nothing."""
        edges, n, m = self.neighbour.numel(), basis.radial, sum(basis.sizes(self.vectors.shape[-1]))
        if self.vectors.requires_grad or edges * (n + m) > TABLE:
            return ()
        # From double precision: sums over neighbours cancel.
        kept: tuple[Tensor, ...] = tuple(
            values.to(self.dtype) for values in (basis.radial_values(self.vectors), basis.angular_values(self.vectors))
        )
        self.tables[basis] = kept if edges * n * m > TABLE else (_joined(*kept),)
        return self.tables[basis]


def _joined(radial: Tensor, angular: Tensor) -> Tensor:
    return (angular[..., :, None] * radial[..., None, :]).flatten(2)


class _Layer(nn.Module):
    """Messages, their products, and what sites make of them."""

    shift: Tensor
    scale: Tensor

    def __init__(
        self, basis: EdgeBasis, dim: int, scalars: int, senders: int, owner: SpinMessagePassing, *, last: bool
    ) -> None:
        super().__init__()
        self.basis, self.dim, self.last, self.head = basis, dim, last, owner.head
        self.sizes, K = basis.sizes(dim), owner.channels
        rng, self.channels, self.sent = owner._rng, K, owner.vectors

        def weights(*shape: int, fan: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=rng) * fan**-0.5)

        n, degrees = basis.radial, len(self.sizes)
        # Two mixtures of every sum, so that a product is no square.
        self.mix_scalars = weights(degrees, n * scalars, 2 * K, fan=n * scalars)
        self.mix_vectors = weights(degrees, n * senders, 2 * K, fan=n * senders)
        features = K * (1 + 1 + 2 * degrees + 2 * (degrees - 1) + (1 if degrees > 1 else 0) + (1 if degrees > 2 else 0))
        own = len(owner.species) + (0 if scalars == 2 * len(owner.species) else K)
        self.own = own
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        gates = 1 if last and owner.head == "force" else self.sent
        outputs = 1 if last and owner.head == "energy" else K + gates * K * degrees
        widths = (features + own, owner.hidden, owner.hidden, outputs)
        linears = [nn.Linear(a, b) for a, b in pairwise(widths)]
        self.net = nn.ModuleList(linears)
        for linear in linears:
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5, generator=rng)
            nn.init.zeros_(linear.bias)
        self.gates = gates
        if basis.degree > 1:
            self.register_buffer("quadrupoles", torch.as_tensor(quadrupoles(dim)), persistent=False)

    def forward(
        self, spins: Tensor, scalars: Tensor, vectors: Tensor, geometry: _Geometry, piece: slice
    ) -> tuple[Tensor, Tensor]:
        features, received = self.products(spins, scalars, vectors, geometry, piece)
        h = (features - self.shift) * self.scale
        kinds = geometry.kinds[piece][:, None].expand(*h.shape[:2], -1)
        h = torch.cat([h, kinds, *([scalars[piece]] if scalars.shape[-1] else [])], -1)
        for k, linear in enumerate(self.net):
            h = linear(torch.nn.functional.silu(h) if k else h)
        if self.last and self.head == "energy":
            return h, vectors[piece][..., :0, :]
        K = self.channels
        weights = h[..., K:].unflatten(-1, (self.gates, -1)) * (len(self.sizes) * K) ** -0.5
        return h[..., :K], weights @ received.transpose(-1, -2)

    @torch.no_grad()
    def calibrate(self, state: _State, geometry: _Geometry, piece: slice) -> None:
        features, _ = self.products(*state, geometry, piece)
        flat = features.double().flatten(0, 1)
        deviation = flat.std(0)
        typical = deviation[deviation > 0].median() if bool((deviation > 0).any()) else deviation.new_ones(())
        self.shift.copy_(flat.mean(0))
        self.scale.copy_(torch.where(deviation > 1e-4 * typical, 1 / deviation, 1.0))

    def products(
        self, spins: Tensor, scalars: Tensor, vectors: Tensor, geometry: _Geometry, piece: slice
    ) -> tuple[Tensor, Tensor]:
        """Invariants ``(site, replica, feature)``, and spin vectors ``(site, replica, component, channel)``."""
        As, Av = self.sums(spins, scalars, vectors, geometry, piece)
        K = self.channels
        first_s, second_s = zip(*(x.split(K, -1) for x in As), strict=True)  # l by l: (site, replica, m, K)
        first, second = zip(*(x.split(K, -1) for x in Av), strict=True)  # (site, replica, m, component, K)
        S = spins[piece][:, :, None, :, None]
        bonds = [(x * S).sum(-2) for x in first]  # S·A (site, replica, m, K)
        found = [first_s[0][:, :, 0], bonds[0][:, :, 0]]
        found += [(a * b).sum(2) for a, b in zip(first_s, second_s, strict=True)]
        found += [(a * b).flatten(2, 3).sum(2) for a, b in zip(first, second, strict=True)]
        received = [first[0][:, :, 0]]
        for l in range(1, len(first)):
            found.append((second_s[l] * bonds[l]).sum(2))
            found.append(bonds[l].square().sum(2))
            received.append((second_s[l][:, :, :, None] * first[l]).sum(2))
        if len(first) > 1:
            found.append((first_s[1] * (second[1] * first[0]).sum(-2)).sum(2))
        if len(first) > 2:
            M = self.quadrupoles.to(spins.dtype)
            Q = torch.einsum("irmk,mab->irabk", first_s[2], M)
            turned = (Q[:, :, :, :, None] * second[1][:, :, None]).sum(3)  # Σ_b Q_ab A_b
            found.append((turned * first[1]).flatten(2, 3).sum(2))
        return torch.cat(found, -1), torch.cat(received, -1)

    def sums(
        self, spins: Tensor, scalars: Tensor, vectors: Tensor, geometry: _Geometry, piece: slice
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Messages added up and mixed, l by l: ``(site, replica, m, 2K)`` and ``(site, replica, m, component, 2K)``."""
        neighbour, n = geometry.neighbour[piece], self.basis.radial
        phi = geometry.functions(self.basis, piece)
        S = spins[neighbour]  # (site, edge, replica, component)
        b = (S * spins[piece][:, None]).sum(-1, keepdim=True)
        one, square, turned = torch.ones_like(b), b * b, b * S
        if geometry.kinds.shape[1] == 1:
            sent_s, sent_v = [one, square], [S, turned]
        else:
            kinds = geometry.kinds[neighbour][:, :, None]  # (site, edge, 1, species)
            sent_s = [kinds * one, kinds * square]
            sent_v = [(kinds[..., None] * x[..., None, :]).flatten(-2) for x in (S, turned)]
        if scalars.shape[-1]:
            sent_s.append(scalars[neighbour])
            sent_v.append(vectors[neighbour].flatten(-2))
        together = torch.cat([*sent_s, *sent_v], -1)
        count = sum(s.shape[-1] for s in sent_s)
        total = torch.bmm(together.flatten(2).transpose(1, 2), phi)  # the wide matrix on the right: twice as fast
        total = total.view(len(phi), *together.shape[2:], sum(self.sizes), n)
        A_s, A_v = total[:, :, :count], total[:, :, count:].unflatten(2, (-1, spins.shape[-1]))
        mixed_s, mixed_v, start = [], [], 0
        for l, size in enumerate(self.sizes):
            own = slice(start, start + size)
            start += size
            Ws = self.mix_scalars[l].view(n, count, -1).transpose(0, 1).flatten(0, 1)
            Wv = self.mix_vectors[l].view(n, A_v.shape[2], -1).transpose(0, 1).flatten(0, 1)
            mixed_s.append(A_s[:, :, :, own].movedim(2, 3).flatten(3) @ Ws)
            mixed_v.append(A_v[:, :, :, :, own].movedim(2, 4).flatten(4).movedim(2, 3) @ Wv)
        return mixed_s, mixed_v
