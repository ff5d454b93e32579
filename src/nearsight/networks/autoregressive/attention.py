"""A transformer with a causal mask: every site attends to the sites before it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearsight._validation import generator, integer
from nearsight.lattices import Lattice
from nearsight.networks.autoregressive._gauge import GaugedAutoregression
from nearsight.networks.autoregressive.model import Symmetry
from nearsight.networks.autoregressive.order import NamedOrder


class AttentionAutoregression(GaugedAutoregression):
    r"""Layers of causal attention and of a network per site, on learned vectors for every position and state,

    .. math:: x \leftarrow x + \sum_{l \le k} \mathrm{softmax}_l\!\left(\frac{Q_k \cdot K_l}{\sqrt d}\right) V_l, \qquad
              x \leftarrow x + \mathrm{MLP}(x),

    both on normalised x. A position is fed the site before it, the first a vector of its own. The first site is a
    constant, as of :class:`GRUAutoregression`.

    Unlike a recurrent network it reaches any earlier site in one step, and all positions are computed at once. Cost per
    configuration and pass: about 6 N layers (12 channels² + N channels) operations; drawing one costs N/2 evaluations.

    Parameters
    ----------
    lattice, n_states, order, symmetry: as of :class:`AutoregressiveModel`.
    channels: numbers per position.
    layers, heads: of attention; ``heads`` divides ``channels``.
    rng: source of the initial weights; without one, a generator seeded with 0.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> model = ns.networks.AttentionAutoregression(ns.lattices.square(3), channels=8, layers=1, heads=2)
    >>> every = torch.cartesian_prod(*[torch.arange(2)] * 9)  # all 2⁹ configurations
    >>> P = model.log_prob(every).exp()
    >>> round(P.sum().item(), 4), torch.equal(P, P.flip(0))  # normalised, and P(s) = P(-s)
    (1.0, True)

    References
    ----------
    A. Vaswani et al., arXiv:1706.03762.
    """

    def __init__(
        self,
        lattice: Lattice,
        *,
        n_states: int = 2,
        order: NamedOrder | Sequence[int] = "snake",
        symmetry: Symmetry = "permutations",
        channels: int = 32,
        layers: int = 2,
        heads: int = 4,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__(lattice, n_states=n_states, order=order, symmetry=symmetry)
        self.channels, self.layers = integer(channels, "channels", least=1), integer(layers, "layers", least=1)
        self.heads = integer(heads, "heads", least=1)
        if self.channels % self.heads:
            raise ValueError(f"heads must divide channels, got {self.heads} heads of {self.channels} channels.")
        rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        n, q, c = self.lattice.n_sites, self.n_states, self.channels
        self.width = max(1, 4 * c // q)
        self.position = nn.Parameter(0.1 * torch.randn(n, c, generator=rng))
        self.state = nn.Parameter(torch.randn(q, c, generator=rng))
        self.blocks = nn.ModuleList(_Block(c, self.heads) for _ in range(self.layers))
        self.norm = nn.LayerNorm(c)
        self.readout = nn.Linear(c, q)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5, generator=rng)
                nn.init.zeros_(module.bias)

    def network(self, names: Tensor) -> Tensor:
        before = F.pad(self.state[names[:, :-1]], (0, 0, 1, 0))
        x = before + self.position[: names.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.readout(self.norm(x))


class _Block(nn.Module):
    """Causal attention and a network per site, each added to its input."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.wide = nn.Linear(channels, 4 * channels)
        self.narrow = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, channels = x.shape
        q, k, v = self.qkv(self.norms[0](x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, channels))
        return x + self.narrow(F.gelu(self.wide(self.norms[1](x))))
