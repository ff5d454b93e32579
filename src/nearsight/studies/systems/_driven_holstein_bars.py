"""The physics of a driven Holstein bar: exact and learned forces, pulses, their fronts, and the data they leave."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, cast

import numpy as np
import torch
import xarray as xr
from pydantic import Field, model_validator

import nearsight as ns
from nearsight.dynamics import Brownian, State, Trajectory
from nearsight.forcefields import Biased, ExactForceField, ForceField, SumForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import Lattice, square
from nearsight.networks import BarCNN
from nearsight.solvers import NEGF, Protocol, Pulse, electrodes
from nearsight.studies.ensembles import Quench
from nearsight.studies.inference import Work, result
from nearsight.studies.options import Count, NotNegative, Positive
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.system import System
from nearsight.studies.systems.holstein import Model
from nearsight.training import DataSet, FitOptions

PARTS = {"energy": ("conservative",), "force": ("direct",), "sum": ("conservative", "direct")}
Voltages = Annotated[tuple[NotNegative, ...], Field(min_length=1)]


class Task(NamedTuple):
    """A pulse, by ``exact`` or ``learned`` forces, or by learned ones on the ``long`` bar."""

    kind: str
    voltage: float
    kT: float | None = None
    """None: that of the study."""

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.voltage:g}" + ("" if self.kT is None else f"_kT_{self.kT:g}")


class Reservoirs(Section):
    """Arguments of :func:`nearsight.solvers.electrodes`."""

    gamma: Positive = 1.0
    """Γ of the leads, in units of t."""
    bath: Positive = 0.001
    """Γ of the bath."""
    gate: Literal["lowered", "raised"] = "lowered"
    """Which way the voltage moves the levels of the gate."""
    lead_columns: Literal["lead", "sum", "both"] = "lead"
    """What the columns under the leads feel."""


class Drive(Section):
    """The pulse: the voltage is on from ``start`` for ``on``, then off for ``off``."""

    start: Positive = 2.0
    """When the voltage is switched on."""
    on: Positive = 20.0
    """For how long it stays on."""
    off: Positive = 6.0
    """For how long the bar is watched afterwards."""
    every: Count = 5
    """Steps between records."""
    replicas: Annotated[int, Field(ge=4)] = 6


class Network(Section):
    """What learns the electrons, see :class:`nearsight.networks.BarCNN`."""

    head: Literal["energy", "force", "sum"] = "force"
    """The gradient of a local energy, the force itself, or the sum of both, in which the force vanishes at V = 0."""
    channels: Count = 12
    radii: tuple[Positive, ...] = (2.3, 1.5)
    """Cutoff of each layer that finds the opacities."""
    radii_after: tuple[Positive, ...] = (2.3, 1.5)
    """Cutoff of each layer that sees the connections to the leads."""
    signals: Annotated[int, Field(ge=0)] = 4
    """Kinds of electrons that are followed from either lead."""


class Temperatures(Section):
    """Pulses at other temperatures than ``kT``, again of electrons and noise alike: how the front's velocity depends on
    it."""

    seen: tuple[Positive, ...] = (0.02, 0.15)
    """kT of bars that are learned besides; empty: the network knows no temperature."""
    voltages: tuple[NotNegative, ...] = (2.2, 2.6)
    """eV of the bars that are learned at them."""
    unseen: tuple[Positive, ...] = (0.03, 0.1)
    """kT of bars that are not learned, at which learned and exact velocities are compared."""
    voltage: Positive = 2.4
    """eV of the comparison, between that at which fronts begin to move and that which melts the bar at once."""


class Long(Section):
    """The long bar, driven by what was learned alone."""

    length: Annotated[int, Field(ge=6)] = 64
    """Columns of the bar."""
    width: Annotated[int, Field(ge=4, multiple_of=2)] = 6
    """Sites of a column."""
    voltage: Positive = 2.8
    """eV, in units of t."""
    on: Positive = 80.0
    """For how long it stays on."""
    off: Positive = 10.0
    """For how long the bar is watched afterwards."""
    replicas: Annotated[int, Field(ge=3)] = 3


class Config(Section):
    """Everything that decides the numbers of a run."""

    length: Annotated[int, Field(ge=6)] = 16
    """Columns of the bar."""
    width: Annotated[int, Field(ge=4, multiple_of=2)] = 6
    """Sites of a column."""
    model: Model = Model()
    kT: Positive = 0.05
    """Temperature of the electrons and of the noise."""
    dt: Positive = 0.1
    damping: Positive = 0.3
    reservoirs: Reservoirs = Reservoirs()
    drive: Drive = Drive()
    voltages: Voltages = (0.0, 1.5, 2.2, 2.6, 3.0, 3.5, 4.0)
    """eV of the bars that are learned."""
    unseen: Voltages = (2.0, 2.4, 2.8, 3.25)
    """eV of the bars that are not."""
    moving: Positive = 0.15
    """Speed, in columns per time, from which on a front counts as moving."""
    temperatures: Temperatures = Temperatures()
    network: Network = Network()
    fit: FitOptions = FitOptions(steps=3000, learning_rate=1e-2, energy_weight=0.0, test=0.0)
    circulation: tuple[Count, Count] = (3, 24)
    """Fields at every voltage of which the circulation is measured, and vectors."""
    long: Long = Long()
    speed: tuple[Count, Count] = (30, 30)
    """Bar on which one exact and one learned force are timed."""
    accuracy: Positive = 0.02
    """Wanted of densities at unseen voltages."""
    seed: Annotated[int, Field(ge=0)] = 1

    @property
    def driven(self) -> list[float]:
        """All voltages, seen and unseen."""
        return sorted({*self.voltages, *self.unseen})

    @property
    def learned_kT(self) -> list[float]:
        """All temperatures of the data."""
        return sorted({self.kT, *(self.temperatures.seen if self.temperatures.voltages else ())})

    @property
    def data(self) -> list[Task]:
        """The exact pulses that are learned."""
        heated = (Task("exact", V, kT) for kT in self.learned_kT if kT != self.kT for V in self.temperatures.voltages)
        return [*(Task("exact", V) for V in self.voltages), *heated]

    def compared(self, kind: str) -> dict[float, Task]:
        """By their temperature, pulses that tell how the velocity depends on it; none where no other is compared."""
        wanted = self.temperatures
        if not wanted.unseen:
            return {}
        return {
            kT: Task(kind, wanted.voltage, None if kT == self.kT else kT) for kT in sorted({self.kT, *wanted.unseen})
        }

    @model_validator(mode="after")
    def _temperatures_can_be_learned(self) -> Self:
        if {*self.temperatures.unseen} - {self.kT} and len(self.learned_kT) == 1:
            raise ValueError(
                "temperatures.unseen are asked of a network that knows none: give temperatures.seen and "
                "temperatures.voltages, or leave the former empty."
            )
        return self


# --- physics ----------------------------------------------------------------------------------------------------------


def bar(length: int, width: int) -> Lattice:
    return square(length, width, periodic=(False, True))


def exact(c: Config, lattice: Lattice, voltage: float | Protocol, kT: float | None = None) -> ExactForceField:
    """Electrons between the leads, and springs; at the temperature of the study if no other is given."""
    leads = electrodes(lattice, voltage=voltage, kT=c.kT if kT is None else kT, **c.reservoirs.model_dump())
    return ExactForceField(Holstein(lattice, **c.model.model_dump()), NEGF(*leads))


def loaded(path: Path, c: Config, lattice: Lattice) -> ForceField:
    """The electrons of a finished fit, a force field of displacements, voltage and, where several were learned, kT."""
    return SumForceField(*(ns.forcefields.load(path / "model" / name).on(lattice) for name in PARTS[c.network.head]))


def learned(path: Path, c: Config, lattice: Lattice, voltage: float | Protocol, kT: float | None = None) -> ForceField:
    """The same at a voltage and a temperature."""
    whole = loaded(path, c, lattice)
    knows = whole.components > 2  # models of runs at one temperature do not
    return Biased(whole, voltage, (c.kT if kT is None else kT) if knows else None)


def staggered(lattice: Lattice) -> torch.Tensor:
    return torch.from_numpy((-1.0) ** lattice.cells.sum(1))


def observe(c: Config, electrons: ExactForceField, state: State) -> xr.Dataset:
    """Densities, displacements column by column, and the current that exact electrons would carry in these fields."""
    lattice, there = electrons.lattice, electrons.at_time(float(state.time))
    model, solver, field = cast(Holstein, there.model), cast(NEGF, there.solver), state.field.double().cpu()
    density = model.density(state.forces.force.double().cpu() - there.classical(field).force)
    currents = solver.steady_state(model.matrix(field)).currents
    grid = (len(field), *lattice.shape)
    columns = (field[..., 0] * staggered(lattice)).reshape(grid).mean(-1)
    order = (density * staggered(lattice)).mean(-1).abs()
    return xr.Dataset(
        {
            "n": (("replica", "x", "y"), density.reshape(grid).numpy(), {"long_name": "density", "units": "1"}),
            "columns": (("replica", "x"), columns.numpy(), {"long_name": "order of a column", "units": "1"}),
            "Phi": ("replica", order.numpy(), {"long_name": "charge order Φ", "units": "1"}),
            "current": ("replica", -currents[:, 0].numpy(), {"long_name": "current into the gate", "units": "t/ħ"}),
            "loss": ("replica", currents.sum(-1).abs().numpy(), {"long_name": "current lost", "units": "t/ħ"}),
        }
    )


def drive(path: Path, c: Config, seed: int, task: Task) -> xr.Dataset:
    """One pulse on a bar; electrons and noise have the temperature of the task."""
    kind, V, kT = task
    wanted = c.long if kind == "long" else c.drive
    size = (c.long.length, c.long.width) if kind == "long" else (c.length, c.width)
    lattice = bar(*size)
    pulse = Pulse(V, c.drive.start, c.drive.start + wanted.on)
    total, dtype = exact(c, lattice, pulse, kT), torch.float64
    forces: ForceField = total
    if kind != "exact":
        forces = learned(path, c, lattice, pulse, kT) + total.classical
        dtype = next(forces.parameters()).dtype
    amplitude = c.model.g / (c.model.k - 4 * c.model.kappa) / 2  # where every electron sits on one sublattice
    start = amplitude * staggered(lattice)[None, :, None].expand(wanted.replicas, -1, -1)
    last = round((c.drive.start + wanted.on + wanted.off) / c.dt)
    scheme = Brownian(dt=c.dt, kT=c.kT if kT is None else kT, damping=c.damping)
    quench = Quench(
        system=System(exact=total, scheme=scheme, initial_fields=lambda n, rng: start, build_model=lambda rng: total),
        engine=forces,
        field=start.to(dtype),
        steps=tuple(range(0, last + 1, c.drive.every * (1 if kind == "exact" else 2))),
        measure=partial(observe, c, total),
        path=path / folder(kind) / task.name,
        seed=seed,
        fields=("field", "force") if kind == "exact" else (),
    )
    return quench.run().assign_attrs(voltage=V)


def folder(kind: str) -> str:
    """Where its results are."""
    return "exact" if kind == "exact" else "drive"


def seconds(c: Config, task: Task) -> float:
    sites = c.long.length * c.long.width if task.kind == "long" else c.length * c.width
    steps = (c.drive.start + c.drive.on + c.drive.off) / c.dt * c.drive.replicas
    return steps * (5e-9 * sites**3 + 1e-3 if task.kind == "exact" else 2e-5 * sites)


def tasks(kind: str, c: Config) -> dict[str, Task]:
    """All pulses by exact or by learned forces, the long one first."""
    long = [Task("long", c.long.voltage)] if kind == "learned" else []
    found = [*long, *(Task(kind, V) for V in c.driven), *c.compared(kind).values()]
    return {task.name: task for task in found + (c.data if kind == "exact" else [])}


def pulse_of(run: Run, task: Task) -> xr.Dataset:
    """What was observed of a finished pulse."""
    return result(run.path, folder(task.kind), task.name)


EXACT = Work(tasks=partial(tasks, "exact"), do=drive, seconds=seconds)
LEARNED = Work(tasks=partial(tasks, "learned"), do=drive, seconds=seconds)


# --- fronts --------------------------------------------------------------------------------------------------------


def front(columns: xr.DataArray, c: Config) -> xr.DataArray:
    """ξ ``(..., time)``: how many columns from the gate have lost half of the order, the last of them in part."""
    before = abs(columns).sel(time=slice(None, c.drive.start))
    half = 0.5 * before.isel(time=-1, x=slice(columns.sizes["x"] // 4, None)).median().item()
    left = abs(columns).transpose(..., "x").values
    padded = np.concatenate([np.zeros_like(left[..., :1]), left], -1)
    first = np.argmax(left > half, -1)
    a, b = (np.take_along_axis(padded, first[..., None] + k, -1)[..., 0] for k in (0, 1))
    xi = np.where((left > half).any(-1), first + (half - a) / np.where(b > a, b - a, 1.0), columns.sizes["x"])
    dims = [d for d in columns.dims if d != "x"]
    label = {"long_name": "position of the front ξ", "units": "a"}
    return columns.isel(x=0, drop=True).transpose(*dims).copy(data=xi).assign_attrs(label)


def velocity(xi: xr.DataArray, c: Config, length: int, on: float) -> xr.DataArray:
    """Slope of ξ(t) of every replica while the voltage is on, until the front has crossed three quarters of the bar."""
    driven = xi.sel(time=slice(c.drive.start + 1e-6, c.drive.start + on - 1e-6))
    t = driven.time.values - c.drive.start

    def slope(x: np.ndarray) -> float:
        arrived = np.flatnonzero(x > 0.75 * length)
        if len(arrived) and arrived[0] < 3:  # too fast for a line
            return float(x[arrived[0]] / t[arrived[0]])
        use = slice(0, arrived[0] + 1 if len(arrived) else None)
        return float(np.polyfit(t[use], x[use], 1)[0])

    found = xr.apply_ufunc(slope, driven, input_core_dims=[["time"]], vectorize=True)
    return found.assign_attrs(long_name="velocity of the front", units="a t/ħ")


# --- data and fit -----------------------------------------------------------------------------------------------------


def snapshots_of(run: Run, c: Config, pulses: Sequence[Task], *, heated: bool) -> dict[str, np.ndarray]:
    """Fields and forces of the electrons ``(snapshot, site, component)`` of exact pulses.

    The second component of the fields is the voltage of the moment, the third, where they are ``heated``, kT.
    """
    lattice, rows = bar(c.length, c.width), []
    springs = exact(c, lattice, 0.0).classical
    for k, task in enumerate(pulses):
        data = Trajectory.open(run.path / "exact" / task.name).data.load()
        pulse = Pulse(task.voltage, c.drive.start, c.drive.start + c.drive.on)
        field, force = (
            torch.from_numpy(data[n].transpose("replica", "record", ...).values) for n in ("field", "force")
        )
        at = torch.tensor([pulse.at_time(t) for t in data.time.values.tolist()])[None, :, None, None]
        outside = [at.expand_as(field)]
        if heated:
            outside.append(torch.full_like(field, c.kT if task.kT is None else task.kT))
        electrons = torch.cat([force - springs(field).force, *(torch.zeros_like(force) for _ in outside)], -1)
        number = np.broadcast_to(np.arange(len(field))[:, None] + k * len(field), field.shape[:2])
        time = np.broadcast_to(data.time.values, field.shape[:2])
        arrays: dict[str, Any] = {
            "field": torch.cat([field, *outside], -1),
            "force": electrons,
            "trajectory": number,
            "time": time,
        }
        rows.append({n: np.asarray(x).reshape(-1, *x.shape[2:]) for n, x in arrays.items()})
    return {n: np.concatenate([row[n] for row in rows]) for n in rows[0]}


def generate(run: Run, c: Config) -> None:
    """Exact pulses; those at the voltages and temperatures that are seen become the data."""
    EXACT.stage("exact", ()).action(run, c)
    if not (run.path / "data.zarr").exists():
        arrays: dict[str, Any] = snapshots_of(run, c, c.data, heated=len(c.learned_kT) > 1)
        components = arrays["field"].shape[-1]
        DataSet.from_arrays(run.path / "data.zarr", lattice=bar(c.length, c.width), components=components, **arrays)


def train(run: Run, c: Config) -> None:
    shape = {key: value for key, value in c.network.model_dump().items() if key != "head"}
    low, high = c.learned_kT[0], c.learned_kT[-1]
    parts = {
        name: ns.LearnedForceField(
            BarCNN(
                bar(c.length, c.width), head="energy" if name == "conservative" else "force",
                vanishes=c.network.head == "sum" and name == "direct", rng=run.rng("weights", name),
                temperatures=(low, high) if low < high else None, **shape,
            )
        )
        for name in PARTS[c.network.head]
    }  # fmt: skip
    data = DataSet.open(run.path / "data.zarr")
    run.log("note", text=f"{data}")
    ns.training.fit(SumForceField(*parts.values()), data, options=c.fit, path=run.path / "fit", resume=True)
    for name, part in parts.items():
        ns.forcefields.save(part, run.path / "model" / name)
