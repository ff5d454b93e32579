"""Charge-density waves of the Holstein model: learned on a small lattice, quenched on a large one."""

from nearsight.studies.holstein.generate import generate
from nearsight.studies.holstein.presets import PRESETS
from nearsight.studies.holstein.simulate import simulate
from nearsight.studies.holstein.train import train
from nearsight.studies.holstein.validate import validate
from nearsight.studies.study import Study, force_stages

STUDY = Study(
    name="holstein",
    question="Does a force field learned on a small lattice let charge-density waves grow as exact electrons do?",
    presets=PRESETS,
    stages=force_stages(generate, train, validate, simulate),
)
