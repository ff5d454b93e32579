"""The hopping matrix of any tight-binding model on a lattice."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nearsight.lattices import Bonds, Lattice


def check_twist(lattice: Lattice, twist: tuple[float, ...] | None) -> None:
    """Refuse phases that are not one for each axis, or that lie on an open axis."""
    if twist is None:
        return
    if len(twist) != lattice.dim:
        raise ValueError(f"twist must give one phase for each of the {lattice.dim} axes, got {twist}.")
    if np.any(np.asarray(twist)[~np.broadcast_to(lattice.periodic, lattice.dim)]):
        raise ValueError(
            f"A twist acts across a periodic boundary, but {lattice!r} is open there; set that phase to 0."
        )


def hopping_matrix(
    lattice: Lattice, bonds: Bonds, amplitude: np.ndarray | float, *, twist: tuple[float, ...] | None = None
) -> Tensor:
    r"""The matrix of :math:`\sum_{\langle ij \rangle} \sum_{\mu\nu} (a_{\mu\nu} c_{j\mu}^\dagger c_{i\nu} + h.c.)`.

    Parameters
    ----------
    lattice, bonds: every bond counts once, from site i to site j.
    amplitude: a, one number for all bonds, one for each ``(bond,)``, or a matrix for each ``(bond, orbital, orbital)``.
    twist: a bond that crosses a periodic boundary gets the phase :math:`e^{i\theta}` of that axis.

    Returns
    -------
    ``(site · orbital, site · orbital)``, orbital μ of site i in row i · orbitals + μ; float64, with a twist complex128.
    """
    a = np.asarray(amplitude)
    a = np.broadcast_to(a if a.ndim == 3 else a[..., None, None], (len(bonds), *(a.shape[1:] or (1, 1))))
    if twist is not None:
        a = a * np.exp(1j * bonds.winding @ np.asarray(twist, dtype=float))[:, None, None]
    orbitals = a.shape[-1]
    rows = orbitals * bonds.j[:, None, None] + np.arange(orbitals)[:, None]
    columns = orbitals * bonds.i[:, None, None] + np.arange(orbitals)
    n = orbitals * lattice.n_sites
    matrix = np.zeros((n, n), dtype=complex if twist is not None else float)
    # Accumulated: on a torus two cells wide the same pair is joined by two bonds.
    np.add.at(matrix, (rows, columns), a)
    np.add.at(matrix, (columns, rows), np.conj(a))
    return torch.from_numpy(matrix)


def check_finite(**parameters: float) -> None:
    """Refuse parameters that are infinite or NaN, by name."""
    for name, value in parameters.items():
        if not np.isfinite(value):
            raise ValueError(f"{name} must be finite, got {value}.")
