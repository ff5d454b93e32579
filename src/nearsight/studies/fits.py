"""Fits that a stage has made: kept with the data they were fitted to, and drawn by the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
import xarray as xr

from nearsight import analysis
from nearsight.studies.checks import Check, Published

Law = TypeVar("Law")


def with_fits(dataset: xr.Dataset, **laws: Any) -> xr.Dataset:
    """The data set with fits (dataclasses of :mod:`nearsight.analysis`, None for none) among its attributes."""
    plain = {name: {"law": type(law).__name__, **dataclasses.asdict(law)} for name, law in laws.items() if law}
    return dataset.assign_attrs(fits=json.dumps({**json.loads(dataset.attrs.get("fits", "{}")), **plain}))


def fits(dataset: xr.Dataset) -> dict[str, Any]:
    """The fits of a data set by their names."""
    found = json.loads(dataset.attrs.get("fits", "{}"))
    return {name: getattr(analysis, values.pop("law"))(**_tuples(values)) for name, values in found.items()}


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def grows_freely(length: xr.DataArray, *, below: float, since: float = 0.0, until: float = float("inf")) -> np.ndarray:
    """The times ``(time,)`` between ``since`` and ``until`` at which a length ``(replica, time)`` is known in every
    replica and its mean is ``below`` a length at which the torus begins to matter."""
    free = (length.mean("replica") < below) & length.notnull().all("replica")
    known: np.ndarray = (free & (length.time >= since) & (length.time <= until)).values
    return known


def attempted(fit: Callable[[], Law]) -> tuple[Law | None, str]:
    """A fit and its words; None and what is missing where there is too little to fit (``ValueError``)."""
    try:
        found = fit()
    except ValueError as error:
        return None, str(error)
    return found, str(found)


def growth_law(
    length: xr.DataArray,
    *,
    rng: torch.Generator,
    since: float,
    until: float = float("inf"),
    below: float = float("inf"),
    fit: Any = analysis.growth_exponent,
    least: float = 3,
) -> Any:
    """A law of a length ``(replica, time)`` where it :func:`grows_freely`, a power law if no other ``fit`` is named;
    None if fewer than ``least`` times were recorded there."""
    times = length.time.values[grows_freely(length, below=below, since=since, until=until)]
    if len(times) < least or length.sizes["replica"] < 3:
        return None
    window = (float(times[0]), float(times[-1]))
    return fit(length.transpose("replica", "time"), rng=rng, window=window)


def with_slowing(
    growth: xr.Dataset, along: str, *, rng: Callable[[str], torch.Generator], **window: float
) -> xr.Dataset:
    """The Allen-Cahn law of ``growth.L`` in a window of free growth, when L leaves it for good, and local exponents
    since its t0, for every value ``along`` a dimension.

    They are added as fits "L VALUE" and "departure VALUE", and as ``exponent`` and ``exponent_error``.
    """
    unknown = xr.full_like(growth.L.mean("replica"), np.nan)
    growth = growth.assign(exponent=unknown, exponent_error=unknown.copy())
    for value in growth[along].values.tolist():
        L = growth.L.sel({along: value}).transpose("replica", "time")
        law, _ = attempted(partial(growth_law, L, rng=rng("bootstrap"), fit=analysis.allen_cahn, least=4, **window))
        since = 0.0 if law is None else law.t0
        fall, _ = attempted(partial(analysis.departure, L, rng=rng("departure"), since=since))
        if fall is not None:
            local = analysis.local_exponent(L, rng=rng("local exponent"), since=since)
            place = {along: value, "time": local.time}
            growth.exponent.loc[place], growth.exponent_error.loc[place] = local.exponent, local.error
            growth.exponent.attrs = local.exponent.attrs
        growth = with_fits(growth, **{f"L {value:g}": law, f"departure {value:g}": fall})
    return growth


def logarithmic_growth(length: xr.DataArray, *, note: str) -> list[Check]:
    """L = a + b ln t of the super-clusters, replica by replica, and how far the mean strays from it, beside the best
    power law; of a length ``(replica, time)`` where it :func:`grows_freely`."""
    L, name = length.transpose("replica", "time"), "super-clusters grow as L = a + b ln t"
    if L.sizes["time"] < 4:
        return [Check(f"{name}: b", value=None, note="too few records while super-clusters grow")]
    x, mean = np.log(L.time.values), L.values.mean(0)
    slopes = np.polyfit(x, L.values.T, 1)[0]
    off = [
        100 * float(np.sqrt(np.mean((mean / inverse(np.polyval(np.polyfit(x, to(mean), 1), x)) - 1) ** 2)))
        for to, inverse in ((np.asarray, np.asarray), (np.log, np.exp))
    ]
    error = float(slopes.std(ddof=1)) / len(slopes) ** 0.5
    note = f"t from {float(L.time[0]):g} to {float(L.time[-1]):g}; {note}"
    return [
        Check(f"{name}: b", value=float(slopes.mean()), error=error, unit="a", note=note),
        Check(f"{name}: rms deviation of the mean", value=off[0], unit="%"),
        Check("super-clusters grow as a power law: rms deviation of the mean", value=off[1], unit="%"),
    ]


EXPONENTS = {
    analysis.PowerLaw: ("exponent", "sigma"),
    analysis.SizeLaw: ("exponent", "error"),
    analysis.DynamicalScaling: ("theta", "theta_error"),
}


def exponent(
    law: Any,
    published: Published | None = None,
    *,
    name: str = "exponent of domain growth, L ~ t^α",
    missing: str = "too few records between formation and the size of the lattice",
) -> Check:
    """The exponent of a recorded fit beside that in print; no value, and what is ``missing``, where there is none."""
    if law is None:
        return Check(name, value=None, published=published, note=missing)
    value, error = (getattr(law, field) for field in EXPONENTS[type(law)])
    return Check(name, value=value, error=error, published=published, note=str(law))
