"""What the reports of all studies share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from nearsight.report.html import write_report
from nearsight.report.locality import locality
from nearsight.report.style import Picture
from nearsight.studies import Run, get
from nearsight.studies.locality import stored
from nearsight.studies.settings import difference

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
        verdicts=run.verdicts,
        figures=pictures,
        config=run.config,
        manifest=run.manifest,
        notes=notes,
        command=command(asked.name, asked.presets, config),
    )


def command(name: str, presets: Mapping[str, BaseModel], config: BaseModel) -> list[str]:
    """The shortest command that gives this configuration."""
    options = {preset: difference(start, config) for preset, start in presets.items()}
    preset = min(options, key=lambda p: len(options[p]))
    settings = [word for setting in options[preset] for word in ("--set", setting)]
    return ["nearsight", "run", name, "--preset", preset, *settings]


def spread(times: np.ndarray, count: int) -> np.ndarray:
    """``count`` of the times, evenly spaced among the records, the last among them."""
    return times[np.unique(np.linspace(0, len(times) - 1, count).round().astype(int))]
