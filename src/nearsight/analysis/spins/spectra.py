"""Spins in reciprocal space and in frequency."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import signal

from nearsight._validation import instance, integer, number
from nearsight.analysis._fields import SpinField, described, spin_field
from nearsight.analysis.spins.waves import _points
from nearsight.analysis.structure._reciprocal import label_wave_vectors
from nearsight.analysis.structure.brillouin import Path
from nearsight.lattices import Lattice

BLOCK = 64
"""Records that are transformed at a time: a long trajectory on disk never has to fit into memory."""
EVEN = 1e-6
"""Largest deviation from even spacing in time, relative to the spacing."""


def dynamical_structure_factor(
    spins: SpinField,
    lattice: Lattice,
    k: np.ndarray | Path,
    *,
    dt: float | None = None,
    window: str = "hann",
    segments: int = 1,
    kT: float | None = None,
) -> xr.DataArray:
    r"""The spectrum of spin fluctuations at chosen wave vectors, from a trajectory,

    .. math::
        S(\mathbf k, \omega) = \frac{1}{2\pi N} \int dt\, e^{i\omega t}\,
        \langle \mathbf S_{\mathbf k}(t) \cdot \mathbf S_{-\mathbf k}(0) \rangle, \qquad
        \mathbf S_{\mathbf k} = \sum_i \mathbf S_i\, e^{-i\mathbf k \cdot \mathbf r_i}, \qquad
        \int d\omega\, S(\mathbf k, \omega) = S(\mathbf k).

    It is estimated by windowed periodograms (Welch). Frequencies are resolved to about 2π over the length of a segment,
    and reach to π/``dt``: faster motion between two records appears at wrong ones. Average over "replica" for error
    bars; one periodogram scatters by as much as itself.

    Parameters
    ----------
    spins: evenly spaced records, as ``Trajectory.data.field`` of a run without damping: a DataArray with "record" (or
        "time"), "site" and "component", whose coordinate ``time`` is used; or ``(time, *batch, site, 3)`` with ``dt``.
    k: wave vectors ``(point, dim)`` in units of 1/a, or a path.
    dt: time between two records, where no coordinate tells.
    window: of every segment, as :func:`scipy.signal.get_window` names it; "boxcar" for none, which lets strong lines
        leak.
    segments: the number of half-overlapping segments that are averaged, at the price of resolution.
    kT: classical spectra are even in ω; with the temperature of the trajectory they are multiplied by
        (ω/kT)/(1 - exp(-ω/kT)), exact for harmonic motion, so that they obey detailed balance as measured ones do.

    Returns
    -------
    S(k, ω) ``(*batch, point, omega)``, ω rising, with the coordinates kx, ky and, along a path, ``distance``.

    Cost: N operations for every wave vector and record.

    Example
    -------
    One spin that precesses about a field of 1, clockwise seen from its tip, as dS/dt = S × H has it:

    >>> import numpy as np, nearsight as ns
    >>> site = ns.lattices.chain(1)
    >>> t = 0.1 * np.arange(1024)
    >>> spin = np.stack([np.cos(t), -np.sin(t), 0 * t], axis=-1)[:, None]  # (time, site, 3)
    >>> S = ns.analysis.dynamical_structure_factor(spin, site, np.zeros((1, 1)), dt=0.1)
    >>> line = S.sel(point=0)
    >>> round(abs(line.idxmax("omega").item()), 1), round(line.integrate("omega").item(), 2)
    (1.0, 1.0)

    References
    ----------
    P. D. Welch, IEEE Trans. Audio Electroacoust. 15, 70 (1967); S. Zhang, H. J. Changlani, K. W. Plumb,
    O. Tchernyshyov, R. Moessner, Phys. Rev. Lett. 122, 167203 (2019), the correction.
    """
    instance(lattice, Lattice, "lattice")
    points, segments = _points(k, lattice), integer(segments, "segments", least=1)
    series, spacing = _in_time(spins, lattice, dt)
    length = 2 * series.sizes["time"] // (segments + 1)
    if length < 8:
        raise ValueError(
            f"{series.sizes['time']} records in {segments} segments leave {length} for a spectrum; record more often, "
            f"or ask for fewer segments."
        )
    waves = np.exp(1j * lattice.positions @ points.T)  # of -k: a mode exp(-iωt) of k appears at +ω
    parts = [
        spin_field(series.isel(time=slice(start, start + BLOCK)), lattice).values @ waves
        for start in range(0, series.sizes["time"], BLOCK)
    ]
    modes = np.moveaxis(np.concatenate(parts), 0, -1)  # (*batch, component, point, time)
    frequency, power = signal.welch(
        modes, fs=1 / spacing, window=window, nperseg=length, noverlap=length // 2, detrend=False,
        return_onesided=False, scaling="density",
    )  # fmt: skip
    omega = 2 * np.pi * np.fft.fftshift(frequency)
    spectrum = np.fft.fftshift(power, axes=-1).sum(-3) / (2 * np.pi * lattice.n_sites)
    if kT is not None:
        spectrum = spectrum * _detailed_balance(omega / number(kT, "kT", above=0.0))
    batch = [d for d in series.dims if d not in ("time", "site", "component")]
    coords = {name: c for name, c in series.coords.items() if set(c.dims) <= set(batch)}
    S = xr.DataArray(spectrum, dims=(*batch, "point", "omega"), coords=coords)
    S = described(label_wave_vectors(S, points, ("point",)), "S", "dynamical structure factor", "1/t")
    S = S.assign_coords(omega=("omega", omega, {"long_name": "frequency", "units": "t"}))
    return S.assign_coords(distance=("point", k.distance)) if isinstance(k, Path) else S


def _in_time(spins: SpinField, lattice: Lattice, dt: float | None) -> tuple[xr.DataArray, float]:
    """The records with the dimension "time" first, and the time between two."""
    if not isinstance(spins, xr.DataArray):
        if dt is None:
            raise ValueError("Spins without a coordinate 'time' need dt, the time between two records.")
        labelled = spin_field(spins, lattice)
        if labelled.ndim < 3:
            raise ValueError(f"Spins have the shape (time, *batch, site, 3), got dimensions {labelled.dims}.")
        first, *others = (d for d in labelled.dims if d not in ("site", "component"))
        names = dict(zip(others, ["replica"] if len(others) == 1 else others, strict=True))
        return labelled.rename({first: "time", **names}), number(dt, "dt", above=0.0)
    series = spins
    if "record" in series.dims and "time" in series.coords:
        series = series.swap_dims(record="time")
    if "time" not in series.dims:
        raise ValueError(
            f"A trajectory has the dimension 'time', or 'record' with a coordinate 'time'; got {spins.dims}."
        )
    series = series.transpose("time", ...)
    if dt is not None:
        return series, number(dt, "dt", above=0.0)
    steps = np.diff(series.time.values)
    if not len(steps) or np.ptp(steps) > EVEN * abs(steps[0]) or steps[0] <= 0:
        raise ValueError("The records are not evenly spaced in time; record Every(n) steps, from one start.")
    return series, float(steps.mean())


def _detailed_balance(x: np.ndarray) -> np.ndarray:
    """x / (1 - exp(-x)), 1 at x = 0."""
    small = np.abs(x) < 1e-8
    return np.where(small, 1.0, x / -np.expm1(-np.where(small, 1.0, x)))
