"""Bands of frequencies in which signals, divided by a reference, are smooth: sums over nodes instead of all data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nearsight.gravity.detectors import Detector, project
from nearsight.gravity.waveforms import Source, Waveform

PER_OCTAVE = 8
"""Bands in an octave at least: amplitudes vary too."""
PROBES = 4096
"""Frequencies at which the slope of phases is measured."""


@dataclass(frozen=True)
class Reference:
    """A signal of amplitude f^{-7/6} with the phases of ``source``, which go on linearly in f beyond its end.

    Where the waveform of the source has ended others may not have; divided by this one they stay smooth.
    """

    waveform: Waveform
    source: Source
    detectors: Sequence[Detector]
    sidereal: float
    end: float
    """The last frequency at which the waveform of the source is not zero."""
    step: float

    def __call__(self, frequencies: Tensor) -> Tensor:
        """``(detector, frequency)``."""
        ends = torch.tensor([self.end - self.step, self.end], dtype=frequencies.dtype, device=frequencies.device)
        inside = torch.cat([frequencies.clamp(max=self.end), ends])
        waves = self.waveform(inside, self.source)
        phases = torch.sgn(project(waves, inside, self.source, self.detectors, self.sidereal))
        # The signal ends at about its time of coalescence, which turns phases by more than pi in a step.
        arrival = 2 * math.pi * self.source["time"]
        turn = torch.polar(torch.ones_like(arrival), arrival * self.step)
        slope = torch.angle(phases[:, -1:] * phases[:, -2:-1].conj() * turn) / self.step - arrival
        beyond = (frequencies - self.end).clamp(min=0) * slope
        return phases[:, :-2] * torch.polar(frequencies ** (-7 / 6) + torch.zeros_like(beyond), beyond)


@dataclass(frozen=True)
class Bands:
    """Bands on a grid of frequencies, each with three nodes: its ends, shared with its neighbours, and its middle.

    ``r`` = h / reference is quadratic in every band, by its values at the nodes.
    """

    nodes: Tensor
    """Frequencies ``(node,)`` in Hz, two for every band and one."""
    band: Tensor
    """The band of every frequency of the grid ``(frequency,)``."""
    weights: Tensor
    """Quadratic interpolation from the nodes of that band ``(frequency, 3)``."""

    def sums(self, values: Tensor) -> Tensor:
        """Σ_f values(f) r(f) as weights of r at the nodes: ``(*batch, frequency)`` -> ``(*batch, node)``."""
        total = values.new_zeros(*values.shape[:-1], len(self.nodes))
        for k in range(3):
            total.index_add_(-1, 2 * self.band + k, values * self.weights[:, k].to(values.dtype))
        return total


class Sums:
    """Σ_f values(f) h(f) over the grid for strains h that are known at the nodes of bands, detector by detector.

    A strain that ends within a band, though its formula goes on, is summed to its end and no further: no band has to
    be narrow because signals end there.

    Parameters
    ----------
    values: ``(detector, frequency)``, those that belong to r = h / reference.
    at_nodes: the reference at the nodes ``(detector, node)``.
    """

    def __init__(self, bands: Bands, values: Tensor, at_nodes: Tensor) -> None:
        self.bands, self.at_nodes = bands, at_nodes
        self.weights = bands.sums(values) / at_nodes
        each = values[..., None] * bands.weights.to(values.dtype)
        below = torch.cat([torch.zeros_like(each[:, :1]), each.cumsum(1)], 1)
        starts = torch.searchsorted(bands.band, torch.arange(int(bands.band[-1]) + 2, device=bands.band.device))
        # A row for every number of frequencies that are summed over; the last for all.
        self.last = torch.cat([bands.band, bands.band[-1:]])
        self.partial = below - below[:, starts[self.last]]
        self.whole = below[:, starts[1:], 2] - below[:, starts[:-1], 2]

    def __call__(self, strain: Tensor, count: Tensor | None = None) -> Tensor:
        """Terms ``(n, node)`` of the sum over frequencies and detectors for strains ``(n, detector, node)``, of which
        the first ``count`` ``(n,)`` frequencies are summed over, by default all that have a strain."""
        terms = torch.einsum("ndf,df->nf", strain, self.weights)
        if count is None:
            return terms
        band = self.last[count]
        nodes = 2 * band[:, None] + torch.arange(3, device=count.device)
        weights = self.partial[:, count]  # (detector, n, 3)
        # The first node has what the band before gives it, too.
        weights[..., 0] += torch.where(band > 0, self.whole[:, (band - 1).clamp(min=0)], 0.0)
        at_end = torch.gather(strain, 2, nodes[:, None].expand(-1, strain.shape[1], -1))
        ended = (at_end / self.at_nodes[:, nodes].movedim(0, 1) * weights.movedim(0, 1)).sum(1)
        beyond = torch.arange(terms.shape[1], device=count.device) >= nodes[:, :1]
        return terms.masked_fill(beyond, 0.0).scatter(1, nodes, ended)


def reference(
    waveform: Waveform, source: Source, detectors: Sequence[Detector], sidereal: float, frequencies: Tensor
) -> Reference:
    """The reference with the phases of one source; ``ValueError`` if its signal is not in the band."""
    plus = waveform(frequencies, source).plus
    last = int((plus.abs() > 0).nonzero().max()) if (plus.abs() > 0).any() else 0
    if last < 2:
        raise ValueError(
            f"The band from {float(frequencies[0]):g} Hz holds no signal: binaries of these masses end below. Take a "
            "lower band or lighter binaries."
        )
    step = float(frequencies[1] - frequencies[0])
    return Reference(waveform, source, detectors, sidereal, float(frequencies[last]), step)


def divide(
    waveform: Waveform, sources: Source, base: Reference, frequencies: Tensor, power: Tensor, radians: float, snr: float
) -> Bands:
    r"""Bands in which the phases of ``sources`` against the reference turn by at most ``radians``.

    Where signals end the ratio jumps; there bands hold at most 1/``snr``² of the squared signal-to-noise ratio.

    Parameters
    ----------
    sources: parameters ``(source,)`` by name of the binaries that are to be resolved.
    power: |reference|²/S, summed over detectors, ``(frequency,)``, in any units.
    snr: 0 if sums end where signals end (:class:`Sums`).
    """
    n = len(frequencies)
    left = torch.linspace(0, n - 2, min(PROBES, n - 1), device=frequencies.device).round().long().unique()
    pairs = frequencies[torch.stack([left, left + 1], -1).flatten()]
    waves = waveform(pairs, sources)
    ratio = project(waves, pairs, sources, base.detectors, base.sidereal) * base(pairs).conj()
    low, high = ratio[..., 0::2], ratio[..., 1::2]
    turns = torch.where(high.abs() > 0, torch.angle(high * low.conj()).abs(), 0.0)  # the angle of -0 is pi
    slopes = turns.flatten(0, -2).amax(0)
    if float(slopes.max()) > 2.5:  # beyond pi they would be taken for others
        where, duration, apart = float(frequencies[left[slopes.argmax()]]), 1 / base.step, float(slopes.max())
        raise ValueError(
            f"At {where:g} Hz signals of the prior arrive {apart / (2 * math.pi) * duration:.1f} s apart, "
            f"too much for {duration:g} s of data. Take longer data, a higher lower end of the band, or a narrower "
            "prior of the masses and of the coupling (most=...)."
        )
    slopes = slopes / radians
    alive = high.abs().flatten(0, -2) > 0
    ending = alive.any(0) & ~alive.all(0)
    budget = slopes + PER_OCTAVE * base.step / (math.log(2) * frequencies[left])
    share = power / power.sum()
    budget = budget + torch.where(ending, share[left] * snr**2, torch.zeros_like(budget))
    budget = budget[(torch.searchsorted(left, torch.arange(n - 1, device=left.device), right=True) - 1)]
    sum_ = torch.cat([budget.new_zeros(1), budget.clamp(max=0.5).cumsum(0)])  # a band holds two steps at least
    count = max(math.ceil(float(sum_[-1])), 1)
    levels = torch.linspace(0, float(sum_[-1]), count + 1, dtype=sum_.dtype, device=sum_.device)
    edges = torch.searchsorted(sum_, levels).clamp(max=n - 1).unique()
    return _bands(frequencies, edges)


def _bands(frequencies: Tensor, edges: Tensor) -> Bands:
    ends = frequencies[edges]
    middles = (ends[1:] + ends[:-1]) / 2
    nodes = torch.cat([torch.stack([ends[:-1], middles], -1).flatten(), ends[-1:]])
    places = torch.arange(len(frequencies), device=frequencies.device)
    band = (torch.searchsorted(edges, places, right=True) - 1).clamp(max=len(middles) - 1)
    x = (frequencies - ends[band]) / (ends[band + 1] - ends[band])
    weights = torch.stack([(1 - x) * (1 - 2 * x), 4 * x * (1 - x), x * (2 * x - 1)], -1)
    return Bands(nodes, band, weights)
