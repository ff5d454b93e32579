"""Charge-density waves of the Holstein model: learned on a small lattice, quenched on a large one."""

from nearsight.studies.holstein.generate import generate
from nearsight.studies.holstein.presets import PRESETS
from nearsight.studies.holstein.simulate import simulate
from nearsight.studies.holstein.train import train
from nearsight.studies.holstein.validate import validate
from nearsight.studies.study import Stage, Study

STUDY = Study(
    name="holstein",
    question="Does a force field learned on a small lattice let charge-density waves grow as exact electrons do?",
    presets=PRESETS,
    stages=(
        Stage("generate", generate, outputs=("data.zarr",)),
        Stage("train", train, outputs=("model",), inputs=("data.zarr",)),
        Stage(
            "validate",
            validate,
            outputs=("observables.nc:snapshots", "observables.nc:curves", "verdicts.json:validate"),
            inputs=("data.zarr", "model"),
        ),
        Stage(
            "simulate",
            simulate,
            outputs=("observables.nc:growth", "observables.nc:maps", "verdicts.json:simulate"),
            inputs=("data.zarr", "model"),
        ),
    ),
)
