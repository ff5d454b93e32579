"""An ordinary network on the features of one site."""

from __future__ import annotations

from itertools import pairwise
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearsight._description import Described
from nearsight._validation import generator, integers

CONSTANT = 1e-6
"""Relative changes of a feature below this are rounding: unit spins in single precision have lengths to 6e-8."""


class MLP(Described, nn.Module):
    """Features ``(*batch, site, feature)`` to one number a site ``(*batch, site)``, through smooth hidden layers.

    ``widths`` are the sizes of the hidden layers; SiLU between them, so that forces are smooth. The number of inputs is
    known once a descriptor is: :meth:`build` is called by the force field that joins the two. :meth:`calibrate` shifts
    and scales every feature to mean 0 and variance 1 over typical fields, unless it is constant.

    Weights are drawn from ``rng``; without one, from a generator seeded with 0: equal calls, equal nets.

    Examples
    --------
    >>> import nearsight as ns
    >>> import torch
    >>> features = torch.randn(5, 36, 3, generator=torch.Generator().manual_seed(1))
    >>> network = ns.networks.MLP((16,)).build(3)
    >>> network(features).shape  # one number for each of 36 sites in five snapshots
    torch.Size([5, 36])
    >>> torch.equal(ns.networks.MLP((16,)).build(3)(features), network(features))
    True
    """

    def __init__(self, widths: tuple[int, ...] = (64, 64), *, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.widths = integers(widths, "widths, positive sizes of hidden layers,", least=1)
        if not self.widths:
            raise ValueError(f"widths must be positive sizes of one or more hidden layers, got {widths}.")
        self.inputs: int | None = None
        self._rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)

    def build(self, inputs: int) -> Self:
        """Make the layers for a number of features; a second call with the same number changes nothing."""
        if self.inputs is not None:
            if inputs != self.inputs:
                raise ValueError(f"This network was built for {self.inputs} features, the descriptor gives {inputs}.")
            return self
        self.inputs = inputs
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        sizes = (inputs, *self.widths, 1)
        linear = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        for layer in linear:
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=self._rng)
            nn.init.zeros_(layer.bias)
        self.layers = nn.ModuleList(linear)
        return self

    @torch.no_grad()
    def calibrate(self, features: Tensor) -> None:
        """Set shift and scale from features ``(..., feature)``; one that changes by rounding only keeps scale 1.

        Rounding is what lies below ``CONSTANT`` of the feature's own size or of the median size of all: a feature that
        vanishes by symmetry is a difference of numbers of that size.
        """
        flat = features.double().flatten(0, -2)
        deviation, size = flat.std(0), flat.square().mean(0).sqrt()
        present = size[size > 0]
        typical = present.median() if len(present) else size.new_zeros(())
        rounding = max(CONSTANT, 16 * torch.finfo(features.dtype).eps) * torch.maximum(size, typical)
        self.shift.copy_(flat.mean(0))
        # Not dropped: the length of a unit spin is constant, and its slope is the field along the spin.
        self.scale.copy_(torch.where(deviation > rounding, 1.0 / deviation, 1.0))

    def forward(self, features: Tensor) -> Tensor:
        # Feature by feature, as descriptors store them: products and gradients then need no transposed copies. Shift
        # and scale are part of the first layer, which saves two passes over the features.
        h = features.movedim(-1, 0).flatten(1)
        for k, layer in enumerate(self.layers):
            weight: Tensor = layer.weight  # type: ignore[assignment]
            bias: Tensor = layer.bias  # type: ignore[assignment]
            if k == 0:
                weight = weight * self.scale
                bias = bias - weight @ self.shift
            else:
                h = F.silu(h)
            h = torch.addmm(bias[:, None], weight, h)
        return h.view(features.shape[:-1])
