"""Distances between sites and hops, and force fields in double precision: what measurements of range share."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice, Structures, half_period, torus_distance
from nearsight.moves import Hops, MoveEnergies

Model = TypeVar("Model", bound=ForceField | MoveEnergies)
BATCH = 64
"""Fields handed to a force field at once."""
BIN = 0.2
"""Width of the bins of distance where no two are equal, in units of the smallest distance between sites."""


def distances(lattice: Lattice, sites: list[int]) -> np.ndarray:
    """Distance of every site from each of ``sites`` ``(len(sites), site)``, to the nearest image."""
    if isinstance(lattice, Structures):
        raise ValueError(
            f"Sites of different structures have no distance: examine one of {lattice!r}, on lattice.structures[0]."
        )
    return np.stack([torus_distance(lattice.positions - lattice.positions[j], lattice) for j in sites])


def farthest(lattice: Lattice) -> float:
    """The largest radius beyond which there is anything to speak of: half the shortest period, or half of an open edge
    that is longer."""
    edges = np.linalg.norm(lattice.vectors, axis=1) * np.asarray(lattice.shape)
    open_edges = edges[~np.broadcast_to(np.asarray(lattice.periodic), lattice.dim)]
    if len(open_edges) == lattice.dim:
        return half_period(lattice)
    return max(half_period(lattice), 0.5 * float(open_edges.max(initial=0.0)))


def shells(r: np.ndarray, lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """The distinct distances, ascending, and for every entry of ``r`` which of them it is.

    At arbitrary positions no two are equal: there it is their means in bins, the first of which holds the distance 0
    alone.
    """
    if lattice.disordered:
        used, which = np.unique(np.floor(r / (BIN * lattice.spacing)), return_inverse=True)
        which = which.reshape(r.shape)
        return np.bincount(which.ravel(), r.ravel()) / np.bincount(which.ravel(), minlength=len(used)), which
    ordered = np.sort(r, axis=None)
    distinct = ordered[np.concatenate([[True], np.diff(ordered) > lattice.tolerance])]
    return distinct, np.searchsorted(distinct, r + lattice.tolerance, side="right") - 1


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
