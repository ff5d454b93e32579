"""Studies with their last stage, the report, which stands above them in the layers."""

from __future__ import annotations

import importlib

from nearsight import studies


def get(name: str) -> studies.Study:
    """The study of this name, complete with its report."""
    study = studies.get(name)
    report = importlib.import_module(f"nearsight.report.{name}")
    inputs = tuple(output for stage in study.stages for output in stage.outputs)
    return study.with_stage(studies.Stage("report", report.build, ("report.html",), inputs, cheap=True))
