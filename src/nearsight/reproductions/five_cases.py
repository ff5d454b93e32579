"""The published model of the hops of f electrons: one network for every pattern of occupied neighbours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import boolean, generator, instance, integer, number
from nearsight.descriptors.blocks import symmetry_blocks
from nearsight.groups import PointGroup
from nearsight.lattices import Neighbourhood, neighbour_permutations, site_group, square
from nearsight.moves.hops import Hops
from nearsight.moves.learned_moves import LearnedMoveEnergies

CASES = 5
"""Patterns of occupied neighbours on the square lattice: none, one, two adjacent, two opposite, three."""


class FiveCaseCNN(Described, nn.Module):
    """Five copies of one architecture, each for a pattern of occupied neighbours: ``(hop, feature)`` to ``(hop,)``.

    Features are read as a sequence: convolution of 5 to 16 channels, maxima of 3, convolution of 5 (padded by 1) to 32
    channels, maxima of 3, then layers of 256, 128, 64, 32 and 1, with ReLU between them. With the 316 features of a
    neighbourhood of radius 10 the flattened length is 1088, as published. Features that stand side by side in the
    sequence have no relation that a convolution could exploit; the network is kept to compare with.

    Examples
    --------
    >>> import torch
    >>> from nearsight.reproductions import FiveCaseCNN
    >>> network = FiveCaseCNN(316)
    >>> network(torch.zeros(6, 316), torch.tensor([0, 0, 1, 2, 3, 4])).shape  # hops with so many occupied neighbours
    torch.Size([6])
    """

    def __init__(self, features: int = 316, *, rng: torch.Generator | None = None) -> None:
        super().__init__()
        features = integer(features, "features", least=1)
        pooled = ((features - 4) // 3 - 2) // 3
        if pooled < 1:
            raise ValueError(f"{features} features are too few for two convolutions and poolings; give 19 or more.")
        self.features = features
        rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        self.cases = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(1, 16, 5), nn.MaxPool1d(3), nn.ReLU(),
                nn.Conv1d(16, 32, 5, padding=1), nn.MaxPool1d(3), nn.ReLU(), nn.Flatten(),
                nn.Linear(32 * pooled, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(),
                nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1),
            )
            for _ in range(CASES)
        )  # fmt: skip
        with torch.no_grad():
            for p in self.parameters():
                if p.ndim > 1:
                    p.normal_(std=(2.0 / p[0].numel()) ** 0.5, generator=rng)
                else:
                    p.zero_()

    def forward(self, features: Tensor, case: Tensor) -> Tensor:
        result = features.new_zeros(len(features))
        for k, network in enumerate(self.cases):
            here = torch.nonzero(case == k)[:, 0]
            if len(here):
                result = result.index_add(0, here, network(features[here][:, None])[:, 0])
        return result


class FiveCases(LearnedMoveEnergies):
    r"""ΔE of the hops of one site from invariants of its surroundings, square lattice only; kept as a reproduction.

    The occupations within ``cutoff`` of the site become irreps :math:`f_r^\Gamma`, those become amplitudes and
    "phases" relative to a reference :math:`f^\Gamma` (the mean occupation of a wedge of the neighbourhood, a large
    block), and one of five networks (:class:`FiveCaseCNN`) makes ΔE of them. A copy of a
    one-dimensional irrep gives one number, its amplitude with the sign of its phase, a copy of E two, amplitude and
    cosine: with any of the groups as many numbers as neighbours, 316 within 10, the published size of the input.

    Two readings of the text are possible. Invariants of the pattern's own group (D4 without occupied neighbours, a
    mirror or D2 with some) are the same for all hops of a site, and so is then ΔE: ``directed=False``. With
    ``directed=True`` the window is turned until the hop points one way, and only the mirror along the hop is left.

    Defects in either reading: the way back does not cost the opposite, no energy has these differences, so that no
    stationary state obeys detailed balance; amplitudes and signs jump where a reference vanishes; the five networks
    share nothing. :class:`~nearsight.moves.LearnedMoves` has none of them.

    Parameters
    ----------
    hops: to nearest neighbours on a periodic square lattice.
    cutoff: radius of the neighbourhood in units of a.
    directed: see above.
    network: built here unless given.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> hops = ns.moves.Hops(ns.lattices.square(12))
    >>> published = ns.reproductions.FiveCases(hops, cutoff=3.0)
    >>> before = (torch.arange(144)[:, None] % 3 == 0).double()
    >>> cost = published.differences(before)
    >>> move = cost.isfinite().nonzero()[0, 0]
    >>> back = published.differences(hops.apply(before, move))[hops.reversed[move]]
    >>> bool(abs(back + cost[move]) > 1e-3)  # the way back does not cost the opposite
    True
    """

    def __init__(
        self, hops: Hops, *, cutoff: float = 10.0, directed: bool = True, network: FiveCaseCNN | None = None
    ) -> None:
        super().__init__()
        lattice = instance(hops, Hops, "hops").lattice
        cutoff, directed = number(cutoff, "cutoff", above=0), boolean(directed, "directed")
        if network is not None:
            instance(network, FiveCaseCNN, "network")
        if not lattice.same_kind(square(3)) or not all(lattice.periodic) or hops.shell != 1:  # type: ignore[arg-type]
            raise ValueError(f"Five cases are of nearest neighbours on a periodic square lattice, not of {hops!r}.")
        self.hops, self.cutoff, self.directed = hops, float(cutoff), directed
        self._around = lattice.neighbourhood(cutoff).without_centre()
        group = site_group(lattice)
        self._turned = neighbour_permutations(self._around, group)
        step = lattice.neighbourhood(lattice.spacing).without_centre().vectors  # in the order of the hops
        occupied = [(), (0,), (0, 1), (0, 3), (0, 1, 2)]  # -x, -y, y, x: canonical patterns of the cases
        arrives = np.abs(np.einsum("gij,nj->gni", group.matrices, step)[:, :, None] - step).sum(-1).argmin(-1)
        self._case, self._turn = np.full(16, -1), np.zeros((16, 4), np.int64)
        for case, places in enumerate(occupied):
            for g in reversed(range(len(group))):
                pattern = sum(1 << int(arrives[g, n]) for n in places)
                self._case[pattern], self._turn[pattern] = case, g
        if directed:
            self._turn[:] = [int((arrives[:, 0] == d).argmax()) for d in range(4)]
            groups = [group.stabiliser(step[:1])] * len(occupied)
        else:
            groups = [group] + [group.stabiliser(step[list(places)]) for places in occupied[1:]]
        self._tables = [_Invariants(self._around, g) for g in groups]
        self.network = network or FiveCaseCNN(len(self._around))
        self.dependency_range = tuple(r + 2 for r in self._around.reach)
        self.sites_per_move = 8 * len(self._around)

    def forward(self, field: Tensor, replica: Tensor, move: Tensor) -> Tensor:
        site, d = (x.cpu().numpy() for x in (move // 4, move % 4))
        occupied = field[..., 0]
        beside = occupied[replica[:, None], torch.from_numpy(self.hops.targets[site]).to(field.device)]
        pattern = (beside.cpu().numpy().round().astype(int) << np.arange(4)).sum(1)
        cell = np.stack(np.unravel_index(site, self.lattice.shape), -1)[:, None]
        index = self.lattice.index(cell + self._around.cells[self._turned[self._turn[pattern, d]]])
        window = occupied[replica[:, None], torch.from_numpy(index).to(field.device)].to(self.dtype)
        case = torch.from_numpy(self._case[pattern]).to(field.device)
        features = torch.empty_like(window)
        for k, invariants in enumerate(self._tables):
            here = case == k
            features[here] = invariants(window[here])
        return self.network(features, case)


class _Invariants:
    """Amplitudes and reference phases of a neighbourhood under a group, as many as it has sites."""

    def __init__(self, around: Neighbourhood, group: PointGroup) -> None:
        blocks = symmetry_blocks(around, group, np.ones((len(group), 1, 1)))
        # One wedge between two mirrors of the square, its edges counted by half.
        angle = np.arctan2(around.vectors[:, 1], around.vectors[:, 0])
        inside, closed = (np.abs(angle - np.pi / 8) < np.pi / 8 - margin for margin in (1e-6, -1e-6))
        wedge = 0.5 * inside + 0.5 * closed
        trivial = next(i.name for i in group.irreps if np.allclose(i.characters, 1.0))
        rows: dict[str, list[np.ndarray]] = {}
        for block in blocks:
            for members, basis in zip(block.members, block.basis, strict=True):
                full = np.zeros((len(basis), len(around)))
                full[:, members] = basis
                for name, where in block.rows(group).items():
                    rows.setdefault(name, []).extend(full[where].reshape(-1, group.irrep(name).dim, len(around)))
        self.parts = []
        for name, copies in rows.items():
            X = np.array(copies)  # copy, component, neighbour
            reference = None if name == trivial else np.einsum("r,rmk->mk", X[:, 0] @ wedge, X)
            self.parts.append((torch.from_numpy(X), None if reference is None else torch.from_numpy(reference)))

    def __call__(self, window: Tensor) -> Tensor:
        found = []
        for X, reference in self.parts:
            f = torch.einsum("bk,rmk->brm", window, X.to(window))
            if reference is None:
                found.append(f[..., 0])
                continue
            v = torch.einsum("bk,mk->bm", window, reference.to(window))
            v = v * (v.abs() > 1e-4)  # what is zero by symmetry has no phase, and no rounding may give it one
            if f.shape[-1] == 1:
                found.append(f[..., 0] * torch.sign(v))
                continue
            length = f.norm(dim=-1)
            scale = (length * v.norm(dim=-1, keepdim=True)).clamp_min(1e-9)
            found += [length, torch.einsum("brm,bm->br", f, v) / scale]
        return torch.cat(found, 1)
