"""Phase separation in the Falicov-Kimball model: hops learned on a small lattice, a quench followed on a large one."""

from nearsight.studies.falicov_kimball.barrier import barrier
from nearsight.studies.falicov_kimball.generate import DATA, generate
from nearsight.studies.falicov_kimball.presets import PRESETS
from nearsight.studies.falicov_kimball.simulate import simulate
from nearsight.studies.falicov_kimball.train import train
from nearsight.studies.falicov_kimball.validate import validate
from nearsight.studies.study import Stage, Study

STUDY = Study(
    name="falicov_kimball",
    question="Do f electrons that hop at learned energies separate into checkerboards as exact electrons make them?",
    presets=PRESETS,
    stages=(
        Stage("generate", generate, outputs=(DATA,)),
        Stage("train", train, outputs=("model",), inputs=(DATA,)),
        Stage(
            "validate",
            validate,
            outputs=("comparison", "observables.nc:snapshots", "observables.nc:curves", "verdicts.json:validate"),
            inputs=(DATA, "model"),
        ),
        Stage(
            "simulate",
            simulate,
            outputs=("large", "observables.nc:growth", "observables.nc:maps", "verdicts.json:simulate"),
            inputs=("model",),
        ),
        Stage(
            "barrier",
            barrier,
            outputs=("observables.nc:barrier", "observables.nc:potential", "verdicts.json:barrier"),
        ),
    ),
)
