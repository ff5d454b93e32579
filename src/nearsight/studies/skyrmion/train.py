"""Stage 3: force fields that have learned what turns spins."""

from __future__ import annotations

from nearsight.forcefields import LocalForceField
from nearsight.lattices import triangular
from nearsight.studies.magnets import students
from nearsight.studies.magnets.config import Student
from nearsight.studies.run import Run
from nearsight.studies.skyrmion.config import Config
from nearsight.studies.skyrmion.physics import magnet


def train(run: Run, config: Config) -> None:
    """Fit every student to the part of H normal to the spins, and save it in ``model/``."""
    model = magnet(config, config.length)
    students.train(run, config, model.lattice, model.field_type)


def learned(run: Run, config: Config, length: int, kind: Student | None = None) -> LocalForceField:
    """A trained student, the first unless another is named: electrons without the field along z."""
    return students.learned(run, config, triangular(length), kind)
