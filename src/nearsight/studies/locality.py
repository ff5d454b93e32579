"""How far the models of finished runs see, and whether that is enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import xarray as xr
from torch import Tensor

from nearsight.analysis import LocalityReport, examine_locality
from nearsight.forcefields import ForceField
from nearsight.lattices import half_period
from nearsight.moves import MoveEnergies
from nearsight.storage import check_hashed, lock, write_hashed
from nearsight.storage.files import corrupt
from nearsight.studies.run import Run
from nearsight.studies.study import get
from nearsight.training import DataSet, MoveData

FILE = "locality.nc"
FOLDER = "locality"
"""Checkpoints of the models that are grown to see what a longer sight brings."""
STEPS = 200
CUTOFFS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
"""Of the models that are grown, in units of a."""
ENGINE: Literal["h5netcdf"] = "h5netcdf"


@dataclass(frozen=True)
class LocalityTarget:
    """What a study offers for examination, ``target(run, config)``, if it learns a force.

    exact, learned: the part of the force that was learned, as it is and as learned, on the lattice of the data.
    data: snapshots on trajectories that no training has seen; ``force`` the learned part of the exact force on them.
    canonical: the same part of the force in the ensemble of the dynamics, where it is another one.
    spins: the fields are unit spins, of which only the part of a force normal to them counts.
    quantity: what ``force`` is, in words.
    turn: the force turns along when all spins are turned or reversed at once.
    more: fields of other trajectories, those of the training. What lies beyond a cutoff is taken from them too: a test
        of few trajectories holds too little that fits.
    grow: ``grow(cutoff, steps, folder)`` trains a model of this cutoff for so many steps on the training data of the
        run, its checkpoint in the folder.
    """

    exact: ForceField
    learned: ForceField
    data: DataSet
    force: Tensor
    canonical: ForceField | None = None
    spins: bool = False
    turn: bool = False
    quantity: str = "force of the electrons"
    more: Tensor | None = None
    grow: Callable[[float, int, Path], ForceField] | None = None

    def examine(self, models: Mapping[str, Any], probes: Mapping[str, Any], **options: Any) -> LocalityReport:
        return examine_locality(
            self.exact,
            self.data.field,
            truth=self.force,
            models=models,
            canonical=self.canonical,
            probes=probes,
            spins=self.spins,
            turn=self.turn,
            groups=self.data.trajectory,
            elsewhere=self.more,
            quantity=self.quantity,
            **options,
        )


@dataclass(frozen=True)
class HopTarget:
    """The same from a study that learns what hops cost.

    exact, learned: energies of the same hops, on the lattice of the data; ``data`` are of quenches that no training has
    seen; ``more`` and ``grow`` as for a :class:`LocalityTarget`.
    """

    exact: MoveEnergies
    learned: MoveEnergies
    data: MoveData
    quantity: str = "energy of a hop"
    more: Tensor | None = None
    grow: Callable[[float, int, Path], MoveEnergies] | None = None

    def examine(self, models: Mapping[str, Any], probes: Mapping[str, Any], **options: Any) -> LocalityReport:
        return examine_locality(
            self.exact,
            self.data.field,
            truth=self.data.difference,
            models=models,
            probes=probes,
            groups=self.data.trajectory,
            elsewhere=self.more,
            quantity=self.quantity,
            **options,
        )


def examine(
    path: str | Path,
    others: Sequence[str | Path] = (),
    *,
    samples: int = 64,
    steps: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> LocalityReport:
    """Examine the model of a finished run, and store the result as ``locality.nc`` in its folder.

    ``others`` are runs with the same data and another network: their models join the comparison of cutoffs. Where
    the study can grow models of any cutoff, some are trained for ``steps`` each (200 if not given, 0 for none) and
    kept in ``locality/``; what a longer sight brings is read from them. The result depends on the runs, on ``samples``
    and on ``steps`` alone.
    """
    run, target = open_target(path)
    if target.grow is None and steps:
        raise ValueError(
            f"The study {run.manifest['study']!r} grows no models of other cutoffs by itself; leave out the steps, "
            "and name runs with the same data and other cutoffs."
        )
    models: dict[str, Any] = {run.path.name: target.learned}
    for other_path in others:
        other, more = open_target(other_path)
        if more.data.hash != target.data.hash:
            raise ValueError(
                f"{other.path} was tested on other data than {run.path}. Models are compared on data that none of "
                "them has seen: train with the same recipe, seed and shares of test and validation data."
            )
        if (name := other.path.name) in models:
            name = str(other.path)
        models[name] = more.learned
    with lock(run.path):
        probes = grown(run, target, STEPS if steps is None else steps, say)
        report = target.examine(models, probes, rng=run.rng("locality"), samples=samples, say=say)
        content = report.data.assign_attrs(words=report.words, model_hash=run.hash("model"))
        write_hashed(run.path / FILE, bytes(content.to_netcdf(engine=ENGINE)))
    return report


def grown(run: Run, target: LocalityTarget | HopTarget, steps: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Students of growing cutoffs up to half the period of the lattice, each trained for so many steps."""
    if target.grow is None or steps == 0:
        return {}
    models: dict[str, Any] = {}
    limit = half_period(target.data.lattice)
    for cutoff in (r for r in CUTOFFS if r <= limit + 1e-9):
        say(f"a model with a cutoff of {cutoff:g} a, {steps} steps")
        models[f"{cutoff:g}"] = target.grow(cutoff, steps, run.path / FOLDER / f"cutoff-{cutoff:g}-steps-{steps}")
    return models


def stored(run: Run) -> xr.Dataset | None:
    """The result of an earlier examination of a run, if there is one of the model that the run holds now."""
    path = run.path / FILE
    if not path.exists():
        return None
    cure = "Delete it and examine again."
    check_hashed(path, cure)
    try:
        with xr.open_dataset(path, engine=ENGINE) as dataset:
            found = dataset.load()
        model = found.attrs["model_hash"]
    except Exception as error:  # damaged files of HDF5 fail in as many ways as there are bytes
        raise corrupt(path, "netCDF", error, cure) from error
    return found if model == run.hash("model") else None


def open_target(path: str | Path) -> tuple[Run, LocalityTarget | HopTarget]:
    """A run and what it offers for examination.

    Raises ``FileNotFoundError`` if the folder is no run, or its model is not trained yet.
    """
    run = Run(path)
    if not run.exists:
        raise FileNotFoundError(
            f"{run.path} is no run: it holds no config.yaml. Give the folder of a run, RUNS/STUDY/NAME."
        )
    study = get(run.manifest["study"])
    if study.target is None:
        raise ValueError(f"The study {study.name!r} learns no force whose locality could be examined.")
    config: Any = study.stored_config(run)
    if not run.complete("train"):
        raise FileNotFoundError(
            f"{run.path} holds no trained model. Finish it first: "
            f"nearsight run {study.name} --name {run.path.name} --resume"
        )
    return run, study.target(run, config)
