"""What the reports of all studies share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from nearsight.plots.errors import symmetry_error
from nearsight.plots.locality import locality
from nearsight.plots.style import Picture
from nearsight.plots.training import training_curves
from nearsight.studies import Run, get
from nearsight.studies.html import write_report
from nearsight.studies.locality import stored
from nearsight.studies.settings import difference
from nearsight.studies.snapshots import SYMMETRY
from nearsight.studies.study import Study

Draw = Callable[[Run, Any], Picture]
"""A figure of a study, from its run folder and configuration."""


def write(
    run: Run, config: BaseModel, *, study: str, title: str, figures: Mapping[str, Draw], notes: Sequence[str]
) -> None:
    """Write ``figures/`` and ``report.html`` of a run, in the order of ``figures``; last, its locality if examined."""
    asked = get(study)
    pictures = {name: draw(run, config) for name, draw in figures.items()}
    if (examined := stored(run)) is not None:
        pictures["locality"] = locality(examined)
        notes = [*notes, f"Locality. {examined.attrs['words']}"]
    write_report(
        run.path / "report.html",
        title=f"{title} ({run.path.name})",
        question=asked.question,
        checks=run.checks,
        verdicts=run.verdicts,
        figures=pictures,
        config=run.config,
        manifest=run.manifest,
        notes=notes,
        command=command(asked.name, asked.presets, config),
    )


def build(study: Study, run: Run, config: Any) -> None:
    """Write ``figures/`` and ``report.html`` of a run of a study, in the order of its figures."""
    title = study.title or study.name
    pictures: dict[str, Picture] = {}
    for name, draw in study.figures.items():
        drawn = draw(run, config)
        several = drawn if isinstance(drawn, Mapping) else {"": drawn}
        pictures |= {f"{name}_{part}" if part else name: picture for part, picture in several.items()}
    notes = list(study.notes(run, config)) if study.notes else []
    if (run.path / "fit" / "log.csv").exists():
        pictures["training"] = training(run, config)
    if (examined := stored(run)) is not None:
        pictures["locality"] = locality(examined)
        notes.append(f"Locality. {examined.attrs['words']}")
    write_report(
        run.path / "report.html",
        title=f"{title} ({run.path.name})",
        question=study.question,
        checks=run.checks,
        figures=pictures,
        config=run.config,
        manifest=run.manifest,
        notes=notes,
        command=command(study.name, study.presets, config),
    )


def training(run: Run, config: Any) -> Picture:
    """The figure of the fit that every study that learns a force has."""
    return training_curves(run.path / "fit" / "log.csv", x="step")


def symmetry(run: Run, config: Any) -> Picture:
    """The violation of every operation of the site group, of studies that record it with their snapshots."""
    violation = run.observable("snapshots").symmetry_error.values[1:]  # the identity comes first
    labels = [f"$g_{k}$" for k in range(1, len(violation) + 1)]
    return symmetry_error({"learned": violation}, labels=labels, tolerance=SYMMETRY)


def command(name: str, presets: Mapping[str, BaseModel], config: BaseModel) -> list[str]:
    """The shortest command that gives this configuration."""
    options = {preset: difference(start, config) for preset, start in presets.items()}
    preset = min(options, key=lambda p: len(options[p]))
    settings = [word for setting in options[preset] for word in ("--set", setting)]
    return ["nearsight", "run", name, "--preset", preset, *settings]


def evenly_spaced(times: np.ndarray, count: int) -> np.ndarray:
    """``count`` of the times, evenly spaced among the records, the last among them."""
    return times[np.unique(np.linspace(0, len(times) - 1, count).round().astype(int))]
