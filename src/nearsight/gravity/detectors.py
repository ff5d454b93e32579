"""Where the detectors stand, how they respond, and how noisy they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import filename, generator, integer, number
from nearsight.gravity.constants import SPEED_OF_LIGHT
from nearsight.gravity.waveforms import Polarisations, Source, Waveform


@dataclass(frozen=True)
class Detector:
    r"""An interferometer with arms :math:`\mathbf u, \mathbf w`: response :math:`D = (\mathbf u \mathbf u^T - \mathbf w
    \mathbf w^T) / 2` and arrival times in the Earth-fixed frame.

    Parameters
    ----------
    name: as in observing runs, "H1".
    vertex: position of the beam splitter in m, Earth-centred: x to the meridian of Greenwich, z to the north pole.
    arms: unit vectors along the two arms.

    Examples
    --------
    >>> from nearsight.gravity import DETECTORS
    >>> DETECTORS["L1"].name
    'L1'
    """

    name: str
    vertex: tuple[float, float, float]
    arms: tuple[tuple[float, float, float], tuple[float, float, float]]

    def response(self, source: Source, sidereal: float) -> tuple[Tensor, Tensor, Tensor]:
        """F₊, F× and the time in s at which waves arrive after they reach the Earth's centre, each ``(*batch,)``."""
        longitude = source["ra"] - sidereal
        sin_ra, cos_ra, sin_dec, cos_dec = (f(x) for x in (longitude, source["dec"]) for f in (torch.sin, torch.cos))
        sin_psi, cos_psi = torch.sin(source["psi"]), torch.cos(source["psi"])
        west = torch.stack([sin_ra, -cos_ra, torch.zeros_like(sin_ra)], -1)
        north = torch.stack([-cos_ra * sin_dec, -sin_ra * sin_dec, cos_dec], -1)
        x = west * cos_psi[..., None] + north * sin_psi[..., None]
        y = north * cos_psi[..., None] - west * sin_psi[..., None]
        u, w = torch.tensor(self.arms, dtype=x.dtype, device=x.device)
        tensor = (torch.outer(u, u) - torch.outer(w, w)) / 2
        plus = (x @ tensor * x).sum(-1) - (y @ tensor * y).sum(-1)
        cross = 2 * (x @ tensor * y).sum(-1)
        towards = torch.stack([cos_ra * cos_dec, sin_ra * cos_dec, sin_dec], -1)
        place = torch.tensor(self.vertex, dtype=x.dtype, device=x.device) / SPEED_OF_LIGHT
        return plus, cross, -(towards @ place)


DETECTORS = {
    detector.name: detector
    for detector in (
        Detector(
            "H1",
            (-2.16141492636e6, -3.83469517889e6, 4.60035022664e6),
            ((-0.22389266154, 0.79983062746, 0.55690487831), (-0.91397818574, 0.02609403989, -0.40492342125)),
        ),
        Detector(
            "L1",
            (-7.42760447238e4, -5.49628371971e6, 3.22425701744e6),
            ((-0.95457412153, -0.14158077340, -0.26218911324), (0.29774156894, -0.48791033647, -0.82054461286)),
        ),
        Detector(
            "V1",
            (4.54637409900e6, 8.42989697626e5, 4.37857696241e6),
            ((-0.70045821479, 0.20848948619, 0.68256166277), (-0.05379255368, -0.96908180549, 0.24080451708)),
        ),
    )
}
"""LIGO Hanford and Livingston, and Virgo (LIGO-T980044)."""


def project(
    waves: Polarisations, frequencies: Tensor, source: Source, detectors: Sequence[Detector], sidereal: float
) -> Tensor:
    r"""Strains of detectors ``(*batch, detector, frequency)``, complex, in 1/Hz,

    .. math:: \tilde h_d = (F_+ \tilde h_+ + F_\times \tilde h_\times)\, e^{-2\pi i f (t + \tau_d)} ,

    with the source's ``ra``, ``dec`` and ``psi`` (rad) and ``time`` t (s, of coalescence at the Earth's centre, counted
    from the start of the data). ``sidereal`` is the sidereal time of Greenwich at that start (:func:`sidereal_time`).
    """
    strains = []
    for detector in detectors:
        plus, cross, delay = detector.response(source, sidereal)
        turn = -2 * math.pi * frequencies * (source["time"] + delay)[..., None]
        heard = plus[..., None] * waves.plus + cross[..., None] * waves.cross
        strains.append(heard * torch.polar(torch.ones_like(turn), turn))
    return torch.stack(strains, -2)


def strains(
    waveform: Waveform,
    frequencies: Tensor,
    source: Source,
    detectors: Sequence[Detector],
    sidereal: float,
    dtype: torch.dtype = torch.complex128,
    *,
    cut: bool = True,
) -> Tensor:
    """:func:`project` of a waveform, by its ``expansion`` if it has one: the same numbers to the rounding of ``dtype``,
    several times faster for a batch ``(source,)``. Without ``cut`` an expansion goes on beyond its end."""
    series = waveform.expansion(source) if hasattr(waveform, "expansion") else None
    if series is None or series.amplitude.ndim != 1:
        return project(waveform(frequencies, source), frequencies, source, detectors, sidereal).to(dtype)
    real = torch.float32 if dtype == torch.complex64 else torch.float64
    phase = series.coefficients @ series.functions(frequencies)
    size = (frequencies ** (-7 / 6)).to(real)[None]
    if cut:
        size = torch.where(frequencies < series.end[:, None], size, 0.0)
    cosine, turn = torch.cos(source["inclination"]), -2 * math.pi * frequencies[None]
    found = torch.empty(len(phase), len(detectors), len(frequencies), dtype=dtype, device=phase.device)
    for k, detector in enumerate(detectors):
        plus, cross, delay = detector.response(source, sidereal)
        gain = series.amplitude * torch.complex(plus * (1 + cosine**2) / 2, -cross * cosine)
        # Thousands of radians keep their digits only until the remainder is taken.
        turned = torch.addmm(phase, (source["time"] + delay)[:, None], turn).remainder_(2 * math.pi).to(real)
        turned = turned + torch.angle(gain)[:, None].to(real)
        found[:, k] = torch.polar(size * gain.abs()[:, None].to(real), turned)
    return found


