"""Do quenches with learned forces look like quenches with exact ones?"""

from __future__ import annotations

import numpy as np
import xarray as xr

from nearsight import analysis
from nearsight.analysis import Verdict
from nearsight.analysis.order import CHECKERBOARD
from nearsight.forcefields import ForceField
from nearsight.hamiltonians import JahnTeller
from nearsight.studies.agreement import same_mean, same_noise
from nearsight.studies.jahn_teller.config import Config
from nearsight.studies.jahn_teller.physics import density, held, hot, jahn_teller, quenched, scheme, tau
from nearsight.studies.quenches import Quenches, fields_and_forces, log_steps
from nearsight.studies.run import Run


def compare(run: Run, config: Config, electrons: ForceField) -> tuple[xr.Dataset, list[Verdict]]:
    """C^xx(r, t), L(t), orbital order and density of both ensembles, and whether their means agree."""
    options = config.comparison
    model = jahn_teller(config, options.length)
    student = held(config, electrons.on(model.lattice), options.filling)
    steps = log_steps(options.duration, config.quench.dt, options.records)
    field = hot(config, model.lattice, options.quenches, run.rng("initial fields"))
    quenches = Quenches(run, scheme(config), steps, field)
    trajectories = {
        "exact": quenches.exact(quenched(config, options.length, options.filling)),
        "learned": quenches.learned(student),
        "twin": quenches.twins(student),
    }
    by_source = {source: curves(part, model, config) for source, part in trajectories.items()}
    dataset = xr.concat(list(by_source.values()), dim=xr.Variable("source", list(by_source)))
    dataset.attrs = {"filling": options.filling}
    late = dataset.isel(time=slice(1, None))  # the initial fields are the same
    return dataset, [
        same_mean("correlation C^xx(r, t)", late.C),
        same_mean("domain size L(t)", late.L, np.log),
        same_mean("local orbital order, rms φ(t)", late.phi_rms),
        same_mean("spread of the density, rms n - 2f", late.n_std),
        same_noise(dataset.L),
    ]


def curves(trajectory: xr.Dataset, model: JahnTeller, config: Config) -> xr.Dataset:
    """What is measured on every record of every replica."""
    field, force = fields_and_forces(trajectory)
    lattice, dims = model.lattice, ("replica", "time")
    time = ("time", trajectory["time"].values / tau(config), {"long_name": "time", "units": "τ0"})
    phi = analysis.contrast_order(field[..., 1], lattice, dims=dims).assign_coords(time=time)
    n = density(model, field, force)
    S = analysis.structure_factor(field[..., 1], lattice, dims=dims).assign_coords(time=time)
    spread = n.std(-1, correction=0).numpy()
    return xr.Dataset(
        {
            "C": analysis.axial_correlation(field[..., 1], lattice, dims=dims).assign_coords(time=time),
            "L": analysis.correlation_length(S, lattice, about=CHECKERBOARD),
            "Phi": analysis.global_order(phi),
            "phi_rms": root_mean_square(phi),
            "n_std": xr.DataArray(spread, dims=dims, attrs={"long_name": "standard deviation of the density"}),
        }
    )


def root_mean_square(phi: xr.DataArray) -> xr.DataArray:
    result: xr.DataArray = np.sqrt((phi**2).mean("site"))  # type: ignore[assignment]
    return result.assign_attrs(long_name="rms of the local order parameter", units="1")
