"""A network made for fields that change at two sites at a time: one wide linear layer, the rest at single sites."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from nearsight._validation import generator, integer, integers
from nearsight.fields import FieldType
from nearsight.groups import PointGroup
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_cutoff
from nearsight.networks.group_convolution import GroupConvolution
from nearsight.networks.lattice_network import Head, LatticeNetwork


def _squareplus(h: Tensor) -> Tensor:
    r""":math:`(h + \sqrt{4 + h^2})/2`: convex and one-sided like SiLU, from a root instead of an exponential.

    The root is rounded correctly on every machine and eight or sixteen fit one instruction.

    References
    ----------
    J. T. Barron, Squareplus: a softplus-like algebraic rectifier, arXiv:2112.11687.
    """
    return 0.5 * (h + torch.sqrt(4.0 + h * h))


class EmbeddedNetwork(LatticeNetwork):
    r"""Energies of atoms embedded in what their neighbours send: cheap to follow when few sites change.

    .. math::
        u_c(k, g) = b_c + \sum_{|r| \le R} w_c(r)\, M(g)^{-1} \Phi(k + g r), \qquad
        z_c(k) = \frac{1}{|G|} \sum_g \varphi(u_c(k, g)), \qquad \epsilon(k) = \mathrm{MLP}(z(k)) .

    The linear layer is that of :class:`GroupCNN`. The average over the operations comes right after the first
    nonlinear function φ, so that shapes without the symmetry of the site are told apart, but only c numbers remain for
    the layers that follow; :class:`SymmetrisedMLP` averages at the end and costs |G| times as much. When the field
    changes at a site, u changes by a column of w at the sites within R and nowhere else, which is what
    :class:`nearsight.moves.LearnedMoves` makes use of: the energy of a hop costs the pointwise layers of some
    2πR² sites at most and no convolution. Two energies can influence a hop from as far as 2R.

    With the energy as its only output; its forces are gradients.

    Parameters
    ----------
    lattice, field_type, group: see :class:`LatticeNetwork`.
    radius: R in units of a.
    channels: linear features per operation.
    widths: sizes of the hidden layers after the average; ``()`` sums :math:`z_c` with one weight each.
    rng: source of the initial weights; without one, a generator seeded with 0.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(12)
    >>> network = ns.networks.EmbeddedNetwork(lattice, ns.fields.occupation(), radius=2.0, channels=2)
    >>> occupied = torch.zeros(144, 1)
    >>> before, after = (network.local(occupied + (torch.arange(144) == site)[:, None]) for site in (0, 78))
    >>> torch.allclose(before.sum(), after.sum(), rtol=1e-5)  # a particle alone costs the same everywhere
    True
    >>> changed = (network.local(occupied) - after).abs() > 1e-6  # and is seen as far as the radius
    >>> int(changed.sum()), len(lattice.neighbourhood(2.0))
    (13, 13)

    References
    ----------
    M. S. Daw, M. I. Baskes, Phys. Rev. B 29, 6443 (1984): energies of atoms embedded in a density of their neighbours.
    """

    def __init__(
        self,
        lattice: Lattice,
        field_type: FieldType,
        *,
        radius: float = 4.0,
        channels: int = 16,
        widths: tuple[int, ...] = (16,),
        head: Head = "energy",
        group: PointGroup | None = None,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__(lattice, field_type, head=head, group=group)
        if head != "energy":
            raise ValueError('EmbeddedNetwork is an energy; take head="energy", or GroupCNN for direct forces.')
        self.channels = channels = integer(channels, "channels", least=1)
        self.widths = integers(widths, "widths", least=1)
        self.radius = radius = checked_cutoff(lattice, radius, "radius")
        if field_type.internal != "none":
            raise ValueError(
                f"{field_type.name} has the internal symmetry {field_type.internal}, which this network has not built "
                "in; take GroupCNN for Z2, SpinCNN for rotations."
            )
        rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        around = lattice.neighbourhood(radius)
        self.lift = GroupConvolution(
            around, self.group, self.components, channels, rng=rng, representation=self.representation, bias=True,
            columns=True,
        )  # fmt: skip
        sizes = (channels, *self.widths, 1)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        with torch.no_grad():
            # Near neighbours matter most: the fit starts from weights that say so.
            near = torch.as_tensor(1.0 / (1.0 + around.distances), dtype=self.lift.weight.dtype)
            self.lift.weight.mul_(1.5 * near * (len(around) / near.square().sum()).sqrt())
            assert self.lift.bias is not None
            self.lift.bias.normal_(std=0.3, generator=rng)
            for layer in self.pointwise:
                layer.weight.normal_(std=layer.in_features**-0.5, generator=rng)
                layer.bias.zero_()
        self.reach = self.lift.reach
        self.flops_per_site = self.lift.flops_per_site + 2 * sum(layer.weight.numel() for layer in self.pointwise)

    @property
    def pointwise(self) -> list[nn.Linear]:
        """The layers after the average, in order."""
        return list(self.layers)  # type: ignore[arg-type]

    def embed(self, grid: Tensor) -> Tensor:
        """The linear features u of a grid with its halo, ``(batch, *shape, channel · |G|)``."""
        return self.lift(grid).movedim(1, -1)

    def columns(self) -> Tensor:
        """What a unit of one component at a site adds to u, ``(neighbour, component, channel · |G|)``.

        It goes to the site at minus the vector of ``lattice.neighbourhood(radius)``.
        """
        kernel = self.lift.kernel()  # (channel · |G|, component · neighbour)
        return kernel.unflatten(1, (self.components, -1)).permute(2, 1, 0)

    def site_energy(self, u: Tensor) -> Tensor:
        """Energies ``(...)`` of sites with linear features ``(..., channel · |G|)``."""
        h = _squareplus(u.unflatten(-1, (self.channels, self.order))).mean(-1)
        *hidden, last = self.pointwise
        for layer in hidden:
            h = _squareplus(layer(h))
        return last(h)[..., 0]

    def forward(self, grid: Tensor) -> Tensor:
        return self.site_energy(self.embed(grid))[:, None]
