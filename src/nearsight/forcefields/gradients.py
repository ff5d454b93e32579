"""Energies and forces that PyTorch can differentiate by the field."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def wanted(field: Tensor) -> bool:
    """Whether someone may ask for derivatives by this field; if not, no graph is kept."""
    return torch.is_grad_enabled() and field.requires_grad


def _slope(energy: Tensor, field: Tensor, *, keep: bool) -> Tensor:
    """∂E/∂Φ of energies ``(*batch,)``; with ``keep`` it can be differentiated again, also where it is constant."""
    (gradient,) = torch.autograd.grad(energy.sum(), field, create_graph=keep)
    return gradient if gradient.requires_grad or not keep else gradient + 0.0 * field


class _Energy(torch.autograd.Function):
    """The energy ``(*batch,)``, with minus the force as its gradient by the field, whatever it was computed by.

    Second derivatives are those of the force; derivatives by parameters those of the energy that is given.
    """

    @staticmethod
    def forward(ctx, field: Tensor, force: Tensor, energy: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(force)
        return energy.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor | None):
        if gradient is None:
            return None, None, None
        (force,) = ctx.saved_tensors
        return -force * gradient[..., None, None], None, gradient


class _Underived(torch.autograd.Function):
    """A force whose derivatives nobody has worked out: asking for them is an error, not zero."""

    @staticmethod
    def forward(ctx, field: Tensor, force: Tensor, name: str) -> Tensor:
        ctx.name = name
        ctx.set_materialize_grads(False)
        return force.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor | None):
        if gradient is None:  # the energy alone was differentiated
            return None, None, None
        raise RuntimeError(
            f"The forces of {ctx.name} have no derivatives by the field: their energy can be differentiated once. Take "
            "analysis.directional_derivative for the change of forces, or force.detach() where they are mere numbers."
        )


class _Root(torch.autograd.Function):
    """A root s ``(batch,)`` of c(s, ...) = 0 with its derivatives, ds = -dc / (∂c/∂s).

    ``condition`` is c at the root, differentiable by everything but s; ``by_value`` computes ∂c/∂s when it is needed.
    """

    @staticmethod
    def forward(ctx, condition: Tensor, value: Tensor, by_value: Callable[[], Tensor]) -> Tensor:
        ctx.by_value = by_value
        ctx.set_materialize_grads(False)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor | None):
        if gradient is None:
            return None, None, None
        change = ctx.by_value()
        # In a gap nothing flows, whatever s: the quotient would be one of rounding errors.
        flows = change.abs() > 1e-10
        return torch.where(flows, -gradient / torch.where(flows, change, 1.0), 0.0), None, None
