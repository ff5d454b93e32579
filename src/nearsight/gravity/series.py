"""Strain as it is published, a series in time, and its way to the frequency domain."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nearsight._validation import array, filename, instance, number
from nearsight.gravity.detectors import DETECTORS
from nearsight.gravity.strain import Strain, checked_asd, duration_of


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """Strain of one detector at equal steps of time.

    Parameters
    ----------
    values: ``(time,)``, dimensionless; NaN where there are no data.
    rate: samples a second.
    gps: GPS time of the first.
    detector: "H1", "L1" or "V1".

    Examples
    --------
    >>> import numpy as np
    >>> from nearsight.gravity import TimeSeries
    >>> seconds = np.arange(8 * 4096) / 4096
    >>> series = TimeSeries(np.sin(2 * np.pi * 100 * seconds), rate=4096.0, gps=1126259460.0, detector="H1")
    >>> len(series.cut(1126259462.0, 0.5))
    2048
    """

    values: np.ndarray
    rate: float
    gps: float
    detector: str

    def __post_init__(self) -> None:
        number(self.rate, "rate", above=0.0)
        number(self.gps, "gps", least=0.0)
        if self.detector not in DETECTORS:
            raise ValueError(f"detector must be one of {', '.join(DETECTORS)}, got {self.detector!r}.")
        if np.ndim(self.values) != 1 or len(self.values) < 2:
            raise ValueError(f"values must have shape (time,), got {np.shape(self.values)}.")

    def cut(self, start: float, duration: float) -> np.ndarray:
        """The values of ``duration`` s from a GPS time on; ``ValueError`` if some are missing."""
        first, count = round((start - self.gps) * self.rate), round(duration * self.rate)
        if first < 0 or first + count > len(self.values):
            end = self.gps + len(self.values) / self.rate
            raise ValueError(
                f"{self.detector} has data from GPS {self.gps:.3f} to {end:.3f}, not the {duration:g} s from "
                f"{start:.3f}: take a later start or a shorter duration."
            )
        values = self.values[first : first + count]
        if not np.isfinite(values).all():
            gap = start + np.flatnonzero(~np.isfinite(values))[0] / self.rate
            raise ValueError(f"{self.detector} has no data at GPS {gap:.3f}; choose a stretch without gaps.")
        return values


def load_series(path: str | Path, detector: str | None = None) -> TimeSeries:
    """A strain file of the Gravitational Wave Open Science Center, HDF5 (``.hdf5``, ``.h5``) or text (``.txt``,
    ``.txt.gz``).

    The detector is the one named in the file, or ``detector`` if it names none.
    """
    path = filename(path, "path")
    if path.suffix in (".hdf5", ".h5"):
        return _from_hdf5(path, detector)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        lines = file.readlines()
    head = " ".join(line for line in lines if line.startswith("#"))
    rate = re.search(r"(\d+) samples per second", head)
    start = re.search(r"starting GPS (\d+(?:\.\d+)?)", head)
    if not rate or not start:
        raise ValueError(
            f"{path} does not say its rate and start: its head must hold '# This file has 4096 samples per second' and "
            "'# starting GPS 1126259447 duration 32'."
        )
    named = re.search(r"\b(" + "|".join(DETECTORS) + r")\b", head)
    values = np.array([float(line) for line in lines if line.strip() and not line.startswith("#")])
    return TimeSeries(values, float(rate[1]), float(start[1]), _detector(named and named[1], detector, path))


def _from_hdf5(path: Path, detector: str | None) -> TimeSeries:
    import h5py

    with h5py.File(path, "r") as file:
        if "strain/Strain" not in file:
            raise ValueError(f"{path} has no data set strain/Strain, as files of GWOSC have.")
        data = file["strain/Strain"]
        values, step = data[:], float(data.attrs["Xspacing"])
        start = float(data.attrs["Xstart"]) if "Xstart" in data.attrs else float(file["meta/GPSstart"][()])
        named = file["meta/Detector"][()] if "meta/Detector" in file else None
    named = named.decode() if isinstance(named, bytes) else named
    return TimeSeries(values, 1 / step, start, _detector(named, detector, path))


def _detector(named: str | None, given: str | None, path: Path) -> str:
    if named is None and given is None:
        raise ValueError(f"{path} names no detector; give detector='H1'.")
    if named is not None and given is not None and named != given:
        raise ValueError(f"{path} holds data of {named}, not of {given}.")
    return str(named or given)


def estimate_asd(series: TimeSeries, frequencies: Tensor, seconds: float = 4.0) -> Tensor:
    """The noise curve ``(frequency,)`` of a series by Welch's method: the median of half overlapping Hann segments of
    some ``seconds``, which a short signal does not change; linear in logarithms between their frequencies.

    Stretches with gaps are left out. The relative error of the ASD is about 0.7/√(number of segments).
    """
    from scipy import signal

    instance(series, TimeSeries, "series", "Read one by load_series.")
    count = int(number(seconds, "seconds", above=0.0) * series.rate)
    starts = range(0, len(series.values) - count + 1, count // 2)
    whole = [s for s in starts if np.isfinite(series.values[s : s + count]).all()]
    if len(whole) < 4:
        raise ValueError(f"{series.detector} has {len(whole)} segments of {seconds:g} s without gaps; four are needed.")
    powers = []
    for s in whole:
        f, power = signal.welch(series.values[s : s + count], series.rate, nperseg=count)
        powers.append(power)
    n = len(powers) if len(powers) % 2 else len(powers) - 1
    bias = sum((-1) ** (k + 1) / k for k in range(1, n + 1))  # of the median of exponential values, for the mean
    found = np.sqrt(np.median(powers, 0) / bias)
    grid = frequencies.cpu().numpy()
    if grid[-1] > f[-1]:
        raise ValueError(f"Data at {series.rate:g} a second end at {f[-1]:g} Hz, not at {grid[-1]:g} Hz.")
    values = np.interp(np.log(grid), np.log(f[1:]), np.log(np.maximum(found[1:], 1e-300)))
    return torch.from_numpy(np.exp(values))


def from_series(
    series: Sequence[TimeSeries], frequencies: Tensor, gps: float, asd: Tensor | None = None, *, rise: float = 0.4
) -> Strain:
    """The strain of some detectors at ``frequencies``, from GPS time ``gps`` on for as long as these say.

    Both ends rise within ``rise`` s (Tukey window). Noise curves ``asd`` ``(detector, frequency)`` are estimated from
    the whole series if none are given (:func:`estimate_asd`).
    """
    if not series:
        raise ValueError("series must hold one at least.")
    rows = [instance(one, TimeSeries, "a series", "Read one by load_series.") for one in series]
    duration = duration_of(frequencies)
    rise = number(rise, "rise", least=0.0, most=duration / 2)
    found = []
    for one in rows:
        values = array(one.cut(gps, duration), "values", ("time",))
        if float(frequencies[-1]) > one.rate / 2:
            raise ValueError(f"Data at {one.rate:g} a second end at {one.rate / 2:g} Hz; take a lower band.")
        from scipy.signal.windows import tukey

        spectrum = np.fft.rfft(values * tukey(len(values), 2 * rise / duration)) / one.rate
        which = np.rint(frequencies.cpu().numpy() * duration).astype(int)
        found.append(torch.from_numpy(spectrum[which]))
    noise = torch.stack([estimate_asd(one, frequencies) for one in rows]) if asd is None else torch.as_tensor(asd)
    noise = checked_asd(noise, frequencies).expand(len(rows), -1)
    return Strain(frequencies, torch.stack(found), noise.clone(), [DETECTORS[one.detector] for one in rows], gps)
