"""Energy differences learned from the neighbourhood of the bond, without an energy whose differences they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import instance, number
from nearsight.lattices import Neighbourhood
from nearsight.lattices.symmetry import matching_operations, neighbour_map
from nearsight.moves.hops import Hops
from nearsight.moves.learned_moves import LearnedMoveEnergies
from nearsight.moves.local_differences import displacements
from nearsight.networks import MLP


class MoveCentred(LearnedMoveEnergies):
    r"""ΔE as an odd function of what surrounds a hop: antisymmetric, and yet without detailed balance.

    The window e holds the occupations within ``cutoff`` of the middle of the bond, its ends left out. Operations
    about the middle that map the bond onto itself either keep both ends (K of them) or exchange them (as many); ΔE is
    even under the first and odd under the second,

    .. math:: \Delta E(i \to j | e) = \frac{1}{2K} \Big[ \sum_{g\ {\rm keeps}} h(g^{-1} e)
              - \sum_{g\ {\rm exchanges}} h(g^{-1} e) \Big] ,

    with one network h for all bonds. The way back has the same e and the opposite energy. That settles single bonds,
    but not loops of several moves: two hops in either order need not cost the same, and unless they do no stationary
    state obeys detailed balance. What the loops fail to close by is the price of a model that starts from the move;
    :class:`~nearsight.moves.LearnedMoves` starts from an energy and has none. Kept to measure that price.

    Parameters
    ----------
    hops: on a periodic lattice whose bonds of that shell are all equivalent, as nearest neighbours of the catalogue's
        lattices are.
    network: from the occupations of the window to h; built here for their number.
    cutoff: radius of the window in units of a.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> hops = ns.moves.Hops(ns.lattices.square(12))
    >>> odd = ns.reproductions.MoveCentred(hops, ns.networks.MLP((16,)), cutoff=2.0)
    >>> before = (torch.arange(144)[:, None] % 3 == 0).double()
    >>> cost = odd.differences(before)
    >>> move = cost.isfinite().nonzero()[0, 0]
    >>> back = odd.differences(hops.apply(before, move))[hops.reversed[move]]
    >>> torch.allclose(back, -cost[move], atol=1e-6)  # the way back costs the opposite
    True
    """

    def __init__(self, hops: Hops, network: MLP | None = None, *, cutoff: float = 4.0) -> None:
        super().__init__()
        lattice = instance(hops, Hops, "hops").lattice
        cutoff = number(cutoff, "cutoff", above=0)
        if network is not None:
            instance(network, MLP, "network")
        if not all(lattice.periodic):  # type: ignore[arg-type]
            raise ValueError(f"Windows at the edge of {lattice!r} lack sites; make it periodic along every axis.")
        self.hops, self.cutoff = hops, float(cutoff)
        steps = displacements(hops)[: lattice.n_basis]
        known = hops.targets[: lattice.n_basis] >= 0
        first = self._window(0, steps[0, 0], hops.targets[0, 0])
        self._cells = np.zeros((*known.shape, len(first[0]), lattice.dim), np.int64)
        self._basis = np.zeros((*known.shape, len(first[0])), np.int64)
        orders: list[tuple[np.ndarray, np.ndarray]] = []
        for b, d in np.argwhere(known):
            around, shift, bond = self._window(b, steps[b, d], hops.targets[b, d])
            if len(around) != len(first[0]):
                orders = []
                break
            self._cells[b, d], self._basis[b, d] = around.cells + shift, around.sublattice
            orders.append(self._orders(first, (around, shift, bond)))
        if len({len(o) for pair in orders for o in pair}) != 1 or not len(orders[0][1]):
            raise ValueError(f"The hops of {hops!r} are not all equivalent, back and forth; use LearnedMoves.")
        self._order = np.zeros((*known.shape, 2 * len(orders[0][0]), len(first[0])), np.int64)
        self._order[known] = [np.concatenate(pair) for pair in orders]
        self.network = (network or MLP((64, 64))).build(len(first[0]))
        reach, steps = np.abs(self._cells).max((0, 1, 2)), np.abs(displacements(hops)).max((0, 1))
        self.dependency_range = tuple((reach + steps).tolist())
        self.sites_per_move = int(np.prod(self._order.shape[2:]))

    def _window(self, b: int, step: np.ndarray, target: int) -> tuple[Neighbourhood, np.ndarray, np.ndarray]:
        """Sites around a bond without its ends, the cells from the source to the window's, and the bond's vector."""
        lattice = self.lattice
        bond = step @ lattice.vectors + lattice.basis[target % lattice.n_basis] - lattice.basis[b]
        middle, shift = lattice.locate(lattice.basis[b] + bond / 2)
        around = lattice.neighbourhood(self.cutoff, centre=middle)
        ends = np.abs(np.abs(around.vectors @ bond) - bond @ bond / 2) < lattice.tolerance * np.linalg.norm(bond)
        ends &= np.abs(around.distances - np.linalg.norm(bond) / 2) < lattice.tolerance
        if not ends.any() or ends.all():
            raise ValueError(f"cutoff={self.cutoff:g} does not reach beyond the ends of the bond; raise it.")
        return around.part(~ends), shift, bond

    def _orders(self, first: tuple, other: tuple) -> tuple[np.ndarray, np.ndarray]:
        """Where the sites of the first window stand in another, for operations that carry bond to bond, or to its
        reverse."""
        operations = matching_operations(self.lattice, first[0].centre, other[0].centre)
        arrives = operations @ first[2]
        pair = []
        for sign in (1.0, -1.0):
            chosen = operations[np.abs(arrives - sign * other[2]).max(1) < self.lattice.tolerance]
            pair.append(np.array([neighbour_map(first[0], other[0], g) for g in chosen]))
        return pair[0], pair[1]

    def forward(self, field: Tensor, replica: Tensor, move: Tensor) -> Tensor:
        lattice = self.lattice
        site, d = (x.cpu().numpy() for x in (move // self.hops.directions, move % self.hops.directions))
        b, cell = site % lattice.n_basis, np.stack(np.unravel_index(site // lattice.n_basis, lattice.shape), -1)
        index = lattice.index(cell[:, None] + self._cells[b, d], self._basis[b, d])
        # On a torus smaller than the window images of the ends lie in it, which are not part of e.
        ends = (index == site[:, None]) | (index == self.hops.targets[site, d][:, None])
        at, gone, order = (torch.from_numpy(x).to(field.device) for x in (index, ends, self._order[b, d]))
        around = field[..., 0].to(self.dtype)[replica[:, None], at].masked_fill(gone, 0.0)
        seen = around[:, None].expand(-1, order.shape[1], -1).gather(2, order)
        keeps, exchanges = self.network(seen).chunk(2, dim=1)
        return 0.5 * (keeps.mean(1) - exchanges.mean(1))
