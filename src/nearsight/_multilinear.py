"""Linear and trilinear forms that torch differentiates to any order, since their derivatives are such forms again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Linear(torch.autograd.Function):
    """``Linear.apply(x, forth, back)`` is ``forth(x)``, where ``back`` is the adjoint of that linear map."""

    @staticmethod
    def forward(ctx, x: Tensor, forth: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.maps = back, forth
        return forth(x)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return Linear.apply(gradient, *ctx.maps), None, None


class Trilinear(torch.autograd.Function):
    """The derivative of a trilinear form T(a, b, c) by one of the three, from the two others.

    ``Trilinear.apply(maps, k, shape, *factors)`` calls ``maps[k](first, second, shape)`` with the two factors that are
    not None; ``shape`` is that of factor k. The maps are the three derivatives, so that a bilinear map c(a, b) is
    ``Trilinear.apply(maps, 2, shape, a, b, None)``.
    """

    @staticmethod
    def forward(ctx, maps: Sequence[Callable[..., Tensor]], k: int, shape: torch.Size, *factors: Tensor | None):
        ctx.maps, ctx.k = maps, k
        ctx.save_for_backward(*factors)
        return maps[k](*(x for x in factors if x is not None), shape)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        factors = list(ctx.saved_tensors)
        factors[ctx.k] = gradient
        needed = zip(ctx.needs_input_grad[3:], factors, strict=True)
        return (
            None,
            None,
            None,
            *(
                Trilinear.apply(ctx.maps, j, x.shape, *factors[:j], None, *factors[j + 1 :]) if wanted else None
                for j, (wanted, x) in enumerate(needed)
            ),
        )
