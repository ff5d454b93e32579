"""Effective fields of spins with couplings of pairs, compiled; imported when needed, since numba is slow to load.

Arithmetic is in double precision whatever the spins are stored in. The sum over neighbours of a site is in one order,
so that the field of a site is the same bits wherever it is worked out.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor


class SpinTables(NamedTuple):
    """The terms of a :class:`~nearsight.hamiltonians.SpinEnergy` by site.

    The neighbours of site i are ``other[start[i] : start[i + 1]]``, with exchange ``strength`` and, if there is any,
    ``twist`` D_ij ``(neighbour, 3)``; ``axis`` is √(2K/|n|²) n for K > 0 and ``sign`` that of K; ``B`` the field.
    """

    start: np.ndarray
    other: np.ndarray
    strength: np.ndarray
    twist: np.ndarray
    axis: np.ndarray
    sign: float
    B: np.ndarray


@numba.njit(nogil=True, inline="always")
def pair_field(spins, tables, i):
    """Σ_j (J_ij S_j + S_j × D_ij) at site i."""
    x, y, z = 0.0, 0.0, 0.0
    twisted = len(tables.twist) > 0
    for k in range(tables.start[i], tables.start[i + 1]):
        j, J = tables.other[k], tables.strength[k]
        a, b, c = float(spins[j, 0]), float(spins[j, 1]), float(spins[j, 2])
        x += J * a
        y += J * b
        z += J * c
        if twisted:
            u, v, w = tables.twist[k, 0], tables.twist[k, 1], tables.twist[k, 2]
            x += b * w - c * v
            y += c * u - a * w
            z += a * v - b * u
    return x, y, z


@numba.njit(nogil=True, inline="always")
def full_field(spins, tables, i):
    """H_i = -∂E/∂S_i, and S_i · H_i of the pairs, of the anisotropy and of the field B."""
    x, y, z = pair_field(spins, tables, i)
    a, b, c = float(spins[i, 0]), float(spins[i, 1]), float(spins[i, 2])
    pairs = a * x + b * y + c * z
    n, B = tables.axis, tables.B
    along = n[0] * a + n[1] * b + n[2] * c
    strength = tables.sign * along
    x += strength * n[0] + B[0]
    y += strength * n[1] + B[1]
    z += strength * n[2] + B[2]
    return x, y, z, 0.5 * (pairs + strength * along) + a * B[0] + b * B[1] + c * B[2]


@numba.njit(nogil=True, cache=True)
def write_fields(spins, tables, force):
    """The field of every site into ``force``, and the energy."""
    energy = 0.0
    for i in range(len(spins)):
        x, y, z, gain = full_field(spins, tables, i)
        force[i, 0], force[i, 1], force[i, 2] = x, y, z
        energy -= gain
    return energy


def spin_forces(field: Tensor, tables: SpinTables) -> tuple[Tensor, Tensor]:
    """Effective fields ``(*batch, site, 3)`` and energies ``(*batch,)`` of spins on the processor."""
    spins = field.detach().contiguous().reshape(-1, *field.shape[-2:]).numpy()
    force, energy = torch.empty(spins.shape, dtype=field.dtype), torch.empty(len(spins), dtype=field.dtype)
    for replica, (S, H) in enumerate(zip(spins, force.numpy(), strict=True)):
        energy[replica] = write_fields(S, tables, H)
    return force.reshape(field.shape), energy.reshape(field.shape[:-2])
