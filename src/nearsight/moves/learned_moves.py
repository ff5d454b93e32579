"""Learned energy differences of hops."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from nearsight._validation import instance
from nearsight.forcefields import LearnedForceField
from nearsight.moves.hops import Hops
from nearsight.moves.local_differences import _flat, _HopStencil, displacements
from nearsight.moves.move_energies import MoveEnergies, Walk
from nearsight.networks import EmbeddedNetwork

AT_ONCE = 2**17
"""Sites of all windows that are evaluated together."""


class LearnedMoveEnergies(MoveEnergies, nn.Module):
    """Energies of hops from parameters: one differentiable call for the moves of a training step serves everything."""

    dependency_range: tuple[int, ...]
    """Cells, along every axis, between the sources of two hops beyond which neither affects the other's ΔE."""
    sites_per_move: int
    """Sites whose features one ΔE takes: what a batch of moves is measured by."""

    def chosen(self, field: Tensor, replica: Tensor, move: Tensor) -> Tensor:
        """ΔE ``(choice,)`` of possible moves of the fields ``(replica, site, 1)``, in the precision of the parameters.

        This is the ``forward`` that a member writes, differentiable by the parameters. Whether a move is possible is
        not checked.
        """
        return self(field, replica, move)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def predict(self, field: Tensor, replica: Tensor, move: Tensor) -> Tensor:
        """:meth:`chosen` without a graph, in pieces that fit the memory, float64."""
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                together = max(1, AT_ONCE // self.sites_per_move)
                parts = [
                    # Only the replicas of a piece: what a network makes of whole fields is not made of all of them.
                    self._piece(field, replica[k : k + together], move[k : k + together])
                    for k in range(0, len(move), together)
                ]
        finally:
            self.train(training)
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64, device=field.device)

    def _piece(self, field: Tensor, replica: Tensor, move: Tensor) -> Tensor:
        used, place = torch.unique(replica, return_inverse=True)
        return self(field[used], place, move).double()

    def differences(self, field: Tensor) -> Tensor:
        possible = self.hops.possible(self.hops.check(field))
        flat = field.reshape(-1, *field.shape[-2:])
        replica, move = torch.nonzero(possible.reshape(len(flat), -1), as_tuple=True)
        result = torch.full(possible.shape, torch.inf, dtype=torch.float64, device=field.device)
        result.view(len(flat), -1)[replica, move] = self.predict(flat, replica, move)
        return result

    def start_walk(self, field: Tensor) -> Walk:
        return _CachedWalk(self, field)


