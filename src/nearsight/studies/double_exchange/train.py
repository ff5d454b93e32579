"""Stage 3: force fields that have learned what turns spins."""

from __future__ import annotations

from nearsight.forcefields import LocalForceField
from nearsight.lattices import square
from nearsight.studies.double_exchange.config import Config
from nearsight.studies.double_exchange.physics import magnet
from nearsight.studies.magnets import students
from nearsight.studies.magnets.config import Student
from nearsight.studies.run import Run


def train(run: Run, config: Config) -> None:
    """Fit every student to the part of H normal to the spins, and save it in ``model/``."""
    model = magnet(config, config.length)
    students.train(run, config, model.lattice, model.field_type)


def learned(run: Run, config: Config, length: int, kind: Student | None = None) -> LocalForceField:
    """A trained student, the first unless another is named."""
    return students.learned(run, config, square(length), kind)
