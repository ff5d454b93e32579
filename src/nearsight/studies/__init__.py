"""Reproducible questions: one file each, with the expected numbers, ours, and whether they agree."""

from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.study import Stage, Study, get, names

__all__ = ["Run", "Section", "Stage", "Study", "get", "names"]