LEAP_SECONDS = (
    46828800, 78364801, 109900802, 173059203, 252028804, 315187205, 346723206, 393984007, 425520008, 457056009,
    504489610, 551750411, 599184012, 820108813, 914803214, 1025136015, 1119744016, 1167264017,
)  # fmt: skip
"""GPS times of the leap seconds since 1980; none has been announced after 2017."""


def sidereal_time(gps: float) -> float:
    """Mean sidereal time of Greenwich in rad at a GPS time in s, to 1 s of time: UT1 is taken for UTC (IAU 1982)."""
    gps = number(gps, "gps", least=0.0)
    utc = gps - sum(gps >= leap for leap in LEAP_SECONDS)
    days = utc / 86400 + 2444244.5 - 2451545.0  # since noon of 1 January 2000; GPS began at JD 2444244.5
    centuries, since_midnight = (math.floor(days - 0.5) + 0.5) / 36525, (days - 0.5) % 1.0
    seconds = 24110.54841 + 8640184.812866 * centuries + 0.093104 * centuries**2 - 6.2e-6 * centuries**3
    return 2 * math.pi * ((seconds / 86400 + since_midnight * 1.00273790935) % 1.0)


def advanced_ligo(frequencies: Tensor) -> Tensor:
    r"""Design amplitude spectral density of Advanced LIGO in Hz^{-1/2}, with x = f / 215 Hz,

    .. math:: S(f) = 10^{-49} \left[ x^{-4.14} - 5 x^{-2} + \frac{111 (1 - x^2 + x^4 / 2)}{1 + x^2 / 2} \right]
              \mathrm{Hz}^{-1}, \qquad f \ge 20\,\mathrm{Hz} ,

    infinite below.

    References
    ----------
    B. S. Sathyaprakash, B. F. Schutz, Living Rev. Relativ. 12, 2 (2009), table 1.
    """
    x2 = (frequencies / 215) ** 2
    power = x2**-2.07 - 5 / x2 + 111 * (1 - x2 + x2**2 / 2) / (1 + x2 / 2)
    return torch.where(frequencies >= 20, 1e-49 * power, torch.full_like(power, torch.inf)).sqrt()


def varied_noise(
    frequencies: Tensor, rng: torch.Generator, count: int, *, scale: float = 0.2, knots: int = 8
) -> Tensor:
    """Amplitude spectral densities ``(count, frequency)`` about :func:`advanced_ligo`: ln ASD differs from it by a
    piecewise linear function of ln f with independent normal values of standard deviation ``scale`` at ``knots``
    frequencies in equal ratios, and by an overall factor of the same spread.

    What changes between observing runs is of this kind; lines are left to masks.
    """
    generator(rng)
    count, knots = integer(count, "count", least=1), integer(knots, "knots", least=2)
    scale = number(scale, "scale", least=0.0)
    place = torch.log(frequencies / frequencies[0]) / math.log(float(frequencies[-1] / frequencies[0])) * (knots - 1)
    left = place.floor().clamp(max=knots - 2).long()
    drawn = scale * torch.randn(count, knots + 1, generator=rng, dtype=frequencies.dtype, device=rng.device)
    drawn = drawn.to(frequencies.device)
    part = place - left
    change = drawn[:, left] * (1 - part) + drawn[:, left + 1] * part + drawn[:, -1:]
    return advanced_ligo(frequencies) * torch.exp(change)


def load_asd(path: str | Path, frequencies: Tensor) -> Tensor:
    """The amplitude spectral density of a text file with columns f (Hz) and ASD (Hz^{-1/2}) at other frequencies.

    Interpolated linearly in logarithms. ``ValueError`` for a file with gaps: values that are not positive, frequencies
    that do not ascend, or a band that the file does not cover.
    """
    table = np.loadtxt(filename(path, "path"), ndmin=2)
    if table.shape[1] != 2 or len(table) < 2:
        raise ValueError(f"{path} must have two columns, frequency and ASD, got shape {table.shape}.")
    f, asd = table.T
    if not (np.isfinite(table).all() and (f > 0).all() and (np.diff(f) > 0).all()):
        raise ValueError(f"Frequencies in {path} must be positive, finite and ascending.")
    low, high = float(frequencies.min()), float(frequencies.max())
    inside = (f >= low) & (f <= high)
    if (asd[inside] <= 0).any():
        raise ValueError(
            f"The ASD in {path} is not positive at {f[inside & (asd <= 0)][0]:g} Hz; cut the band, or give the noise "
            f"there a finite value."
        )
    if low < f[0] or high > f[-1]:
        raise ValueError(f"{path} covers {f[0]:g} to {f[-1]:g} Hz, not the {low:g} to {high:g} Hz asked for.")
    values = np.interp(np.log(frequencies.cpu().numpy()), np.log(f[asd > 0]), np.log(asd[asd > 0]))
    return torch.from_numpy(np.exp(values)).to(frequencies)
