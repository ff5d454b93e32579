"""What one hop does to linear features of the sites around it."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nearsight.fields.halo import pad_periodic
from nearsight.moves.hops import Hops
from nearsight.networks import EmbeddedNetwork


def displacements(hops: Hops) -> np.ndarray:
    """Cells from the source to the target of every move ``(site, direction, dim)``, the shortest way around a torus."""
    lattice, shape = hops.lattice, np.array(hops.lattice.shape)
    site = np.arange(lattice.n_sites)[:, None]
    target = np.where(hops.targets >= 0, hops.targets, site)
    ends = (np.stack(np.unravel_index(s // lattice.n_basis, lattice.shape), -1) for s in (target, site))
    step = np.subtract(*ends)
    return np.where(lattice.periodic, (step + shape // 2) % shape - shape // 2, step)


class _HopStencil:
    r"""The change of the linear features of an :class:`EmbeddedNetwork` by every kind of hop.

    On a periodic lattice with one site per cell all hops of one direction δ are translates of each other:

    .. math:: \Delta u(i + s) = w(\delta - s) - w(-s)

    at the sites s of a window that depends on the direction only. Where the torus is smaller than the window, images
    of a site are added up once, here, and a window holds no site twice.
    """

    def __init__(self, network: EmbeddedNetwork, hops: Hops) -> None:
        self.network, self.hops, self.lattice = network, hops, hops.lattice
        shape = np.array(self.lattice.shape)
        around = self.lattice.neighbourhood(network.radius).cells
        steps = displacements(hops)[0]
        entries = []  # of every direction: the places of its window, and who adds to them
        for step in steps:
            ends = [np.mod(e - around, shape) for e in (step, np.zeros_like(step))]
            flat = np.ravel_multi_index(tuple(np.concatenate(ends).T), self.lattice.shape)
            entries.append(np.unique(flat, return_inverse=True))
        self.window = max(len(places) for places, _ in entries)
        """Sites of the widest window."""
        directions, n = len(steps), len(around)
        self.offsets = np.zeros((directions, self.window, self.lattice.dim), np.int64)
        """Cells from the source to every site of the window ``(direction, place, dim)``, not negative.

        Shorter windows are filled up with the source, whose features the filling does not change."""
        self.size = np.array([len(places) for places, _ in entries])
        """Sites of every window without the filling."""
        rows = np.empty((2, directions, n), np.int64)
        for d, (places, where) in enumerate(entries):
            self.offsets[d, : len(places)] = np.stack(np.unravel_index(places, self.lattice.shape), -1)
            rows[:, d] = d * self.window + where.reshape(2, n)
        self._rows = torch.from_numpy(rows)

    @cached_property
    def own(self) -> tuple[np.ndarray, np.ndarray]:
        """Sites that see a particle, from its own: offsets ``(place, dim)``, and the place of every neighbour."""
        shape = self.lattice.shape
        around = np.mod(-self.lattice.neighbourhood(self.network.radius).cells, np.array(shape))
        places, where = np.unique(np.ravel_multi_index(tuple(around.T), shape), return_inverse=True)
        return np.stack(np.unravel_index(places, shape), -1), where

    @cached_property
    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Which place of :attr:`own` every place of a window is, seen from the target and from the source.

        ``(direction, place)``, the number of places of ``own`` where it is none of them, and in the filling.
        """
        own, shape = self.own[0], self.lattice.shape
        number = np.full(self.lattice.n_sites, len(own))
        number[np.ravel_multi_index(tuple(own.T), shape)] = np.arange(len(own))
        target = np.stack(np.unravel_index(self.hops.targets[0], shape), -1)[:, None]
        filling = np.arange(self.window) >= self.size[:, None]
        ends = (number[_flat(self.offsets - end, shape)] for end in (target, np.zeros_like(target)))
        arriving, leaving = (np.where(filling, len(own), end) for end in ends)
        return arriving, leaving

    @cached_property
    def near(self) -> np.ndarray:
        """Cells ``(place, dim)`` from the source of a hop to those of all hops whose windows share a site with its."""
        windows = [offsets[:size] for offsets, size in zip(self.offsets, self.size, strict=True)]
        pairs = [_flat(a[:, None] - b, self.lattice.shape).reshape(-1) for a in windows for b in windows]
        return np.stack(np.unravel_index(np.unique(np.concatenate(pairs)), self.lattice.shape), -1)

    def changes(self) -> Tensor:
        """Δu of every direction ``(direction, place, feature)``, a function of the weights."""
        columns = self.network.columns()[:, 0]
        rows = self._rows.to(columns.device)
        directions = rows.shape[1]
        flat = columns.new_zeros(directions * self.window, columns.shape[-1])
        for sign, index in zip((1.0, -1.0), rows, strict=True):
            flat = flat.index_add(0, index.reshape(-1), sign * columns.repeat(directions, 1))
        return flat.view(directions, self.window, -1)

    def differences(self, field: Tensor, replica: Tensor, move: Tensor) -> Tensor:
        """ΔE ``(choice,)`` of moves of the fields ``(replica, site, 1)``, differentiable by the weights."""
        lattice, network = self.lattice, self.network
        u = network.embed(pad_periodic(field.reshape(-1, 1, *lattice.shape), network.reach, first=2))
        site, direction = move // self.hops.directions, move % self.hops.directions
        offsets = torch.from_numpy(self.offsets).to(field.device)[direction]
        index = torch.zeros_like(offsets[..., 0])
        for axis, cell in enumerate(torch.unravel_index(site, lattice.shape)):
            index = index * lattice.shape[axis] + (cell[:, None] + offsets[..., axis]) % lattice.shape[axis]
        before = u.flatten(1, -2)[replica[:, None], index]
        after = before + self.changes()[direction]
        return (network.site_energy(after) - network.site_energy(before)).sum(-1)


def _flat(cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of cells ``(...)``, taken around the torus, from their coordinates ``(..., dim)``."""
    return np.ravel_multi_index(tuple(np.moveaxis(cells % np.array(shape), -1, 0)), shape)
