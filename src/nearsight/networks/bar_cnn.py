"""A convolutional network for a bar between two leads, whose sites also know how well they are connected to either."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nearsight._validation import boolean, generator, instance, integer, numbers
from nearsight.fields import FieldType
from nearsight.lattices import Lattice, site_group
from nearsight.networks.group_convolution import GroupConvolution
from nearsight.networks.lattice_network import Head, LatticeNetwork, checked_radii

BIASED = FieldType("field and voltage", ("trivial", "trivial"))
"""Two numbers a site: the field, and the voltage that drives the electrons, the same everywhere."""
HEATED = FieldType("field, voltage and temperature", ("trivial", "trivial", "trivial"))
"""The same and kT of the electrons, the same everywhere."""


class BarCNN(LatticeNetwork):
    r"""Forces of electrons between two leads, from the field, the distances to the leads, the voltage and connections.

    Out of equilibrium a neighbourhood does not decide its density: a metal fills from the lead it is connected to, and
    an insulating layer anywhere between them cuts it off. What is needed for that is not the far field itself but one
    number: how much of a lead arrives. It is found by a recursion along the bar, layer by layer,

    .. math:: c_L(x, y) = e^{-a(x, y)} \sum_{y'} w_{y - y'}\, c_L(x - 1, y'), \qquad c_L(-1, y) = 1,

    with the mean w = (¼, ½, ¼) over neighbours across the bar, and an opacity a ≥ 0 that group convolutions find in the
    neighbourhood of (x, y); from the right likewise. Further convolutions see c_L, c_R and the part c_L/(c_L + c_R + b)
    that is filled from the left, where b, learned, stands for the bath. Everything commutes exactly with translations
    and reflections across the bar, which is what symmetry the leads leave, and one network serves bars of any length
    and width at every voltage.

    Fields have two components, the field itself and eV on every site: what is learned is the force on the first, and
    the other feels none. Electrons of many temperatures are learned with kT as a third. All in units of t.
    :class:`nearsight.forcefields.Biased` makes a force field at one voltage, and one temperature, out of them.

    Parameters
    ----------
    lattice: of two dimensions, one site per cell, open along the first axis and periodic across.
    channels: features per group element.
    radii, radii_after: cutoffs of the layers before and after the recursion, in units of a.
    signals: kinds of electrons that are followed from either lead, each with its opacity; 0: a local network.
    scales: of saturated copies of the field, see :class:`Saturation`.
    voltages: where steps tanh[2 (eV - V_k)/t] of the voltage are, which is one number of its own besides.
    distances: decay lengths of what marks the leads, in units of a.
    temperatures: lowest and highest kT of the electrons that are learned, which the network sees rescaled to [-1, 1];
        None for electrons of one temperature, and fields of two components.
    head: "energy" or "force".
    vanishes: multiply by eV, so that nothing is left in equilibrium: for the direct part of a sum of both heads.
    rng: source of the initial weights; without one, a generator seeded with 0.

    Cost: linear in the number of sites, with a loop over the length of the bar.

    >>> from nearsight.lattices import square
    >>> network = BarCNN(square(8, 4, periodic=(False, True)), channels=2, head="force")
    >>> network.local(torch.zeros(3, 32, 2)).shape
    torch.Size([3, 32, 2])
    """

    whole = True
    open_boundaries = True

    def __init__(
        self,
        lattice: Lattice,
        *,
        channels: int = 8,
        radii: tuple[float, ...] = (2.3, 1.5),
        radii_after: tuple[float, ...] = (1.5, 1.5),
        signals: int = 4,
        scales: tuple[float, ...] = (1.0, 3.0),
        voltages: tuple[float, ...] = (1.0, 2.0, 2.5, 3.0, 3.5),
        distances: tuple[float, ...] = (1.0, 4.0),
        temperatures: tuple[float, float] | None = None,
        head: Head = "force",
        vanishes: bool = False,
        rng: torch.Generator | None = None,
    ) -> None:
        if instance(lattice, Lattice, "lattice").dim != 2 or tuple(lattice.periodic) != (False, True):  # type: ignore
            raise ValueError(f"A bar is square(length, width, periodic=(False, True)) or alike, not {lattice!r}.")
        group = site_group(lattice).stabiliser(lattice.vectors[:1], ordered=True)
        self.temperatures = None if temperatures is None else _interval(temperatures)
        super().__init__(lattice, BIASED if temperatures is None else HEATED, head=head, group=group)
        self.channels, self.signals = integer(channels, "channels", least=1), integer(signals, "signals", least=0)
        self.radii, self.radii_after = checked_radii(lattice, radii), checked_radii(lattice, radii_after)
        self.scales, self.voltages = numbers(scales, "scales", above=0), numbers(voltages, "voltages")
        self.distances, self.vanishes = numbers(distances, "distances", above=0), boolean(vanishes, "vanishes")
        rng = generator(rng, optional=True) or torch.Generator().manual_seed(0)
        # What is not made of the field.
        outside = 2 * len(self.distances) + 1 + len(self.voltages) + (self.temperatures is not None)

        def layer(radius: float, inputs: int, lifts: bool = False) -> GroupConvolution:
            law = np.stack(self.order * [np.eye(inputs)]) if lifts else None
            near = lattice.neighbourhood(radius)
            return GroupConvolution(near, self.group, inputs, self.channels, rng=rng, representation=law, bias=True)

        first = 1 + len(self.scales) + outside
        self.before = nn.ModuleList(layer(r, self.channels if k else first, not k) for k, r in enumerate(self.radii))
        after = self.channels + outside + 4 * self.signals
        self.after = nn.ModuleList(layer(r, self.channels if k else after) for k, r in enumerate(self.radii_after))
        self.opacity = nn.Parameter(torch.randn(self.signals, self.channels, generator=rng) * self.channels**-0.5)
        self.opacity_bias = nn.Parameter(torch.zeros(self.signals))
        self.bath = nn.Parameter(torch.full((self.signals,), -2.0))
        self.readout = nn.Parameter(torch.randn(self.channels, generator=rng) * self.channels**-0.5)
        layers: list[GroupConvolution] = [*self.before, *self.after]
        self.reach = tuple(sum(r) for r in zip(*(x.reach for x in layers), strict=True))
        self.flops_per_site = sum(x.flops_per_site for x in layers)

    def local(self, field: Tensor) -> Tensor:
        """Energies ``(*batch, site)``, or forces ``(*batch, site, component)``, 0 but for the first component."""
        length, width = self.lattice.shape
        grid = field.reshape(-1, length, width, self.components)
        # Voltage and temperature are set from outside: nothing pulls at them.
        Q, v = grid[..., 0].unsqueeze(1), grid[..., 1].detach().unsqueeze(1)
        outside = self._outside(v, *(grid[..., k].detach().unsqueeze(1) for k in range(2, self.components)))
        h = torch.cat([0.5 * Q, *(torch.tanh(s * Q) for s in self.scales), outside], dim=1)
        h = _convolved(h, self.before)
        scalars = torch.cat([outside, *self._connections(h, v)], dim=1)
        h = torch.cat([h, scalars.repeat_interleave(self.order, dim=1)], dim=1)
        h = _convolved(h, self.after)
        result = torch.einsum("c,bcxy->bxy", self.readout, self._mean(h))
        if self.vanishes:
            result = result * v[:, 0]
        if self.conservative:
            return result.reshape(field.shape[:-1])
        none = torch.zeros_like(result)
        return torch.stack([result, *(self.components - 1) * [none]], dim=-1).reshape(field.shape)

    def forward(self, grid: Tensor) -> NoReturn:
        """Refused: a part of a bar does not know what it is connected to."""
        raise ValueError("BarCNN sees whole bars: call its method local, or the force field.")

    def _mean(self, h: Tensor) -> Tensor:
        """Invariants ``(batch, channel, x, y)``: the mean over the operations."""
        return h.unflatten(1, (-1, self.order)).mean(2)

    def _outside(self, v: Tensor, kT: Tensor | None = None) -> Tensor:
        """Distances to both leads, functions of the voltage, and the temperature."""
        x = torch.arange(v.shape[2], dtype=v.dtype, device=v.device)[:, None]
        marks = [torch.exp(-d / s).expand_as(v) for s in self.distances for d in (x, x.flip(0))]
        parts = [*marks, v / 3, *(torch.tanh(2 * (v - at)) for at in self.voltages)]
        if kT is not None and self.temperatures is not None:
            low, high = self.temperatures
            parts.append((2 * kT - low - high) / (high - low))
        return torch.cat(parts, dim=1)

    def _connections(self, h: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """c_L, c_R, the part that is filled from the left, and the same times the voltage, of all signals."""
        if not self.signals:
            return ()
        opacity = torch.einsum("sc,bcxy->bsxy", self.opacity, self._mean(h)) + self.opacity_bias[:, None, None]
        passed = torch.exp(-F.softplus(opacity))
        both = torch.stack([passed, passed.flip(2)])  # from either side
        one = torch.eye(v.shape[3], dtype=v.dtype, device=v.device)
        across = 0.5 * one + 0.25 * (one.roll(1, 0) + one.roll(-1, 0))
        arrived = [both[:, :, :, 0]]
        for x in range(1, v.shape[2]):
            arrived.append(both[:, :, :, x] * (arrived[-1] @ across))
        left, right = torch.stack(arrived, dim=3)
        right = right.flip(2)
        part = left / (left + right + F.softplus(self.bath)[:, None, None])
        return left, right, part, part * v / 3


def _interval(temperatures: tuple[float, float]) -> tuple[float, float]:
    low, high = numbers(temperatures, "temperatures", length=2, least=0)
    if low >= high:
        raise ValueError(
            f"temperatures are the lowest and the highest kT, got ({low:g}, {high:g}); None for electrons of one."
        )
    return low, high


def _convolved(h: Tensor, layers: nn.ModuleList) -> Tensor:
    for layer in layers:
        h = F.silu(layer(_padded(h, layer.reach)))  # type: ignore[arg-type]
    return h


def _padded(h: Tensor, reach: tuple[int, ...]) -> Tensor:
    """Nothing beyond the ends of the bar, and the other side across."""
    width = h.shape[3]
    across = torch.arange(-reach[1], width + reach[1], device=h.device) % width
    return F.pad(h[..., across], (0, 0, reach[0], reach[0]))
