"""What a study learned, made into a model that travels: the weights and a card that says what they are worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nearsight import forcefields
from nearsight.forcefields import Card, ExactForceField, LearnedForceField, UncertainForceField
from nearsight.forcefields.card import UNITS
from nearsight.forcefields.shipped import SHIPPED
from nearsight.moves import LearnedMoves
from nearsight.networks import GroupCNN, SpinCNN
from nearsight.studies import audits
from nearsight.studies.checks import Check
from nearsight.studies.run import Run
from nearsight.studies.snapshots import split

if TYPE_CHECKING:
    from nearsight.studies.quench import QuenchStudy

KEPT = ("name", "value", "error", "unit", "exact", "note")
"""Of a check, in a card."""
AUDITED = ("time", "rms", "rms_low", "rms_high", "scale", "referee_error")
LARGEST = 500_000
"""Bytes of a model that is to travel with the library."""


def card(study: QuenchStudy, run: Run, config: Any) -> Card:
    """What the electrons of a study learn, and from which data."""
    system, data = study.system(config), study.trained_on(run, config)
    low, high = torch.aminmax(data.field.reshape(-1, data.field.shape[-1]), dim=0)
    facts = {"hash": data.hash, "rows": len(data), "trajectories": len(np.unique(data.trajectory))}
    made = {name: run.manifest.get(name) for name in ("study", "nearsight", "commit", "seed")}
    return Card(
        exact=system.exact if isinstance(system.exact, ExactForceField) else system.exact.config(),
        low=low.tolist(),
        high=high.tolist(),
        data=facts | {"lattice": repr(data.lattice)},
        units=UNITS | {"time": system.time},
        origin=made | {"config": run.config},
    )


def ship(run: Run, folder: str | Path | None = None) -> Path:
    """Write the model of a finished run, with its card, to ``folder/STUDY``, and tell where that is.

    A network whose last layer can tell (:class:`~nearsight.forcefields.UncertainForceField`) gets an interval for every
    force, calibrated on the validation trajectories and counted on the test ones. The card gains the errors that the
    run has found, on unseen snapshots and in dynamics, and the audit of its large quench. Without a folder it is that
    of the library, from which :func:`nearsight.pretrained` loads.

    Raises ``ValueError`` for a run of a study without a force field, or one that has not finished.
    """
    from nearsight.studies.quench import QuenchStudy

    study = run.study
    if not isinstance(study, QuenchStudy):
        raise ValueError(f"The study {study.name!r} learns no force field that could travel.")
    missing = [stage.name for stage in study.stages if stage.name != "report" and not run.complete(stage.name)]
    if missing:
        raise ValueError(
            f"{run.path} has not finished {', '.join(missing)}: a model travels with its errors. Go on with "
            f"`nearsight run {study.name} --name {run.path.name} --resume`."
        )
    config = study.stored_config(run)
    learned = study.electrons(run, config, study.system(config).lattice)
    model: Any = learned.forcefield if isinstance(learned, LearnedMoves) else learned
    target = (SHIPPED if folder is None else Path(folder)) / study.name
    model, counted = _with_intervals(study, run, config, model)
    errors = [_told(check) for check in run._checked().get("validate", ()) if check.value is not None]
    found = _audited(run)
    forcefields.save(model, target, card=replace(card(study, run, config), errors=[*errors, *counted], audit=found))
    size = sum(file.stat().st_size for file in target.iterdir())
    if folder is None and size > LARGEST:
        raise ValueError(f"{target} has {size} bytes, and a model of the library has at most {LARGEST}: remove it.")
    return target


def _with_intervals(study: QuenchStudy, run: Run, config: Any, model: Any) -> tuple[Any, list[dict[str, Any]]]:
    """The model with calibrated intervals, and their coverage on test trajectories; itself if it has none."""
    if not isinstance(model, LearnedForceField) or not isinstance(model.model, GroupCNN | SpinCNN):
        return model, []
    train, validation, test = split(run, config.fit, config.seed)
    force = study.system(config).electron_force
    uncertain = UncertainForceField(model)
    uncertain.calibrate(train.field, validation.field, force(validation.field, validation.force))
    exact, counted = force(test.field, test.force), []
    for level in uncertain.levels:
        found = uncertain.estimate(test.field, level)
        off = uncertain.deviation(test.field, found.force, exact)
        inside = (off.abs() <= found.width).double().mean((1, 2)).numpy()
        means = np.array([inside[test.trajectory == k].mean() for k in np.unique(test.trajectory)])
        error = float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else None
        name = f"errors within their {level:.0%} intervals, unseen trajectories"
        counted.append(_told(Check(name, float(inside.mean()), error=error, exact=level)))
    return uncertain, counted


def _told(check: Check) -> dict[str, Any]:
    told = check.config()
    return {name: told[name] for name in KEPT if told.get(name) not in (None, "")}


def _audited(run: Run) -> dict[str, Any]:
    """The first audited quench, along its audits."""
    if (audit := audits.stored(run)) is not None:
        one = audit.isel(quench=0).dropna("audit", how="all", subset=["rms"])
    elif (hops := audits.stored(run, audits.HOPS)) is not None:
        one = hops
    else:
        return {}
    return {name: one[name].values.astype(float).tolist() for name in AUDITED if name in one}
