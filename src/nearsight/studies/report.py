"""What the reports of all studies share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from nearsight.plots.audit import audit
from nearsight.plots.locality import locality
from nearsight.plots.style import Picture
from nearsight.plots.symbols import define_symbols
from nearsight.plots.training import training_curves
from nearsight.studies import Run, audits, refinement
from nearsight.studies._pages import sections
from nearsight.studies.html import write_report
from nearsight.studies.locality import stored
from nearsight.studies.meanings import settings
from nearsight.studies.observables import NotMeasuredError
from nearsight.studies.reuse import TRAIN, has_model_of_elsewhere, told_of_model
from nearsight.studies.settings import closest, difference
from nearsight.studies.study import Study

PHYSICS = frozenset(
    (
        *("length", "sizes", "kT", "electron_kT", "temperatures", "betas", "beta", "mu", "filling", "fillings"),
        *("f_density", "twist", "voltages", "dt", "damping", "rule", "energy", "crystal"),
        *("chirp_mass", "mass_ratio", "distance", "spin"),
    )
)
"""Settings outside of sections that belong to the system and not to the way it is computed."""
EXPECTED = "What to expect"
"""The section of a study's docstring that ends what it says of the system."""


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
    if (found := refinement.stored(run)) is not None:
        pictures["refinement"] = refinement.draw(found)
    if (examined := stored(run)) is not None:
        pictures["locality"] = locality(examined)
        notes.append(f"Locality. {examined.attrs['words']}")
    for picture in pictures.values():
        define_symbols(picture, study.symbols)
    rows = [(key, "–" if value == "null" else value, meaning) for key, value, _, meaning in settings(config)]
    write_report(
        run.path / "report.html",
        title=f"{title} ({run.path.name})",
        question=study.question,
        checks=run.checks,
        figures=pictures,
        config=run.config,
        manifest=run.manifest,
        notes=notes,
        system=_system(study),
        parameters=[row for row in rows if row[0].startswith("model.") or row[0] in PHYSICS],
        settings=rows,
        sources=_sources(run),
        command=[*command(study.name, study.presets, config), *(("--model", _model(run)) if partial else ())],
    )


def _system(study: Study) -> str:
    """What the docstring says between the question and what to expect: Hamiltonian, order parameter, electrons."""
    found = sections(study.text)
    names = [name for name in found if name != "Question"]
    shown = names[: names.index(EXPECTED)] if EXPECTED in names else names[:1]
    return "\n".join(found[name] for name in shown)


def _sources(run: Run) -> list[str]:
    """The library, and what the numbers of the checks are held against, each once."""
    texts = [check.published.source for check in run.checks if check.published is not None]
    works = [re.split(r",\s(?:sec|fig|figs|table|tables|eq|eqs|ch|p|pp)\.?\s", text)[0] for text in texts]
    made = run.manifest.get("nearsight", "")
    return [f"nearsight {made}, with the method it stands on: CITATION.cff", *dict.fromkeys(works)]


def _model(run: Run) -> str:
    return str(run.stages[TRAIN]["from"]["run"])


def command(name: str, presets: Mapping[str, BaseModel], config: BaseModel) -> list[str]:
    """The shortest command that gives this configuration."""
    preset = closest(presets, config)
    settings = [word for setting in difference(presets[preset], config) for word in ("--set", setting)]
    return ["nearsight", "run", name, "--preset", preset, *settings]
