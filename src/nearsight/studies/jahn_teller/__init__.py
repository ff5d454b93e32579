"""Orbital order of the cooperative Jahn-Teller model: learned on a small lattice, quenched on a large one."""

from nearsight.studies.jahn_teller.generate import generate
from nearsight.studies.jahn_teller.presets import PRESETS
from nearsight.studies.jahn_teller.simulate import simulate
from nearsight.studies.jahn_teller.train import train
from nearsight.studies.jahn_teller.validate import validate
from nearsight.studies.study import Study, force_stages

STUDY = Study(
    name="jahn_teller",
    question="Does a force field learned on a small lattice let orbital order grow, and freeze, as exact electrons do?",
    presets=PRESETS,
    stages=force_stages(generate, train, validate, simulate),
)
