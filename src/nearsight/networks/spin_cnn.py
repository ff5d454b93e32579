"""Convolutional networks for spins, exact under rotations of all spins and, apart from them, of the lattice."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearsight._validation import generator, integer
from nearsight.fields import FieldType
from nearsight.groups import PointGroup
from nearsight.lattices import Lattice, Neighbourhood
from nearsight.networks.group_convolution import GroupConvolution
from nearsight.networks.lattice_network import Head, LatticeNetwork, checked_radii


class SpinCNN(LatticeNetwork):
    r"""Scalars and vectors of spin space on every site, combined by group convolutions and by products.

    The energy does not change, and the local fields H turn along, when all spins are turned at once, S → RS, and when
    the lattice is moved under them by an operation g that leaves every spin as it is (no spin-orbit coupling):
    E(RS) = E(gS) = E(S), to rounding. Every layer (:class:`SpinLayer`) holds scalars s and vectors **v** per channel
    and operation; the first sees one vector per site, the spin.

    For a field with ``internal="O(n)"``, spins with time reversal, scalars are even and vectors odd under S → -S, hence
    E(-S) = E(S) and H(-S) = -H(S). Scalar products suffice then: every polynomial invariant of O(n) is a polynomial in
    them (Weyl), squares of chiralities included. ``internal="SO(n)"`` adds cross products, and so invariants such as
    S₁ · (S₂ × S₃), which are odd. On a lattice with mirrors or inversion about a site their sum over a site's
    surroundings is paired with a second chirality or cancels; pass a ``group`` of rotations for a field that
    distinguishes left and right.

    The length of the spins is free: E is a smooth function of all n components, and -∂E/∂S the whole gradient. For
    spins of fixed length only the part of H perpendicular to S matters; precession and damping project by themselves.
    The "force" head gives an H that need not be a gradient, as driven systems have it.

    Parameters
    ----------
    lattice, field_type, head, group: see :class:`LatticeNetwork`; ``field_type`` is :func:`nearsight.fields.spin`.
    channels: scalars and vectors per operation; the convolutions run with ``channels · |G|``.
    radii: cutoff of each layer, in units of a. Two layers give products of four spins, three of eight.
    rng: source of the initial weights; without one, a generator seeded with 0.

    Cost per site: (n + 1) times that of :class:`GroupCNN` with the same channels.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> rng, lattice = torch.Generator().manual_seed(1), ns.lattices.triangular(6)
    >>> force_field = ns.LearnedForceField(ns.networks.SpinCNN(lattice, ns.fields.spin(), channels=2))
    >>> spins = ns.fields.random_spins(lattice, rng).float()
    >>> rotation = torch.linalg.qr(torch.randn(3, 3, generator=rng)).Q  # of all spins, the lattice stays
    >>> H, energy = force_field(spins)
    >>> other = force_field(spins @ rotation.T)
    >>> torch.allclose(other.energy, energy, atol=1e-5), torch.allclose(other.force, H @ rotation.T, atol=1e-5)
    (True, True)

    References
    ----------
    H. Weyl, The Classical Groups (Princeton, 1939), chapter II. N. Thomas et al., Tensor field networks,
    arXiv:1802.08219, for products of scalars and vectors in continuous space.
    """

    def __init__(
        self,
        lattice: Lattice,
        field_type: FieldType,
        *,
        channels: int = 6,
        radii: tuple[float, ...] = (1.5, 1.5),
        head: Head = "energy",
        group: PointGroup | None = None,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__(lattice, field_type, head=head, group=group)
        if field_type.internal not in ("O(n)", "SO(n)"):
            raise ValueError(
                f"SpinCNN serves fields with the internal symmetry O(n) or SO(n), as nearsight.fields.spin() makes "
                f'them; {field_type.name} has "{field_type.internal}": take GroupCNN.'
            )
        if field_type.internal == "SO(n)" and self.components not in (2, 3):
            raise ValueError(f"Cross products need 2 or 3 components, {field_type.name} has {self.components}.")
        channels = integer(channels, "channels", least=1)
        radii = checked_radii(lattice, radii)
        rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        self.channels, self.radii = channels, radii
        last = len(radii) - 1
        self.layers = nn.ModuleList(
            SpinLayer(
                lattice.neighbourhood(radius),
                lattice.neighbourhood(0.0),
                self.group,
                channels,
                components=self.components,
                first=k == 0,
                vectors=k < last or head == "force",
                cross=field_type.internal == "SO(n)",
                rng=rng,
            )
            for k, radius in enumerate(radii)
        )
        self.readout = nn.Parameter(torch.randn(1, channels, generator=rng) * channels**-0.5)
        self.reach = tuple(sum(r) for r in zip(*(layer.gather.reach for layer in self.spin_layers), strict=True))
        self.flops_per_site = sum(layer.flops_per_site for layer in self.spin_layers)

    @property
    def spin_layers(self) -> list[SpinLayer]:
        """The layers, in order."""
        return list(self.layers)  # type: ignore[arg-type]

    def features(self, grid: Tensor) -> Tensor:
        """Of the last layer, what the readout sums up: scalars ``(batch, channel·|G|, *shape)`` of an energy, vectors
        ``(batch · n, channel·|G|, *shape)`` of a force."""
        # The components of spin space share every kernel: they are batch entries.
        v = grid.reshape(-1, 1, *grid.shape[2:])
        s: Tensor | None = None
        for layer in self.spin_layers:
            s, v = layer(s, v)
        if self.head == "force":
            return v
        assert s is not None
        return s

    def forward(self, grid: Tensor) -> Tensor:
        found = self.project(self.features(grid), self.readout, law=False)
        if self.head == "energy":
            return found
        return found.reshape(len(grid), self.components, *found.shape[2:])


class SpinLayer(nn.Module):
    r"""Scalars s and vectors **v** per channel and operation to new ones.

    With group convolutions A, C over a neighbourhood and B, D within a site,

    .. math::
        \mathbf a = A \mathbf v, \quad h = C s + \mathbf a \cdot B \mathbf a + c, \qquad
        s' = h\,\sigma(h), \quad \mathbf v' = \sigma(h)\, (\mathbf a + \mathbf a \times D \mathbf a) ,

    where σ(h) = 1 / (1 + exp(-h)) is the gate. The cross product is there for SO(n) only; in two dimensions it is the
    quarter turn of D **a**, from which the next scalar product makes the cross product of two vectors.
    """

    def __init__(
        self,
        neighbourhood: Neighbourhood,
        point: Neighbourhood,
        group: PointGroup,
        channels: int,
        *,
        components: int,
        first: bool,
        vectors: bool,
        cross: bool,
        rng: torch.Generator,
    ) -> None:
        super().__init__()
        self.components, self.order, self.vectors = components, len(group), vectors
        if first:
            lift = np.ones((len(group), 1, 1))
            self.gather = GroupConvolution(
                neighbourhood, group, 1, channels, rng=rng, representation=lift, columns=True, sectors=True
            )
        else:
            self.gather = GroupConvolution(neighbourhood, group, channels, channels, rng=rng, sectors=True)
        self.partner = GroupConvolution(point, group, channels, channels, rng=rng)
        self.scalars = (
            None if first else GroupConvolution(neighbourhood, group, channels, channels, rng=rng, sectors=True)
        )
        self.cross = GroupConvolution(point, group, channels, channels, rng=rng) if cross and vectors else None
        self.bias = nn.Parameter(torch.zeros(channels))

    @property
    def flops_per_site(self) -> int:
        """Multiplications and additions per site."""
        on_vectors = [self.gather, self.partner, *([self.cross] if self.cross else [])]
        work = self.components * sum(layer.flops_per_site for layer in on_vectors)
        return work + (self.scalars.flops_per_site if self.scalars else 0)

    def forward(self, s: Tensor | None, v: Tensor) -> tuple[Tensor, Tensor]:
        """s ``(batch, channel·|G|, *shape)``, v ``(batch · n, channel·|G|, *shape)``, both smaller afterwards."""
        n = self.components
        a = self.gather(v)
        h = self._dots(a, self.partner(a)) + self.bias.repeat_interleave(self.order).reshape(-1, *(1,) * (a.ndim - 2))
        if self.scalars is not None and s is not None:
            h = h + self.scalars(s)
        if not self.vectors:
            return F.silu(h), a
        gate = torch.sigmoid(h)
        new = a.unflatten(0, (-1, n))
        if self.cross is not None:
            other = self.cross(a).unflatten(0, (-1, n))
            if n == 3:
                new = new + torch.linalg.cross(new, other, dim=1)
            else:
                new = new + torch.stack([-other[:, 1], other[:, 0]], dim=1)
        if not torch.is_grad_enabled():
            return h.mul_(gate), new.mul_(gate.unsqueeze(1)).flatten(0, 1)
        return h * gate, (new * gate.unsqueeze(1)).flatten(0, 1)

    def _dots(self, a: Tensor, b: Tensor) -> Tensor:
        """Scalar products of the vectors, one component after the other where no graph makes that dear."""
        if torch.is_grad_enabled():
            return (a * b).unflatten(0, (-1, self.components)).sum(1)
        a, b = (x.unflatten(0, (-1, self.components)) for x in (a, b))
        h = a[:, 0] * b[:, 0]
        for k in range(1, self.components):
            h.addcmul_(a[:, k], b[:, k])
        return h
