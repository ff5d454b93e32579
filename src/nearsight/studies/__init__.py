"""Reproducible questions: one folder each, with the expected numbers, ours, and the verdict."""

from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.study import NAMES, Stage, Study, get

__all__ = ["NAMES", "Run", "Section", "Stage", "Study", "get"]
