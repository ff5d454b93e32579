"""Adaptive integration of many functions of one energy, for many replicas at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

NODES = (
    0.991455371120812639206854697526329, 0.949107912342758524526189684047851, 0.864864423359769072789712788640926,
    0.741531185599394439863864773280788, 0.586087235467691130294144691693763, 0.405845151377397166906606412076961,
    0.207784955007898467600689403773245, 0.0,
)  # fmt: skip
KRONROD = (
    0.022935322010529224963732008058970, 0.063092092629978553290700663189204, 0.104790010322250183839876322541518,
    0.140653259715525918745189590510238, 0.169004726639267902826583426598550, 0.190350578064785409913256402421014,
    0.204432940075298892414161999234649, 0.209482141084727828012999174891714,
)  # fmt: skip
GAUSS = (0.129484966168869693270611432679082, 0.279705391489276667901467771423780, 0.381830050505118944950369775488975,
         0.417959183673469387755102040816327)  # fmt: skip

GENERATIONS = 40
"""An interval is halved at most so often: to 10⁻¹² of its length."""

INTERVALS = 2**16
"""Most intervals that are waiting at once."""


class Integral(NamedTuple):
    """``values`` ``(replica, function)``, and estimated errors ``(replica, kind)``."""

    values: Tensor
    errors: Tensor
    evaluations: int


class Integrand(NamedTuple):
    """Functions at energies of replicas: ``values`` ``(energy, function)``, in ``kinds`` of so many functions each,
    with the absolute and the relative error that is allowed to every kind."""

    values: Callable[[Tensor, Tensor], Tensor]
    kinds: tuple[int, ...]
    absolute: tuple[float, ...]
    relative: tuple[float, ...]
    together: int


def integrate(integrand: Integrand, edges: Tensor, replicas: int) -> Integral:
    """Between the first and the last of the ``edges``, with the others as places to begin to divide.

    Fifteen-point Gauss-Kronrod rules. In every generation the intervals with the smallest errors are taken, as long as
    these add up to no more than half of the error that is left to spend, and the others are halved.
    """
    device = edges.device
    x, kronrod, gauss = (torch.tensor(v, dtype=torch.float64, device=device) for v in _rule())
    low, high = (e.repeat(replicas) for e in (edges[:-1], edges[1:]))
    replica = torch.arange(replicas, device=device).repeat_interleave(len(edges) - 1)
    total: Tensor | None = None
    errors = low.new_zeros(replicas, len(integrand.kinds))
    absolute, relative = (low.new_tensor(v) for v in (integrand.absolute, integrand.relative))
    count = 0
    for generation in range(GENERATIONS):
        size = max(1, integrand.together // len(x))
        results, doubts, sizes = [], [], []
        for a, b, r in zip(low.split(size), high.split(size), replica.split(size), strict=True):
            half, middle = 0.5 * (b - a), 0.5 * (a + b)
            values = integrand.values((middle[:, None] + half[:, None] * x).reshape(-1), r.repeat_interleave(len(x)))
            count += len(values)
            values = values.unflatten(0, (-1, len(x)))
            fine = torch.einsum("p,ipf->if", kronrod.to(values), values) * half[:, None]
            coarse = torch.einsum("p,ipf->if", gauss.to(values), values) * half[:, None]
            results.append(fine)
            doubts.append(_largest(fine - coarse, integrand.kinds))
            sizes.append(_largest(fine, integrand.kinds))
        fine, doubt, scale = torch.cat(results), torch.cat(doubts), torch.cat(sizes).clamp_min(1e-300)
        # The difference of both rules is the error of the coarse one; QUADPACK's law tells that of the fine one.
        doubt = torch.minimum(doubt, scale * (200 * doubt / scale).pow(1.5))
        if total is None:
            total = fine.new_zeros(replicas, fine.shape[-1])
        so_far = total.index_add(0, replica, fine)
        allowed = absolute + relative * _largest(so_far, integrand.kinds)
        share = (doubt / allowed[replica]).amax(-1)
        spent = (errors / allowed).amax(-1)
        taken = _affordable(share, replica, 0.5 * (1 - spent).clamp_min(0.0))
        if generation == GENERATIONS - 1 or 2 * int((~taken).sum()) > INTERVALS:
            taken = torch.ones_like(taken)
        total.index_add_(0, replica[taken], fine[taken])
        errors.index_add_(0, replica[taken], doubt[taken])
        left = ~taken
        if not bool(left.any()):
            break
        middle = 0.5 * (low + high)
        low, high = torch.cat([low[left], middle[left]]), torch.cat([middle[left], high[left]])
        replica = replica[left].repeat(2)
    assert total is not None
    return Integral(total, errors, count)


def _rule() -> tuple[list[float], list[float], list[float]]:
    """Nodes and both weights on (-1, 1), ascending."""
    gauss = [0.0] * 8
    gauss[1::2] = GAUSS
    x = [-v for v in NODES] + list(NODES[-2::-1])
    return x, [*KRONROD, *KRONROD[-2::-1]], [*gauss, *gauss[-2::-1]]


def _largest(values: Tensor, kinds: tuple[int, ...]) -> Tensor:
    """Largest of every kind of functions ``(interval, kind)``."""
    return torch.stack([v.abs().amax(-1) if v.shape[-1] else v.real.new_zeros(len(v))
                        for v in values.split(kinds, dim=-1)], dim=-1)  # fmt: skip


def _affordable(share: Tensor, replica: Tensor, budget: Tensor) -> Tensor:
    """Intervals with the smallest shares of the error allowed, up to the budget of their replica ``(replica,)``."""
    order = torch.argsort(share)
    order = order[torch.argsort(replica[order], stable=True)]
    sums = share[order].cumsum(0)
    counts = torch.bincount(replica, minlength=len(budget))
    before = torch.cat([sums.new_zeros(1), sums])[counts.cumsum(0) - counts]
    own = replica[order]
    affordable = torch.empty_like(share, dtype=torch.bool)
    affordable[order] = sums - before[own] <= budget[own]
    return affordable
