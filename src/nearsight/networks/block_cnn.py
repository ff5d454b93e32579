"""A convolutional network on a square block of Ising spins, invariant under D4 about its centre and under s → -s."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import generator, integer
from nearsight.lattices import site_group, square
from nearsight.networks._activations import energy_terms
from nearsight.networks.group_convolution import GroupConvolution

SMALL = 1e-3
"""Rounds the corner of |⟨odd⟩|, which has a gradient at 0 then."""


class BlockCNN(Described, nn.Module):
    r"""Invariants of a block of l × l spins, learned scale by scale: blocks ``(batch, l, l)`` to ``(batch, feature)``.

    Two kinds of features per operation of D4 run side by side, odd ones o and even ones ε under s → -s. A lifting
    convolution of 3 × 3 sites (:class:`GroupConvolution`) makes both from the spins, o = tanh(w s) and
    ε = √(1 + (w' s)²) - 1. At every further scale they are averaged over 2 × 2 sites, as block spins, and convolved,

    .. math:: o' = \tanh(W_o\, o) \cdot \mathrm{sigmoid}(W_g\, \varepsilon), \qquad
              \varepsilon' = \mathrm{SiLU}\!\left(W_\varepsilon\, \varepsilon + \sqrt{1 + (W_s\, o)^2} - 1\right),

    until no 3 × 3 window is left. The features are, for every scale, the mean ⟨ε⟩ and the length |⟨o⟩| of the mean over
    sites and operations; of the spins themselves |⟨s⟩| and the energy per bond.

    The boundary, a ring of N = 4 (l - 1) spins, is looked at apart. Where only neighbours interact, the spins outside
    are independent of those inside once the ring is given (Markov property), so that

    .. math:: P(\text{block} \mid T) = e^{-E / kT}\, W_T(\text{ring}) :

    everything that a block says about its surroundings is in its energy and its ring, which averages over all sites
    dilute by a factor of l. Hence the means of ε at every scale over the outermost sites alone, and of the ring's spins
    the correlations :math:`C_d = \langle s_i s_{i+d} \rangle`, d = 1, 2, 4, ..., and the lengths of the Fourier
    components :math:`\hat s_k = \langle s_j e^{-2\pi i jk / N} \rangle`, k = 0, 1, 2, 3, 4, 6, 8, 12, ... ≤ N/2.

    Nothing leaves the block: convolutions see whole windows only. Averages over an even side are of 2 × 2 sites; over
    an odd side of 3 × 3 sites with stride 2, because windows of 2 would leave out a row on one side. Both partitions
    are symmetric about the centre, a plaquette or a site, so that the invariance is exact for every l.

    Parameters
    ----------
    side: l ≥ 3.
    channels: odd and as many even features per operation.
    rng: source of the initial weights; without one, a generator seeded with 0.

    Cost of a block: about 19 kFLOP c² per site of the second scale, l²/4 of them: 10 MFLOP for l = 32, c = 3.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> network = ns.networks.BlockCNN(8, channels=2)
    >>> blocks = torch.randint(2, (4, 8, 8), generator=torch.Generator().manual_seed(1)) * 2.0 - 1
    >>> other = -blocks.rot90(dims=(1, 2))  # turned, and all spins reversed
    >>> torch.allclose(network(blocks), network(other), atol=1e-5)
    True

    References
    ----------
    T. Cohen, M. Welling, Group equivariant convolutional networks, arXiv:1602.07576.
    """

    def __init__(self, side: int, *, channels: int = 3, rng: torch.Generator | None = None) -> None:
        super().__init__()
        # The first convolution needs 3 × 3 sites.
        self.side = integer(side, "side, for the first convolution of 3 × 3 sites,", least=3)
        self.channels = channels = integer(channels, "channels", least=1)
        rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        lattice = square(4)
        group, window = site_group(lattice), lattice.neighbourhood(1.5)
        self.order = len(group)
        trivial = np.ones((self.order, 1, 1))
        self.lift = GroupConvolution(window, group, 1, 2 * channels, rng=rng, representation=trivial)
        odd, even = [], []
        size = self.side - 2
        while size // 2 >= 3:
            odd.append(GroupConvolution(window, group, channels, 2 * channels, rng=rng))
            even.append(GroupConvolution(window, group, channels, 2 * channels, rng=rng, bias=True))
            size = size // 2 - 2
        self.odd, self.even = nn.ModuleList(odd), nn.ModuleList(even)
        self._ring = torch.from_numpy(_perimeter(self.side))
        around = len(self._ring)
        self.distances = [2**k for k in range(around.bit_length()) if 2**k <= around // 2]
        self.modes = [0, 1, *sorted(k for d in self.distances for k in (2 * d, 3 * d) if k <= around // 2)]
        self.features = 2 + len(self.distances) + len(self.modes) + 3 * channels * (1 + len(odd))

    def forward(self, blocks: Tensor) -> Tensor:
        across = (blocks[:, 1:] * blocks[:, :-1]).mean((1, 2))
        along = (blocks[:, :, 1:] * blocks[:, :, :-1]).mean((1, 2))
        means = [blocks.mean((1, 2)).abs()[:, None], -0.5 * (across + along)[:, None]]
        o, e = self.lift(blocks[:, None]).contiguous(memory_format=torch.channels_last).chunk(2, dim=1)
        o, e = torch.tanh(o), energy_terms(e, "odd")
        means += [*self._of_ring(blocks), self._length(o), self._mean(e), self._border(e)]
        for odd, even in zip(self.odd, self.even, strict=True):
            o, square = odd(_pool(o)).chunk(2, dim=1)
            e, gate = even(_pool(e)).chunk(2, dim=1)
            o, e = torch.tanh(o) * torch.sigmoid(gate), F.silu(e + energy_terms(square, "odd"))
            means += [self._length(o), self._mean(e), self._border(e)]
        return torch.cat(means, dim=1)

    def _of_ring(self, blocks: Tensor) -> list[Tensor]:
        ring = blocks.flatten(1)[:, self._ring.to(blocks.device)]
        waves = torch.fft.rfft(ring, dim=1)[:, self.modes].abs() / ring.shape[1]
        return [waves, *((ring * ring.roll(d, 1)).mean(1, keepdim=True) for d in self.distances)]

    def _mean(self, h: Tensor) -> Tensor:
        return self._over_group(h.mean((2, 3)))

    def _border(self, h: Tensor) -> Tensor:
        """Mean over the outermost sites; those of the corners count twice."""
        sides = h[:, :, 0], h[:, :, -1], h[:, :, :, 0], h[:, :, :, -1]
        return self._over_group(torch.stack([side.mean(2) for side in sides]).mean(0))

    def _over_group(self, h: Tensor) -> Tensor:
        return h.unflatten(1, (self.channels, self.order)).mean(2)

    def _length(self, h: Tensor) -> Tensor:
        return torch.sqrt(self._mean(h).square() + SMALL**2)


def _perimeter(side: int) -> np.ndarray:
    """Places x l + y of the boundary sites of a block of l × l, once around."""
    place = np.arange(side**2).reshape(side, side)
    return np.concatenate([place[-1, :-1], place[:0:-1, -1], place[0, :0:-1], place[:-1, 0]])


def _pool(h: Tensor) -> Tensor:
    """Averages over ⌊side / 2⌋² windows that are symmetric about the centre of the grid, whatever its side."""
    return F.avg_pool2d(h, 2 if h.shape[-1] % 2 == 0 else 3, stride=2)
