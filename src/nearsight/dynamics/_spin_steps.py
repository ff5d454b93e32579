"""Steps of spins whose fields are sums over neighbours: the whole lattice in two or three compiled loops.

The formulas are those of the schemes, term by term, and so is the noise; arithmetic is in double precision whatever
the spins are stored in. A site is worked out from the old spins alone: results depend on no order and no thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from torch import Tensor

from nearsight.dynamics.run.guard import _check_finite
from nearsight.dynamics.scheme import State
from nearsight.forcefields import ClassicalForceField, ForceField, Forces
from nearsight.hamiltonians._spin_kernels import SpinTables, full_field, write_fields

if TYPE_CHECKING:
    from nearsight.dynamics.landau_lifshitz import LandauLifshitz


@numba.njit(nogil=True, inline="always")
def _rate(a, b, c, x, y, z, damping, tangent):
    """A = H - α S × H, for the part of H normal to S if ``tangent``."""
    if tangent:
        along = (x * a + y * b + z * c) / (a * a + b * b + c * c)
        x, y, z = x - along * a, y - along * b, z - along * c
    return x - damping * (b * z - c * y), y - damping * (c * x - a * z), z - damping * (a * y - b * x)


@numba.njit(nogil=True, inline="always")
def _rotate(a, b, c, x, y, z):
    """The Cayley rotation of the spin (a, b, c) about (x, y, z), its length kept from drifting by rounding."""
    x, y, z = 0.5 * x, 0.5 * y, 0.5 * z
    p, q, r = a + (b * z - c * y), b + (c * x - a * z), c + (a * y - b * x)
    along, scale = p * x + q * y + r * z, 1.0 / (1 + (x * x + y * y + z * z))
    u, v, w = p + along * x + (q * z - r * y), q + along * y + (r * x - p * z), r + along * z + (p * y - q * x)
    u, v, w = u * scale, v * scale, w * scale
    unit = 1.5 - 0.5 * (u * u + v * v + w * w)
    return u * unit, v * unit, w * unit


@numba.njit(nogil=True, inline="always")
def _kick(noise, i):
    """η of a site; nothing where there is no noise at all."""
    if len(noise) == 0:
        return 0.0, 0.0, 0.0
    return float(noise[i, 0]), float(noise[i, 1]), float(noise[i, 2])


@numba.njit(nogil=True, cache=True)
def semi_implicit(S, H, noise, tables, dt, damping, tangent, middle, new, force):
    """A step of :class:`SemiImplicit`: from spins ``S`` in fields ``H`` to ``new`` in ``force``; its energy."""
    for i in range(len(S)):
        a, b, c = float(S[i, 0]), float(S[i, 1]), float(S[i, 2])
        x, y, z = _rate(a, b, c, float(H[i, 0]), float(H[i, 1]), float(H[i, 2]), damping, tangent)
        e, f, g = _kick(noise, i)
        x, y, z = _rotate(a, b, c, dt * (x + e), dt * (y + f), dt * (z + g))
        middle[i, 0], middle[i, 1], middle[i, 2] = 0.5 * (a + x), 0.5 * (b + y), 0.5 * (c + z)
    for i in range(len(S)):
        x, y, z, _ = full_field(middle, tables, i)
        a, b, c = float(middle[i, 0]), float(middle[i, 1]), float(middle[i, 2])
        x, y, z = _rate(a, b, c, x, y, z, damping, tangent)
        e, f, g = _kick(noise, i)
        a, b, c = float(S[i, 0]), float(S[i, 1]), float(S[i, 2])
        new[i, 0], new[i, 1], new[i, 2] = _rotate(a, b, c, dt * (x + e), dt * (y + f), dt * (z + g))
    return write_fields(new, tables, force)


@numba.njit(nogil=True, cache=True)
def heun(S, H, noise, tables, dt, damping, tangent, middle, new, force):
    """A step of :class:`HeunSpins`; the change by the first of both fields stands in ``new`` meanwhile."""
    for i in range(len(S)):
        a, b, c = float(S[i, 0]), float(S[i, 1]), float(S[i, 2])
        x, y, z = _rate(a, b, c, float(H[i, 0]), float(H[i, 1]), float(H[i, 2]), damping, tangent)
        e, f, g = _kick(noise, i)
        x, y, z = x + e, y + f, z + g
        x, y, z = b * z - c * y, c * x - a * z, a * y - b * x
        new[i, 0], new[i, 1], new[i, 2] = x, y, z
        middle[i, 0], middle[i, 1], middle[i, 2] = a + dt * x, b + dt * y, c + dt * z
    for i in range(len(S)):
        x, y, z, _ = full_field(middle, tables, i)
        a, b, c = float(middle[i, 0]), float(middle[i, 1]), float(middle[i, 2])
        x, y, z = _rate(a, b, c, x, y, z, damping, tangent)
        e, f, g = _kick(noise, i)
        x, y, z = x + e, y + f, z + g
        x, y, z = (
            float(new[i, 0]) + (b * z - c * y),
            float(new[i, 1]) + (c * x - a * z),
            float(new[i, 2]) + (a * y - b * x),
        )
        a, b, c = float(S[i, 0]) + 0.5 * dt * x, float(S[i, 1]) + 0.5 * dt * y, float(S[i, 2]) + 0.5 * dt * z
        unit = 1.0 / math.sqrt(a * a + b * b + c * c)
        new[i, 0], new[i, 1], new[i, 2] = a * unit, b * unit, c * unit
    return write_fields(new, tables, force)


@numba.njit(nogil=True, cache=True)
def ab2(S, H, noise, tables, dt, damping, tangent, before, now, new, force):
    """A step of :class:`AB2Rotation` with the rate ``before``; the rate at ``S`` is left in ``now``."""
    for i in range(len(S)):
        a, b, c = float(S[i, 0]), float(S[i, 1]), float(S[i, 2])
        x, y, z = _rate(a, b, c, float(H[i, 0]), float(H[i, 1]), float(H[i, 2]), damping, tangent)
        now[i, 0], now[i, 1], now[i, 2] = x, y, z
        e, f, g = _kick(noise, i)
        x = dt * (1.5 * x - 0.5 * float(before[i, 0]) + e)
        y = dt * (1.5 * y - 0.5 * float(before[i, 1]) + f)
        z = dt * (1.5 * z - 0.5 * float(before[i, 2]) + g)
        new[i, 0], new[i, 1], new[i, 2] = _rotate(a, b, c, x, y, z)
    return write_fields(new, tables, force)


def tables_of(forcefield: ForceField, field: Tensor) -> SpinTables | None:
    """The terms of a force field that compiled steps know, if they can move this field."""
    if type(forcefield) is not ClassicalForceField or field.device.type != "cpu":
        return None
    if field.dtype not in (torch.float32, torch.float64):
        return None
    return forcefield.model.spin_tables


def take_step(
    step: Callable[..., float],
    scheme: LandauLifshitz,
    tables: SpinTables,
    state: State,
    noise: Tensor | float,
    before: Tensor | None = None,
) -> State:
    """The state after a step; one with memory is given the rate ``before`` and leaves the present one as history."""
    scratch, new, force = (torch.empty_like(state.field) for _ in range(3))
    carried = (scratch,) if before is None else (before, scratch)
    energy = torch.empty(state.field.shape[:-2], dtype=state.field.dtype)
    flat = [_replicas(x) for x in (state.field, state.forces.force, *carried, new, force)]
    kicks: Any = _replicas(noise) if isinstance(noise, Tensor) else np.empty((len(flat[0]), 0, 3))
    totals = energy.view(-1).numpy()
    for replica, (kick, S, H, *rest) in enumerate(zip(kicks, *flat, strict=True)):
        totals[replica] = step(S, H, kick, tables, scheme.dt, scheme.damping, scheme.tangent, *rest)
    if not np.isfinite(totals).all():
        _check_finite(new, None)
    history = None if before is None else scratch
    return State(new, None, Forces(force, energy), state.time + scheme.dt, state.step + 1, history=history)


def _replicas(tensor: Tensor) -> np.ndarray:
    return tensor.view(-1, *tensor.shape[-2:]).numpy()
