"""Invariants of a square block of Ising spins: irreducible representations about its centre, and two mean values."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import choice, integer
from nearsight.descriptors._contraction import Contraction, Variables
from nearsight.descriptors._contractions import MODES, Phase, contraction
from nearsight.descriptors.blocks import _Block, symmetry_blocks
from nearsight.fields import ising
from nearsight.lattices import Neighbourhood, plaquette_centre, site_group, square

ZERO = 1e-4
"""Lengths below this are zeros of ±1 spins spoilt by rounding: the smallest others are of order 1 / l²."""


class BlockIrreps(Described, nn.Module):
    r"""Invariants of a block of l × l Ising spins under D4 about its centre and under s → -s, as in the paper.

    The centre is a site for odd l and a plaquette for even l. Orbit by orbit the spins are decomposed into coefficients
    :math:`f_r^\Gamma`: diagonals A1 + B2 + E, mid-lines A1 + B1 + E, all others A1 + A2 + B1 + B2 + 2E. Mode
    ``"power+phase"`` (default) gives two numbers for every copy,

    .. math:: p_r = |f_r|^2, \qquad \eta_r = \frac{f_r \cdot f^*}{|f_r|\,|f^*|},

    with the references f* from the mean spins of the eight triangles between the mirrors; η = 0 where f_r or f* is 0.
    For E, which occurs twice among the eight triangles, f* is one fixed combination of both. An even l has l/2 orbits
    of 4 sites, on the diagonals, with 3 copies each and l(l - 2)/8 orbits of 8 sites with 6 copies each: 3l²/4 copies
    and 3l²/2 features, 96, 384, 1536 for l = 8, 16, 32. For spins ±1 one power of every orbit follows from the others,
    because :math:`\sum_r |f_r|^2` over its copies is its number of sites; without that of every diagonal orbit there
    would be 92, 376, 1520. All are kept: a network loses nothing by what it could work out.

    The modes of :class:`Irreps` serve as well: ``"phase"`` holds f·f*/|f*| and |f|² of doublets in two thirds of the
    numbers, ``"lifted"`` tells apart what the paper's set does not.

    Called with blocks ``(batch, l, l)``; returns ``(batch, feature)``.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> front = ns.descriptors.BlockIrreps(8)
    >>> blocks = torch.randint(2, (4, 8, 8), generator=torch.Generator().manual_seed(1)) * 2.0 - 1
    >>> features = front(blocks)
    >>> features.shape, torch.allclose(front(-blocks.rot90(dims=(1, 2))), features, atol=1e-5)  # 3/2 l², invariant
    (torch.Size([4, 96]), True)

    References
    ----------
    Z. Tian, S. Zhang, G.-W. Chern, Machine learning for structure-property relationships: Scalability and limitations
    (2023), appendix A; which of the two references of E it pairs with which coefficients is not said there.
    """

    def __init__(self, side: int, *, mode: str = "power+phase") -> None:
        super().__init__()
        self.side = integer(side, "side, for blocks of 2 or more sites,", least=2)
        self.mode = choice(mode, "mode", ("power+phase", *MODES))
        around = _square_neighbourhood(self.side)
        group = site_group(square(4), centre=_centre(self.side))
        law = ising().representation(group)
        blocks = symmetry_blocks(around, group, law)
        variables = Variables(group, blocks, around.vectors, ising(), 1)
        self.contraction: Contraction = (
            _PowerPhase(variables, 0.0) if mode == "power+phase" else contraction(mode, variables, 0.4)
        )
        self.feature_names = self.contraction.names
        self.features = len(self.feature_names)
        place = np.rint(around.vectors + (self.side - 1) / 2).astype(int) @ [self.side, 1]
        self._members = [torch.from_numpy(place[block.members]) for block in blocks]
        self._bases: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        self._blocks: list[_Block] = blocks

    @torch.no_grad()
    def forward(self, blocks: Tensor) -> Tensor:
        key = blocks.dtype, blocks.device
        if key not in self._bases:
            self._bases[key] = [torch.as_tensor(b.basis, dtype=key[0], device=key[1]) for b in self._blocks]
        flat = blocks.flatten(1).T  # (site, batch): whole rows are gathered
        parts = [
            torch.bmm(basis, flat[members.to(key[1])]).flatten(0, 1)
            for members, basis in zip(self._members, self._bases[key], strict=True)
        ]
        return self.contraction(torch.cat(parts)).T


class _PowerPhase(Phase):
    """Squared length of every copy and cosine of its angle with one reference of its irrep; 0 where there is none."""

    smooth = False

    @property
    def names(self) -> tuple[str, ...]:
        pieces = self.variables.views()
        powers = [f"|{label}|²" for _, labels in pieces for label in labels]
        return (*powers, *(f"∠{label}" for _, labels in pieces for label in labels))

    def contract(self, f: Tensor, constants: dict[str, Tensor]) -> Tensor:
        references = {name: v[0] for name, v in self.reference.split(constants["weights"] @ f).items()}
        powers, phases = [], []
        for name, f_r in self.variables.layout.views(f):
            length, zero = f_r.norm(dim=2), f_r.new_zeros(())
            powers.append((length * length).reshape(-1, f.shape[-1]))
            if name not in references:
                phases.append(torch.zeros_like(powers[-1]))
                continue
            v = references[name]
            both = length * v.norm(dim=0)
            defined = (length > ZERO) & (v.norm(dim=0) > ZERO)
            phases.append(torch.where(defined, (f_r * v).sum(2) / both, zero).reshape(-1, f.shape[-1]))
        return torch.cat([*powers, *phases])


class BlockMoments(Described, nn.Module):
    """|m| and e of a block: mean spin without its sign, and energy per bond inside the block (J = 1, so -1 ≤ e ≤ 1).

    Two invariants that a physicist would write down first: the baseline of every other front end.

    Examples
    --------
    >>> import torch
    >>> from nearsight.descriptors import BlockMoments
    >>> up = torch.ones(4, 4)
    >>> checkerboard = 1 - 2 * ((torch.arange(4)[:, None] + torch.arange(4)) % 2).float()
    >>> BlockMoments(4)(torch.stack([up, checkerboard])).tolist()  # |m| and e of a ferromagnet and an antiferromagnet
    [[1.0, -1.0], [0.0, 1.0]]
    """

    features = 2
    feature_names = ("|m|", "e")

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = integer(side, "side, for blocks of 2 or more sites,", least=2)

    def forward(self, blocks: Tensor) -> Tensor:
        across = (blocks[:, 1:] * blocks[:, :-1]).mean((1, 2))
        along = (blocks[:, :, 1:] * blocks[:, :, :-1]).mean((1, 2))
        return torch.stack([blocks.mean((1, 2)).abs(), -0.5 * (across + along)], dim=1)


def _centre(side: int) -> int | np.ndarray:
    return 0 if side % 2 else plaquette_centre(square(4))


def _square_neighbourhood(side: int) -> Neighbourhood:
    """The sites of a block about its centre, sorted by distance."""
    around = square(4).neighbourhood(side / np.sqrt(2), centre=_centre(side))
    return around.part(np.abs(around.vectors).max(axis=1) < side / 2)
