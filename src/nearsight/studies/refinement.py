"""The force field of a study refined where it fails: exact forces on sites of its own runs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import xarray as xr
from pydantic import Field

from nearsight import forcefields
from nearsight.forcefields import ExactForceField
from nearsight.forcefields.referee import EQUILIBRIUM
from nearsight.plots import Picture, compare
from nearsight.studies.checks import Below, Check
from nearsight.studies.observables import names as recorded
from nearsight.studies.options import Count, Positive
from nearsight.studies.reuse import MODEL, TRAIN, has_model_of_elsewhere
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.snapshots import split
from nearsight.training import FitOptions, Refinement, RefineOptions, evaluate, refine

if TYPE_CHECKING:
    from nearsight.studies.quench import QuenchStudy
    from nearsight.studies.study import Stage

STAGE, REFINED, GROUP = "refine", "refined", "refinement"
"""The stage, the model that it leaves, and what it records in ``observables.nc``."""
FORGOTTEN = 1.1
"""How many times larger the error on unseen exact trajectories may be afterwards: chance of a fit, and no more."""


class Refining(Section):
    """Learning from exact forces on sites of runs by what was learned, where it is doubtful."""

    rounds: Annotated[int, Field(ge=0)] = 0
    """Runs, each followed by a fit; 0 leaves the model as it was trained."""
    length: Count = 48
    """Sites along each axis of the lattice of these runs."""
    duration: Positive = 20.0
    """Time at which a run ends."""
    replicas: Count = 1
    times: Count = 4
    """Times of a run at which sites are audited and chosen, evenly spaced in the logarithm."""
    sites: Count = 500
    """Sites of every round whose exact forces are learned."""
    audited: Annotated[int, Field(ge=4)] = 100
    """Random sites of every round that measure the error and choose the weights."""
    solutions: Count | None = None
    """Exact forces on single sites that may be computed in all; no limit if not set."""
    budget: Positive = 30.0
    """Nominal seconds one exact calculation may take."""
    steps: Count = 1000
    """Optimiser steps of every round."""
    learning_rate: Positive = 3e-3
    """The highest rate of every round."""

    def options(self, fit: FitOptions, steps: int, seed: int) -> RefineOptions:
        """Those of :func:`nearsight.training.refine`, with the loss of the ``fit`` that made the model."""
        shape = fit.shortened(self.steps).model_copy(update={"learning_rate": self.learning_rate})
        names = ("rounds", "times", "sites", "audited", "solutions")
        chosen = {name: getattr(self, name) for name in names}
        return RefineOptions(**chosen, steps=steps, referee=self.budget, fit=shape, seed=seed)


def asked(config: Any) -> bool:
    """Whether a configuration asks for a refinement."""
    return getattr(config, STAGE, Refining()).rounds > 0


def refined(run: Run, config: Any) -> bool:
    """Whether the model of a run is the refined one; one that came from elsewhere is taken as it is."""
    return asked(config) and not has_model_of_elsewhere(run)


def with_refinement(study: QuenchStudy, stage: type[Stage]) -> tuple[Stage, ...]:
    """The stages of a study with the refinement after the training; later ones read the refined model."""
    outputs = (REFINED, f"observables.nc:{GROUP}", f"checks.json:{STAGE}")
    own = stage(STAGE, partial(_carry_out, study), outputs, ("data.zarr", MODEL), requires=partial(_require, study))
    stages: list[Stage] = []
    for each in study.stages:
        if any(other.name == STAGE for other in stages) and MODEL in each.inputs:
            each = replace(each, inputs=(*each.inputs, *(outputs if each.cheap else outputs[:1])))
        stages.append(each)
        if each.name == TRAIN:
            stages.append(own)
    return tuple(stages)


def _require(study: QuenchStudy, config: Any) -> None:
    """Refuse what has no exact force on single sites, before anything is computed."""
    system = study.system(config)
    exact, cure = system.exact, "Leave refine.rounds at 0, and make more data instead (recipe, or trajectories)."
    if system.discrete or not isinstance(exact, ExactForceField) or not isinstance(exact.solver, EQUILIBRIUM):
        raise ValueError(f"No patch knows the exact partner of what {study.name!r} learns. {cure}")
    if system.canonical is not None or system.dress is not None:
        raise ValueError(
            f"The quenches of {study.name!r} are at a fixed number of electrons, where forces are not local. Set the "
            f"filling to null where the study has a chemical potential; or {cure[:1].lower()}{cure[1:]}"
        )
    if exact.solver.mu is None:
        raise ValueError(f"The exact electrons of {study.name!r} have no chemical potential. {cure}")
    if study.train is not None or study.load_model is not None:
        raise ValueError(f"The study {study.name!r} trains in a way of its own. {cure}")


def _carry_out(study: QuenchStudy, run: Run, config: Any) -> None:
    """Refine the model in ``model/`` round by round, and save it in ``refined/``."""
    options, system = config.refine, study.system(config, config.refine.length)
    data = split(run, config.fit, config.seed)
    place = study.model_folder(run, config)
    learned = forcefields.load(place).on(data.train.lattice)
    whole = study.fitted(config, learned)
    steps = max(1, round(options.duration * system.unit / system.scheme.dt))  # type: ignore[union-attr]
    wanted = options.options(config.fit, steps, run.seed("refinement"))
    run.log("note", text=f"{options.rounds} rounds on {system.lattice!r}, {options.sites} sites each")
    errors, found = [evaluate(whole, data.test)["force"]["rmse"]], None
    for number in range(1, options.rounds + 1):
        found = refine(
            whole, system.exact, data, lattice=system.lattice, scheme=system.scheme,  # type: ignore[arg-type]
            field=partial(system.initial_fields, options.replicas), path=run.path / STAGE, resume=True,
            options=wanted.model_copy(update={"rounds": number}),
        )  # fmt: skip
        if found.spent:
            break
        errors.append(evaluate(whole, data.test)["force"]["rmse"])
    assert found is not None
    forcefields.save(learned, run.path / REFINED, card=learned.card)
    run.record(GROUP, _curves(found, errors))
    run.record_checks(STAGE, _checks(found, errors))


def _curves(found: Refinement, errors: list[float]) -> xr.Dataset:
    """Errors against the exact forces spent: by the model that began a round in its run, and after each on the test."""
    history = found.history
    spent = np.concatenate([[0], history.solutions.values])
    audited = {name: np.append(history[name].values, np.nan) for name in ("rms", "rms_low", "rms_high")}
    words = {"long_name": "rms error of the force"}
    data = {"error": ("solutions", np.array(errors), words), **{n: ("solutions", v) for n, v in audited.items()}}
    later = history.drop_vars(["solutions", *audited])
    axis = {"solutions": ("solutions", spent, {"long_name": "exact forces on single sites"})}
    return xr.Dataset(data, coords=axis).merge(later)


def _checks(found: Refinement, errors: list[float]) -> list[Check]:
    history = found.history
    last, first = history.isel(round=-1), history.isel(round=0)
    rounds = history.sizes["round"]
    spent = f"{int(last.solutions)} exact forces on single sites in {rounds} round{'s' if rounds > 1 else ''}"
    more = ", the budget" if found.spent else ""
    relative = [(h.rms_high - h.rms_low) / h.rms / 4 for h in (last, first)]
    checks = [
        Check(
            "force error on unseen exact trajectories, after refinement over before",
            value=errors[-1] / errors[0],
            criterion=Below(FORGOTTEN),
            note=f"rms {errors[-1]:.2g} after, {errors[0]:.2g} before; {spent}{more}",
        ),
        Check(
            "force error on the random sites of the last round, its fit over what it began with",
            value=float(last.audited_after / last.audited_before),
            criterion=Below(1.0),
            note="weights that are no better there and on validation data together are dropped",
        ),
    ]
    if rounds > 1:
        ratio = float(last.rms / first.rms)
        checks.append(
            Check(
                "force error on random sites of its own run, before the last round over before the first",
                value=ratio,
                error=ratio * float(np.hypot(*relative)),
                note=f"audits; rms {float(last.rms):.2g} and {float(first.rms):.2g}",
            )
        )
    return checks


def stored(run: Run) -> xr.Dataset | None:
    """The refinement of a run, if there was one."""
    return run.observable(GROUP) if GROUP in recorded(run.path / "observables.nc") else None


def draw(found: xr.Dataset) -> Picture:
    """Errors by round against the exact forces that were spent."""
    error = xr.zeros_like(found.error)
    spread = ((found.rms_high - found.rms_low) / 4).assign_attrs(found.error.attrs)
    curves = {
        "unseen exact trajectories": xr.Dataset({"mean": found.error, "error": error}),
        "its own runs": xr.Dataset({"mean": found.rms.assign_attrs(found.error.attrs), "error": spread}),
    }
    picture = compare(curves, x="solutions", log="y", points=True)
    picture.caption += (
        " On exact trajectories that no fit has seen, after every round; and on random sites of the runs by which "
        "sites are chosen, before every round, with one standard error of the audit."
    )
    return picture
