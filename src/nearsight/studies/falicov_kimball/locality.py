"""What can be examined: what a hop of an f electron costs, exact and learned, on test quenches."""

from __future__ import annotations

from pathlib import Path

from nearsight import training
from nearsight.moves import LearnedMoves
from nearsight.studies.falicov_kimball.config import Config
from nearsight.studies.falicov_kimball.generate import split
from nearsight.studies.falicov_kimball.physics import exact
from nearsight.studies.falicov_kimball.train import learned, untrained
from nearsight.studies.locality import HopTarget
from nearsight.studies.run import Run


def subject(run: Run, config: Config) -> HopTarget:
    """Free energies of hops at fixed number of c electrons, exact and learned."""
    data = split(run, config)

    def grow(cutoff: float, steps: int, folder: Path) -> LearnedMoves:
        """The network of the study with another radius: energies depend on pairs at most twice as far apart."""
        radius = 0.5 * cutoff if 0.5 * cutoff >= data.train.lattice.spacing else 0.0  # nobody but the site itself
        network = config.network.model_copy(update={"radius": radius})
        wider = config.model_copy(update={"network": network})
        student = untrained(wider, data.train.lattice, run.seed("locality", "grow"))
        options = config.fit.model_copy(
            update={"steps": steps, "warmup": min(config.fit.warmup, steps // 4), "validate_every": max(1, steps // 4)}
        )
        return training.fit_moves(student, data, options=options, path=folder, resume=True, progress=False)

    return HopTarget(
        exact=exact(config, config.length),
        learned=learned(run, config.length),
        data=data.test,
        more=data.train.field,
        grow=grow,
    )
