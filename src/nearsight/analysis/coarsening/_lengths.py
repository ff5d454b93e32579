"""Lengths of several replicas, checked, and how well their mean is known."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nearsight._validation import instance, numbers


def pooled_relative_error(values: np.ndarray) -> float:
    """Relative standard error of the mean over replicas ``(replica, time)``, root mean square over the times; replicas
    that agree to rounding would get infinite weight."""
    relative = values.var(0, ddof=1) / len(values) / values.mean(0) ** 2
    return max(float(np.sqrt(relative.mean())), 1e-12)


def lengths_and_times(length: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths ``(replica, time)`` and the times, checked."""
    cure = "Name the dimensions: xr.DataArray(L, dims=('replica', 'time'), coords=...)."
    instance(length, xr.DataArray, "length", cure)
    if set(length.dims) != {"replica", "time"} or "time" not in length.coords:
        raise ValueError(f"length needs the dimensions 'replica' and 'time' with its coordinate, got {length.dims}.")
    if length.dtype.kind not in "fiu":
        raise TypeError(f"Lengths must be real numbers, got an array of {length.dtype}; take the real part or |L|.")
    values = length.transpose("replica", "time").values.astype(float)
    times = length["time"].values.astype(float)
    if len(values) < 3:
        raise ValueError(f"Error bars need at least 3 replicas, got {len(values)}.")
    return values, times


PRINTED = 1e-5
"""Windows are printed with six digits: typed back, they hold the same times."""


def times_inside(
    times: np.ndarray, window: tuple[float, float] | None, after: float
) -> tuple[np.ndarray, tuple[float, float]]:
    """Which times later than ``after`` lie in a window, both ends included, and its ends; all of them without one."""
    usable = times[times > after]
    ends = (float(np.min(usable, initial=np.inf)), float(times.max())) if window is None else window
    low, high = numbers(ends, "window", length=2, finite=False)
    return (times >= low - PRINTED * abs(low)) & (times <= high + PRINTED * abs(high)) & (times > after), (low, high)


def check_positive(values: np.ndarray) -> np.ndarray:
    """The lengths themselves, if they have a logarithm."""
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(
            "Lengths must be finite and positive; leave out ordered replicas (L = inf), or shorten the window."
        )
    return values
