"""Minima that are fixed points, of many small problems at once."""

from __future__ import annotations

import torch
from torch import Tensor

HISTORY = 12
"""Steps that are remembered."""

FLAT = 1e-9
"""Directions whose change of the residual is smaller than this, relative to the largest, are left out."""

LONGEST = 0.5
"""No component moves by more in one step."""

GROWTH, RANGE = 1.2, (0.05, 4.0)
"""Of the multiple of the residual that is taken when the value falls; it is halved when the value rises."""

RISE = 1e-8
"""By how much a value may rise, relative; close to a minimum it hardly changes at all."""


class Anderson:
    r"""Anderson's mixing (Pulay's direct inversion in the iterative subspace) for x = g(x), a history for every item.

    With the differences ΔX, ΔR of the last points and residuals r = g(x) - x,

    .. math:: x \leftarrow x + \beta r - (\Delta X + \beta\,\Delta R)\,\gamma, \qquad
              \gamma = \operatorname{arg}\min |r - \Delta R\,\gamma| ,

    a quasi-Newton step, and so an estimate of the distance to the fixed point. A root is no minimum: where r is a
    direction of descent of some value, an accelerated step is taken only along it (at a saddle it would lead back), and
    no step that raises the value; a smaller multiple of r replaces it.

    D. G. Anderson, J. ACM 12, 547 (1965); P. Pulay, Chem. Phys. Lett. 73, 393 (1980).
    """

    def __init__(self, items: int, mixing: float, damped: int, like: Tensor) -> None:
        self._first, self._damped, self._count = mixing, damped, 0
        self._fell = torch.ones(items, dtype=torch.bool, device=like.device)
        self._mixing = torch.full((items, 1), mixing, dtype=like.dtype, device=like.device)
        self._point: tuple[Tensor, Tensor, Tensor | None] | None = None
        self._steps: list[tuple[Tensor, Tensor]] = []

    def step(self, x: Tensor, r: Tensor, value: Tensor | None, error: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        """The next x ``(item, component)``, and the distance to the fixed point ``(item,)`` as far as is known.

        ``error`` of the values ``(item,)``.
        """
        self._count += 1
        if self._point is not None:
            x, r, value = self._accepted(x, r, value, error)
        self._point = x, r, value
        plain = self._mixing * r
        mixing = self._mixing.clamp_max(self._first)
        aim = mixing * r
        if self._steps:
            dx, dr = (torch.stack(part, dim=-1) for part in zip(*self._steps, strict=True))
            size = dr.norm(dim=-2, keepdim=True)
            size = torch.where(size == 0, 1.0, size)  # forgotten
            dx, dr = dx / size, dr / size
            gamma = torch.linalg.pinv(dr, rtol=FLAT) @ r.unsqueeze(-1)
            aim = aim - ((dx + mixing.unsqueeze(-1) * dr) @ gamma).squeeze(-1)
        ahead = (aim * r).sum(-1, keepdim=True) > 0
        move = torch.where(ahead, aim, plain) if self._count > self._damped else plain
        longest = move.abs().amax(-1, keepdim=True)
        distance = torch.maximum(aim.abs(), r.abs()).amax(-1)
        return x + move * (LONGEST / longest.clamp_min(LONGEST)), torch.where(self._fell, distance, torch.inf)

    def _accepted(
        self, x: Tensor, r: Tensor, value: Tensor | None, error: Tensor | float
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The new point, remembered, or where it lies higher the old one, with everything forgotten."""
        old_x, old_r, old = self._point  # type: ignore[misc]
        keep = torch.ones_like(self._mixing)
        if value is not None and old is not None:
            self._fell = value <= old + RISE * (1 + old.abs()) + error
            keep = self._fell.to(x)[:, None]
            # After a refusal, a smaller multiple of the old residual is taken as it comes.
            value = torch.where(self._fell, value, torch.inf)
            self._mixing = (self._mixing * torch.where(keep > 0, GROWTH, 0.5)).clamp(*RANGE)
            self._steps = [(dx * keep, dr * keep) for dx, dr in self._steps]
        self._steps = [*self._steps, ((x - old_x) * keep, (r - old_r) * keep)][-HISTORY:]
        return torch.where(keep > 0, x, old_x), torch.where(keep > 0, r, old_r), value

    def keep(self, items: Tensor) -> None:
        """Forget all items but these."""
        x, r, value = self._point  # type: ignore[misc]
        self._point = x[items], r[items], None if value is None else value[items]
        self._steps = [(dx[items], dr[items]) for dx, dr in self._steps]
        self._mixing, self._fell = self._mixing[items], self._fell[items]
