"""Fits that a stage has made: kept with the data they were fitted to, and drawn by the report."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import torch
import xarray as xr

from nearsight import analysis
from nearsight.studies.checks import Check, Published


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


def growth_law(
    length: xr.DataArray, *, rng: torch.Generator, below: float, since: float, until: float = float("inf")
) -> analysis.PowerLaw | None:
    """A power law of a length ``(replica, time)`` where it grows freely; None if too little of that was recorded.

    Between the times ``since`` and ``until``, while it is known in every replica and its mean is ``below`` a length at
    which the torus begins to matter.
    """
    free = (length.mean("replica") < below) & length.notnull().all("replica")
    times = length.time.values[(free & (length.time >= since) & (length.time <= until)).values]
    if len(times) < 3 or length.sizes["replica"] < 3:
        return None
    window = (float(times[0]), float(times[-1]))
    return analysis.growth_exponent(length.transpose("replica", "time"), rng=rng, window=window)


def exponent(law: analysis.PowerLaw | None, published: Published, *, of: str = "domain growth") -> Check:
    """The exponent of a law of growth beside that in print."""
    return Check(
        f"exponent of {of}, L ~ t^α",
        value=None if law is None else law.exponent,
        error=None if law is None else law.sigma,
        published=published,
        note=str(law) if law else "too few records between formation and the size of the lattice",
    )
