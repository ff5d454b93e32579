"""The halo of a field on its grid: copies of the cells beyond a periodic boundary."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from nearsight._multilinear import Linear


def pad_periodic(grid: Tensor, reach: Sequence[int], *, first: int) -> Tensor:
    """A periodic grid with a halo of ``reach`` cells on both sides of the axes from ``first`` on.

    The halo may be wider than the grid, which then is repeated as often as needed.
    """
    return Linear.apply(grid, partial(_wrap, tuple(reach), first), partial(_fold, tuple(reach), first))


def pad_periodic_adjoint(padded: Tensor, reach: Sequence[int], *, first: int) -> Tensor:
    """The grid without its halo, whose values are added to the cells they are copies of.

    The sum runs in a fixed order, so that gradients are the same to the last bit in every run.
    """
    return Linear.apply(padded, partial(_fold, tuple(reach), first), partial(_wrap, tuple(reach), first))


def _wrap(reach: tuple[int, ...], first: int, grid: Tensor) -> Tensor:
    for axis, r in enumerate(reach, start=first):
        length = grid.shape[axis]
        grid = grid.index_select(axis, torch.arange(-r, length + r, device=grid.device) % length)
    return grid.contiguous()


def _fold(reach: tuple[int, ...], first: int, padded: Tensor) -> Tensor:
    for axis, r in enumerate(reach, start=first):
        length = padded.shape[axis] - 2 * r
        result = padded.narrow(axis, r, length).clone()
        for start, stop in ((-r, 0), (length, length + r)):
            while start < stop:
                target = start % length
                count = min(length - target, stop - start)
                result.narrow(axis, target, count).add_(padded.narrow(axis, start + r, count))
                start += count
        padded = result
    return padded
