"""Template of the studies that learn a force field on a small lattice and quench a large one with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from nearsight import dynamics, forcefields, training
from nearsight.dynamics import At, Guard, Scheme, State
from nearsight.forcefields import ForceField
from nearsight.lattices import Lattice, square
from nearsight.studies import speed
from nearsight.studies.checks import Check
from nearsight.studies.ensembles import Ensembles, labelled, log_steps, matched_noise_bias, same_mean
from nearsight.studies.locality import LocalityTarget
from nearsight.studies.options import Count, Device, Length, Positive, device_present, torch_device
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.snapshots import split
from nearsight.studies.study import Stage, Study
from nearsight.training import FitOptions, Recipe

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


class QuenchConfig(Section):
    """What every study of a quench has; each adds its model, its network and its equation of motion."""

    length: Length = 16
    """Lattice of the exact data."""
    recipe: Recipe = Recipe()
    fit: FitOptions = FitOptions()
    comparison: Comparison = Comparison()
    large: Large = Large()
    device: Device = "cpu"
    """Where the network is trained and the large lattice is quenched. Exact solutions stay on the CPU."""
    seed: Annotated[int, Field(ge=0)] = 1


@dataclass(frozen=True, kw_only=True)
class System:
    """The physics of a study on one lattice.

    exact: the exact force field; its ``electrons`` are learned, its ``classical`` part is added to what was learned.
    scheme: the equation of motion of exact and learned quenches.
    initial_fields: ``(replicas, rng) -> (replica, site, component)``, float64, from which a quench starts.
    build_model: ``rng -> `` the learned part with its initial weights.
    canonical: the exact force field of the quenches where it is not the one that is learned (a fixed number of
        electrons is not local).
    dress: the learned electrons made into the force field of the quenches; the classical part is added by default.
    time, unit: name of the study's unit of time, and its length in the units of the scheme.
    """

    exact: Any
    scheme: Scheme
    initial_fields: Callable[[int, torch.Generator], Tensor]
    build_model: Callable[[torch.Generator], ForceField]
    canonical: Any = None
    dress: Callable[[ForceField], ForceField] | None = None
    time: str = "ħ/t"
    unit: float = 1.0

    @property
    def model(self) -> Any:
        return self.exact.model

    @property
    def lattice(self) -> Lattice:
        return self.exact.lattice

    @property
    def quenched(self) -> Any:
        """The exact force field of the quenches."""
        return self.exact if self.canonical is None else self.canonical

    def learned(self, electrons: ForceField) -> ForceField:
        """The force field of learned quenches."""
        electrons = electrons.on(self.lattice)
        return electrons + self.exact.classical if self.dress is None else self.dress(electrons)

    def steps(self, duration: float, records: int) -> tuple[int, ...]:
        """Recorded steps of a quench, the first at time 0, the others evenly spaced in the logarithm of time."""
        return log_steps(duration, self.scheme.dt / self.unit, records)  # type: ignore[attr-defined]

    def electrons_of(self, field: Tensor, force: Tensor) -> Tensor:
        """What is left of a total force without the classical part ``(*batch, site, component)``, float64."""
        field = field.double()
        return force.double() - self.exact.classical.to(field.device)(field).force


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


Observe = Callable[[Any, System, State], xr.Dataset]


@dataclass(frozen=True, kw_only=True)
class QuenchStudy(Study):
    """Exact data, a fit, learned against exact in snapshots and in dynamics, and a quench on a large lattice.

    physics: ``(config, lattice, **variant) -> System``: all that is specific, once.
    observe: ``(config, system, state) -> xr.Dataset`` of quantities with the dimension "replica"; measured during the
        run, in exact, learned and large quenches alike.
    maps: the same of quantities ``(x, y)`` of the first replica, kept at a few times of a large quench.
    compare: observables whose mean curves are compared.
    matched_noise: the name of the observable, a length, whose bias is measured with the noise of the exact quenches.
    snapshots: ``(run, config, system, learned electrons) -> (xr.Dataset, checks)`` on the test trajectories.
    analyse: ``(run, config, growth) -> (growth with fits, checks)`` of the large quench.
    large: ``(study, config) -> {folder: LargeQuench}``; several are joined along ``along``.
    generate, train, load_model, time_forces: what these stages do where it is not the usual.
    extra: more stages, by the name of the stage after which they come.
    """

    physics: Callable[..., System]
    observe: Observe
    compare: Mapping[str, Compared]
    snapshots: Callable[[Run, Any, System, ForceField], tuple[xr.Dataset, list[Check]]]
    analyse: Callable[[Run, Any, xr.Dataset], tuple[xr.Dataset, list[Check]]]
    maps: Observe | None = None
    matched_noise: str | None = None
    lattice: Callable[[int], Lattice] = square
    large: Callable[[QuenchStudy, Any], Mapping[str, LargeQuench]] | None = None
    along: xr.Variable | None = None
    generate: Callable[[QuenchStudy, Run, Any], None] | None = None
    train: Callable[[QuenchStudy, Run, Any], None] | None = None
    load_model: Callable[[Run, Any, Lattice], ForceField] | None = None
    time_forces: Callable[[QuenchStudy, Run, Any], list[Check]] | None = None
    extra: Mapping[str, Sequence[Stage]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        learned = ("data.zarr", "model")
        curves = tuple(f"observables.nc:{name}" for name in ("snapshots", "curves"))
        large = tuple(f"observables.nc:{name}" for name in ("growth", *(() if self.maps is None else ("maps",))))
        usual = (
            Stage("generate", self.generate_data, outputs=("data.zarr",)),
            Stage("train", self.fit_model, outputs=("model",), inputs=("data.zarr",), requires=device_present),
            Stage("validate", self.validate, outputs=("comparison", *curves, "checks.json:validate"), inputs=learned),
            Stage(
                "simulate",
                self.simulate,
                outputs=("large", *large, "checks.json:simulate"),
                inputs=learned,
                requires=device_present,
            ),
        )
        stages = list(self.extra.get("", ()))
        for stage in usual:
            stages += [stage, *self.extra.get(stage.name, ())]
        object.__setattr__(self, "stages", tuple(stages))
        if self.target is None:
            object.__setattr__(self, "target", self.locality)
        if self.notes is None:
            object.__setattr__(self, "notes", caveats)

    # --- stages -----------------------------------------------------------------------------------------------------

    def system(self, config: Any, length: int | None = None, **variant: Any) -> System:
        """The physics on a lattice of this length, that of the data if none is given."""
        return self.physics(config, self.lattice(config.length if length is None else length), **variant)

    def electrons(self, run: Run, config: Any, lattice: Lattice) -> ForceField:
        """What was learned, on any lattice."""
        if self.load_model is not None:
            return self.load_model(run, config, lattice)
        return forcefields.load(run.path / "model").on(lattice)

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
        """Fit the electrons' part of the force, the classical part being exact, and save it in ``model/``."""
        if self.train is not None:
            return self.train(self, run, config)
        system = self.system(config)
        electrons = system.build_model(run.rng("weights"))
        run.log("note", text=f"{electrons}")
        learned = (electrons + system.exact.classical).to(torch_device(config.device))
        data = split(run, config.fit, config.seed)
        training.fit(learned, data, options=config.fit, path=run.path / "fit", resume=True)
        forcefields.save(electrons, run.path / "model")

    def validate(self, run: Run, config: Any) -> None:
        """Errors on test trajectories, symmetry, speed, and an ensemble of quenches."""
        system = self.system(config)
        snapshots, checks = self.snapshots(run, config, system, self.electrons(run, config, system.lattice))
        run.record("snapshots", snapshots)
        checks += (self.time_forces or QuenchStudy.compare_speed)(self, run, config)
        curves, more = self.compare_quenches(run, config)
        run.record("curves", curves)
        run.record_checks("validate", [*checks, *more])

    def compare_speed(self, run: Run, config: Any) -> list[Check]:
        """What one force of the electrons costs, exact and learned."""
        system = self.system(config, config.comparison.speed_length)
        field = system.initial_fields(1, torch.Generator().manual_seed(0))
        return [speed.speedup(system.exact.electrons, self.electrons(run, config, system.lattice), field)]

    def compare_quenches(self, run: Run, config: Any) -> tuple[xr.Dataset, list[Check]]:
        """Observables of both ensembles, replica by replica, and whether their means agree."""
        options = config.comparison
        system = self.system(config, options.length)
        fields = system.initial_fields(options.quenches, run.rng("initial fields"))
        steps = system.steps(options.duration, options.records)
        ensembles = Ensembles(run, system.scheme, steps, fields, lambda state: self.observe(config, system, state))
        learned = system.learned(self.electrons(run, config, system.lattice))
        curves = {"exact": ensembles.exact(system.quenched), "learned": ensembles.learned(learned)}
        if self.matched_noise is not None:
            curves["twin"] = ensembles.matched_noise(learned)
        joined = xr.concat(list(curves.values()), dim=xr.Variable("source", list(curves)))
        joined = joined.assign_coords(time=in_units(joined.time / system.unit, system.time))
        late = joined.isel(time=slice(1, None))  # the initial fields are the same
        checks = [check for name, how in self.compare.items() for check in same_mean(how.label, late[name], how.log)]
        if self.matched_noise is not None:
            checks.append(matched_noise_bias(joined[self.matched_noise]))
        return joined, checks

    def simulate(self, run: Run, config: Any) -> None:
        """Quench large lattices with the learned force field, and measure at logarithmically spaced times."""
        quenches = (self.large or one_large_quench)(self, config)
        found = {name: self.quench(run, config, name, quench) for name, quench in quenches.items()}
        growth, maps = ([part[k] for part in found.values()] for k in range(2))
        at = [quench.at for quench in quenches.values()]
        joined = [xr.concat(part, dim=self.along(at)) if self.along else part[0] for part in (growth, maps)]
        if self.maps is not None:
            run.record("maps", joined[1])
        analysed, checks = self.analyse(run, config, joined[0])
        run.record("growth", analysed)
        run.record_checks("simulate", checks)

    def quench(self, run: Run, config: Any, name: str, quench: LargeQuench) -> tuple[xr.Dataset, xr.Dataset]:
        """One large quench in ``large/name``: what is observed ``(replica, time)``, and maps at a few times.

        Everything is measured while the lattice moves; fields are not kept.
        """
        large, system = config.large, quench.system
        device = torch_device(config.device)
        learned = system.learned(self.electrons(run, config, system.lattice)).to(device)
        parameter = next(learned.parameters())
        steps = system.steps(quench.duration, quench.records)
        shown = {steps[k] for k in np.linspace(0, len(steps) - 1, MAPS).round().astype(int)}

        def measure(state: State) -> xr.Dataset:
            observed = self.observe(config, system, state)
            if self.maps is None:
                return observed
            maps = self.maps(config, system, state).astype(np.float32)
            return observed.merge((maps if state.step in shown else maps.where(False)).rename(x="map_x", y="map_y"))

        run.log("note", text=f"{large.replicas} quenches of {system.lattice!r} to t = {quench.duration:g} {system.time}")
        guard = None if large.guard is None else Guard.around(split(run, config.fit, config.seed).train.field, large.guard)
        trajectory = dynamics.simulate(
            learned,
            system.scheme,
            system.initial_fields(large.replicas, run.rng(*quench.start)).to(parameter),
            steps=steps[-1],
            record=At(steps, fields=("energy",), measure=measure),
            rng=run.rng(*quench.noise),
            path=run.path / "large" / name,
            resume=True,
            guard=guard,
            progress=True,
        )
        data = labelled(trajectory, measure)
        data = data.assign_coords(time=in_units(data.time / system.unit, system.time))
        maps = [str(v) for v in data.data_vars if "map_x" in data[v].dims]
        kept = data[maps].isel(time=np.isin(steps, sorted(shown))).rename(map_x="x", map_y="y") if maps else xr.Dataset()
        return data.drop_vars(maps).drop_dims(("map_x", "map_y"), errors="ignore"), kept

    # --- what can be examined ---------------------------------------------------------------------------------------

    def locality(self, run: Run, config: Any) -> LocalityTarget:
        """The electrons of a finished run, exact and learned, on test trajectories."""
        system = self.system(config)
        train, _, test = split(run, config.fit, config.seed)
        return LocalityTarget(
            exact=system.exact.electrons,
            learned=self.electrons(run, config, system.lattice),
            data=test,
            force=system.electrons_of(test.field, test.force),
            canonical=None if system.canonical is None else system.canonical.electrons,
            more=train.field,
        )


def one_large_quench(study: QuenchStudy, config: Any) -> Mapping[str, LargeQuench]:
    """The quench of ``config.large``, in the folder ``large`` itself."""
    large = config.large
    return {"": LargeQuench(system=study.system(config, large.length), duration=large.duration, records=large.records)}


def caveats(run: Run, config: Any) -> list[str]:
    """What every report of a quench should say."""
    small, large = (f"{part.length} × {part.length}" for part in (config.comparison, config.large))
    unit = run.observable("curves").time.attrs["units"]
    return [
        f"Exact and learned quenches were compared on {small} sites up to t = {config.comparison.duration:g} {unit}; the "
        f"quench of {large} sites rests on the learned forces alone, and on the assumption that what matters there also "
        f"occurs on the small lattice.",
        "A large p-value means that no difference was seen with this number of quenches, not that there is none: the "
        "error bars in the figures say how large a difference could have hidden.",
    ]


def in_units(time: xr.DataArray, units: str) -> xr.DataArray:
    return time.assign_attrs(long_name="time", units=units)
