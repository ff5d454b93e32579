"""A convolutional network on a square block of Ising spins, invariant under D4 about its centre and under s → -s."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearsight.lattices import site_group, square
from nearsight.networks.group_convolution import GroupConvolution
from nearsight.networks.pointwise import energy_terms

SMALL = 1e-3
"""Rounds the corner of |⟨odd⟩|, which has a gradient at 0 then."""


class BlockCNN(nn.Module):
    r"""Invariants of a block of l × l spins, learned scale by scale: blocks ``(batch, l, l)`` to ``(batch, feature)``.

    Two kinds of features per operation of D4 run side by side, odd ones o and even ones ε under s → -s. A lifting
    convolution of 3 × 3 sites (:class:`GroupConvolution`) makes both from the spins, o = tanh(w s) and
    ε = √(1 + (w' s)²) - 1. At every further scale they are averaged over 2 × 2 sites, as block spins, and convolved,

    .. math:: o' = \tanh(W_o\, o) \cdot \mathrm{sigmoid}(W_g\, \varepsilon), \qquad
              \varepsilon' = \mathrm{SiLU}\!\left(W_\varepsilon\, \varepsilon + \sqrt{1 + (W_s\, o)^2} - 1\right),

    until no 3 × 3 window is left. The features are, for every scale, the mean ⟨ε⟩ and the length |⟨o⟩| of the mean over
    sites and operations; of the spins themselves |⟨s⟩| and the energy per bond.

    Nothing leaves the block: convolutions see whole windows only. Averages over an even side are of 2 × 2 sites; over
    an odd side of 3 × 3 sites with stride 2, because windows of 2 would leave out a row on one side. Both partitions
    are symmetric about the centre, a plaquette or a site, so that the invariance is exact for every l.

    Parameters
    ----------
    side: l ≥ 3.
    channels: odd and as many even features per operation.
    rng: source of the initial weights; without one, a generator seeded with 0.

    Cost of a block: about 19 kFLOP c² per site of the second scale, l²/4 of them: 10 MFLOP for l = 32, c = 3.

    References
    ----------
    T. Cohen, M. Welling, Group equivariant convolutional networks, arXiv:1602.07576.
    """

    def __init__(self, side: int, *, channels: int = 3, rng: torch.Generator | None = None) -> None:
        super().__init__()
        if side < 3:
            raise ValueError(f"The first convolution needs 3 × 3 sites, so a side of 3 or more, got {side}.")
        if channels < 1:
            raise ValueError(f"channels must be 1 or more, got {channels}.")
        self.side, self.channels = int(side), int(channels)
        rng = rng or torch.Generator().manual_seed(0)
        lattice = square(4)
        group, window = site_group(lattice), lattice.neighbourhood(1.5)
        self.order = len(group)
        trivial = np.ones((self.order, 1, 1))
        self.lift = GroupConvolution(window, group, 1, 2 * channels, rng=rng, representation=trivial)
        odd, even = [], []
        size = self.side - 2
        while pooled(size) >= 3:
            odd.append(GroupConvolution(window, group, channels, 2 * channels, rng=rng))
            even.append(GroupConvolution(window, group, channels, 2 * channels, rng=rng, bias=True))
            size = pooled(size) - 2
        self.odd, self.even = nn.ModuleList(odd), nn.ModuleList(even)
        self.features = 2 + 2 * channels * (1 + len(odd))

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.parameters())
        return (
            f"BlockCNN({self.side} × {self.side}, {self.channels} + {self.channels} channels × {self.order} "
            f"operations, {1 + len(self.odd)} scales, {count} parameters)"
        )

    def config(self) -> dict[str, Any]:
        """The constructor's arguments but the generator, in plain data."""
        return {"side": self.side, "channels": self.channels}

    def forward(self, blocks: Tensor) -> Tensor:
        across = (blocks[:, 1:] * blocks[:, :-1]).mean((1, 2))
        along = (blocks[:, :, 1:] * blocks[:, :, :-1]).mean((1, 2))
        means = [blocks.mean((1, 2)).abs()[:, None], -0.5 * (across + along)[:, None]]
        o, e = self.lift(blocks[:, None]).contiguous(memory_format=torch.channels_last).chunk(2, dim=1)
        o, e = torch.tanh(o), energy_terms(e, "odd")
        means += [self._length(o), self._mean(e)]
        for odd, even in zip(self.odd, self.even, strict=True):
            o, square = odd(pool(o)).chunk(2, dim=1)
            e, gate = even(pool(e)).chunk(2, dim=1)
            o, e = torch.tanh(o) * torch.sigmoid(gate), F.silu(e + energy_terms(square, "odd"))
            means += [self._length(o), self._mean(e)]
        return torch.cat(means, dim=1)

    def _mean(self, h: Tensor) -> Tensor:
        return h.mean((2, 3)).unflatten(1, (self.channels, self.order)).mean(2)

    def _length(self, h: Tensor) -> Tensor:
        return torch.sqrt(self._mean(h).square() + SMALL**2)


def pooled(size: int) -> int:
    """Sites a side after :func:`pool`."""
    return size // 2 if size % 2 == 0 else (size - 1) // 2


def pool(h: Tensor) -> Tensor:
    """Averages over windows with stride 2 that are symmetric about the centre of the grid, whatever its side."""
    return F.avg_pool2d(h, 2 if h.shape[-1] % 2 == 0 else 3, stride=2)
