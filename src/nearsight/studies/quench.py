"""Template of the studies that learn a force field on a small lattice and quench a large one with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field

from nearsight import forcefields, training
from nearsight.dynamics import Guard, State
from nearsight.dynamics.run.audit import stored as stored_audits
from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice, square
from nearsight.studies import audits, refinement, speed
from nearsight.studies.audits import Auditing
from nearsight.studies.checks import Check
from nearsight.studies.ensembles import Quench, carried_out, matched_noise_bias, same_mean
from nearsight.studies.locality import LocalityTarget
from nearsight.studies.options import Device, Length, Positive, device_present, torch_device
from nearsight.studies.refinement import Refining
from nearsight.studies.reuse import MODEL, TRAIN, has_model_of_elsewhere
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.shipping import card
from nearsight.studies.snapshots import split
from nearsight.studies.study import LARGE, Stage, Study
from nearsight.studies.system import Engine, System
from nearsight.training import FitOptions, Recipe

CHUNK, MOVING_CHUNK = 4, 2
"""Replicas of one task, of forces and of discrete moves. A killed ensemble loses at most what its tasks have done since
their last checkpoint."""
MAPS = 6
"""Records of the first replica of a large quench of which maps are kept."""


class Comparison(Section):
    """The quenches that compare learned with exact dynamics."""

    length: Length = 20
    quenches: Annotated[int, Field(ge=20)] = 24
    duration: Positive = 12.0
    """Until domains are a tenth of the lattice; later the torus decides, not the force field."""
    records: Annotated[int, Field(ge=2)] = 8
    speed_length: Length = 30
    """Lattice on which one exact and one learned force are timed."""


class Large(Section):
    """The large quench, with the learned force field alone."""

    length: Length = 160
    replicas: Annotated[int, Field(ge=3)] = 3
    """Independent quenches side by side; error bars need three."""
    duration: Positive = 100.0
    records: Annotated[int, Field(ge=4)] = 25
    guard: Annotated[float, Field(ge=1)] = 1.5
    """The run stops if a field leaves the range of the training data widened by this factor."""
    audit: Auditing = Auditing()


class QuenchConfig(Section):
    """What every study of a quench has; each adds its model, its network and its equation of motion."""

    length: Length = 16
    """Lattice of the exact data."""
    recipe: Recipe = Recipe()
    fit: FitOptions = FitOptions()
    refine: Refining = Refining()
    comparison: Comparison = Comparison()
    large: Large = Large()
    device: Device = "cpu"
    """Where the network is trained and the large lattice is quenched. Exact solutions stay on the CPU."""
    seed: Annotated[int, Field(ge=0)] = 1


@dataclass(frozen=True)
class Compared:
    """An observable whose mean curves are compared between exact and learned quenches.

    label: what it is, as in the report. log: compare logarithms, where fluctuations are relative.
    """

    label: str
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class LargeQuench:
    """A quench by the learned force field alone.

    start, noise: names of the random streams of its initial fields and of its noise. at: its value of the coordinate
    along which the quenches of a study are joined.
    """

    system: System
    duration: float
    records: int
    start: tuple[str, ...] = ("large", "field")
    noise: tuple[str, ...] = ("large", "noise")
    at: float | None = None


NETWORKS = ("network", "networks", "equivariant", "resnet", "descriptor")
LATER = (*NETWORKS, "fit", "resnet_fit", "refine", "comparison", "large")
"""Groups of settings, where a study has them, that say what is done with data and not how they are made."""
Observe = Callable[[Any, System, State], xr.Dataset]
Measure = Callable[[Any, Run, Any], tuple[xr.Dataset, list[Check]]]


@dataclass(frozen=True, kw_only=True)
class QuenchStudy(Study):
    """Exact data, a fit, learned against exact in snapshots and in dynamics, and a quench on a large lattice.

    physics: ``(config, lattice, **variant) -> System``: all that is specific, once.
    observe: ``(config, system, state) -> xr.Dataset`` of quantities with the dimension "replica"; measured during the
        run, in exact, learned and large quenches alike.
    maps: the same of quantities ``(x, y)`` of the first replica, kept at a few times of a large quench.
    compare: observables whose mean curves are compared.
    guarded: stop a large quench that leaves the range of the training data.
    kept: what of every record of a large quench is kept on disk, such as "field", where whole configurations are
        analysed.
    initial_stream: name of the random stream of the initial fields of the comparison.
    matched_noise: the name of the observable, a length, whose bias is measured with the noise of the exact quenches.
    snapshots: ``(run, config, system, learned electrons) -> (xr.Dataset, checks)`` on the test trajectories.
    analyse: ``(run, config, growth) -> (growth with fits, checks)`` of the large quench.
    along: the dimension along which several large quenches are joined, one for every value of the setting of this name
        with an s, which is the variant of its physics.
    large: ``(study, config) -> {folder: LargeQuench}`` where it is not the usual.
    generate, train, load_model: what these stages do where it is not the usual.
    timed: the variant of the physics whose forces are timed.
    extra: more stages, by the name of the stage after which they come.
    more: ``(study, run, config) -> (xr.Dataset, checks)`` by its name in ``observables.nc``, measured last in the stage
        "validate" or "simulate"; ``needs``: what "simulate" reads of the former.
    """

    physics: Callable[..., System]
    observe: Observe
    compare: Mapping[str, Compared]
    snapshots: Callable[[Run, Any, System, Engine], tuple[xr.Dataset, list[Check]]]
    analyse: Callable[[Run, Any, xr.Dataset], tuple[xr.Dataset, list[Check]]]
    maps: Observe | None = None
    matched_noise: str | None = None
    lattice: Callable[[int], Lattice] = square
    initial_stream: str = "initial fields"
    guarded: bool = True
    kept: Sequence[str] = ()
    large: Callable[[QuenchStudy, Any], Mapping[str, LargeQuench]] | None = None
    along: str | None = None
    generate: Callable[[QuenchStudy, Run, Any], None] | None = None
    train: Callable[[QuenchStudy, Run, Any], None] | None = None
    load_model: Callable[[Run, Any, Lattice], Engine] | None = None
    timed: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Sequence[Stage]] = field(default_factory=dict)
    more: Mapping[str, Mapping[str, Measure]] = field(default_factory=dict)
    needs: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, usual in (("target", self.locality), ("notes", caveats)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, usual)

    def usual_stages(self) -> Sequence[Stage]:
        learned = ("data.zarr", "model")
        more = {stage: tuple(self.more.get(stage, ())) for stage in ("validate", "simulate")}
        curves = tuple(f"observables.nc:{name}" for name in ("snapshots", "curves", *more["validate"]))
        maps = () if self.maps is None else ("maps",)
        large = tuple(f"observables.nc:{name}" for name in ("growth", *maps, *more["simulate"]))
        needs = tuple(f"observables.nc:{name}" for name in self.needs)
        gpu: dict[str, Any] = {"requires": device_present}
        usual = (
            Stage("generate", self.generate_data, outputs=("data.zarr",), unread=LATER),
            Stage("train", self.fit_model, outputs=("model",), inputs=("data.zarr",), **gpu),
            Stage("validate", self.validate, outputs=("comparison", *curves, "checks.json:validate"), inputs=learned),
            Stage("simulate", self.simulate, ("large", *large, "checks.json:simulate"), (*learned, *needs), **gpu),
        )
        stages = list(self.extra.get("", ()))
        for stage in usual:
            stages += [stage, *self.extra.get(stage.name, ())]
        return stages

    # --- stages -----------------------------------------------------------------------------------------------------

    def system(self, config: Any, length: int | None = None, **variant: Any) -> System:
        """The physics on a lattice of this length, that of the data if none is given."""
        return self.physics(config, self.lattice(config.length if length is None else length), **variant)

    def electrons(self, run: Run, config: Any, lattice: Lattice) -> Engine:
        """What was learned, on any lattice."""
        if self.load_model is not None and not has_model_of_elsewhere(run):
            return self.load_model(run, config, lattice)
        folder = run.path / refinement.REFINED if refinement.refined(run, config) else run.path / MODEL
        return forcefields.load(folder).on(lattice)

    def model_folder(self, run: Run, config: Any) -> Path:
        """Where the training has left the model that moves fields."""
        return run.path / MODEL

    def fitted(self, config: Any, electrons: Engine) -> Engine:
        """What is fitted to the data of the study: the electrons and the classical part."""
        return electrons + self.system(config).exact.classical

    @property
    def on_request(self) -> Mapping[str, str]:
        return {refinement.STAGE: f"{refinement.STAGE}.rounds=3"}

    def of_config(self, config: Any) -> Study:
        return replace(self, stages=refinement.with_refinement(self, Stage)) if refinement.asked(config) else self

    def trained_on(self, run: Run, config: Any) -> Any:
        """The training part of the data."""
        return split(run, config.fit, config.seed).train

    def generate_data(self, run: Run, config: Any) -> None:
        """Exact forces and energies of the recipe's snapshots, in parallel, into ``data.zarr``."""
        if self.generate is not None:
            return self.generate(self, run, config)
        exact = self.system(config).exact
        run.log("note", text=f"{exact}")
        run.log("note", text=f"{config.recipe}")
        data = training.generate(exact, config.recipe, run.path / "data.zarr", seed=config.seed, resume=True)
        run.log("note", text=f"{data}")

    def fit_model(self, run: Run, config: Any) -> None:
        """Fit the electrons' part of the force, and save it in ``model/``."""
        if self.train is not None:
            return self.train(self, run, config)
        electrons = self.system(config).build_model(run.rng("weights"))
        self.fit(run, config, electrons)
        forcefields.save(electrons, run.path / MODEL, card=card(self, run, config))

    def fit(self, run: Run, config: Any, electrons: Engine) -> None:
        """Fit the electrons' part of the force to the data of the run, the classical part being exact."""
        run.log("note", text=f"{electrons}")
        learned = self.fitted(config, electrons).to(torch_device(config.device))
        data = split(run, config.fit, config.seed)
        training.fit(learned, data, options=config.fit, path=run.path / "fit", resume=True)

    def validate(self, run: Run, config: Any) -> None:
        """Errors on test trajectories, symmetry, speed, and an ensemble of quenches."""
        system = self.system(config)
        snapshots, checks = self.snapshots(run, config, system, self.electrons(run, config, system.lattice))
        run.record("snapshots", snapshots)
        checks += self.compare_speed(run, config)
        curves, more = self.compare_quenches(run, config)
        run.record("curves", curves)
        run.record_checks("validate", [*checks, *more, *self._measure_more("validate", run, config)])

    def compare_speed(self, run: Run, config: Any) -> list[Check]:
        """What one force of the electrons costs, exact and learned."""
        system = self.system(config, config.comparison.speed_length, **self.timed)
        field = system.initial_fields(1, torch.Generator().manual_seed(0))
        return [speed.speedup(system.exact.electrons, self.electrons(run, config, system.lattice), field)]

    def compare_quenches(self, run: Run, config: Any) -> tuple[xr.Dataset, list[Check]]:
        """Observables of both ensembles, replica by replica, and whether their means agree.

        Learned quenches start from the fields of the exact ones. To see how large a difference is, the exact ones are
        repeated with learned forces and the same noise.
        """
        system = self.system(config, config.comparison.length)
        learned = system.learned(self.electrons(run, config, system.lattice))
        curves = {
            "exact": self.ensemble(run, config, system, "exact", system.quenched),
            "learned": self.ensemble(run, config, system, "learned", learned),
        }
        if self.matched_noise is not None:
            curves["twin"] = self.ensemble(run, config, system, "twins", learned)
        joined = xr.concat(list(curves.values()), dim=xr.Variable("source", list(curves)))
        late = joined.isel(time=slice(1, None))  # the initial fields are the same
        checks = [check for name, how in self.compare.items() for check in same_mean(how.label, late[name], how.log)]
        if self.matched_noise is not None:
            checks.append(matched_noise_bias(joined[self.matched_noise]))
        return joined, checks

    def ensemble(
        self, run: Run, config: Any, system: System, name: str, engine: Engine, replicas: int | None = None
    ) -> xr.Dataset:
        """The quenches of the comparison by one engine, kept with their fields in ``comparison/name``."""
        options = config.comparison
        fields = system.initial_fields(options.quenches, run.rng(self.initial_stream))[:replicas]
        path = run.path / "comparison" / name
        if name == "learned" and not system.discrete:  # a network is fastest on all replicas together
            parts = [fields.to(next(engine.parameters()).dtype)]
            paths, seeds = [path], [run.seed("learned noise")]
        else:
            parts = list(fields.split(MOVING_CHUNK if system.discrete else CHUNK))
            paths = [path / f"{k:03d}" for k in range(len(parts))]
            stream = f"{name} chance" if system.discrete else "exact noise"
            seeds = [run.seed(stream, k) for k in range(len(parts))]
        quenches = [
            Quench(
                system=system,
                engine=engine,
                field=part,
                steps=system.steps(options.duration, options.records),
                measure=partial(self.observe, config, system),
                path=path,
                seed=seed,
                fields=("field",),
            )
            for part, path, seed in zip(parts, paths, seeds, strict=True)
        ]
        return carried_out(quenches, title=f"{name} quenches")

    def simulate(self, run: Run, config: Any) -> None:
        """Quench large lattices with what was learned, and measure at logarithmically spaced times."""
        quenches = (self.large or _large_quenches)(self, config)
        parts = [self.quench(run, config, name, quench) for name, quench in quenches.items()]
        growth, maps = parts[0]
        if self.along is not None:
            dim = xr.Variable(self.along, [quench.at for quench in quenches.values()])
            growth, maps = (xr.concat([part[k] for part in parts], dim=dim) for k in range(2))
        if self.maps is not None:
            run.record("maps", maps)
        analysed, checks = self.analyse(run, config, growth)
        run.record("growth", analysed)
        found = {name: stored_audits(run.path / "large" / name) for name in quenches}
        whose = {name: quenches[name].system for name in quenches}
        checks += audits.record(run, {name: data for name, data in found.items() if data is not None}, whose)
        run.record_checks("simulate", [*checks, *self._measure_more("simulate", run, config)])

    def _measure_more(self, stage: str, run: Run, config: Any) -> list[Check]:
        checks = []
        for name, measure in self.more.get(stage, {}).items():
            dataset, found = measure(self, run, config)
            run.record(name, dataset)
            checks += found
        return checks

    def replay(self, run: Run, config: Any, frames: int) -> dict[str, tuple[xr.Dataset, Lattice]]:
        """The large quenches carried out again with the same fields and noise: maps of the first replica at so many
        logarithmically spaced times, and the lattice they are of. A second call goes on from a killed one."""
        if self.maps is None:
            raise ValueError(f"The study {self.name} has no maps of its large quench.")
        quenches = (self.large or _large_quenches)(self, config)
        found, folder = {}, f"replay-{frames}"
        for name, large in quenches.items():
            maps = self.quench(run, config, name, replace(large, records=frames), folder, frames)[1]
            found[name] = maps, large.system.lattice
        shutil.rmtree(run.path / folder)
        return found

    def quench(
        self, run: Run, config: Any, name: str, large: LargeQuench, folder: str = "large", shots: int = MAPS
    ) -> tuple[xr.Dataset, xr.Dataset]:
        """One large quench in ``folder/name``: what is observed ``(replica, time)``, and maps at ``shots`` times.

        Everything is measured while the lattice moves; fields are not kept, unless the study asks for them.
        """
        system = large.system
        engine = system.learned(self.electrons(run, config, system.lattice))
        fields = system.initial_fields(config.large.replicas, run.rng(*large.start))
        steps = system.steps(large.duration, large.records)
        shown = sorted({steps[k] for k in np.linspace(0, len(steps) - 1, shots).round().astype(int)})
        path = run.path / folder / name
        run.log("note", text=f"{len(fields)} × {system.lattice!r} to t = {large.duration:g} {system.time}")

        def measure(state: State) -> xr.Dataset:
            observed = self.observe(config, system, state)
            if self.maps is None:
                return observed
            maps = self.maps(config, system, state).astype(np.float32)
            names = {name: f"map_{name}" for name in maps.data_vars}
            return observed.merge((maps if state.step in shown else maps.where(False)).rename(names))

        if system.discrete:
            common = {"system": system, "engine": engine, "steps": steps, "measure": measure}
            quenches = [
                Quench(**common, field=part, path=path / f"{k:03d}", seed=run.seed("large", "chance", k))
                for k, part in enumerate(fields.split(1))
            ]
            data = carried_out(quenches, title="large quenches")
        else:
            engine = engine.to(torch_device(config.device))
            options: dict[str, Any] = {"fields": tuple(self.kept)}
            if self.guarded:
                options["guard"] = self._guard(run, config, engine)
            data = Quench(
                system=system,
                engine=engine,
                field=fields.to(next(engine.parameters())),
                steps=steps,
                measure=measure,
                path=path,
                seed=run.seed(*large.noise),
                **options,
                audit=audits.planned(config.large.audit, system, steps) if folder == "large" else None,
                progress=True,
            ).run()
        names = {name: str(name)[4:] for name in data.data_vars if str(name).startswith("map_")}
        growth = data[[name for name in data.data_vars if name not in names]]
        maps = data[list(names)].isel(time=np.isin(steps, shown), missing_dims="ignore").rename(names)
        return growth, maps.isel(replica=0) if "replica" in maps.dims else maps

    def _guard(self, run: Run, config: Any, engine: ForceField) -> Guard:
        """The range of the training data, from the card of the model or, where it has none, from the data."""
        known, factor = engine.card, config.large.guard
        if known is None or not known.low:
            return Guard.around(self.trained_on(run, config).field, factor)
        return Guard(tuple(known.low), tuple(known.high), factor)

    # --- a model from elsewhere --------------------------------------------------------------------------------------

    def of_model(self) -> Study:
        if self.needs:
            raise ValueError(
                f"The large run of the study {self.name!r} is judged by its own small ones ({', '.join(self.needs)}), "
                f"so that it takes no model from elsewhere; `nearsight run {self.name} --data RUN` makes its own from "
                f"the data of another run."
            )
        by_name = {stage.name: stage for stage in self.stages}
        taken = Stage(TRAIN, _refuse_training, outputs=(MODEL,))
        large = replace(by_name[LARGE], inputs=(MODEL,))
        made = tuple(output for stage in (taken, large) for output in stage.outputs)
        return replace(self, stages=(taken, large, replace(by_name["report"], inputs=made)))

    # --- what can be examined ---------------------------------------------------------------------------------------

    def locality(self, run: Run, config: Any) -> LocalityTarget:
        """The electrons of a finished run, exact and learned, on test trajectories."""
        system = self.system(config, **({self.along: getattr(config, f"{self.along}s")[0]} if self.along else {}))
        train, _, test = split(run, config.fit, config.seed)
        return LocalityTarget(
            exact=system.exact.electrons,
            learned=self.electrons(run, config, system.lattice),
            data=test,
            force=system.electron_force(test.field, test.force),
            canonical=None if system.canonical is None else system.canonical.electrons,
            more=train.field,
        )


