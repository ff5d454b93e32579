"""The hopping matrix of any tight-binding model on a lattice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import numbers
from nearsight.lattices import Bonds, Lattice


def checked_twist(lattice: Lattice, twist: Any) -> tuple[float, ...] | None:
    """One phase for each axis, none on an open one; a bare number is the phase of a chain."""
    if twist is None:
        return None
    if lattice.dim == 1 and not isinstance(twist, str) and not np.iterable(twist):
        twist = (twist,)
    if isinstance(twist, str) or not hasattr(twist, "__len__") or len(twist) != lattice.dim:
        raise ValueError(f"twist must give one phase for each of the {lattice.dim} axes, in radians, got {twist!r}.")
    phases = numbers(twist, "twist", length=lattice.dim)
    if np.any(np.asarray(phases)[~np.broadcast_to(lattice.periodic, lattice.dim)]):
        raise ValueError(
            f"A twist acts across a periodic boundary, but {lattice!r} is open there; set that phase to 0."
        )
    return phases


def bond_phases(bonds: Bonds, twist: tuple[float, ...] | None) -> np.ndarray:
    """The phase of every bond ``(bond,)``: e^{iθ} across a periodic boundary, else 1; real if every θ is 0 or π."""
    phases = np.exp(1j * bonds.winding @ np.broadcast_to(0.0 if twist is None else twist, bonds.winding.shape[-1:]))
    return phases.real.copy() if (abs(phases.imag) < 1e-12).all() else phases


def hopping_elements(
    lattice: Lattice, bonds: Bonds, amplitude: np.ndarray | float, *, twist: tuple[float, ...] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The elements of :math:`\sum_{\langle ij \rangle} \sum_{\mu\nu} (a_{\mu\nu} c_{j\mu}^\dagger c_{i\nu} + h.c.)`.

    Parameters
    ----------
    lattice, bonds: every bond counts once, from site i to site j.
    amplitude: a, one number for all bonds, one for each ``(bond,)``, or a matrix for each ``(bond, orbital, orbital)``.
    twist: a bond that crosses a periodic boundary gets the phase :math:`e^{i\theta}` of that axis.

    Returns
    -------
    rows, columns and values ``(element,)``, orbital μ of site i in row i · orbitals + μ; float64, with a twist
    other than 0 and π complex128. On a torus two cells wide the same pair is joined by two bonds: both are listed, and
    add up.
    """
    a = np.asarray(amplitude)
    a = np.broadcast_to(a if a.ndim == 3 else a[..., None, None], (len(bonds), *(a.shape[1:] or (1, 1))))
    a = a * bond_phases(bonds, twist)[:, None, None]
    orbitals = a.shape[-1]
    rows = np.broadcast_to(orbitals * bonds.j[:, None, None] + np.arange(orbitals)[:, None], a.shape).reshape(-1)
    columns = np.broadcast_to(orbitals * bonds.i[:, None, None] + np.arange(orbitals), a.shape).reshape(-1)
    a = a.reshape(-1)
    there = np.concatenate([rows, columns]), np.concatenate([columns, rows]), np.concatenate([a, np.conj(a)])
    return torch.from_numpy(there[0]), torch.from_numpy(there[1]), torch.from_numpy(there[2])


def hopping_matrix(
    lattice: Lattice, bonds: Bonds, amplitude: np.ndarray | float, *, twist: tuple[float, ...] | None = None
) -> Tensor:
    """The dense matrix ``(site · orbital, site · orbital)`` of :func:`hopping_elements`, with the same arguments."""
    rows, columns, values = hopping_elements(lattice, bonds, amplitude, twist=twist)
    shape = np.shape(amplitude)
    n = lattice.n_sites * (shape[-1] if len(shape) == 3 else 1)
    return dense(rows, columns, values, n)


def shell_hopping_elements(
    lattice: Lattice, t: Sequence[float], *, twist: tuple[float, ...] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Rows, columns and values of :math:`-\sum_s t_s \sum_{\langle ij \rangle_s} (c_i^\dagger c_j + h.c.)`, t by
    neighbour shell from the first."""
    shells = [hopping_elements(lattice, lattice.bonds(s), -x, twist=twist) for s, x in enumerate(t, start=1)]
    rows, columns, values = (torch.cat(parts) for parts in zip(*shells, strict=True))
    return rows, columns, values


def dense(rows: Tensor, columns: Tensor, values: Tensor, size: int) -> Tensor:
    """The matrix ``(size, size)`` of listed elements; those listed several times add up."""
    return values.new_zeros(size * size).index_add(0, rows * size + columns, values).reshape(size, size)