class LearnedMoves(LearnedMoveEnergies):
    r"""Differences of a learned energy: ΔE(i → j) = E(after) - E(before), whatever learned force field has the energy.

    Let e be the occupations of all sites but i and j. Reversal exchanges the two ends and keeps e, so that ΔE must
    change sign, ΔE(j → i | e) = -ΔE(i → j | e); together with the symmetry of the lattice it is odd under the
    operations of the bond that exchange i and j, and even under those that keep both. That is not enough. Rates with
    the ratio exp(-ΔE/kT) obey detailed balance with *some* stationary state only if ΔE vanishes around every closed
    loop of moves (Kolmogorov's condition), which makes it the difference of a function of the state. An antisymmetric
    function of the neighbourhood of the bond does not do that by itself: :class:`~nearsight.reproductions.MoveCentred`.
    Here the function of the state comes first,

    .. math:: E(n) = \sum_k \epsilon(\text{neighbourhood of } k), \qquad
              \Delta E(i \to j) = \sum_{k \text{ sees } i \text{ or } j} [\epsilon_k(n') - \epsilon_k(n)] ,

    and antisymmetry, the symmetry of the bond, and the loop condition all follow, to rounding. An occupied target is
    no move. Terms of E that are linear in n are constants of the motion and cannot be learned from hops; pairs are the
    first order that matters.

    Parameters
    ----------
    forcefield: with an energy, of one component. With an :class:`~nearsight.networks.EmbeddedNetwork` a hop costs
        microseconds and walks are compiled; with any other model, the energies of a window around the hop are evaluated
        again.
    hops: the moves; those to nearest neighbours if left out.

    To store one, ``forcefields.save`` its force field.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(8)
    >>> network = ns.networks.EmbeddedNetwork(lattice, ns.fields.occupation(), radius=2.0, channels=2)
    >>> moves = ns.moves.LearnedMoves(ns.LearnedForceField(network))
    >>> before = (torch.arange(64)[:, None] % 3 == 0).double()
    >>> cost = moves.differences(before)
    >>> move = cost.isfinite().nonzero()[0, 0]
    >>> after = moves.hops.apply(before, move)
    >>> back = moves.differences(after)[moves.hops.reversed[move]]  # costs the opposite, as differences of an energy do
    >>> torch.allclose(torch.stack([-back, moves.energy(after) - moves.energy(before)]), cost[move], atol=1e-6)
    True

    References
    ----------
    A. N. Kolmogorov, Math. Ann. 112, 155 (1936).
    """

    def __init__(self, forcefield: LearnedForceField, hops: Hops | None = None) -> None:
        super().__init__()
        instance(forcefield, LearnedForceField, "forcefield")
        if hops is not None:
            instance(hops, Hops, "hops")
        if not forcefield.conservative:
            raise ValueError(f'{forcefield!r} has no energy; hops need one. Build its network with head="energy".')
        if forcefield.components != 1:
            raise ValueError(f"Occupations have one component, {forcefield!r} takes {forcefield.components}.")
        hops = hops or Hops(forcefield.lattice)
        if not hops.lattice.coincides(forcefield.lattice):
            raise ValueError(f"The hops are on {hops.lattice!r}, the force field on {forcefield.lattice!r}.")
        self.forcefield, self.hops = forcefield, hops

    def energy(self, field: Tensor) -> Tensor:
        """E ``(*batch,)``, float64, up to what is linear in n."""
        flat = self.hops.check(field).reshape(-1, *field.shape[-2:]).to(self.dtype)
        with torch.no_grad():
            return self._local(flat).double().sum(-1).view(field.shape[:-2])

    def start_walk(self, field: Tensor) -> Walk:
        if self._columns is None:
            return _CachedWalk(self, field)
        from nearsight.moves._embedded_walk import EmbeddedWalk  # its compiler is slow to import

        return EmbeddedWalk(self, self._columns, field)

    @property
    def reach(self) -> tuple[int, ...]:
        """How many cells away a site still matters for a local energy."""
        return self.forcefield.reach

    @property
    def dependency_range(self) -> tuple[int, ...]:  # type: ignore[override]
        return tuple(2 * (r + d) for r, d in zip(self.reach, self._steps, strict=True))

    @property
    def sites_per_move(self) -> int:  # type: ignore[override]
        if self._columns is not None:
            return self._columns.window
        return int(np.prod(self._patch)) * self.lattice.n_basis if self._patched else self.lattice.n_sites

    def forward(self, field: Tensor, replica: Tensor, move: Tensor) -> Tensor:
        field = field.to(self.dtype)
        if self._columns is not None:
            return self._columns.differences(field, replica, move)
        return (self._in_patches if self._patched else self._in_whole)(field, replica, move)

    # --- windows of any learned energy ------------------------------------------------------------------------------

    @cached_property
    def _columns(self) -> _HopStencil | None:
        network = self.forcefield.model
        return _HopStencil(network, self.hops) if isinstance(network, EmbeddedNetwork) else None

    @cached_property
    def _steps(self) -> tuple[int, ...]:
        return tuple(int(s) for s in np.abs(displacements(self.hops)).max((0, 1)))

    @cached_property
    def _patch(self) -> tuple[int, ...]:
        """Cells of the window that one ΔE takes: two reaches about both ends."""
        return tuple(2 * (2 * r + d) + 1 for r, d in zip(self.reach, self._steps, strict=True))

    @cached_property
    def _patched(self) -> bool:
        """Whether windows close around no torus and meet no open edge; else whole lattices are evaluated."""
        inner = zip(self._patch, self.reach, self.lattice.shape, strict=True)
        return all(self.lattice.periodic) and all(p - 2 * r <= n for p, r, n in inner)  # type: ignore[arg-type]

    def _local(self, field: Tensor) -> Tensor:
        whole = self.forcefield.training or not self._patched or not self.forcefield._tiled(field)
        return self.forcefield.local(field) if whole else self.forcefield._tiled_local(field)

    def _in_whole(self, field: Tensor, replica: Tensor, move: Tensor) -> Tensor:
        after = self.hops.apply(field[replica], move)
        return (self.forcefield.local(after) - self.forcefield.local(field)[replica]).sum(-1)

    def _in_patches(self, field: Tensor, replica: Tensor, move: Tensor) -> Tensor:
        lattice, dim = self.lattice, self.lattice.dim
        site, direction = (x.cpu().numpy() for x in (move // self.hops.directions, move % self.hops.directions))
        cell = np.stack(np.unravel_index(site // lattice.n_basis, lattice.shape), -1)
        target = self.hops.targets[site, direction]

        def around(width: tuple[int, ...]) -> Tensor:
            corner = cell - np.array(width) // 2
            steps = np.stack(np.meshgrid(*map(np.arange, width), indexing="ij"), -1)
            cells = corner.reshape(-1, *(1,) * dim, dim) + steps
            return torch.from_numpy(_flat(cells, lattice.shape)).to(field.device)

        rows, cells = replica.view(-1, *(1,) * dim), around(self._patch)
        window = original = field.view(len(field), lattice.n_cells, lattice.n_basis, 1)[rows, cells]
        # Where the window is wider than the torus its edge repeats sites, and the hop with them.
        for value, moving in ((0.0, site), (1.0, target)):
            cell_hit, basis_hit = (torch.from_numpy(x).to(field.device) for x in np.divmod(moving, lattice.n_basis))
            in_cell = torch.nn.functional.one_hot(basis_hit, lattice.n_basis).bool().view(*rows.shape, -1)
            hit = (cells == cell_hit.view(rows.shape))[..., None] & in_cell
            window = torch.where(hit[..., None], window.new_tensor(value), window)
        after = self.forcefield.window(window)
        if cells.numel() < len(field) * lattice.n_cells:  # a few windows on a large lattice
            before = self.forcefield.window(original)
        else:
            inner = tuple(p - 2 * r for p, r in zip(self._patch, self.reach, strict=True))
            before = self._local(field).view(len(field), lattice.n_cells, lattice.n_basis)[rows, around(inner)]
        return (after.view_as(before) - before).flatten(1).sum(1)


class _CachedWalk(Walk):
    """A replica whose energy differences are kept until something moves within sight of them.

    It serves every learned energy and none quickly: a difference is a call of the network, a millisecond.
    """

    energies: LearnedMoveEnergies

    def __init__(self, energies: LearnedMoveEnergies, field: Tensor) -> None:
        super().__init__(energies, field)
        self.known = np.full(len(energies.hops), np.nan)
        lattice, sight = energies.lattice, energies.dependency_range
        spans = [
            np.arange(n) if 2 * s + 1 >= n and around else np.arange(-min(s, n - 1), min(s, n - 1) + 1)
            for s, n, around in zip(sight, lattice.shape, lattice.periodic, strict=True)  # type: ignore[arg-type]
        ]
        self._near = np.stack(np.meshgrid(*spans, indexing="ij"), -1).reshape(-1, lattice.dim)

    def difference(self, move: int) -> float:
        # One at a time, also below: in a batch the last bit would depend on who else is in it, and so on who asked.
        if np.isnan(self.known[move]):
            at = torch.tensor([move], device=next(self.energies.parameters()).device)
            found = self.energies.predict(self.field.to(at.device)[None], torch.zeros_like(at), at)
            self.known[move] = float(found)
        return float(self.known[move])

    def differences(self) -> np.ndarray:
        possible = self.hops.possible(self.field).numpy()
        for move in np.flatnonzero(possible & np.isnan(self.known)):
            self.difference(int(move))
        return np.where(possible, self.known, np.inf)

    def accept(self, move: int) -> np.ndarray:
        super().accept(move)
        lattice, site = self.energies.lattice, move // self.hops.directions
        cell = np.array(np.unravel_index(site // lattice.n_basis, lattice.shape))
        first = lattice.index(cell + self._near)  # the cells' first sites, -1 beyond an open edge
        first = first[first >= 0]
        width = lattice.n_basis * self.hops.directions
        changed = (first[:, None] * self.hops.directions + np.arange(width)).reshape(-1)
        self.known[changed] = np.nan
        return changed