def _large_quenches(study: QuenchStudy, config: Any) -> Mapping[str, LargeQuench]:
    """The quench of ``config.large``, in the folder ``large`` itself, or one for every value along a dimension."""
    large, along = config.large, study.along
    common: dict[str, Any] = {"duration": large.duration, "records": large.records}
    if along is None:
        system = study.system(config, large.length)
        return {"": LargeQuench(system=system, start=("large", "positions" if system.discrete else "field"), **common)}
    systems = {v: study.system(config, large.length, **{along: v}) for v in getattr(config, f"{along}s")}
    return {
        f"{v:g}": LargeQuench(system=system, noise=("large", "noise", str(v)), at=v, **common)
        for v, system in systems.items()
    }


def _refuse_training(run: Run, config: Any) -> None:
    """A model from elsewhere is taken, and never trained here."""
    raise FileNotFoundError(
        f"{run.path / MODEL} is missing, and the run was begun with a model from elsewhere: give it once more, --model."
    )


def recipe(trajectories: Sequence[int], snapshots: Sequence[int], **kinds: Mapping[str, Any]) -> Recipe:
    """So many trajectories, with so many snapshots each, of every kind of data, which is described by its options."""
    counted = zip(trajectories, snapshots, kinds.items(), strict=True)
    plan: dict[str, Any] = {kind: {"trajectories": n, "snapshots": m, **options} for n, m, (kind, options) in counted}
    return Recipe(**plan)


