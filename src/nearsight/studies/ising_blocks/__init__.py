"""Intensive properties of the Ising model from blocks: energy, phase, and how far a finite block can see."""

from nearsight.studies.ising_blocks.generate import generate
from nearsight.studies.ising_blocks.presets import PRESETS
from nearsight.studies.ising_blocks.train import train
from nearsight.studies.ising_blocks.validate import validate
from nearsight.studies.study import Stage, Study

DATA = ("training.zarr", "training.npy", "testing.zarr", "testing.npy")

STUDY = Study(
    name="ising_blocks",
    question="How large must a block be for its phase and energy to be those of the whole Ising lattice?",
    presets=PRESETS,
    stages=(
        Stage("generate", generate, outputs=DATA),
        Stage("train", train, outputs=("models",), inputs=DATA[:2]),
        Stage(
            "validate",
            validate,
            outputs=(
                "observables.nc:energy",
                "observables.nc:accuracy",
                "observables.nc:bound",
                "observables.nc:scaling",
                "verdicts.json:validate",
            ),
            inputs=(*DATA, "models"),
        ),
    ),
)
