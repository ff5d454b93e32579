"""Convolutional networks that commute exactly with translations and with the point group of the site."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearsight.fields import FieldType
from nearsight.lattices import Lattice, site_group
from nearsight.networks.group_convolution import GroupConvolution

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class GroupCNN(nn.Module):
    r"""A site field ``(*batch, site, component)`` to a local energy or a force, equivariant to rounding.

    A lifting convolution and group convolutions (:class:`GroupConvolution`) alternate with pointwise functions on the
    regular representation. The receptive field is the sum of the ``radii``. Before the first layer every component Φ is
    joined by tanh(sΦ) for the ``scales`` s, which saturate as densities do; a mode that does not transform by a signed
    permutation of its components has to do without (``scales=()``).

    Parameters
    ----------
    lattice: any periodic lattice with one site per cell; only its kind matters, the size may differ at every call.
    field_type: the law of the field, input and (for forces) output.
    channels: features per group element; the convolutions run with ``channels · |G|``.
    radii: cutoff of each layer, in units of a.
    scales: see above.
    parity: "odd" makes the force odd and the energy even under Φ → -Φ, exactly (the particle-hole symmetry of
        half-filled bipartite electrons); None makes no such assumption.
    head: "energy" returns a local energy ``(*batch, site)``, "force" a field that transforms as the input does.
    rng: source of the initial weights; without one, a generator seeded with 0.

    The network works on a grid with a halo, which :class:`nearsight.forcefields.ConvolutionalForceField` provides.
    Cost per site: about 2 (channels · |G|)² · box per layer, 74 kFLOP for 8 channels of D4 and a 3 × 3 box.
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
        head: Literal["energy", "force"] = "energy",
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.law: Tensor
        if lattice.n_basis != 1:
            raise ValueError(f"GroupCNN needs one site per cell, {lattice!r} has {lattice.n_basis}; use a descriptor.")
        if channels < 1 or not radii or min(radii) < 0:
            raise ValueError(f"channels and radii must be positive, got channels={channels}, radii={radii}.")
        if parity not in (None, "odd"):
            raise ValueError(f'parity must be "odd" or None, got {parity!r}.')
        if head not in ("energy", "force"):
            raise ValueError(f'head must be "energy" or "force", got {head!r}.')
        group = site_group(lattice)
        representation = field_type.representation(group)
        if scales and not np.allclose(np.abs(representation).sum(-1), np.abs(representation).max(-1)):
            raise ValueError(f"The law {field_type.law} of this field mixes components; pass scales=().")
        rng = rng or torch.Generator().manual_seed(0)
        self.field_type, self.channels, self.radii, self.scales = field_type, channels, tuple(radii), tuple(scales)
        self.parity, self.head = parity, head
        self.dim, self.order, self.components = lattice.dim, len(group), representation.shape[-1]
        copies = 1 + len(scales)
        lifted = np.kron(np.eye(copies)[None], representation)
        hoods = [lattice.neighbourhood(r) for r in radii]
        bias = parity is None
        self.layers = nn.ModuleList(
            GroupConvolution(
                hood,
                group,
                copies * self.components if k == 0 else channels,
                channels,
                rng=rng,
                representation=lifted if k == 0 else None,
                bias=bias,
            )
            for k, hood in enumerate(hoods)
        )
        outputs = 1 if head == "energy" else self.components
        self.readout = nn.Parameter(torch.randn(outputs, channels, generator=rng) * channels**-0.5)
        self.register_buffer("law", torch.from_numpy(representation.copy()), persistent=False)

    def __repr__(self) -> str:
        numbers = sum(p.numel() for p in self.parameters())
        parity = f", {self.parity}" if self.parity else ""
        return (
            f"GroupCNN({self.channels} channels × {self.order} operations, radii {self.radii}, {self.head}{parity}, "
            f"{numbers} parameters)"
        )

    def config(self) -> dict[str, Any]:
        """The constructor's arguments but the generator, in plain data."""
        return {
            "field_type": self.field_type.config(),
            "channels": self.channels,
            "radii": list(self.radii),
            "scales": list(self.scales),
            "parity": self.parity,
            "head": self.head,
        }

    @classmethod
    def from_config(cls, lattice: Lattice, config: dict[str, Any]) -> Self:
        """The network that :meth:`config` was read from, with fresh weights."""
        law = FieldType.from_config(config["field_type"])
        rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
        del rest["field_type"]
        return cls(lattice, law, **rest)

    @property
    def reach(self) -> tuple[int, ...]:
        """How many cells away a site can still matter, along every axis: the halo that the input needs."""
        return tuple(sum(r) for r in zip(*(layer.reach for layer in self.convolutions), strict=True))

    @property
    def convolutions(self) -> list[GroupConvolution]:
        """The layers, in order."""
        return list(self.layers)  # type: ignore[arg-type]

    @property
    def flops_per_site(self) -> int:
        """Floating-point operations of the convolutions per site, forward."""
        return sum(2 * layer.kernel().numel() for layer in self.convolutions)

    def forward(self, grid: Tensor) -> Tensor:
        """Field on its grid ``(batch, component, *shape)`` to energies ``(batch, 1, *shape)`` or forces.

        The result is smaller than the grid by :attr:`reach` on every side: pad a periodic lattice by as much.
        """
        h = torch.cat([0.5 * grid, *(torch.tanh(s * grid) for s in self.scales)], dim=1) if self.scales else grid
        if self.dim == 2:
            # Channels last is what CPU convolutions work in; anything else is copied into it and back by every layer.
            h = h.contiguous(memory_format=torch.channels_last)
        last = len(self.layers) - 1
        for k, layer in enumerate(self.convolutions):
            h = CONVOLUTIONS[self.dim](h, layer.kernel(), layer.channel_bias())
            if k < last or self.head == "force":
                h = self._bend(h)
        if self.head == "energy":
            h = torch.sqrt(1.0 + h * h) - 1.0 if self.parity == "odd" else F.silu(h)
        return self._project(h)

    def _bend(self, h: Tensor) -> Tensor:
        # Odd, or one-sided and smooth: the parity of the whole follows from its parts.
        if h.requires_grad:
            return torch.tanh(h) if self.parity == "odd" else F.silu(h)
        return h.tanh_() if self.parity == "odd" else F.silu(h, inplace=True)

    def _project(self, h: Tensor) -> Tensor:
        # Σ_g M(g) v(x, g): from the regular representation to the law of the output, as a 1 × 1 convolution.
        if self.head == "energy":
            weight = self.readout[:, :, None].expand(-1, -1, self.order)
        else:
            weight = torch.einsum("gij,jc->icg", self.law.to(h.dtype), self.readout)
        weight = weight.reshape(weight.shape[0], -1, *(1,) * self.dim) / self.order
        return CONVOLUTIONS[self.dim](h, weight)
