"""Distances between sites and hops, and force fields in double precision: what measurements of range share."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice, torus_distance
from nearsight.moves import Hops, MoveEnergies

Model = TypeVar("Model", bound=ForceField | MoveEnergies)
BATCH = 64
"""Fields handed to a force field at once."""


def distances(lattice: Lattice, sites: list[int]) -> np.ndarray:
    """Distance of every site from each of ``sites`` ``(len(sites), site)``, to the nearest image."""
    return np.stack([torus_distance(lattice.positions - lattice.positions[j], lattice) for j in sites])


def shells(r: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """The distinct distances, ascending, and for every entry of ``r`` which of them it is."""
    ordered = np.sort(r, axis=None)
    distinct = ordered[np.concatenate([[True], np.diff(ordered) > tolerance])]
    return distinct, np.searchsorted(distinct, r + tolerance, side="right") - 1


def ends(hops: Hops) -> tuple[np.ndarray, np.ndarray]:
    """Where every move begins and ends ``(move,)``; at its beginning if it leads nowhere."""
    first = np.repeat(np.arange(hops.lattice.n_sites), hops.directions)
    last = hops.targets.reshape(-1)
    return first, np.where(last >= 0, last, first)


def nearer_end(lattice: Lattice, hops: Hops, moves: np.ndarray) -> np.ndarray:
    """Distance of every site from the nearer end of each of some moves ``(move, site)``."""
    return np.minimum(*(distances(lattice, end[moves].tolist()) for end in ends(hops)))


def normals(spins: Tensor) -> Tensor:
    """Two unit vectors normal to each spin and to each other ``(..., 2, 3)``, for spins ``(..., 3)``."""
    axis = torch.zeros_like(spins).scatter_(-1, spins.abs().argmin(-1, keepdim=True), 1.0)
    first = torch.linalg.cross(spins, axis)
    first = first / first.norm(dim=-1, keepdim=True)
    return torch.stack([first, torch.linalg.cross(spins, first)], -2)


def doubled(model: Model) -> Model:
    """Forces or energies of hops in double precision and ready for use: themselves, or a copy of single parameters."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    if not any(p.is_floating_point() and p.dtype != torch.float64 for p in parameters):
        return model
    copied: Any = copy.deepcopy(model)
    return copied.double().eval()


def forces(forcefield: ForceField, fields: Tensor) -> Tensor:
    """Forces on many fields, piece by piece."""
    with torch.no_grad():
        return torch.cat([forcefield(chunk).force for chunk in fields.split(BATCH)])
