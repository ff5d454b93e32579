"""Do spins that move by learned torques order as spins that move by exact ones?"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from nearsight import analysis
from nearsight.analysis import Path, Verdict
from nearsight.lattices import Lattice, triangular
from nearsight.studies.agreement import same_mean
from nearsight.studies.quenches import Quenches, fields_and_forces, log_steps
from nearsight.studies.run import Run
from nearsight.studies.skyrmion.config import Config
from nearsight.studies.skyrmion.physics import Q, disordered, exact, in_field, scheme
from nearsight.studies.skyrmion.train import learned

STOPS = (("Γ", (0.0, 0.0)), ("K", (4 * math.pi / 3, 0.0)), ("M", (2 * math.pi, 0.0)))
"""The straight path of the thesis, along which lie Q and its images."""


def path(lattice: Lattice) -> Path:
    return analysis.symmetry_path(lattice, STOPS)


def compare(run: Run, config: Config) -> tuple[xr.Dataset, list[Verdict]]:
    """S(q, t) along Γ-K-M, the height of its peaks and its length in both ensembles, and whether their means agree.

    Both start from the same random spins. Without a bath nothing else is random; what errors of the torque do to one
    configuration grows, as chaos has it, what they do to the ensemble is the question.
    """
    options = config.comparison
    lattice = triangular(options.length)
    steps = log_steps(options.duration, config.dynamics.dt, options.records)
    start = disordered(lattice, options.quenches, run.rng("initial spins"))
    quenches = Quenches(run, scheme(config), steps, start)
    trajectories = {
        "exact": quenches.exact(exact(config, options.length)),
        "learned": quenches.learned(in_field(config, learned(run, config, options.length))),
    }
    by_source = {source: curves(part, lattice) for source, part in trajectories.items()}
    dataset = xr.concat(list(by_source.values()), dim=xr.Variable("source", list(by_source)))
    late = dataset.isel(time=slice(1, None))  # the initial spins are the same
    return dataset, [
        same_mean("structure factor S(q, t) along Γ-K-M", late.S, np.log),
        same_mean("height M(t) of the peaks at ±Q", late.M, np.log),
        same_mean("length L(t) of the ordered regions", late.L, np.log),
        same_mean("magnetisation along the field", late.Mz),
        overlap(dataset),
    ]


def curves(trajectory: xr.Dataset, lattice: Lattice) -> xr.Dataset:
    """What is measured on every record of every replica."""
    field, _ = fields_and_forces(trajectory)
    dims = ("replica", "time")
    time = ("time", trajectory["time"].values, {"long_name": "time", "units": "ħ/t"})
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
            "spins": (("replica", "time", "site", "component"), field.float().numpy()),
        }
    ).assign_coords(time=time)


def overlap(dataset: xr.Dataset) -> Verdict:
    """How long learned spins follow the exact ones site by site: mean of S_i(exact)·S_i(learned)."""
    both = dataset.spins
    along = (both.sel(source="exact") * both.sel(source="learned")).sum("component").mean("site")
    summary = analysis.mean_and_error(along)
    values = ", ".join(
        f"{float(mean):.3g} at t = {float(t):.3g}"
        for t, mean in zip(dataset.time.values[1:], summary["mean"].values[1:], strict=True)
    )
    return Verdict(
        "overlap of learned with exact spins, site by site",
        exact=1.0,
        learned=f"{float(summary['mean'][-1]):.3g} ± {float(summary['error'][-1]):.1g}",
        note=values,
    )
