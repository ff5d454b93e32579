"""The moves of particles on a lattice."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nearsight._description import Described
from nearsight._validation import instance, integer
from nearsight.fields import check_field
from nearsight.forcefields.gradients import wanted
from nearsight.lattices import Lattice


class Hops(Described):
    """Hops of particles, the ones of an occupation field 0 or 1, to an empty site of a neighbour shell.

    Move ``site * directions + direction`` takes the particle on ``site`` to ``targets[site, direction]``. Directions
    are sorted as in :meth:`Lattice.neighbourhood` and have the same vector from every site of one sublattice. A target
    of -1 lies beyond an open edge.

    Parameters
    ----------
    lattice: where the particles live; two sites wide tori, on which two directions lead to one target, are refused.
    shell: neighbour shell of the hops, 1 for nearest neighbours.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> hops = ns.moves.Hops(ns.lattices.square(4))
    >>> before = torch.zeros(16, 1).double()
    >>> before[5] = 1.0
    >>> possible = hops.possible(before).nonzero()[:, 0]  # the four hops of the only particle
    >>> after = hops.apply(before, possible[0])
    >>> back = torch.tensor(hops.reversed[possible[0]])
    >>> len(possible), torch.equal(hops.apply(after, back), before)
    (4, True)
    """

    def __init__(self, lattice: Lattice, shell: int = 1) -> None:
        instance(lattice, Lattice, "lattice")
        shell = integer(shell, "shell", least=1, most=len(lattice.shell_distances))
        self.lattice, self.shell = lattice, shell
        radius = float(lattice.shell_distances[shell - 1])
        tables = []
        for b in range(lattice.n_basis):
            around = lattice.neighbourhood(radius, centre=b)
            on_shell = around.distances > radius - lattice.tolerance
            tables.append(lattice.neighbour_table(around)[:, on_shell])
        width = max(table.shape[1] for table in tables)
        targets = np.full((lattice.n_cells, lattice.n_basis, width), -1)
        for b, table in enumerate(tables):
            targets[:, b, : table.shape[1]] = table
        self.targets = targets.reshape(lattice.n_sites, width)
        """Where every direction leads from every site ``(site, direction)``."""
        ordered = np.sort(self.targets, axis=1)
        sites = np.arange(lattice.n_sites)[:, None]
        if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any() or (self.targets == sites).any():
            raise ValueError(f"{lattice!r} is so small that two directions lead to one site; take three cells or more.")

    def __len__(self) -> int:
        return self.targets.size

    @property
    def directions(self) -> int:
        """Directions of a site; of the site with most of them where sublattices differ."""
        return self.targets.shape[1]

    @cached_property
    def reversed(self) -> np.ndarray:
        """The number of the move that undoes each move ``(move,)``; -1 where there is no target."""
        number = np.full(len(self), -1)
        site, direction = np.nonzero(self.targets >= 0)
        back = self.targets[self.targets[site, direction]] == site[:, None]
        number[site * self.directions + direction] = self.targets[site, direction] * self.directions + back.argmax(1)
        return number

    def carried(self, origin: np.ndarray) -> np.ndarray:
        """The number of every move ``(move,)`` after an operation that brings to site i what was on ``origin[i]``."""
        now = np.argsort(origin)
        site, direction = np.divmod(np.arange(len(self)), self.directions)
        arrived = self.targets[now[site]] == now[self.targets[site, direction]][:, None]
        return now[site] * self.directions + arrived.argmax(1)

    def check(self, field: Tensor) -> Tensor:
        """Refuse what is not a field ``(*batch, site, 1)`` of zeros and ones."""
        check_field(field, self.lattice.n_sites, 1)
        if wanted(field):
            raise ValueError(
                "Costs of moves have no derivatives by the occupations, which are 0 or 1: pass field.detach()."
            )
        wrong = int(((field != 0) & (field != 1)).sum())
        if wrong:
            raise ValueError(f"{wrong} of {field.numel()} values are not 0 or 1; an occupation is one of the two.")
        return field

    def possible(self, field: Tensor) -> Tensor:
        """Whether a particle can make the move ``(*batch, move)``: it is there, and the target is empty."""
        occupied = field[..., 0] > 0.5
        targets = torch.from_numpy(self.targets).to(field.device)
        return (occupied[..., None] & ~occupied[..., targets] & (targets >= 0)).flatten(-2)

    def apply(self, field: Tensor, move: Tensor) -> Tensor:
        """The field after one move in every replica; ``move`` is an integer tensor ``(*batch,)``."""
        site = move // self.directions
        target = torch.from_numpy(self.targets.reshape(-1)).to(field.device)[move]
        moved = field.scatter(-2, site[..., None, None], 0.0)
        return moved.scatter(-2, target[..., None, None], 1.0)
