"""Linear maps from earlier sites to a site that commute with permutations, or shifts, of the states."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def channels(n_states: int) -> int:
    """Numbers that stand for the state of a site: a spin ±1 for two states, one-hot for more."""
    return 1 if n_states == 2 else n_states


def encode(states: Tensor, n_states: int, dtype: torch.dtype) -> Tensor:
    """States ``(batch, position)`` as spins ``(batch, 1, position)``, or one-hot ``(batch, state, position)``."""
    if n_states == 2:
        return states.to(dtype).mul_(2).sub_(1)[:, None]
    return (states[:, None] == torch.arange(n_states, device=states.device)[:, None]).to(dtype)


class CausalLinear(nn.Module):
    r"""Numbers from the positions before, several per position: ``(batch, channel, position · feature)``,

    .. math:: y_{k f}(a) = \sum_{l < k} \sum_b W_{k f l}(a, b)\, x_l(b) .

    W is a multiple of the unit matrix for permutations (what commutes with all of them is this and the matrix of ones,
    which acts on one-hot as a constant and drops out of a softmax), circulant for shifts, any matrix without symmetry.
    Two states are one spin, W a number, and y odd. Weights start at zero.
    """

    mask: Tensor

    def __init__(self, sites: int, n_states: int, symmetry: str, features: int = 1) -> None:
        super().__init__()
        self.n_states, self.symmetry = n_states, symmetry
        rows = sites * features
        earlier = torch.tril(torch.ones(sites, sites), -1).repeat_interleave(features, 0)
        self.register_buffer("mask", earlier, persistent=False)
        self.full = n_states > 2 and symmetry != "permutations"
        inner = () if not self.full else (n_states,) if symmetry == "cyclic" else (n_states, n_states)
        self.weight = nn.Parameter(torch.zeros(rows, sites, *inner))
        self.bias = nn.Parameter(torch.zeros(channels(n_states), rows)) if symmetry == "none" else None

    def matrix(self) -> Tensor:
        """W with zeros for what comes later: ``(row, position)``, or ``(state · row, state · position)``."""
        if not self.full:
            return self.weight * self.mask
        weight = self.weight * self.mask.reshape(*self.mask.shape, *([1] * (self.weight.ndim - 2)))
        if self.symmetry == "cyclic":
            a = torch.arange(self.n_states, device=weight.device)
            weight = weight[..., (a[:, None] - a) % self.n_states]
        rows, sites = self.mask.shape
        return weight.permute(2, 0, 3, 1).reshape(self.n_states * rows, self.n_states * sites)

    def forward(self, x: Tensor) -> Tensor:
        matrix = self.matrix()
        y = F.linear(x.flatten(1), matrix).view(len(x), self.n_states, -1) if self.full else F.linear(x, matrix)
        return y if self.bias is None else y + self.bias

    def row(self, x: Tensor, position: int, features: int = 1) -> Tensor:
        """y of one position ``(batch, channel, feature)`` from the positions before it alone."""
        rows = slice(position * features, (position + 1) * features)
        if self.full:
            return self(x)[..., rows]
        y = F.linear(x[..., :position], self.weight[rows, :position])
        return y if self.bias is None else y + self.bias[:, rows]
