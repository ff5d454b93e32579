"""Strain of detectors in the frequency domain, with the noise it is believed to have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from nearsight._validation import generator, instance, number
from nearsight.gravity.constants import SOLAR_MASS
from nearsight.gravity.detectors import Detector, project, sidereal_time
from nearsight.gravity.priors import Prior
from nearsight.gravity.waveforms import Source, Waveform


def frequency_grid(low: float, high: float, duration: float) -> Tensor:
    """The frequencies k / ``duration`` in [low, high] in Hz, float64: those of data of that many seconds."""
    duration = number(duration, "duration", above=0.0)
    low, high = number(low, "low", above=0.0), number(high, "high", above=0.0)
    first, last = math.ceil(low * duration - 1e-9), math.floor(high * duration + 1e-9)
    if last - first < 2:
        raise ValueError(
            f"The band from {low:g} to {high:g} Hz is empty: {max(last - first + 1, 0)} frequencies of {duration:g} s "
            "of data lie in it; give an upper end above the lower one."
        )
    return torch.arange(first, last + 1, dtype=torch.float64) / duration


def duration_of(frequencies: Tensor) -> float:
    """T in s of data whose frequencies are k/T."""
    return 1 / float(frequencies[1] - frequencies[0])


@dataclass(frozen=True, eq=False)
class Strain:
    r"""What detectors measured, :math:`\tilde d(f) = \int d(t)\, e^{-2 \pi i f t} dt`, and their noise curves.

    Noise is Gaussian with :math:`\langle |\tilde n|^2 \rangle = T S / 2`, S = ASD², T the duration of the data.

    Parameters
    ----------
    frequencies: ``(frequency,)`` in Hz at equal steps 1/T.
    data: ``(detector, frequency)``, complex, in 1/Hz.
    asd: ``(detector, frequency)`` in Hz^{-1/2}; infinite where data are not to be used (:meth:`without`).
    detectors: where they stand.
    gps: GPS time at the start of the data, from which the time of coalescence counts.

    Examples
    --------
    >>> import torch
    >>> from nearsight.gravity import DETECTORS, Strain, advanced_ligo, frequency_grid
    >>> f, rng = frequency_grid(20.0, 1000.0, duration=4.0), torch.Generator().manual_seed(1)
    >>> noise = torch.complex(*torch.randn(2, 1, len(f), generator=rng).double())
    >>> asd = advanced_ligo(f)[None]
    >>> strain = Strain(f, noise * asd * 4.0**0.5 / 2, asd, [DETECTORS["H1"]])
    >>> round(float(strain.whitened.real.var()), 1)  # noise has variance one
    1.0
    >>> float(strain.without(59.0, 61.0).whitened[0, (f - 60).abs() < 1].abs().max())  # no mains
    0.0
    """

    frequencies: Tensor
    data: Tensor
    asd: Tensor
    detectors: Sequence[Detector]
    gps: float = 0.0

    def __post_init__(self) -> None:
        detectors = tuple(instance(d, Detector, "a detector", "Take those of DETECTORS.") for d in self.detectors)
        object.__setattr__(self, "detectors", detectors)
        shape = (len(detectors), len(self.frequencies))
        for name, values in (("data", self.data), ("asd", self.asd)):
            if tuple(values.shape) != shape:
                raise ValueError(f"{name} must have shape {shape}, (detector, frequency), got {tuple(values.shape)}.")
        steps = self.frequencies.diff()
        if len(steps) < 2 or not (steps > 0).all() or float(steps.max() / steps.min()) > 1 + 1e-6:
            raise ValueError("frequencies must ascend in equal steps, three at least: take frequency_grid(...).")
        checked_asd(self.asd, self.frequencies)
        if not self.data[self.asd.isfinite()].isfinite().all():
            raise ValueError("data must be finite where the ASD is; cut gaps out with without(low, high).")
        number(self.gps, "gps", least=0.0)

    @property
    def duration(self) -> float:
        """T in s."""
        return (len(self.frequencies) - 1) / float(self.frequencies[-1] - self.frequencies[0])

    @cached_property
    def whitened(self) -> Tensor:
        r""":math:`2 \tilde d / (\sqrt T\, \mathrm{ASD})` ``(detector, frequency)``: real and imaginary parts of noise
        have variance one; zero where data are not used."""
        used = self.asd.isfinite()
        scaled = 2 * self.data / (self.asd * self.duration**0.5)
        return torch.where(used, scaled, torch.zeros_like(scaled))

    def without(self, low: float, high: float, detector: str | None = None) -> Self:
        """The same strain with the band [low, high] in Hz unused, in one detector or in all."""
        number(high, "high", above=number(low, "low", least=0.0))
        names = [d.name for d in self.detectors]
        if detector is not None and detector not in names:
            raise ValueError(f"detector must be one of {', '.join(names)}, got {detector!r}.")
        inside = (self.frequencies >= low) & (self.frequencies <= high)
        which = torch.tensor([detector in (None, name) for name in names], device=inside.device)
        cut = self.asd.masked_fill(which[:, None] & inside, math.inf)
        return replace(self, asd=cut)

    def only(self, *names: str) -> Self:
        """The same strain of some detectors."""
        known = {d.name: k for k, d in enumerate(self.detectors)}
        if not names or set(names) - set(known):
            raise ValueError(f"Detectors must be some of {', '.join(known)}, got {names}.")
        rows = [known[name] for name in names]
        chosen = [self.detectors[row] for row in rows]
        return replace(self, data=self.data[rows], asd=self.asd[rows], detectors=chosen)


def inject(
    source: Source,
    waveform: Waveform,
    detectors: Sequence[Detector],
    asd: Tensor,
    frequencies: Tensor,
    *,
    gps: float = 0.0,
    rng: torch.Generator | None = None,
) -> Strain:
    """A signal in Gaussian noise with the noise curves ``asd``, ``(detector, frequency)`` or ``(frequency,)``.

    ``source`` holds parameters of one binary by name, zero-dimensional tensors; without ``rng`` the noise is zero, and
    the likelihood then is an average over noise. Raises ``ValueError`` if the signal begins before the data.

    Examples
    --------
    >>> import torch
    >>> from nearsight.gravity import DETECTORS, TaylorF2, advanced_ligo, frequency_grid, inject
    >>> values = dict(chirp_mass=9.0, mass_ratio=0.6, chi_1=0.1, chi_2=0.0, distance=500.0, inclination=0.4, phase=0.0)
    >>> values |= dict(ra=1.0, dec=-0.5, psi=0.2, time=7.0)
    >>> source = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    >>> f = frequency_grid(20.0, 512.0, duration=8.0)
    >>> strain = inject(source, TaylorF2(), [DETECTORS["H1"], DETECTORS["L1"]], advanced_ligo(f), f)
    >>> print(f"SNR {float(strain.whitened.abs().square().sum().sqrt()):.1f}")
    SNR 20.7
    """
    source = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in source.items()}
    if any(value.ndim for value in source.values()):
        raise ValueError("source must hold one binary, zero-dimensional tensors; take a row of a batch.")
    time = float(source["time"])
    check_duration(frequencies, float(source["chirp_mass"]), time, time)
    asd = checked_asd(torch.as_tensor(asd), frequencies).expand(len(detectors), -1)
    waves = waveform(frequencies, source)
    data = project(waves, frequencies, source, detectors, sidereal_time(gps))
    if generator(rng, optional=True) is not None:
        duration = duration_of(frequencies)
        parts = torch.randn(*data.shape, 2, generator=rng, dtype=torch.float64, device=rng.device)  # type: ignore[union-attr]
        noise = torch.view_as_complex(parts).to(data.device) * asd.nan_to_num(posinf=0.0) * duration**0.5 / 2
        data = data + noise
    return Strain(frequencies, data, asd.clone(), detectors, gps)


def checked_asd(asd: Tensor, frequencies: Tensor) -> Tensor:
    """An ASD over frequencies, refused if it has zeros or gaps, or nowhere a finite value."""
    if asd.shape[-1:] != frequencies.shape:
        raise ValueError(f"asd must end in {len(frequencies)} frequencies, got shape {tuple(asd.shape)}.")
    if not (asd > 0).all():  # NaN is not greater than zero either
        bad = frequencies[(~(asd > 0)).reshape(-1, len(frequencies)).any(0)][0]
        raise ValueError(
            f"The ASD is not positive at {float(bad):g} Hz: zeros and gaps say that noise is absent there. Make it "
            "infinite where data are not to be used."
        )
    if not asd.isfinite().any(-1).all():
        raise ValueError("The ASD is infinite at all frequencies: no data are left in the band.")
    return asd


def chirp_time(frequency: float, chirp_mass: float) -> float:
    r"""Time in s from ``frequency`` to coalescence at leading order, :math:`\tfrac{5}{256} \mathcal M^{-5/3} (\pi
    f)^{-8/3}`."""
    return 5 / 256 * (chirp_mass * SOLAR_MASS) ** (-5 / 3) * (math.pi * frequency) ** (-8 / 3)


def check_duration(frequencies: Tensor, chirp_mass: float, earliest: float, latest: float) -> None:
    """``ValueError`` if the lightest signal does not lie within the data."""
    low, duration = float(frequencies[0]), duration_of(frequencies)
    needed = chirp_time(low, chirp_mass)
    if earliest < needed or latest > duration:
        raise ValueError(
            f"A chirp mass of {chirp_mass:g} M_sun takes {needed:.1f} s from {low:g} Hz to coalescence, which is "
            f"between {earliest:g} and {latest:g} s after the start of {duration:g} s of data: the signal does not "
            "fit. Take longer data, a later time of coalescence or a higher lower end of the band."
        )


def check_prior(prior: Prior, frequencies: Tensor) -> None:
    """:func:`check_duration` for all that a prior allows."""
    densities = {**prior.parameters, **prior.marginal}
    (lightest, _), (earliest, latest) = (
        (d, d) if isinstance(d, float) else (d.low, d.high)  # type: ignore[union-attr]
        for d in (densities["chirp_mass"], densities["time"])
    )
    check_duration(frequencies, lightest, earliest, latest)
