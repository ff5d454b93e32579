"""Do quenches with learned forces look like quenches with exact ones?"""

from __future__ import annotations

import numpy as np
import xarray as xr

from nearsight import analysis
from nearsight.analysis import Verdict
from nearsight.forcefields import SumForceField
from nearsight.hamiltonians import Holstein
from nearsight.studies.agreement import same_mean, same_noise
from nearsight.studies.holstein.config import Config
from nearsight.studies.holstein.physics import density, held, holstein, hot, quenched, scheme
from nearsight.studies.quenches import Quenches, fields_and_forces, log_steps
from nearsight.studies.run import Run


def compare(run: Run, config: Config, learned: SumForceField) -> tuple[xr.Dataset, list[Verdict]]:
    """L(t), C(r, t) and the global order of both ensembles, replica by replica, and whether their means agree."""
    model = holstein(config, config.comparison.length)
    student = held(config, learned.on(model.lattice))
    steps = log_steps(config.comparison.duration, config.quench.dt, config.comparison.records)
    field = hot(config, model.lattice, config.comparison.quenches, run.rng("initial fields"))
    quenches = Quenches(run, scheme(config), steps, field)
    trajectories = {
        "exact": quenches.exact(quenched(config, config.comparison.length)),
        "learned": quenches.learned(student),
        "twin": quenches.twins(student),
    }
    by_source = {source: curves(part, model, config.mean_density) for source, part in trajectories.items()}
    dataset = xr.concat(list(by_source.values()), dim=xr.Variable("source", list(by_source)))
    late = dataset.isel(time=slice(1, None))  # the initial fields are the same
    return dataset, [
        same_mean("domain size L(t)", late.L, np.log),
        same_mean("correlation C(r, t)", late.C),
        same_mean("global order |Φ|(t)", late.Phi),
        same_noise(dataset.L),
    ]


def curves(trajectory: xr.Dataset, model: Holstein, mean: float) -> xr.Dataset:
    """What is measured on every record of every replica."""
    field, force = fields_and_forces(trajectory)
    n = density(model, field, force)
    phi = analysis.cdw_order(n, model.lattice, mean=mean, dims=("replica", "time"))
    phi = phi.assign_coords(time=("time", trajectory["time"].values, {"long_name": "time", "units": "1/t"}))
    S = analysis.structure_factor(phi, model.lattice)
    return xr.Dataset(
        {
            "L": analysis.correlation_length(S, model.lattice),
            "C": analysis.correlation(phi, model.lattice),
            "Phi": analysis.global_order(phi),
        }
    )
