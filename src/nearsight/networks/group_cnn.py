"""Convolutional networks that commute exactly with translations and with the point group of the site."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from nearsight._validation import generator, integer, numbers
from nearsight.fields import FieldType
from nearsight.groups import PointGroup
from nearsight.lattices import Lattice
from nearsight.networks._activations import activation, check_parity, energy_terms
from nearsight.networks.group_convolution import GroupConvolution
from nearsight.networks.lattice_network import Head, LatticeNetwork, checked_radii
from nearsight.networks.saturation import Saturation


class GroupCNN(LatticeNetwork):
    r"""Group convolutions and pointwise functions in turn: the network of choice for fields of type I.

    A lifting convolution and group convolutions (:class:`GroupConvolution`) alternate with pointwise functions on the
    regular representation. The receptive field is the sum of the ``radii``. Before the first layer the field is joined
    by saturated copies of itself for the ``scales`` s (:class:`Saturation`).

    Parameters
    ----------
    lattice, field_type, head, group: see :class:`LatticeNetwork`. Spins with a symmetry of their own have
        :class:`SpinCNN`.
    channels: features per group element; the convolutions run with ``channels · |G|``.
    radii: cutoff of each layer, in units of a.
    scales: see above; ``()`` for none.
    parity: "odd" makes the force odd and the energy even under Φ → -Φ, exactly (the particle-hole symmetry of
        half-filled bipartite electrons); None makes no such assumption. A field with ``internal="Z2"`` is always odd.
    affine: (a, b) of the field aΦ + b that the network sees in the place of Φ: a unit of the field, and for components
        that no operation changes an origin. ``parity`` is then that about the origin.
    rng: source of the initial weights; without one, a generator seeded with 0.

    Cost per site: about 2 (channels · |G|)² · box per layer, 74 kFLOP for 8 channels of D4 and a 3 × 3 box. The 48
    operations of the cubic lattice make 2 channels as wide: 129 kFLOP with nearest neighbours only (radius 1.1), and
    a box of 27 sites (radius 1.8) four times that.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> network = ns.networks.GroupCNN(ns.lattices.square(8), ns.fields.scalar(), channels=2, parity="odd")
    >>> field = torch.randn(64, 1, generator=torch.Generator().manual_seed(1))
    >>> turned = field.view(8, 8).rot90().reshape(64, 1)
    >>> force_field = ns.LearnedForceField(network)
    >>> force, other = force_field(field).force, force_field(-turned).force  # a quarter turn, and the opposite sign
    >>> torch.allclose(other.view(8, 8), -force.view(8, 8).rot90(), atol=1e-5)
    True

    References
    ----------
    T. Cohen, M. Welling, Group equivariant convolutional networks, arXiv:1602.07576.
    """

    def __init__(
        self,
        lattice: Lattice,
        field_type: FieldType,
        *,
        channels: int = 8,
        radii: tuple[float, ...] = (2.3, 1.5, 1.5),
        scales: tuple[float, ...] = (1.0, 3.0),
        parity: Literal["odd"] | None = None,
        head: Head = "energy",
        group: PointGroup | None = None,
        affine: tuple[float, float] = (1.0, 0.0),
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__(lattice, field_type, head=head, group=group)
        channels = integer(channels, "channels", least=1)
        radii = checked_radii(lattice, radii)
        self.parity = check_parity(parity, field_type)
        self.affine = numbers(affine, "affine", length=2)
        if self.affine[1] != 0 and (field_type.internal != "none" or np.ptp(self.representation, axis=0).any()):
            raise ValueError(f"An origin of {field_type.name} would break its symmetry: affine=(a, 0.0).")
        rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        self.channels, self.radii, self.scales = channels, radii, numbers(scales, "scales")
        self.saturation = Saturation(field_type, self.group, self.scales)
        lifted = np.kron(np.eye(self.saturation.copies)[None], self.saturation.law)
        self.layers = nn.ModuleList(
            GroupConvolution(
                lattice.neighbourhood(radius),
                self.group,
                lifted.shape[-1] if k == 0 else channels,
                channels,
                rng=rng,
                representation=lifted if k == 0 else None,
                bias=self.parity is None,
            )
            for k, radius in enumerate(radii)
        )
        outputs = 1 if head == "energy" else self.components
        self.readout = nn.Parameter(torch.randn(outputs, channels, generator=rng) * channels**-0.5)
        self.reach = tuple(sum(r) for r in zip(*(layer.reach for layer in self.convolutions), strict=True))
        self.flops_per_site = sum(layer.flops_per_site for layer in self.convolutions)

    @property
    def convolutions(self) -> list[GroupConvolution]:
        """The layers, in order."""
        return list(self.layers)  # type: ignore[arg-type]

    def features(self, grid: Tensor) -> Tensor:
        """What the last layer reads ``(batch, channel · |G|, *shape)``: force or local energy are linear in it."""
        a, b = self.affine
        h = self.saturation(grid if (a, b) == (1.0, 0.0) else a * grid + b)
        if self.dim == 2:
            # Channels last is what CPU convolutions work in; anything else is copied into it and back by every layer.
            h = h.contiguous(memory_format=torch.channels_last)
        last = len(self.layers) - 1
        for k, layer in enumerate(self.convolutions):
            h = layer(h)
            if k < last or self.head == "force":
                h = activation(h, self.parity)
        return energy_terms(h, self.parity) if self.head == "energy" else h

    def forward(self, grid: Tensor) -> Tensor:
        return self.project(self.features(grid), self.readout, law=self.head == "force")
