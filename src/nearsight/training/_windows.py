"""Pieces of a large lattice with exact forces on a few of their sites, small enough to be learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nearsight.forcefields import ForceField, LearnedForceField
from nearsight.lattices import Lattice, cut_patches

CORE = 2
"""Cells around the centre of a window within which forces are labelled: chosen sites that are near share a window."""


class Labelled(NamedTuple):
    """Windows ``(window, site, component)`` of one lattice, their labels, and weights ``(window, site)``.

    place: for every site with a weight, in their order, in which field it is and which of its sites ``(n, 2)``.
    """

    lattice: Lattice
    field: Tensor
    force: Tensor
    weight: Tensor
    place: Tensor


def halo(learned: ForceField) -> tuple[int, ...]:
    """How many cells away the learned force on a site sees, along every axis.

    Local energies on all sites within the reach bear on the force, and see as far again.
    """
    parts = [m for m in learned.modules() if isinstance(m, LearnedForceField)]
    reaches = [[r * (2 if part.conservative else 1) for r in part.reach] for part in parts]
    return tuple(max(axis) for axis in zip(*reaches, strict=True))


@dataclass(frozen=True, eq=False)
class Windows:
    """Periodic windows around sites of a large lattice, in whose core the learned force is that of the large lattice.

    A window reaches ``halo`` and ``CORE`` cells from its centre: what lies beyond its seam is out of sight of the sites
    in its core. An axis of the large lattice that is no longer is taken whole.
    """

    lattice: Lattice
    halo: int

    @property
    def radius(self) -> int:
        return self.halo + CORE + 1

    def cut(
        self, field: Tensor, sites: Tensor, replicas: Tensor, force: Tensor, more: Tensor | None = None
    ) -> Labelled:
        """Windows that hold all ``sites (n,)`` of ``field (replica, site, component)``, each in the core of one.

        force: the labels ``(n, component)``. more: forces on all sites ``(replica, site, component)`` of the replicas
        that occur, NaN where they are not known: then other sites of a core are labelled, too.
        """
        around = list(self._around(sites))
        small = around[0][0]
        place = {(int(r), int(i)): k for k, (r, i) in enumerate(zip(replicas, sites, strict=True))}
        rows = torch.unique(replicas, return_inverse=True)[1]
        taken: set[int] = set()
        parts: list[tuple[Tensor, ...]] = []
        for k, (_, index, core) in enumerate(around):
            if k in taken:
                continue
            labels, weight = torch.zeros(len(index), field.shape[-1], dtype=torch.float64), torch.zeros(len(index))
            for x in core:
                other = place.get((int(replicas[k]), int(index[x])))
                if other is not None and other not in taken:
                    labels[x], weight[x] = force[other], 1.0
                    taken.add(other)
                elif more is not None and not bool(more[rows[k], index[x]].isnan().any()):
                    labels[x], weight[x] = more[rows[k], index[x]], 1.0
            own = torch.from_numpy(index)
            known = own[weight > 0]
            places = torch.stack([replicas[k].expand(len(known)), known], dim=1)
            parts.append((field[replicas[k], own].double().cpu(), labels, weight.double(), places))
        fields, forces, weights = (torch.stack([part[n] for part in parts]) for n in range(3))
        return Labelled(small, fields, forces, weights, torch.cat([part[3] for part in parts]))

    def _around(self, sites: Tensor) -> Sequence[tuple[Lattice, np.ndarray, list[int]]]:
        """Of every site the window, its sites in the large lattice, and which of them are in its core, centre first."""
        found: dict[int, tuple[Lattice, np.ndarray, list[int]]] = {}
        for patches in cut_patches(self.lattice, sites.numpy(), self.radius, closed=True):
            offset = np.abs(patches.lattice.cells - patches.lattice.cells[patches.centre])
            inside = ((offset <= CORE) | np.array(patches.whole)).all(1)
            core = [patches.centre, *(int(x) for x in np.flatnonzero(inside) if x != patches.centre)]
            for row, k in enumerate(patches.drawn):
                found[int(k)] = (patches.lattice, patches.sites[row], core)
        return [found[k] for k in range(len(sites))]


def joined(parts: Sequence[Labelled]) -> Labelled:
    """Windows of one lattice together."""
    return Labelled(parts[0].lattice, *(torch.cat([getattr(p, n) for p in parts]) for n in Labelled._fields[1:]))
