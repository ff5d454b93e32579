"""A network on the window around a site, summed over all rotations and reflections of the window."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from nearsight._validation import generator, integers
from nearsight.fields import FieldType
from nearsight.groups import PointGroup
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_cutoff
from nearsight.networks._activations import activation, check_parity, energy_terms
from nearsight.networks.group_convolution import GroupConvolution
from nearsight.networks.lattice_network import Head, LatticeNetwork


class SymmetrisedMLP(LatticeNetwork):
    r"""An ordinary network on the raw field within a cutoff, averaged over the point group.

    .. math::
        \epsilon_i = \frac{1}{|G|} \sum_g \mathrm{MLP}\!\left(g^{-1} \Phi|_{r_{ij} \le r_c}\right), \qquad
        F_i = \frac{1}{|G|} \sum_g M(g)\, \mathrm{MLP}\!\left(g^{-1} \Phi|_{r_{ij} \le r_c}\right).

    The first layer for all sites and all g at once is one lifting convolution (:class:`GroupConvolution`), the others
    multiply the features of every site and every g by the same matrices. Nothing is lost, as by invariants, and nothing
    is shared between sites, as in :class:`GroupCNN`: the whole reach is spent in the first layer. Cost per site about
    2 |G| (components · box · w₁ + w₁ w₂ + ...).

    Parameters
    ----------
    lattice, field_type, head, group: see :class:`LatticeNetwork`.
    cutoff: radius of the window, in units of a.
    widths: sizes of the hidden layers.
    parity: as of :class:`GroupCNN`.
    rng: source of the initial weights; without one, a generator seeded with 0.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice, modes = ns.lattices.square(8), ns.fields.jahn_teller()
    >>> force_field = ns.LearnedForceField(ns.networks.SymmetrisedMLP(lattice, modes, cutoff=2.0, head="force"))
    >>> field = torch.randn(8, 8, 3, generator=torch.Generator().manual_seed(1))
    >>> law = torch.tensor([1.0, -1.0, 1.0])  # a quarter turn moves the sites, and reverses Qx
    >>> turned = law * field.rot90()
    >>> force, other = (force_field(f.reshape(64, 3)).force.view(8, 8, 3) for f in (field, turned))
    >>> torch.allclose(other, law * force.rot90(), atol=1e-5)
    True
    """

    def __init__(
        self,
        lattice: Lattice,
        field_type: FieldType,
        *,
        cutoff: float = 3.0,
        widths: tuple[int, ...] = (32, 32),
        parity: Literal["odd"] | None = None,
        head: Head = "energy",
        group: PointGroup | None = None,
        rng: torch.Generator | None = None,
    ) -> None:
        super().__init__(lattice, field_type, head=head, group=group)
        self.widths = integers(widths, "widths, positive sizes of hidden layers,", least=1)
        if not self.widths:
            raise ValueError(f"widths must be positive sizes of one or more hidden layers, got {widths}.")
        self.parity = check_parity(parity, field_type)
        self.cutoff = cutoff = checked_cutoff(lattice, cutoff)
        rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        bias = self.parity is None
        self.lift = GroupConvolution(
            lattice.neighbourhood(cutoff),
            self.group,
            self.components,
            self.widths[0],
            rng=rng,
            representation=self.representation,
            bias=bias,
            columns=True,
        )
        pairs = list(pairwise(self.widths))
        self.weights = nn.ParameterList(torch.randn(b, a, generator=rng) * a**-0.5 for a, b in pairs)
        self.biases = nn.ParameterList(torch.zeros(b, 1) for _, b in pairs if bias)
        outputs = 1 if head == "energy" else self.components
        self.readout = nn.Parameter(torch.randn(outputs, self.widths[-1], generator=rng) * self.widths[-1] ** -0.5)
        self.reach = self.lift.reach
        self.flops_per_site = self.lift.flops_per_site + 2 * self.order * sum(a * b for a, b in pairs)

    def forward(self, grid: Tensor) -> Tensor:
        h = self.lift(grid)
        shape = h.shape[2:]
        h = h.reshape(len(h), self.widths[0], -1)  # one column for every operation and site
        for k, weight in enumerate(self.weights):
            start = h.new_zeros(()) if self.parity else self.biases[k]
            h = torch.baddbmm(start, weight.expand(len(h), -1, -1), activation(h, self.parity))
        h = activation(h, self.parity) if self.head == "force" else energy_terms(h, self.parity)
        return self.project(h.reshape(len(h), -1, *shape), self.readout, law=self.head == "force")
