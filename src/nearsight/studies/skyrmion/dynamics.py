"""Do spins that move by learned torques order as spins that move by exact ones?"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from torch import Tensor

from nearsight import analysis
from nearsight.analysis import Path, Verdict
from nearsight.lattices import Lattice, triangular
from nearsight.studies.agreement import same_mean
from nearsight.studies.magnets.motion import overlap, two_ensembles
from nearsight.studies.run import Run
from nearsight.studies.skyrmion.config import Config
from nearsight.studies.skyrmion.physics import Q, disordered, exact, in_field
from nearsight.studies.skyrmion.train import learned

STOPS = (("Γ", (0.0, 0.0)), ("K", (4 * math.pi / 3, 0.0)), ("M", (2 * math.pi, 0.0)))
"""The straight path of the thesis, along which lie Q and its images."""


def path(lattice: Lattice) -> Path:
    return analysis.symmetry_path(lattice, STOPS)


def compare(run: Run, config: Config) -> tuple[xr.Dataset, list[Verdict]]:
    """S(q, t) along Γ-K-M, the height of its peaks and its length in both ensembles, and whether their means agree."""
    options = config.comparison
    lattice = triangular(options.length)
    start = disordered(lattice, options.quenches, run.rng("initial spins"))
    student = in_field(config, learned(run, config, options.length))
    teacher = exact(config, options.length)
    dataset = two_ensembles(run, config, start, teacher, student, lambda spins: curves(spins, lattice))
    late = dataset.isel(time=slice(1, None))  # the initial spins are the same
    return dataset, [
        same_mean("structure factor S(q, t) along Γ-K-M", late.S, np.log),
        same_mean("height M(t) of the peaks at ±Q", late.M, np.log),
        same_mean("length L(t) of the ordered regions", late.L, np.log),
        same_mean("magnetisation along the field", late.Mz),
        overlap(dataset),
    ]


def curves(field: Tensor, lattice: Lattice) -> xr.Dataset:
    """What is measured on every record of every replica, spins ``(replica, time, site, 3)``."""
    dims = ("replica", "time")
    S = analysis.spin_structure_factor(field, lattice, dims=dims)
    peaks = analysis.star(Q, lattice)
    along = analysis.spin_structure_factor_at(field, lattice, path(lattice), dims=dims).drop_vars(("kx", "ky"))
    Mz = xr.DataArray(field[..., 2].mean(-1).numpy(), dims=dims, attrs={"long_name": "magnetisation along the field"})
    return xr.Dataset(
        {
            "S": along,
            "zone": S.mean("replica"),
            "M": analysis.peak_order(S, lattice, peaks),
            "L": analysis.peak_length(S, lattice, peaks),
            "Mz": Mz,
        }
    )
