"""Fits that a stage has made: kept with the data they were fitted to, and drawn by the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
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
