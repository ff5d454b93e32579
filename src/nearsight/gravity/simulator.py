"""Signals and noise for networks: a few numbers that hold what the strain says, drawn without end."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nearsight._validation import instance, integer, number
from nearsight.gravity.bands import Bands, divide, reference
from nearsight.gravity.detectors import Detector, advanced_ligo, sidereal_time, strains, varied_noise
from nearsight.gravity.priors import Prior
from nearsight.gravity.strain import Strain, check_prior, checked_asd, duration_of
from nearsight.gravity.waveforms import Source, Waveform


class Simulator:
    r"""Parameters from a prior, and the strains they cause, compressed.

    In every detector the whitened strain :math:`z = 2 \tilde d / (\sqrt T\,\mathrm{ASD})` is divided by the phase of a
    reference and summed over cells of frequency so narrow that no signal of the prior turns in them,

    .. math:: y_c = \frac{1}{\rho_c} \sum_{f \in c} w^*(f)\, z(f), \qquad \rho_c^2 = \sum_{f \in c} |w(f)|^2 ,

    with w the whitened reference; then it is projected on the ``size`` strongest singular vectors of signals drawn from
    the prior. Both steps are orthonormal, so noise stays white, and drawing it costs a normal number for a number.
    Another noise curve multiplies the signals in the cells by the ratio of both curves; where data are missing cells
    are zero. Signals that the prior allows lose a part of their squared signal-to-noise ratio that
    :meth:`mismatch` measures.

    Data are real: for every detector real and imaginary parts of ``size`` coefficients (``layout["signal"]``), then, in
    ``summary`` bands of equal ratios of frequency, the mean logarithm of its noise curve over the fiducial one
    (``"noise"``), and the part of squared signal-to-noise that is not masked (``"kept"``; 0 for a missing detector).

    Parameters
    ----------
    waveform, detectors, prior: what signals are, where they are heard, and how often.
    frequencies: of the data, see :func:`frequency_grid`.
    asd: fiducial noise curves, ``(frequency,)`` or ``(detector, frequency)``; :func:`advanced_ligo` by default.
    curves: measured curves ``(detector, curve, frequency)`` to draw from; by default curves of the spread of
        :func:`varied_noise` about the fiducial one.
    spread: that spread.
    missing: probability that a detector is missing; at least one is there.
    notched: probability that a band is missing from a detector: a tenth of an octave to an octave wide, anywhere.
    size: complex numbers for a detector.
    summary: bands in which the noise curve is summarised.
    radians: by how much signals may turn within two cells.
    gps: start of the data; right ascensions are those at this time.
    seed: of the draws from which the basis is made.

    Examples
    --------
    >>> import torch
    >>> from nearsight.gravity import DETECTORS, Prior, Simulator, TaylorF2, Uniform, frequency_grid
    >>> known = dict(mass_ratio=0.8, chi_1=0.0, chi_2=0.0, inclination=0.4, ra=1.0, dec=-0.5, psi=0.2, time=3.5)
    >>> free = dict(chirp_mass=Uniform(20.0, 21.0), distance=Uniform(400, 900))
    >>> prior = Prior(free | known, marginal=dict(phase=Uniform(0.0, 6.2832)))
    >>> two, f = [DETECTORS["H1"], DETECTORS["L1"]], frequency_grid(20.0, 256.0, duration=4.0)
    >>> simulator = Simulator(TaylorF2(), two, prior, f, size=8, summary=4)
    >>> theta, data = simulator.draw(100, torch.Generator().manual_seed(1))
    >>> theta.shape, data.shape  # 2 × 8 numbers of signal, 4 of noise and 4 of gaps from either detector
    (torch.Size([100, 2]), torch.Size([100, 48]))
    """

    def __init__(
        self,
        waveform: Waveform,
        detectors: Sequence[Detector],
        prior: Prior,
        frequencies: Tensor,
        *,
        asd: Tensor | None = None,
        curves: Tensor | None = None,
        spread: float = 0.2,
        missing: float = 0.0,
        notched: float = 0.0,
        size: int = 128,
        summary: int = 8,
        radians: float = 0.5,
        gps: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.waveform, self.frequencies = waveform, frequencies
        self.prior = instance(prior, Prior, "prior")
        self.detectors = tuple(instance(d, Detector, "a detector", "Take those of DETECTORS.") for d in detectors)
        if not self.detectors:
            raise ValueError("detectors must name one at least.")
        check_prior(prior, frequencies)
        asd = advanced_ligo(frequencies) if asd is None else torch.as_tensor(asd)
        self.asd = checked_asd(asd, frequencies).expand(len(self.detectors), -1)
        self.curves = None if curves is None else checked_asd(torch.as_tensor(curves), frequencies)
        if self.curves is not None and (self.curves.ndim != 3 or len(self.curves) != len(self.detectors)):
            raise ValueError(
                f"curves must have shape ({len(self.detectors)}, curve, frequency), got {tuple(self.curves.shape)}."
            )
        self.spread = number(spread, "spread", least=0.0)
        self.missing = number(missing, "missing", least=0.0, below=1.0)
        self.notched = number(notched, "notched", least=0.0, most=1.0)
        self.size, self.summary = integer(size, "size", least=1), integer(summary, "summary", least=1)
        self.gps = number(gps, "gps", least=0.0)
        self.seed = integer(seed, "seed", least=0)
        radians = number(radians, "radians", above=0.0)

        rng = torch.Generator().manual_seed(self.seed)
        middle = prior.source(prior.middle)
        base = reference(waveform, middle, self.detectors, sidereal_time(gps), frequencies)
        self._reference = base(frequencies)
        power = (self._reference.abs() / self.asd).square().sum(0)
        self.bands: Bands = divide(waveform, self._sources(300, rng)[1], base, frequencies, power, radians, snr=30.0)
        self._make_cells(1 / base(self.bands.nodes))
        self.size = min(self.size, len(self.cells))
        self.basis = self._make_basis(max(8 * self.size, 1000), rng)
        # Signals are 1e-23: in single precision neither they nor what multiplies them may be squared.
        self._map = self._make_map()

    def _make_cells(self, heterodyne: Tensor) -> None:
        """Cells between neighbouring nodes, the weights of signals at the nodes in them, and bands they belong to."""
        bands, f = self.bands, self.frequencies
        cell = (torch.searchsorted(bands.nodes, f, right=True) - 1).clamp(max=len(bands.nodes) - 2)
        used, cell = torch.unique(cell, return_inverse=True)
        self._cell, self._first = cell, used // 2 * 2
        squares = self._norms(self.asd)
        self._norm = squares.sqrt()
        whitened = (2 * self._reference.abs() / (self.asd * self._duration**0.5)).square()
        parts = squares.new_zeros(*squares.shape, 3)
        parts.index_add_(1, cell, whitened[..., None] * bands.weights)
        parts = torch.where(squares[..., None] > 0, parts / self._norm[..., None], torch.zeros_like(parts))
        self._parts = parts * heterodyne[:, self._first[:, None] + torch.arange(3)]
        counts = torch.bincount(cell, minlength=len(used))
        self.cells = torch.zeros(len(used), dtype=f.dtype).index_add_(0, cell, f) / counts
        octaves = torch.log(self.cells / f[0]) / math.log(float(f[-1] / f[0]))
        part = (octaves * self.summary).long().clamp(0, self.summary - 1)
        self._belongs = torch.nn.functional.one_hot(part, self.summary).to(f.dtype)

    @property
    def _duration(self) -> float:
        return duration_of(self.frequencies)

    def _norms(self, asd: Tensor) -> Tensor:
        """ρ² ``(detector, cell)`` of the reference with noise curves ``(detector, frequency)``."""
        whitened = (2 * self._reference.abs() / (asd * self._duration**0.5)).square()
        return whitened.new_zeros(len(asd), len(self._first)).index_add_(1, self._cell, whitened)

    def _sources(self, n: int, rng: torch.Generator) -> tuple[Tensor, Source]:
        theta = self.prior.sample(n, rng)
        return theta, self.prior.source(theta, self.prior.nuisances(n, rng))

    def _strains(self, source: Source, dtype: torch.dtype = torch.complex128) -> Tensor:
        """Signals at the nodes ``(source, detector, node)``."""
        sidereal = sidereal_time(self.gps)
        return strains(self.waveform, self.bands.nodes, source, self.detectors, sidereal, dtype)

    def _signals(self, source: Source, dtype: torch.dtype = torch.complex128) -> Tensor:
        """Signals in cells ``(source, detector, cell)`` under the fiducial curves, complex."""
        at_nodes, parts = self._strains(source, dtype), self._parts.to(dtype)
        return sum(at_nodes[..., self._first + k] * parts[..., k] for k in range(3))  # type: ignore[return-value]

    def _make_basis(self, count: int, rng: torch.Generator) -> Tensor:
        """The strongest singular vectors ``(detector, cell, size)`` of normalised signals."""
        drawn = [self._signals(self._sources(min(250, count - k), rng)[1]) for k in range(0, count, 250)]
        signals = torch.cat(drawn).transpose(0, 1)
        signals = signals / signals.abs().square().sum(-1, keepdim=True).sqrt().clamp(min=1e-300)
        if count < signals.shape[-1]:  # the smaller of both Gram matrices
            values, left = torch.linalg.eigh(signals.conj() @ signals.mT)
            strongest = left[..., -self.size :].flip(-1) / values[..., None, -self.size :].flip(-1).sqrt()
            return torch.linalg.qr(signals.mT @ strongest).Q
        return torch.linalg.eigh(signals.mT @ signals.conj()).eigenvectors[..., -self.size :].flip(-1)

    def _make_map(self) -> Tensor:
        """From signals at the nodes to coefficients under the fiducial curves ``(detector, node, size)``."""
        found = self.basis.new_zeros(len(self.detectors), len(self.bands.nodes), self.size)
        for k in range(3):
            found.index_add_(1, self._first + k, self._parts[..., k, None] * self.basis.conj())
        return found

    @property
    def layout(self) -> dict[str, slice]:
        """Where the parts of the data are."""
        d, k, s = len(self.detectors), self.size, self.summary
        ends = [0, 2 * d * k, 2 * d * k + d * s, 2 * d * k + 2 * d * s]
        parts = zip(("signal", "noise", "kept"), itertools.pairwise(ends), strict=True)
        return {name: slice(*pair) for name, pair in parts}

    @property
    def width(self) -> int:
        """How many numbers the data are."""
        return self.layout["kept"].stop

    def draw(self, n: int, rng: torch.Generator, *, fiducial: bool = False) -> tuple[Tensor, Tensor]:
        """θ ``(n, parameter)`` in float64 and data ``(n, width)`` in float32, with fresh noise at every call.

        What the prior integrates out is drawn too. With ``fiducial`` all noise curves are the fiducial ones and
        nothing is missing.
        """
        theta, source = self._sources(n, rng)
        if fiducial:
            found = self._coefficients(source, torch.complex64)
            return theta, self._numbers(found + self._noise(found, rng), None)
        gain = self._gains(n, rng)
        cells = self._signals(source, torch.complex64) * gain.to(torch.float32)
        return theta, self._numbers(self._projected(cells + self._noise(cells, rng) * (gain > 0)), gain)

    def signals(self, theta: Tensor, others: Source | None = None) -> Tensor:
        """Coefficients ``(n, detector, size)``, complex, of signals without noise under the fiducial curves; what the
        prior integrates out has the values in ``others``, by default its median."""
        return self._coefficients(self.prior.source(theta, others), torch.complex128)

    def _coefficients(self, source: Source, dtype: torch.dtype) -> Tensor:
        return torch.einsum("ndc,dck->ndk", self._strains(source, dtype), self._map.to(dtype))

    @staticmethod
    def _noise(like: Tensor, rng: torch.Generator) -> Tensor:
        parts = torch.randn(*like.shape, 2, generator=rng, dtype=torch.float32, device=rng.device)
        return torch.view_as_complex(parts)

    def _projected(self, cells: Tensor) -> Tensor:
        """Coefficients ``(n, detector, size)`` of cells ``(n, detector, cell)``."""
        return torch.einsum("ndc,dck->ndk", cells, self.basis.conj().to(cells.dtype))

    def _gains(self, n: int, rng: torch.Generator) -> Tensor:
        """Fiducial curve over a drawn one ``(n, detector, cell)``, zero where data are missing."""
        d, cells = len(self.detectors), self.cells
        if self.curves is None:
            drawn = varied_noise(cells, rng, n * d, scale=self.spread).reshape(n, d, -1)
            gain = advanced_ligo(cells) / drawn
        else:
            which = torch.randint(self.curves.shape[1], (d, n), generator=rng, device=rng.device)
            gain = (self._curve_gains[torch.arange(d)[:, None], which]).transpose(0, 1)
        start = torch.rand(3, n, d, 1, generator=rng, dtype=torch.float64, device=rng.device)
        span = math.log(float(self.frequencies[-1] / self.frequencies[0]))
        left, width = start[0] * span, math.log(2) * (0.1 + 0.9 * start[1])
        place = torch.log(cells / self.frequencies[0])
        notch = (place > left - width / 2) & (place < left + width / 2) & (start[2] < self.notched)
        absent = torch.rand(n, d, generator=rng, dtype=torch.float64, device=rng.device) < self.missing
        spared = torch.randint(d, (n, 1), generator=rng, device=rng.device)
        absent = absent.scatter(1, spared, absent.gather(1, spared) & ~absent.all(1, keepdim=True))
        return gain.masked_fill(notch | absent[..., None], 0.0)

    @property
    def _curve_gains(self) -> Tensor:
        """Gains of measured curves ``(detector, curve, cell)``."""
        if not hasattr(self, "_stored_gains"):
            assert self.curves is not None
            norms = torch.stack([self._norms(curve) for curve in self.curves.unbind(1)], 1)
            self._stored_gains = (norms / self._norm[:, None].square()).sqrt().nan_to_num(0.0)
        return self._stored_gains

    def _numbers(self, coefficients: Tensor, gain: Tensor | None) -> Tensor:
        """Data ``(n, width)`` from coefficients ``(n, detector, size)`` and gains; None if those are one."""
        signal = torch.view_as_real(coefficients.contiguous()).flatten(1)
        n, d = coefficients.shape[:2]
        if gain is None:
            zeros = signal.new_zeros(n, d * self.summary)
            return torch.cat([signal, zeros, zeros + 1], -1)
        power = self._norm.square() * (gain > 0)
        sums = power @ self._belongs
        level = (power * torch.log(gain.clamp(min=1e-300))) @ self._belongs / sums.clamp(min=1e-300)
        kept = sums / (self._norm.square() @ self._belongs).clamp(min=1e-300)
        return torch.cat([part.flatten(1).to(torch.float32) for part in (signal, -level, kept)], -1)

    def embed(self, strain: Strain) -> Tensor:
        """The data ``(width,)`` of a measured strain; detectors that it lacks are missing.

        ``ValueError`` for other frequencies, another start, or detectors the simulator does not know.
        """
        f = instance(strain, Strain, "strain").frequencies
        if f.shape != self.frequencies.shape or not torch.allclose(f, self.frequencies, rtol=1e-9, atol=0):
            raise ValueError(
                f"The strain has {len(f)} frequencies from {float(f[0]):g} to {float(f[-1]):g} Hz, the simulator "
                f"{len(self.frequencies)} from {float(self.frequencies[0]):g} to {float(self.frequencies[-1]):g} Hz; "
                "cut both to the same band and duration."
            )
        if abs(strain.gps - self.gps) > 1:
            raise ValueError(
                f"The strain starts at GPS {strain.gps:g}, the simulator at {self.gps:g}; make one with it."
            )
        rows = {detector.name: row for row, detector in enumerate(strain.detectors)}
        if unknown := set(rows) - {d.name for d in self.detectors}:
            raise ValueError(f"The simulator has no detector {', '.join(sorted(unknown))}.")
        asd = torch.full_like(self.asd, math.inf)
        whitened = torch.zeros_like(self._reference)
        for k, detector in enumerate(self.detectors):
            if detector.name in rows:
                asd[k] = strain.asd[rows[detector.name]]
                whitened[k] = strain.whitened[rows[detector.name]]
        weighted = whitened * self._reference.conj() * 2 / (asd * self._duration**0.5)
        sums = torch.zeros_like(self._norm, dtype=weighted.dtype).index_add_(1, self._cell, weighted)
        norm = self._norms(asd).sqrt()
        cells = torch.where(norm > 0, sums / norm, torch.zeros_like(sums))
        gain = torch.where(norm > 0, norm / self._norm, torch.zeros_like(norm))
        return self._numbers(self._projected(cells[None]), gain[None])[0]

    def mismatch(self, n: int, rng: torch.Generator) -> dict[str, float]:
        """The part of the squared signal-to-noise ratio of one detector that the data lose: ``median``, ``tail``
        (exceeded by 1 %) and ``maximum`` of n fresh draws, ``corners``, the largest at corners of the prior, and
        ``cells``, the largest of 32 draws in cells against all frequencies.
        """

        def lost(source: Source) -> Tensor:
            signals = self._signals(source)
            whole = signals.abs().square().sum(-1)
            kept = self._projected(signals).abs().square().sum(-1)
            return (1 - kept / whole)[whole > 0]

        drawn = torch.cat([lost(self._sources(min(250, n - k), rng)[1]) for k in range(0, n, 250)])
        d = len(self.prior.names)
        u = torch.randint(2, (min(2**d, 256), d), generator=rng).double() if d > 8 else None
        if u is None:
            u = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * d).reshape(-1, d)
        corners = lost(self.prior.source(self.prior.from_unit(u.clamp(1e-6, 1 - 1e-6))))
        source = self._sources(32, rng)[1]
        full = strains(self.waveform, self.frequencies, source, self.detectors, sidereal_time(self.gps))
        whole = (2 * full.abs() / (self.asd * self._duration**0.5)).square().sum(-1)
        cells = (1 - self._signals(source).abs().square().sum(-1) / whole)[whole > 0]
        found = {"median": drawn.median(), "tail": drawn.quantile(0.99), "maximum": drawn.max()}
        found |= {"corners": corners.max(), "cells": cells.max()}
        return {name: float(value) for name, value in found.items()}