def energy_per_site(system: System, state: State) -> dict[str, xr.DataArray]:
    """An observable of force fields that have an energy."""
    if state.forces.energy is None:
        return {}
    values = (state.forces.energy / system.lattice.n_sites).cpu().numpy()
    return {"energy": xr.DataArray(values, dims="replica", attrs={"long_name": "energy per site", "units": "t"})}


def rms_over_sites(values: xr.DataArray, label: str) -> xr.DataArray:
    """An observable: the root mean square of a site field."""
    result: xr.DataArray = np.sqrt((values**2).mean("site"))  # type: ignore[assignment]
    return result.assign_attrs(long_name=label, units="1")


def caveats(run: Run, config: Any, large: str = "") -> list[str]:
    """What every report of a quench should say; ``large``: the lattice, if it is not that of ``config.large``."""
    small, large = f"{config.comparison.length}²", large or f"{config.large.length}²"
    unit = run.observable("curves").time.attrs["units"]
    return [
        f"Exact and learned quenches were compared on {small} sites up to t = {config.comparison.duration:g} {unit}; "
        f"the quench of {large} sites rests on what was learned alone, and on the assumption that what matters there "
        f"also occurs on the small lattice.",
        "A large p-value means that no difference was seen with this number of quenches, not that there is none: the "
        "error bars in the figures say how large a difference could have hidden.",
    ]
