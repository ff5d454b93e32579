"""Structure factors of recorded fields, and their averages over shells, next to the bare transforms of scipy.

python benchmarks/structure.py [seconds]
"""

from __future__ import annotations

import sys

import numpy as np
import torch
import xarray as xr
from rich.console import Console
from rich.table import Table
from scipy.fft import fftfreq, rfft2
from support.timing import in_turn

from nearsight import analysis
from nearsight.lattices import square

SIZES = ((128, 32), (512, 4), (1024, 1))
"""Sites along an axis, and frames."""


def scipy_power(frames: np.ndarray) -> np.ndarray:
    """|FFT|² / N of real frames ``(frame, x, y)``, half of the zone."""
    amplitude = rfft2(frames)
    return (amplitude.real**2 + amplitude.imag**2) / frames[0].size


def scipy_shells(frames: np.ndarray) -> np.ndarray:
    """Means over rings of width 2π/L about Γ, as one types them: nearest zone, weights for the missing half."""
    power, n = scipy_power(frames), frames.shape[-1]
    k = np.hypot(fftfreq(n)[:, None], np.arange(n // 2 + 1) / n) * n
    ring = np.rint(k).astype(np.int64).ravel()
    weight = np.full(power.shape[-1], 2.0)
    weight[[0, -1]] = 1.0
    weight = np.broadcast_to(weight, power.shape[1:]).ravel()
    count = np.bincount(ring, weight)
    return np.stack([np.bincount(ring, weight * frame.ravel()) / count for frame in power])


def main(seconds: float) -> None:
    torch.set_num_threads(1)
    columns = ("sites × frames", "S(k), ns a site", "over scipy", "with shells, ns", "over scipy and bincount")
    table = Table(*columns, title="Structure factors, processor time of one thread")
    for length, frames in SIZES:
        lattice, rng = square(length), np.random.default_rng(1)
        values = rng.standard_normal((frames, lattice.n_sites))
        field = xr.DataArray(values, dims=("time", "site"))
        image = values.reshape(frames, length, length)

        def ours(field=field, lattice=lattice):
            return analysis.structure_factor(field, lattice)

        def ours_shells(field=field, lattice=lattice):
            return analysis.shell_average(analysis.structure_factor(field, lattice), lattice)

        calls = {
            "ours": ours, "scipy": lambda image=image: scipy_power(image),
            "ours, shells": ours_shells, "scipy, shells": lambda image=image: scipy_shells(image),
        }  # fmt: skip
        found = in_turn(calls, 3, seconds / 12)
        each = {name: 1e9 * found[name] / values.size for name in calls}
        table.add_row(
            f"{length}² × {frames}",
            f"{each['ours']:.1f}", f"{each['ours'] / each['scipy']:.2f}",
            f"{each['ours, shells']:.1f}", f"{each['ours, shells'] / each['scipy, shells']:.2f}",
        )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2] or [2.0]))
