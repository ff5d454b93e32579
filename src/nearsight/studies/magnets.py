"""Template of the studies of itinerant magnets: torques of electrons, exact and learned, and the motion they cause.

Exact trajectories start from random spins and from ordered ones that were perturbed. Several networks learn the part of
H normal to the spins, which alone moves them, and the first of them moves spins on lattices no exact solver can follow.
Without a bath nothing but the start of a quench is random: what errors of the torque do to one configuration grows by
chaos, and what they do to the ensemble is the question.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import AliasChoices, Field, model_validator
from torch import Tensor

import nearsight as ns
from nearsight import analysis, forcefields, training
from nearsight.dynamics import AB2Rotation, State
from nearsight.fields import random_spins
from nearsight.forcefields import ExactForceField, ForceField
from nearsight.lattices import Lattice
from nearsight.parallel import once
from nearsight.studies import quench, torques
from nearsight.studies.checks import Check, Published
from nearsight.studies.ensembles import Quench, at_end, carried_out, kept_fields
from nearsight.studies.figures import some_times
from nearsight.studies.locality import LocalityTarget
from nearsight.studies.options import Count, Device, NotNegative, Positive, torch_device
from nearsight.studies.quench import LargeQuench, Observe, QuenchStudy
from nearsight.studies.refinement import Refining
from nearsight.studies.reuse import has_model_of_elsewhere
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.shipping import card
from nearsight.studies.snapshots import split
from nearsight.studies.system import System
from nearsight.studies.torques import (
    Descriptor,
    Equivariant,
    Kind,
    ResNet,
    augmented_fit,
    build_network,
    equivariant_fit,
    load_network,
)  # fmt: skip
from nearsight.training import KINDS, DataSet, FitOptions

STARTS = {"random": "relaxing", "perturbed": "near_equilibrium"}
"""What kind of snapshots the trajectories of each start give, so that a split has its part of both."""
PANELS, ZONES = 6, 4
"""Times at which S(q) is drawn along a path and over the zone."""
CLOSE_UP = 24
"""Cells along an edge of the close-ups in which arrows are seen."""


# --- settings ---------------------------------------------------------------------------------------------------------


class Dynamics(Section):
    """The equation of motion, the same for exact and learned torques."""

    dt: Positive = 1.0
    damping: NotNegative = 0.1
    kT: NotNegative = 0.0
    """Temperature of the bath of the spins."""


class Trajectories(Section):
    """Exact dynamics of which snapshots are kept; times in units of ħ/t."""

    random: Annotated[int, Field(ge=3)] = 8
    """Trajectories that start from random spins."""
    perturbed: Annotated[int, Field(ge=3)] = 6
    """Those that start from an ordered state that is perturbed."""
    duration: Positive = 1000.0
    snapshots: Annotated[int, Field(ge=2)] = 51
    """Of each trajectory."""


class Comparison(quench.Comparison):
    """Quenches from random spins that compare learned with exact dynamics."""

    length: Count = 12
    quenches: Annotated[int, Field(ge=8)] = 20
    duration: Positive = 600.0
    records: Annotated[int, Field(ge=2)] = 6
    speed_length: Count = 48
    receptive_fields: Count = 2
    """Fields at which the derivatives of the learned and of the exact field are taken."""


class MagnetConfig(Section):
    """What every study of a magnet has; each adds its model and its large lattice."""

    length: Count = 12
    """Lattice of the exact trajectories that are learned."""
    trajectories: Trajectories = Trajectories()
    dynamics: Dynamics = Dynamics()
    networks: Annotated[tuple[Kind, ...], Field(validation_alias=AliasChoices("networks", "students"))] = (
        "equivariant",
        "resnet",
    )
    """The first of them moves spins, all are compared on unseen snapshots. ``students`` in runs of earlier versions."""
    equivariant: Equivariant = Equivariant()
    resnet: ResNet = ResNet()
    descriptor: Descriptor = Descriptor()
    fit: FitOptions = equivariant_fit()
    """Of the equivariant network and of that of invariants."""
    resnet_fit: FitOptions = augmented_fit()
    refine: Refining = Refining()
    """Of the first network alone."""
    comparison: Comparison = Comparison()
    device: Device = "cpu"
    """Where networks are trained and large lattices are moved. Exact solutions stay on the CPU."""
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _different_networks(self) -> MagnetConfig:
        if not self.networks or len(set(self.networks)) < len(self.networks):
            raise ValueError(f"networks must be one or more different kinds, got {self.networks}")
        return self


# --- what moves spins -------------------------------------------------------------------------------------------------


def spin_system(
    c: Any, exact: ExactForceField, start: Callable[[int, torch.Generator], Tensor] | None = None
) -> System:
    """Spins moved by one call of the electrons per step, from random directions if there is no other ``start``."""
    lattice, law = exact.lattice, exact.model.field_type
    return System(
        exact=exact,
        # The part of H along a spin does nothing, and is left out.
        scheme=AB2Rotation(dt=c.dynamics.dt, kT=c.dynamics.kT, damping=c.dynamics.damping, tangent=True),
        initial_fields=start or (lambda replicas, rng: random_spins(lattice, rng, replicas)),
        build_model=partial(build_network, c, lattice, law, c.networks[0]),
        time="ħ/t",
    )


def _snapshot(exact: ExactForceField, state: State) -> xr.Dataset:
    """Spins, and the field and energy of the electrons alone, as a data set has them."""
    known, total = exact.classical(state.field), state.forces
    assert known.energy is not None and total.energy is not None
    dims = ("replica", "site", "component")
    return xr.Dataset(
        {
            "field": (dims, state.field.numpy()),
            "force": (dims, (total.force - known.force).numpy()),
            "energy": ("replica", (total.energy - known.energy).numpy()),
        }
    )


def _spin_maps(c: Any, system: System, state: State) -> xr.Dataset:
    """Spins of the first replica, and the mean S(q) of all over the zone."""
    spins = state.field.double().cpu()
    S = analysis.spin_structure_factor(spins, system.lattice).mean("replica", keep_attrs=True)
    grid = spins[0].reshape(*system.lattice.shape, 3).numpy()
    return xr.Dataset({"spins": (("x", "y", "component"), grid, {"long_name": "spins"}), "zone": S})


def large_quench(
    system: System, c: Any, duration: float, *, name: str = "quench", start: str = "random"
) -> LargeQuench:
    """A quench of a large lattice with the random streams of the study."""
    records, noise = c.large.records, ("large", "noise", name)
    return LargeQuench(system=system, duration=duration, records=records, start=("large", start), noise=noise)


# --- the template -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class MagnetStudy(QuenchStudy):
    """A study of spins that move by torques of electrons.

    perturbed: ``(config, lattice, replicas, rng) -> (replica, site, 3)``: ordered spins, disturbed, from which half of
        the exact trajectories start.
    snapshot_steps: ``(config, last step) -> `` the steps of a trajectory that are learned.
    path: of S(q) through the zone.
    local: ``(run, config, system) -> `` exact electrons whose torques are local, where those of ``physics`` are not.
    reach: the published radius of the effective receptive field.
    """

    perturbed: Callable[[Any, Lattice, int, torch.Generator], Tensor]
    snapshot_steps: Callable[[Any, int], np.ndarray]
    path: Callable[[Lattice], analysis.Path]
    local: Callable[[Run, Any, System], ForceField] | None = None
    reach: Published | None = None
    maps: Observe | None = _spin_maps
    initial_stream: str = "initial spins"
    guarded: bool = False

    def __post_init__(self) -> None:
        if not self.stages:
            more = {**self.more.get("validate", {}), "response": MagnetStudy.receptive_field}
            object.__setattr__(self, "more", {**self.more, "validate": more})
            drawn = {
                "structure_factor": self.draw_path,
                "zones": self.draw_zones,
                "quench_zones": self.draw_quench_zones,
                "quench_maps": self.draw_quench_maps,
                "close_up": self.draw_close_up,
            }
            object.__setattr__(self, "figures", {**self.figures, **drawn, **torques.FIGURES})
        super().__post_init__()

    # --- stages -----------------------------------------------------------------------------------------------------

    def electrons(self, run: Run, config: Any, lattice: Lattice) -> ForceField:
        if has_model_of_elsewhere(run):
            return super().electrons(run, config, lattice)
        return load_network(run, config, lattice)

    def model_folder(self, run: Run, config: Any) -> Path:
        return run.path / "model" / config.networks[0]

    def fitted(self, config: Any, electrons: ForceField) -> ForceField:
        return electrons  # the data are those of the electrons alone

    def generate_data(self, run: Run, config: Any) -> None:
        """Exact trajectories in parallel, each kept where a resumed run finds it, then snapshots in ``data.zarr``."""
        data = once(DataSet, run.path / "data.zarr", {}, partial(self._compute, run, config))
        run.log("note", text=f"{data}")

    def _compute(self, run: Run, config: Any, folder: Path) -> Path:
        system, wanted = self.system(config), config.trajectories
        starts = {
            "random": random_spins(system.lattice, run.rng("data", "random"), wanted.random),
            "perturbed": self.perturbed(config, system.lattice, wanted.perturbed, run.rng("data", "perturbed")),
        }
        run.log("note", text=f"{' + '.join(str(len(f)) for f in starts.values())} trajectories with {system.exact}")
        last = max(1, round(wanted.duration / config.dynamics.dt))
        quenches = [
            Quench(
                system=system,
                engine=system.exact,
                field=spins,
                steps=tuple(sorted({round(step) for step in self.snapshot_steps(config, last)})),
                measure=partial(_snapshot, system.exact),
                path=folder / f"{name}-{k:03d}",
                seed=run.seed("data", "noise", name, k),
            )
            for name, fields in starts.items()
            for k, spins in enumerate(fields.split(1))
        ]
        found = carried_out(quenches, title="exact trajectories")
        many, each = (found.sizes[dim] for dim in ("replica", "time"))
        field, force, energy = (torch.from_numpy(found[n].values).flatten(0, 1) for n in ("field", "force", "energy"))
        kinds = [KINDS.index(STARTS[name]) for name, fields in starts.items() for _ in fields]
        made = folder / "data.zarr"
        DataSet.from_arrays(
            made,
            lattice=system.lattice,
            field=field,
            force=force,
            energy=energy,
            trajectory=np.repeat(np.arange(many), each),
            kind=np.repeat(kinds, each),
            time=np.tile(found.time.values, many),
            components=3,
        )
        return made

    def fit_model(self, run: Run, config: Any) -> None:
        """Fit every network to the part of H normal to the spins, and save it in ``model/``."""
        system, data = self.system(config), split(run, config.fit, config.seed)
        for kind in config.networks:
            network = build_network(config, system.lattice, system.model.field_type, kind, run.rng("weights", kind))
            run.log("note", text=f"{kind}: {network}")
            network = network.to(torch_device(config.device))
            options = config.resnet_fit if kind == "resnet" else config.fit
            training.fit(network, data, options=options, path=run.path / "fit" / kind, resume=True)
            forcefields.save(network, run.path / "model" / kind, card=card(self, run, config))

    def compare_quenches(self, run: Run, config: Any) -> tuple[xr.Dataset, list[Check]]:
        """As in every study, and how long learned spins follow the exact ones site by site."""
        curves, checks = super().compare_quenches(run, config)
        spins = compared_spins(run)
        overlap = (spins.sel(source="exact") * spins.sel(source="learned")).sum("component").mean("site")
        zone = analysis.spin_structure_factor(spins.isel(time=-1), self.lattice(config.comparison.length))
        curves["overlap"] = overlap.assign_attrs(long_name="overlap of learned with exact spins")
        curves["zone"] = zone.mean("replica", keep_attrs=True)
        note = ", mean of S_i(exact)·S_i(learned)"
        return curves, [*checks, at_end("overlap of learned with exact spins", curves.overlap.isel(time=-1), note=note)]

    def receptive_field(self, run: Run, config: Any) -> tuple[xr.Dataset, list[Check]]:
        """How far learned and exact fields see, on test snapshots."""
        system, test = self.system(config), split(run, config.fit, config.seed).test
        rng = run.rng("receptive field")
        chosen = torch.randperm(len(test), generator=rng)[: config.comparison.receptive_fields]
        sources = torch.randint(test.lattice.n_sites, (len(chosen),), generator=rng).tolist()
        exact, learned = self.local_electrons(run, config, system), load_network(run, config, test.lattice)
        return torques.receptive_field(exact, learned, test.field[chosen], sources, self.reach)

    # --- what can be examined ---------------------------------------------------------------------------------------

    def local_electrons(self, run: Run, config: Any, system: System) -> ForceField:
        """Exact electrons whose torques are local."""
        return system.exact.electrons if self.local is None else self.local(run, config, system)

    def locality(self, run: Run, config: Any) -> LocalityTarget:
        """The part of the electrons' H normal to the spins on test trajectories, and the network that moves them."""
        system, data = self.system(config), split(run, config.fit, config.seed)
        exact, learned = self.local_electrons(run, config, system), system.exact.electrons

        def grow(cutoff: float, steps: int, folder: Path) -> ForceField:
            """The network of the study with its whole reach in the first layer; the others combine what it has seen."""
            radii = (cutoff, *(0.0 for _ in config.equivariant.radii[1:]))
            shape = config.equivariant.model_copy(update={"radii": radii})
            grown = config.model_copy(update={"equivariant": shape})
            rng = run.rng("locality", "grow")
            network = build_network(grown, system.lattice, system.model.field_type, "equivariant", rng)
            options = config.fit.shortened(steps)
            return training.fit(network, data, options=options, path=folder, resume=True, progress=False)

        return LocalityTarget(
            exact=exact,
            learned=load_network(run, config, system.lattice),
            data=data.test,
            force=data.test.force,
            canonical=None if exact is learned else learned,
            spins=True,
            turn=True,
            quantity="torque of the electrons",
            more=data.train.field,
            grow=grow,
        )

    # --- figures ----------------------------------------------------------------------------------------------------

    def draw_path(self, run: Run, config: Any) -> Any:
        """S(q, t) along a path through the zone, exact and learned."""
        S = run.observable("curves").S
        times = some_times(S, PANELS).time.values
        return ns.plots.profiles(S, times=list(times), path=self.path(self.lattice(config.comparison.length)))

    def draw_zones(self, run: Run, config: Any) -> Any:
        """S(q) over the zone at the last time, exact and learned."""
        curves = run.observable("curves")
        picture = ns.plots.zones(curves.zone, self.lattice(config.comparison.length))
        picture.caption += f" Mean over {config.comparison.quenches} quenches at t = {float(curves.time[-1]):g} ħ/t."
        return picture

    def draw_quench_zones(self, run: Run, config: Any) -> Any:
        """S(q) over the zone of a large quench, at several times."""
        zone = run.observable("maps").zone
        return ns.plots.zones(some_times(zone, ZONES), self.lattice(zone.sizes["h1"]))

    def draw_quench_maps(self, run: Run, config: Any) -> Any:
        spins = run.observable("maps").spins
        return ns.plots.maps(some_times(spins, ZONES), self.lattice(spins.sizes["x"]))

    def draw_close_up(self, run: Run, config: Any) -> Any:
        """A corner of the large lattice with arrows, at the last two times."""
        spins = run.observable("maps").spins.isel(time=[-2, -1])
        window = min(CLOSE_UP, spins.sizes["x"])
        return ns.plots.maps(spins, self.lattice(spins.sizes["x"]), window=window, arrows=True)


def compared_spins(run: Run) -> xr.DataArray:
    """Spins of exact and learned quenches ``(source, time, replica, site, component)``, single precision."""
    sources = ["exact", "learned"]
    fields = [kept_fields(run.path / "comparison" / source) for source in sources]
    return xr.concat(fields, dim=xr.Variable("source", sources))


def compare_torques(
    *, published: Published, peaks: Callable[[Lattice], np.ndarray], comparable: bool = True
) -> Callable[[Run, Any, System, ForceField], tuple[xr.Dataset, list[Check]]]:
    """What a study does with its snapshots, see :func:`nearsight.studies.torques.compare_torques`."""
    starts = {KINDS.index(kind): name for name, kind in STARTS.items()}

    def compare(run: Run, c: Any, system: System, learned: ForceField) -> tuple[xr.Dataset, list[Check]]:
        test = split(run, c.fit, c.seed).test
        return torques.compare_torques(
            test,
            {kind: load_network(run, c, test.lattice, kind) for kind in c.networks},
            start=[starts[code] for code in test.kind],
            peaks=peaks(test.lattice),
            published=published,
            comparable=comparable,
            rng=partial(run.rng, "turns"),
        )

    return compare
