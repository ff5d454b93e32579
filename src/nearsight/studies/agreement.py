"""Do quenches with learned forces look like quenches with exact ones?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from nearsight import analysis
from nearsight.analysis import Verdict
from nearsight.storage import rounded

SIGNIFICANCE = 0.01
"""Two ensembles of equal law are called different once in a hundred runs."""


def same_mean(
    name: str, values: xr.DataArray, transform: Callable[[xr.DataArray], xr.DataArray] | None = None
) -> Verdict:
    """Whether both ensembles have the same mean curve (of the logarithm, say, where fluctuations are relative).

    Paired: replica i of both starts from the same field, so that smaller differences are seen. The values at the last
    time stand beside the p-value, because a test that sees nothing says nothing about how much it could have missed.
    """
    tested = values if transform is None else transform(values)
    result = analysis.compare_curves(tested.sel(source="exact"), tested.sel(source="learned"), paired=True)
    end = values.isel(time=-1)
    single = set(end.dims) == {"source", "replica"}  # one number at every time, not a curve
    at_end = {source: at_last(end.sel(source=source)) for source in ("exact", "learned")} if single else {}
    p = f"p = {result.p_value:.2g}"
    return Verdict(
        f"{name}: same mean curve",
        exact=at_end.get("exact"),
        learned="; ".join(filter(None, [at_end.get("learned"), p])),
        target=f"p > {SIGNIFICANCE}",
        passed=result.p_value > SIGNIFICANCE,
        note=f"{values.sizes['replica']} pairs of quenches, Hotelling T² on {result.modes} modes that carry "
        f"{100 * result.explained:.0f} % of the variance; values at t = {rounded(values.time[-1])}",
    )


def same_noise(L: xr.DataArray) -> Verdict:
    """How far the mean L strays if the noise is that of the exact quenches: what chance adds to both drops out."""
    ratio: xr.DataArray = np.log(L.sel(source="twin") / L.sel(source="exact"))  # type: ignore[assignment]
    summary = 100 * analysis.mean_and_error(ratio)
    worst = summary.isel(time=int(np.abs(summary["mean"].values).argmax()))
    end = summary.isel(time=-1)
    return Verdict(
        "domain size L(t) under the same noise, learned less exact",
        learned=f"{float(end['mean']):.2g} ± {float(end['error']):.1g} %",
        note=f"mean of ln L at t = {rounded(end.time)}; at most {float(worst['mean']):.2g} ± "
        f"{float(worst['error']):.1g} %, at t = {rounded(worst.time)}",
    )


def at_last(values: xr.DataArray) -> str:
    summary = analysis.mean_and_error(values)
    return f"{float(summary['mean']):.3g} ± {float(summary['error']):.1g}"
