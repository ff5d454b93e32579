"""Driven Holstein bar: a voltage that melts a charge-density wave, with exact and with learned non-conservative forces.

**Question.** Does a force that is not a gradient, learned on short bars at some voltages, drive the front between metal
and charge-density wave as exact electrons out of equilibrium do?

**System.** H = -t Σ (c†c + h.c.) - g Σ Q_i (n_i - ½) + Σ [½ k Q_i² + κ Q_i Q_j], spinless electrons on a bar that is
open along x and periodic across, between a gate (μ_L = -eV, Γ = 1 on the first column) and a substrate (μ = 0, Γ = 1 on
the last); a weak bath (Γ = 0.001) on all others. λ dQ/dt = F + noise at the temperature of the electrons, from a
perfect charge-density wave, under a pulse: equilibrium, then the voltage, then equilibrium again.

**What to expect.** S. Zhang, thesis (2024), ch. 6, for kT → 0: below eV ≈ 2.4 t the charge-density wave is stable;
above, a metallic layer forms under the gate and grows at a constant speed that rises with voltage and temperature;
beyond the edge of the band at 3.51 t the whole bar breaks down at once. Switched off, it orders again, long bars in
several domains. The force has no energy: its derivative has an antisymmetric part that vanishes at V = 0.

**Cost.** `quick`: 16 × 6 sites, ten to thirty minutes on two cores, a third of it the fit. `paper`: 40 × 30, weeks of
exact solutions on one core.

    nearsight run driven_holstein --preset quick
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

import nearsight as ns
from nearsight import analysis
from nearsight.dynamics import Trajectory
from nearsight.studies import figures, snapshots, speed
from nearsight.studies.checks import Below, Check, Published, PValue, Sigma
from nearsight.studies.ensembles import SIGNIFICANCE, mean_check
from nearsight.studies.locality import LocalityTarget
from nearsight.studies.run import Run
from nearsight.studies.study import MeasuredStudy, Stage
from nearsight.studies.systems._driven_holstein_bars import (
    LEARNED,
    Config,
    Drive,
    Long,
    Network,
    Task,
    Temperatures,
    bar,
    exact,
    front,
    generate,
    learned,
    loaded,
    pulse_of,
    snapshots_of,
    train,
    velocity,
)
from nearsight.studies.systems._driven_holstein_temperature import (
    draw_temperatures,
    judge_temperatures,
    measure_temperatures,
    note_on_temperatures,
)
from nearsight.training import DataSet, FitOptions

THRESHOLD = Published(2.4, "S. Zhang, thesis (2024), fig. 6.4", note="kT → 0, 40 × 30")

# --- measurements -----------------------------------------------------------------------------------------------------


def measure_fronts(run: Run, c: Config) -> xr.Dataset:
    """All that was observed on bars of the data's size ``(source, voltage, replica, time)``."""
    sources = []
    for kind in ("exact", "learned"):
        found = [pulse_of(run, Task(kind, V)) for V in c.driven]
        sources.append(xr.concat(found, dim="voltage", combine_attrs="drop_conflicts").assign_coords(voltage=c.driven))
    joined = xr.concat(sources, dim="source", join="inner").assign_coords(source=["exact", "learned"])
    joined["voltage"].attrs.update(long_name="eV", units="t")
    joined["xi"] = front(joined["columns"], c)
    joined["velocity"] = velocity(joined.xi, c, c.length, c.drive.on)
    joined["time"].attrs["scale"] = "linear"
    return joined


