"""The error of the forces in the large run of a study, measured there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
import xarray as xr
from pydantic import Field

from nearsight.dynamics import Audit
from nearsight.forcefields import ExactForceField, Referee
from nearsight.forcefields.referee import EQUILIBRIUM
from nearsight.storage import rounded
from nearsight.studies.checks import Check
from nearsight.studies.observables import names as recorded
from nearsight.studies.options import Count, Positive
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.system import System

GROUP, HOPS = "audit", "audit_of_hops"
"""In ``observables.nc``: of forces, and of what hops cost."""
TEXTS = ("boundary", "solver")
DOMINANT = 0.2
"""A site that makes more of the mean square than this is worth a word: the interval knows little of others like it."""


class Auditing(Section):
    """Exact electrons on random sites of the large lattice, which tell how wrong the learned forces are there."""

    sites: Annotated[int, Field(ge=0)] = 500
    """Of all replicas together, at every audit; 0 leaves audits out."""
    times: Count = 10
    """Audits, at records evenly spaced among those after the first."""
    replicas: Count | None = None
    """Replicas looked at, drawn anew for every audit; all if not set."""
    tol: Positive | None = None
    """A run whose rms force error is larger than this, beyond doubt, is stopped."""
    budget: Positive = 30.0
    """Nominal seconds an audit may take."""


def planned(options: Auditing, system: System, steps: Sequence[int]) -> Audit | None:
    """The audit of a large run, or None where no exact forces can be had there."""
    exact = system.exact
    known = isinstance(exact, ExactForceField) and isinstance(exact.solver, EQUILIBRIUM)
    if not known or system.discrete or not options.sites:
        return None
    replicas = options.replicas
    referee = Referee(exact.model, system.lattice, exact.solver, budget=options.budget)
    if referee.mu is None and referee.whole_seconds * (replicas or 1) > options.budget:
        return None  # at fixed filling only the whole lattice tells
    chosen = {steps[k] for k in np.linspace(1, len(steps) - 1, options.times).round().astype(int)}
    return Audit(
        exact, sites=options.sites, at=sorted(chosen), replicas=replicas, tol=options.tol, budget=options.budget
    )


def record(run: Run, found: Mapping[str, xr.Dataset], systems: Mapping[str, System]) -> list[Check]:
    """Keep the audits of all large runs, by their names, and sum each up in checks."""
    if not found:
        return []
    names = list(found)
    summaries = [_summary(found[name], systems[name]) for name in names]
    data = xr.concat(summaries, dim=xr.Variable("quench", names), join="outer", coords="all")
    run.record(GROUP, data)
    return [check for name in names for check in _checks(name, found[name], systems[name])]


def stored(run: Run, group: str = GROUP) -> xr.Dataset | None:
    """The audits of a run, if there were any."""
    return run.observable(group) if group in recorded(run.path / "observables.nc") else None


def _summary(found: xr.Dataset, system: System) -> xr.Dataset:
    """What is shown, along "time" in the unit of the study."""
    data = found.drop_vars(TEXTS).assign_attrs(unit=system.time).reset_coords("step")
    data = data.assign_coords(time=("audit", found.time.values / system.unit))
    words = np.array([_referee(found.isel(audit=k)) for k in range(found.sizes["audit"])], dtype=object)
    return data.assign(converged=data.converged.astype(float), patch=("audit", words))


def _referee(one: xr.Dataset) -> str:
    radius, error = int(one.radius), float(one.referee_error)
    who = f"{one.boundary.values} patches of radius {radius}" if radius else "the whole lattice"
    return f"{who} with an error of {error:.1g}" if error else who


def error_check(
    label: str, one: xr.Dataset, *, time: str, exact: str, sampled: str, unit: str = "", more: str = ""
) -> Check:
    """The rms error that one audit found, beside the rms of what is ``exact``, from so many that were ``sampled``."""
    unsure = "" if bool(one.converged) else "; NOT CONVERGED: larger patches would cost more than the budget"
    return Check(
        label,
        value=float(one.rms),
        error=float(one.rms_high - one.rms_low) / 4,
        unit=unit,
        note=f"t = {time}; {100 * float(one.rms / one.scale):.2g} % of the rms exact {exact}; "
        f"{one.sizes['sample']} {sampled} against {_referee(one)}{more}{unsure}",
    )


def _checks(name: str, found: xr.Dataset, system: System) -> list[Check]:
    last, worst = found.isel(audit=-1), found.isel(audit=int(np.argmax(found.rms.values)))

    def check(which: str, one: xr.Dataset) -> Check:
        share = float(one.largest_share)
        label = f"force error in the large quench{f' ({name})' if name else ''}, {which}"
        time = f"{rounded(float(one.time) / system.unit)} {system.time}"
        alone = f"; one site makes {100 * share:.0f} % of it" if share > DOMINANT else ""
        return error_check(label, one, time=time, exact="force", sampled="sites", more=alone)

    found_inside = [] if "covered" not in found else _coverage(name, found)
    return [check("rms at the end", last), check("largest rms", worst), *found_inside]


def _coverage(name: str, found: xr.Dataset) -> list[Check]:
    """Whether the intervals of the force field hold as many errors as they say, mean over the audits."""
    many = found.sizes["audit"]
    return [
        Check(
            f"errors within their {level:.0%} intervals in the large quench{f' ({name})' if name else ''}",
            value=float(inside.mean()),
            error=float(inside.std(ddof=1) / np.sqrt(many)) if many > 1 else None,
            exact=float(level),
            note="of single sites; intervals were calibrated on short trajectories",
        )
        for level, inside in zip(found.nominal.values[0], found.covered.values.T, strict=True)
    ]
