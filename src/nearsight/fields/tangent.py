"""The component of a vector field perpendicular to the spins, which is what rotates them."""

from __future__ import annotations

from torch import Tensor


def tangent(vectors: Tensor, spins: Tensor) -> Tensor:
    r""":math:`\mathbf H_\perp = \mathbf H - (\mathbf H \cdot \mathbf S)\, \mathbf S` for unit spins.

    It has the length of the torque, |H⊥| = |S × H|, and moves the spin alone; what is left out would change its length.
    """
    return vectors - (vectors * spins).sum(-1, keepdim=True) * spins
