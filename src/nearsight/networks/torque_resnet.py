"""A residual network for the torques on spins, whose symmetry is learned from rotated snapshots and not built in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from nearsight._validation import generator, integer, integers
from nearsight.fields import FieldType
from nearsight.fields.halo import pad_periodic
from nearsight.groups import PointGroup
from nearsight.lattices import Lattice
from nearsight.lattices.lattice import checked_lattice
from nearsight.networks.lattice_network import CONVOLUTIONS, LatticeNetwork


class TorqueResNet(LatticeNetwork):
    r"""Ordinary convolutions with skip connections, from spins S to torques T = S × H, as published.

    Every block adds two convolutions, each followed by ReLU, to its input (through a 1 × 1 convolution where the
    number of channels changes); two more convolutions, with a ReLU between them, make three components of it. Four
    blocks of 5 × 5 kernels, the default, are ten layers that see 41 × 41 cells, without normalisation. The published
    numbers of channels are not known.

    What comes back is the field that exerts the torque,

    .. math:: \mathbf H_i = \mathbf T_i \times \mathbf S_i ,

    normal to the spin whatever the network says: the part of T along the spin drops out. It need not be a gradient,
    and there is no energy.

    Translations are the only symmetry it has. Rotations of the spins, time reversal and the point group are learned
    from turned snapshots (``FitOptions(component="tangent", augment=True)``) and hold as well as the fit does: compare
    :class:`SpinCNN`, where they are exact. ``FitOptions(optimizer="adamw")`` suits its wide layers.

    Parameters
    ----------
    lattice: one site per cell; the kernel is a box of cells, on the triangular lattice a rhombus.
    field_type: a spin of three components, ``fields.spin()``; its symmetry is what ``augment`` teaches.
    channels: the outputs of every block.
    kernel: cells per axis of a convolution, odd.
    rng: source of the initial weights; without one, a generator seeded with 0.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> lattice = ns.lattices.square(24)
    >>> network = ns.networks.TorqueResNet(lattice, ns.fields.spin(), channels=(4, 4), kernel=3)
    >>> spins = ns.fields.random_spins(lattice, torch.Generator().manual_seed(1)).float()
    >>> bool((network.local(spins) * spins).sum(-1).abs().max() < 1e-6)  # H = T × S is normal to S
    True

    References
    ----------
    S. Zhang, PhD thesis (University of Virginia, 2024), sec. 3.3.1; K. He et al., arXiv:1512.03385.
    """

    # Ten layers see 20 cells far: halos of that width would cost several times what the sites of a tile do.
    whole = True

    def __init__(
        self,
        lattice: Lattice,
        field_type: FieldType,
        *,
        channels: tuple[int, ...] = (32, 32, 32, 32),
        kernel: int = 5,
        rng: torch.Generator | None = None,
    ) -> None:
        identity = PointGroup(np.eye(checked_lattice(lattice).dim)[None])
        super().__init__(lattice, field_type, head="force", group=identity)
        if self.components != 3:
            raise ValueError(
                f"Torques are cross products of three components; {field_type.name} has {self.components}: "
                f"take SpinCNN."
            )
        channels = integers(channels, "channels, a positive number for every block,", least=1)
        if not channels:
            raise ValueError(f"channels must hold one positive number for every block, got {channels}.")
        if (kernel := integer(kernel, "kernel", least=1)) % 2 == 0:
            raise ValueError(f"A kernel has a centre if its size is odd, got kernel={kernel}.")
        rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        self.channels, self.kernel = tuple(channels), kernel
        sizes = [(n, m) for a, b in pairwise((3, *channels)) for n, m in ((a, b), (b, b))]
        sizes += [(channels[-1], channels[-1]), (channels[-1], 3)]
        box = (kernel,) * self.dim
        # A sixth of the variance that keeps signals alive through a plain stack of ReLUs: here the skips do that, and
        # blocks that begin small make a shallow network first. With the full variance turned snapshots teach nothing.
        self.weights = nn.ParameterList(_normal((m, n, *box), 1 / 3, rng) for n, m in sizes)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(m)) for _, m in sizes)
        self.skips = nn.ParameterList(
            _normal((b, a, *(1,) * self.dim), 1.0, rng) for a, b in pairwise((3, *channels)) if a != b
        )
        self.reach = (len(sizes) * (kernel // 2),) * self.dim
        self.flops_per_site = 2 * sum(w.numel() for w in (*self.weights, *self.skips))

    def forward(self, grid: Tensor) -> Tensor:
        return self._field(grid, torus=False)

    def local(self, field: Tensor) -> Tensor:
        grid = field.reshape(-1, *self.lattice.shape, self.components).movedim(-1, 1)
        return self._field(grid, torus=True).movedim(1, -1).reshape(field.shape)

    def _field(self, grid: Tensor, *, torus: bool) -> Tensor:
        torque = self._torque(grid, torus)
        return torch.linalg.cross(torque, grid if torus else self._inner(grid, self.reach[0]), dim=1)

    def _torque(self, h: Tensor, torus: bool) -> Tensor:
        skips = iter(self.skips)
        for block, outputs in enumerate(self.channels):
            skip = h if h.shape[1] == outputs else CONVOLUTIONS[self.dim](h, next(skips))
            h = self._layer(self._layer(h, 2 * block, torus).relu(), 2 * block + 1, torus).relu()
            h = h + (skip if torus else self._inner(skip, 2 * (self.kernel // 2)))
        last = 2 * len(self.channels)
        return self._layer(self._layer(h, last, torus).relu(), last + 1, torus)

    def _layer(self, h: Tensor, number: int, torus: bool) -> Tensor:
        if torus:
            h = pad_periodic(h, (self.kernel // 2,) * self.dim, first=2)
        return CONVOLUTIONS[self.dim](h, self.weights[number], self.biases[number])

    def _inner(self, grid: Tensor, width: int) -> Tensor:
        for axis in range(2, grid.ndim):
            grid = grid.narrow(axis, width, grid.shape[axis] - 2 * width)
        return grid


def _normal(shape: tuple[int, ...], gain: float, rng: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=rng) * (gain / np.prod(shape[1:])) ** 0.5)
