"""How far the students of finished runs see, and whether that is enough."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import xarray as xr
from torch import Tensor

from nearsight.analysis import LocalityReport, examine_locality
from nearsight.forcefields import ForceField
from nearsight.storage import CorruptFileError, write_atomic
from nearsight.studies.run import Run
from nearsight.studies.study import get
from nearsight.training import DataSet

FILE = "locality.nc"
ENGINE: Literal["h5netcdf"] = "h5netcdf"


@dataclass(frozen=True)
class Subject:
    """What a study offers for examination: every study that learns a force has ``locality.subject(run, config)``.

    exact, student: the part of the force that was learned, as it is and as learned, on the lattice of the data.
    data: snapshots on trajectories that no training has seen; ``force`` the learned part of the exact force on them.
    held: the same part of the force in the ensemble of the dynamics, where it is another one.
    """

    exact: ForceField
    student: ForceField
    data: DataSet
    force: Tensor
    held: ForceField | None = None


def examine(
    path: str | Path,
    others: Sequence[str | Path] = (),
    *,
    samples: int = 64,
    say: Callable[[str], None] = lambda text: None,
) -> LocalityReport:
    """Examine the student of a finished run, and store the result as ``locality.nc`` in its folder.

    ``others`` are runs with the same data and another network: their students join the comparison of cutoffs. The
    result depends on the runs and on ``samples`` alone.
    """
    run, subject = open_subject(path)
    students = {run.path.name: subject.student}
    for other_path in others:
        other, more = open_subject(other_path)
        if more.data.hash != subject.data.hash:
            raise ValueError(
                f"{other.path} was tested on other data than {run.path}. Students are compared on data that none of "
                "them has seen: train with the same recipe, seed and shares of test and validation data."
            )
        if (name := other.path.name) in students:
            name = str(other.path)
        students[name] = more.student
    report = examine_locality(
        subject.exact,
        subject.data.field,
        truth=subject.force,
        students=students,
        held=subject.held,
        rng=run.rng("locality"),
        samples=samples,
        groups=subject.data.trajectory,
        quantity="force of the electrons",
        say=say,
    )
    content = report.data.assign_attrs(words=report.words, model_hash=run.hash("model"))
    write_atomic(run.path / FILE, bytes(content.to_netcdf(engine=ENGINE)))
    return report


def stored(run: Run) -> xr.Dataset | None:
    """The result of an earlier examination of a run, if there is one of the model that the run holds now."""
    path = run.path / FILE
    if not path.exists():
        return None
    try:
        with xr.open_dataset(path, engine=ENGINE) as dataset:
            found = dataset.load()
    except (OSError, RuntimeError, KeyError) as error:
        raise CorruptFileError(f"{path} is not a whole netCDF file ({error}). Delete it and examine again.") from error
    return found if found.attrs["model_hash"] == run.hash("model") else None


def open_subject(path: str | Path) -> tuple[Run, Subject]:
    """A run and what it offers for examination.

    Raises ``FileNotFoundError`` if the folder is no run, or its model is not trained yet.
    """
    run = Run(path)
    if not run.exists:
        raise FileNotFoundError(
            f"{run.path} is no run: it holds no config.yaml. Give the folder of a run, RUNS/STUDY/NAME."
        )
    study = get(run.manifest["study"])
    module = f"nearsight.studies.{study.name}.locality"
    if importlib.util.find_spec(module) is None:
        raise ValueError(f"The study {study.name!r} learns no force whose locality could be examined.")
    config: Any = study.stored_config(run)
    if not run.complete("train"):
        raise FileNotFoundError(
            f"{run.path} holds no trained model. Finish it first: "
            f"nearsight run {study.name} --name {run.path.name} --resume"
        )
    return run, importlib.import_module(module).subject(run, config)
