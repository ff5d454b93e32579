"""Saturating functions of a field that commute with its law."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from nearsight.fields import FieldType
from nearsight.groups import PointGroup


class Saturation(nn.Module):
    r"""A field and copies of it that level off, as densities do where a potential is deep: ½Φ, φ(s₁Φ), φ(s₂Φ), ...

    Every irreducible block of the law is treated alone. Where an operation only permutes components and changes their
    signs, φ is the tanh of every component; where it mixes them, the block keeps its direction,

    .. math:: \varphi(\Phi) = \Phi \,/ \sqrt{1 + |\Phi|^2} ,

    smooth at 0. Both are odd. Copies come in the coordinates in which the law is block diagonal: :attr:`law` is M(g) of
    one copy there.
    """

    def __init__(self, field_type: FieldType, group: PointGroup, scales: tuple[float, ...]) -> None:
        super().__init__()
        self.scales = scales
        blocks = [FieldType(field_type.name, (entry,)).representation(group) for entry in field_type.law]
        self.basis = None if field_type.basis is None else np.array(field_type.basis)
        self.law = FieldType(field_type.name, field_type.law).representation(group)
        self.sizes: list[int] = []
        self.signed: list[bool] = []
        for block in blocks:
            signed = bool(np.allclose(np.abs(block).sum(-1), np.abs(block).max(-1)))
            if signed and self.signed and self.signed[-1]:
                self.sizes[-1] += block.shape[-1]  # one call of tanh serves neighbouring blocks
            else:
                self.sizes.append(block.shape[-1])
                self.signed.append(signed)

    @property
    def copies(self) -> int:
        """Copies of the field that come out."""
        return 1 + len(self.scales)

    def forward(self, grid: Tensor) -> Tensor:
        """``(batch, component, *shape)`` to ``(batch, copies · component, *shape)``."""
        if self.basis is not None:
            U = torch.as_tensor(self.basis, dtype=grid.dtype, device=grid.device)
            grid = torch.einsum("ij,bi...->bj...", U, grid)
        if not self.scales:
            return grid
        parts = [0.5 * grid]
        for s in self.scales:
            for block, signed in zip((s * grid).split(self.sizes, dim=1), self.signed, strict=True):
                bent = block.tanh() if signed else block / torch.sqrt(1.0 + block.square().sum(1, keepdim=True))
                parts.append(bent)
        return torch.cat(parts, dim=1)
