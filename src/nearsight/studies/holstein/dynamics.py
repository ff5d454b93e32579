"""Do quenches with learned forces look like quenches with exact ones?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr

from nearsight import analysis
from nearsight.analysis import Verdict
from nearsight.forcefields import SumForceField
from nearsight.hamiltonians import Holstein
from nearsight.studies.holstein import ensemble
from nearsight.studies.holstein.config import Config
from nearsight.studies.holstein.physics import density, held, holstein
from nearsight.studies.run import Run

SIGNIFICANCE = 0.01
"""Two ensembles of equal law are called different once in a hundred runs."""


def compare(run: Run, config: Config, learned: SumForceField) -> tuple[xr.Dataset, list[Verdict]]:
    """L(t), C(r, t) and the global order of both ensembles, replica by replica, and whether their means agree."""
    model = holstein(config, config.comparison.length)
    student = held(config, learned.on(model.lattice))
    trajectories = {
        "exact": ensemble.exact(run, config),
        "learned": ensemble.learned(run, config, student),
        "twin": ensemble.twins(run, config, student),
    }
    by_source = {source: curves(part, model, config.mean_density) for source, part in trajectories.items()}
    dataset = xr.concat(list(by_source.values()), dim=xr.Variable("source", list(by_source)))
    late = dataset.isel(time=slice(1, None))  # the initial fields are the same
    return dataset, [
        verdict("domain size L(t)", late.L, np.log),
        verdict("correlation C(r, t)", late.C),
        verdict("global order |Φ|(t)", late.Phi),
        same_noise(dataset.L),
    ]


def curves(trajectory: xr.Dataset, model: Holstein, mean: float) -> xr.Dataset:
    """What is measured on every record of every replica."""
    field, force = (
        torch.from_numpy(trajectory[name].transpose("replica", "record", "site", "component").values)
        for name in ("field", "force")
    )
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


def verdict(
    name: str, values: xr.DataArray, transform: Callable[[xr.DataArray], xr.DataArray] | None = None
) -> Verdict:
    """Whether both ensembles have the same mean curve (of the logarithm, say, where fluctuations are relative).

    Paired: replica i of both starts from the same field, so that smaller differences are seen. The values at the last
    time stand beside the p-value, because a test that sees nothing says nothing about how much it could have missed.
    """
    tested = values if transform is None else transform(values)
    result = analysis.compare_curves(tested.sel(source="exact"), tested.sel(source="learned"), paired=True)
    end = values.isel(time=-1)
    at_end = {source: at_last(end.sel(source=source)) for source in ("exact", "learned")} if "r" not in end.dims else {}
    p = f"p = {result.p_value:.2g}"
    return Verdict(
        f"{name}: same mean curve",
        exact=at_end.get("exact"),
        learned="; ".join(filter(None, [at_end.get("learned"), p])),
        target=f"p > {SIGNIFICANCE}",
        passed=result.p_value > SIGNIFICANCE,
        note=f"{values.sizes['replica']} pairs of quenches, Hotelling T² on {result.modes} modes that carry "
        f"{100 * result.explained:.0f} % of the variance; values at t = {float(values.time[-1]):g}",
    )


def same_noise(L: xr.DataArray) -> Verdict:
    """How far the mean L strays if the noise is that of the exact quenches: what chance adds to both drops out."""
    ratio = np.log(L.sel(source="twin") / L.sel(source="exact"))
    summary = 100 * analysis.mean_and_error(ratio)
    worst = summary.isel(time=int(np.abs(summary["mean"].values).argmax()))
    end = summary.isel(time=-1)
    return Verdict(
        "domain size L(t) under the same noise, learned less exact",
        learned=f"{float(end['mean']):.2g} ± {float(end['error']):.1g} %",
        note=f"mean of ln L at t = {float(end.time):g}; at most {float(worst['mean']):.2g} ± "
        f"{float(worst['error']):.1g} %, at t = {float(worst.time):g}",
    )


def at_last(values: xr.DataArray) -> str:
    summary = analysis.mean_and_error(values)
    return f"{float(summary['mean']):.3g} ± {float(summary['error']):.1g}"
