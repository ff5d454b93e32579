"""What the reports of all studies share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from nearsight.plots.audit import audit
from nearsight.plots.locality import locality
from nearsight.plots.style import Picture
from nearsight.plots.symbols import define_symbols
from nearsight.plots.training import training_curves
from nearsight.studies import Run, audits
from nearsight.studies.html import write_report
from nearsight.studies.locality import stored
from nearsight.studies.observables import NotMeasuredError
from nearsight.studies.reuse import TRAIN, has_model_of_elsewhere, told_of_model
from nearsight.studies.settings import closest, difference
from nearsight.studies.study import Study


def build(study: Study, run: Run, config: Any) -> None:
    """Write ``figures/`` and ``report.html`` of a run of a study, in the order of its figures."""
    title = study.title or study.name
    pictures: dict[str, Picture] = {}
    partial = has_model_of_elsewhere(run)  # what compares with exact data was not measured here
    for name, draw in study.figures.items():
        try:
            drawn = draw(run, config)
        except NotMeasuredError:
            if not partial:
                raise
            continue
        several = drawn if isinstance(drawn, Mapping) else {"": drawn}
        pictures |= {f"{name}_{part}" if part else name: picture for part, picture in several.items()}
    if partial:
        notes = told_of_model(run, study.system(config).exact)  # type: ignore[attr-defined]
    else:
        notes = list(study.notes(run, config)) if study.notes else []
    for log in sorted((run.path / "fit").glob("**/log.csv")):  # of one fit, or of several in folders of their own
        name = "_".join(("training", *log.parent.relative_to(run.path / "fit").parts))
        pictures[name] = training_curves(log, x="step")
    if (audited := audits.stored(run)) is not None:
        pictures["audit"] = audit(audited)
    if (examined := stored(run)) is not None:
        pictures["locality"] = locality(examined)
        notes.append(f"Locality. {examined.attrs['words']}")
    for picture in pictures.values():
        define_symbols(picture, study.symbols)
    write_report(
        run.path / "report.html",
        title=f"{title} ({run.path.name})",
        question=study.question,
        checks=run.checks,
        figures=pictures,
        config=run.config,
        manifest=run.manifest,
        notes=notes,
        command=[*command(study.name, study.presets, config), *(("--model", _model(run)) if partial else ())],
    )


def _model(run: Run) -> str:
    return str(run.stages[TRAIN]["from"]["run"])


def command(name: str, presets: Mapping[str, BaseModel], config: BaseModel) -> list[str]:
    """The shortest command that gives this configuration."""
    preset = closest(presets, config)
    settings = [word for setting in difference(presets[preset], config) for word in ("--set", setting)]
    return ["nearsight", "run", name, "--preset", preset, *settings]