def measure_snapshots(run: Run, c: Config) -> xr.Dataset:
    """Densities at the unseen voltages, and reflections of the bar across."""
    lattice = bar(c.length, c.width)
    whole = loaded(run.path, c, lattice)
    arrays = snapshots_of(run, c, [Task("exact", V) for V in c.unseen], heated=whole.components > 2)
    g, n = c.model.g, len(arrays["field"]) // len(c.unseen)
    exact_n = 0.5 + arrays["force"][..., 0] / g
    learned_n = 0.5 + snapshots.forces(whole, torch.from_numpy(arrays["field"]))[..., 0].numpy() / g
    mirror = lattice.index(lattice.cells * np.array([1, -1]) % np.array(lattice.shape), lattice.sublattice)
    some = torch.from_numpy(arrays["field"][:: max(1, len(arrays["field"]) // 16)])
    force, reflected = snapshots.forces(whole, some), snapshots.forces(whole, some[:, mirror])
    broken = (reflected - force[:, mirror]).abs().max() / force.abs().max()
    thin = slice(None, None, max(1, len(exact_n) // 400))
    errors = np.square(learned_n - exact_n).mean(-1).reshape(len(c.unseen), n)
    return xr.Dataset(
        {
            "exact_density": (("snapshot", "site"), exact_n[thin], {"long_name": "exact density", "units": "1"}),
            "learned_density": (("snapshot", "site"), learned_n[thin], {"long_name": "learned density", "units": "1"}),
            "rms": ("voltage", np.sqrt(errors.mean(1)), {"long_name": "rms error of the density", "units": "1"}),
            "symmetry": ((), float(broken)),
        },
        coords={"voltage": list(c.unseen)},
    )


def measure_circulation(run: Run, c: Config) -> xr.Dataset:
    """Non-conservative fraction of the derivative in fields at the end of pulses; at V = 0 in those of the largest."""
    lattice, (count, vectors) = bar(c.length, c.width), c.circulation
    found = []
    for V in c.driven:
        data = Trajectory.open(run.path / "exact" / Task("exact", V or max(c.voltages)).name).data
        end = int(np.searchsorted(data.time.values, c.drive.start + c.drive.on - 1e-6)) - 1
        for k in range(count):
            field = torch.from_numpy(data.field.isel(replica=k, record=end).values)
            forces = {"exact": exact(c, lattice, V).electrons, "learned": learned(run.path, c, lattice, V)}
            parts = [
                analysis.circulation(f, field, rng=run.rng("loops", f"{V:g}", k), vectors=vectors)
                for f in forces.values()
            ]
            found.append(xr.concat(parts, dim="source").assign_coords(source=list(forces)))
    shape = (len(c.driven), count)
    joined = xr.concat(found, dim="at").drop_vars("stretch")
    work = joined.work.values.reshape(*shape, 2, vectors, vectors)
    slope = (work[:, :, 0] * work[:, :, 1]).sum((-1, -2)) / np.maximum(np.square(work[:, :, 0]).sum((-1, -2)), 1e-300)
    fraction = joined.fraction.values.reshape(*shape, 2)
    label = {"long_name": "non-conservative fraction", "units": "1"}
    return xr.Dataset(
        {
            "fraction": (("voltage", "replica", "source"), fraction, label),
            "slope": (("voltage", "replica"), slope, {"long_name": "learned over exact work", "units": "1"}),
        },
        coords={"voltage": ("voltage", c.driven, {"long_name": "eV", "units": "t"}), "source": ["exact", "learned"]},
    )


def measure_long(run: Run, c: Config) -> xr.Dataset:
    """The long bar, and how many domains it has ``(replica, time)``: changes of sign of its order along x, plus one."""
    data = pulse_of(run, Task("long", c.long.voltage))
    data["xi"] = front(data["columns"], c)
    ordered = 0.5 * float(abs(data["columns"]).sel(time=slice(None, c.drive.start)).isel(time=-1).median())
    columns = data["columns"].transpose("replica", "time", "x").values

    def domains(column: np.ndarray) -> float:
        sign = np.sign(column[np.abs(column) > ordered])
        return float(1 + (sign[1:] != sign[:-1]).sum()) if len(sign) else 0.0

    found = np.apply_along_axis(domains, -1, columns)
    data["domains"] = (("replica", "time"), found, {"long_name": "domains", "units": "1"})
    data["time"].attrs["scale"] = "linear"
    return data


# --- checks -----------------------------------------------------------------------------------------------------------


def threshold(v: xr.DataArray, c: Config, run: Run, source: str) -> tuple[float, float]:
    """The voltage at which the mean velocity rises above ``c.moving``, and its error over replicas."""
    V = v.voltage.values

    def crossing(replicas: np.ndarray) -> float:
        mean = replicas.mean(0)
        k = int(np.argmax(mean > c.moving))
        if mean[k] <= c.moving or k == 0:
            return float(V[-1] if k == 0 and mean[0] <= c.moving else V[0])
        return float(np.interp(c.moving, mean[k - 1 : k + 1], V[k - 1 : k + 1]))

    values = v.transpose("replica", "voltage").values
    found = analysis.bootstrap(crossing, values, rng=run.rng("bootstrap", source), samples=400)
    return float(found.value), float(found.error)


def judge(run: Run, c: Config, measured: Mapping[str, xr.Dataset]) -> Sequence[Check]:
    fronts, shots, loops, long = (measured[n] for n in ("fronts", "snapshots", "circulation", "long"))
    total = float(np.sqrt((shots.rms**2).mean()))
    lost = (fronts.loss / np.maximum(abs(fronts.current).max(["replica", "time"]), 1e-3)).max()
    size = f"{c.length} × {c.width}"
    found = [
        Check("density error at unseen voltages, rms", total, criterion=Below(c.accuracy), note=size),
        *(Check(f"density error at eV = {V:g} t, rms", float(shots.rms.sel(voltage=V))) for V in c.unseen),
        Check("reflection across the bar, relative to the largest force", float(shots.symmetry), criterion=Below(1e-5)),
        Check("current lost between the reservoirs, relative", float(lost), criterion=Below(1e-8)),
        _speed(run, c),
    ]
    after = fronts.sel(time=slice(c.drive.start + 1.0, None))
    for V in c.unseen:
        for quantity, label in (("xi", "front ξ(t)"), ("Phi", "order Φ(t)"), ("current", "current I(t)")):
            curves = after[quantity].sel(voltage=V)
            test = analysis.compare_curves(*(curves.sel(source=s) for s in ("exact", "learned")))
            note = f"{curves.sizes['replica']} replicas, {test.modes} modes"
            law = PValue(SIGNIFICANCE)
            found.append(Check(f"{label} at eV = {V:g} t: same mean, p-value", test.p_value, criterion=law, note=note))
    driven = fronts.velocity.sel(voltage=fronts.voltage > 0)
    (there, error), (here, width) = (threshold(driven.sel(source=s), c, run, s) for s in ("exact", "learned"))
    note = f"the speed is {c.moving:g} columns per time; kT = {c.kT:g}, {size}"
    found += [
        Check("threshold voltage", here, width, unit="t", exact=there, exact_error=error, published=THRESHOLD,
              note=note),
        *(
            mean_check(f"velocity at eV = {V:g} t", driven.sel(source="learned", voltage=V),
                       exact=driven.sel(source="exact", voltage=V), criterion=Sigma(4.0) if V in c.unseen else None)
            for V in driven.voltage.values
        ),
    ]  # fmt: skip
    for V in c.driven:
        fraction = loops.fraction.sel(voltage=V)
        a, b = (float(fraction.sel(source=s).mean()) for s in ("exact", "learned"))
        if V == 0:
            label = "non-conservative fraction of the exact force at V = 0"
            found.append(Check(label, a, criterion=Below(1e-7), note=f"{b:.2g} learned, in a driven bar's fields"))
            continue
        errors = [float(analysis.mean_and_error(fraction.sel(source=s)).error) for s in ("exact", "learned")]
        label = f"non-conservative fraction at eV = {V:g} t"
        found.append(Check(label, b, errors[1], exact=a, exact_error=errors[0]))
    top = max(c.unseen)
    found.append(mean_check(f"learned over exact work around loops at eV = {top:g} t", loops.slope.sel(voltage=top)))
    back = fronts.Phi.isel(time=-1) / fronts.Phi.sel(time=slice(None, c.drive.start)).isel(time=-1)
    found.append(
        mean_check(
            f"order after the pulse over that before, eV = {top:g} t", back.sel(source="learned", voltage=top),
            exact=back.sel(source="exact", voltage=top), criterion=Sigma(4.0),
        )
    )  # fmt: skip
    found += judge_temperatures(c, measured["temperatures"])
    where, within = f"of the bar of {c.long.length} × {c.long.width}", min(2 * c.length, c.long.length)
    return [
        *found,
        mean_check(
            f"velocity {where} at eV = {c.long.voltage:g} t", velocity(long.xi, c, within, c.long.on),
            note=f"in its first {0.75 * within:g} columns",
        ),
        mean_check(f"columns {where} that have melted at most", long.xi.max("time")),
        mean_check(f"domains {where} after the pulse", long.domains.isel(time=-1)),
    ]  # fmt: skip


def _speed(run: Run, c: Config) -> Check:
    """One exact force beside a learned one."""
    lattice, V = bar(*c.speed), c.unseen[0]
    field = torch.randn(lattice.n_sites, 1, generator=run.rng("speed"), dtype=torch.float64)
    return speed.speedup(exact(c, lattice, V).electrons, learned(run.path, c, lattice, V), field)


# --- figures and presets ----------------------------------------------------------------------------------------------


def _curves(run: Run, c: Config) -> Any:
    data = run.observable("fronts")
    return {f"{V:g}": ns.plots.compare(*(data[q].sel(voltage=V) for q in ("xi", "Phi", "current"))) for V in c.unseen}


def _velocities(run: Run, c: Config) -> Any:
    return ns.plots.compare(run.observable("fronts").velocity, x="voltage", points=True, levels=[c.moving])


def _circulation(run: Run, c: Config) -> Any:
    return ns.plots.compare(run.observable("circulation").fraction, x="voltage", points=True)


def _maps(run: Run, c: Config) -> Any:
    fronts, V = run.observable("fronts"), c.unseen[-1]
    shown = fronts.n.sel(voltage=V).isel(replica=0).assign_attrs(long_name="n")
    return ns.plots.maps(figures.some_times(shown, 4), bar(c.length, c.width))


def _long(run: Run, c: Config) -> Any:
    data = run.observable("long")
    return {
        "maps": ns.plots.maps(
            figures.some_times(data.n.isel(replica=0).assign_attrs(long_name="n"), 6), bar(c.long.length, c.long.width)
        ),
        "curves": ns.plots.compare(data.xi, data.Phi, data.current, data.domains),
    }


def notes(run: Run, c: Config) -> list[str]:
    loops = run.observable("circulation").fraction.mean("replica")
    rest = float(loops.sel(source="learned", voltage=0.0)) if 0.0 in c.driven else float("nan")
    return [
        f"Electrons are taken to follow lattice and voltage at once. Learned and exact pulses were compared on "
        f"{c.length} × {c.width} sites; the bar of {c.long.length} × {c.long.width} rests on what was learned there, "
        f"and its currents are those of exact electrons in its fields.",
        f"At V = 0 exact forces are a gradient. The learned ones have a non-conservative fraction of {rest:.2g} in the "
        f"fields of a driven bar; network.head=sum makes it zero, with larger errors of the density elsewhere.",
        "Above the threshold the velocity grows smoothly: where a front begins to move is a matter of the speed that "
        "counts, and of temperature.",
        *note_on_temperatures(run, c),
    ]


def target(run: Run, c: Config) -> LocalityTarget:
    """Forces of the electrons under the largest unseen voltage, in the fields of its exact pulse while it is on."""
    lattice, V = bar(c.length, c.width), max(c.unseen)
    whole = loaded(run.path, c, lattice)
    arrays = snapshots_of(run, c, [Task("exact", V)], heated=whole.components > 2)
    driven = np.flatnonzero(arrays["field"][:, 0, 1] == V)
    shown: dict[str, Any] = {name: x[driven][..., :1] if x.ndim == 3 else x[driven] for name, x in arrays.items()}
    data = DataSet.from_arrays(lattice=lattice, components=1, **shown)
    seen = DataSet.open(run.path / "data.zarr").field
    return LocalityTarget(
        exact=exact(c, lattice, V).electrons, learned=learned(run.path, c, lattice, V), data=data, force=data.force,
        quantity=f"force of the electrons at eV = {V:g} t", more=seen[seen[:, 0, 1] > 0][..., :1],
    )  # fmt: skip


class DrivenStudy(MeasuredStudy):
    """Exact pulses, a fit, learned pulses on the same bars and on a long one, and what is measured of all."""

    def usual_stages(self) -> Sequence[Stage]:
        return (
            Stage("generate", generate, outputs=("exact", "data.zarr")),
            Stage("train", train, outputs=("model",), inputs=("data.zarr",)),
            LEARNED.stage("drive", ("model",)),
            self.validation(("exact", "data.zarr", "model", "drive")),
        )


PRESETS = {
    "quick": Config(),
    "paper": Config(
        length=40,
        width=30,
        drive=Drive(on=120.0, off=20.0, every=20, replicas=6),
        network=Network(channels=16, radii_after=(2.3, 2.3, 1.5)),
        fit=FitOptions(steps=20000, learning_rate=1e-2, energy_weight=0.0, test=0.0, batch_size=4),
        long=Long(length=400, width=30, on=600.0, off=60.0),
        speed=(40, 30),
        accuracy=0.01,
    ),
    "tiny": Config(  # seconds: shows that the machinery works, and nothing about physics
        length=6,
        width=4,
        drive=Drive(start=0.5, on=2.0, off=1.0, every=2, replicas=4),
        voltages=(0.0, 3.0),
        unseen=(2.0,),
        temperatures=Temperatures(seen=(0.2,), voltages=(3.0,), unseen=(0.1,), voltage=2.0),
        network=Network(head="sum", channels=2, radii=(1.5,), radii_after=(1.1,), signals=1),
        fit=FitOptions(steps=40, validate_every=20, checkpoint_every=5, energy_weight=0.0, test=0.0),
        circulation=(2, 4),
        long=Long(length=10, width=4, voltage=3.0, on=2.0, off=1.0),
        speed=(6, 4),
    ),
}

STUDY = DrivenStudy(
    question="Does a learned force that is no gradient drive the front of a voltage as exact electrons do?",
    title="Driven Holstein bar: a voltage melts a charge-density wave",
    presets=PRESETS,
    measures={
        "fronts": measure_fronts,
        "snapshots": measure_snapshots,
        "circulation": measure_circulation,
        "temperatures": measure_temperatures,
        "long": measure_long,
    },
    judge=judge,
    notes=notes,
    target=target,
    figures={
        "maps": _maps,
        "pulse": _curves,
        "velocity": _velocities,
        "temperature": draw_temperatures,
        "circulation": _circulation,
        "parity": figures.parity("density", symbol="n"),
        "long": _long,
    },
)
