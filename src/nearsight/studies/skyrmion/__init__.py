"""Skyrmions of the triangular itinerant magnet: torques learned on a small lattice, followed on a large one."""

from nearsight.studies.options import device_present
from nearsight.studies.skyrmion.generate import generate
from nearsight.studies.skyrmion.ground_states import ground_states
from nearsight.studies.skyrmion.presets import PRESETS
from nearsight.studies.skyrmion.simulate import simulate
from nearsight.studies.skyrmion.train import train
from nearsight.studies.skyrmion.validate import validate
from nearsight.studies.study import Stage, Study

LEARNED = ("data.zarr", "model")

STUDY = Study(
    name="skyrmion",
    question="Do spins that move by learned torques crystallise into skyrmions, and stay there, as electrons have it?",
    presets=PRESETS,
    stages=(
        Stage(
            "ground_states", ground_states, ("ground", "observables.nc:ground_states", "verdicts.json:ground_states")
        ),
        Stage("generate", generate, ("data.zarr",)),
        Stage("train", train, ("model",), ("data.zarr",), requires=device_present),
        Stage(
            "validate",
            validate,
            (
                "comparison",
                *(f"observables.nc:{name}" for name in ("snapshots", "response", "curves")),
                "verdicts.json:validate",
            ),
            LEARNED,
        ),
        Stage(
            "simulate",
            simulate,
            ("large", "observables.nc:restored", "observables.nc:quench", "verdicts.json:simulate"),
            ("model",),
            requires=device_present,
        ),
    ),
)
