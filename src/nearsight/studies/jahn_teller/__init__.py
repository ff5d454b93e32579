"""Orbital order of the cooperative Jahn-Teller model: learned on a small lattice, quenched on a large one."""

from nearsight.studies.jahn_teller.generate import generate
from nearsight.studies.jahn_teller.presets import PRESETS
from nearsight.studies.jahn_teller.simulate import simulate
from nearsight.studies.jahn_teller.train import train
from nearsight.studies.jahn_teller.validate import validate
from nearsight.studies.study import Stage, Study

STUDY = Study(
    name="jahn_teller",
    question="Does a force field learned on a small lattice let orbital order grow, and freeze, as exact electrons do?",
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
