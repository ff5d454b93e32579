"""The double-exchange magnet: torques learned on a small square lattice, phases that part on a large one."""

from nearsight.studies.double_exchange.generate import generate
from nearsight.studies.double_exchange.ground_states import ground_states
from nearsight.studies.double_exchange.presets import PRESETS
from nearsight.studies.double_exchange.simulate import simulate
from nearsight.studies.double_exchange.train import train
from nearsight.studies.double_exchange.validate import validate
from nearsight.studies.options import device_present
from nearsight.studies.study import Stage, Study

LEARNED = ("data.zarr", "model")

STUDY = Study(
    name="double_exchange",
    question="Do spins that move by learned torques part into ferromagnetic and antiferromagnetic regions as electrons "
    "of a given number make them?",
    presets=PRESETS,
    stages=(
        Stage(
            "ground_states",
            ground_states,
            ("observables.nc:phases", "observables.nc:bubbles", "verdicts.json:ground_states"),
        ),
        Stage("generate", generate, ("data.zarr",)),
        Stage("train", train, ("model",), ("data.zarr",), requires=device_present),
        Stage(
            "validate",
            validate,
            (
                "comparison",
                *(f"observables.nc:{name}" for name in ("snapshots", "number", "response", "curves", "densities")),
                "verdicts.json:validate",
            ),
            LEARNED,
        ),
        Stage(
            "simulate",
            simulate,
            ("large", "observables.nc:quench", "observables.nc:maps", "verdicts.json:simulate"),
            ("model", "observables.nc:densities"),
            requires=device_present,
        ),
    ),
)
