"""The metallic spin glass: an amorphous s-d magnet, quenched.

**Question.** Does a field learned on small amorphous magnets freeze large ones as exact electrons do, and how does the
length over which spins agree grow?

**System.** Sites at random in a periodic cube, no two closer than half a decay length; electrons that hop between all
of them, and turn a classical spin on every site:

    H = +Σ_<ij>α t0 exp(-R_ij/l) (c_iα† c_jα + h.c.) - J Σ_i S_i · c_iα† σ_αβ c_iβ
    dS_i/dt = S_i × H_i - α S_i × (S_i × H_i),     H_i = -∂E/∂S_i

with t0 = l = 1, J = 6, half filling, R_ij the distance of nearest images, density 0.8 (100 sites in a cube of 5 l; the
density of states of the thesis is said to have 500 in it, which is another material), α = 0.05, a quench from random
spins to kT = 0.001. A network of messages between sites learns H normal to the spins from many small structures, and is
judged on structures it has not seen.

**What to expect.**

- Random spins: a gap of 7.4 t0, H along the spins 5.93, |H| normal to them 0.026 rms, falling to half of it while they
  relax. Mean square error of the thesis about 0.001, an rms as large as the field itself.
- C(r): antiferromagnetic at the smallest distance, about -0.1 at t = 30, -0.22 at 150, -0.5 at 400, and weakly
  ferromagnetic at 1.2 to 1.4. Fig. 4.4 of the thesis has -0.4 at t = 30: its clock runs ten times faster than its
  parameters give. With α = 0.5 in place of 0.05 exact electrons reach -0.37 ± 0.03 there; J = 3 does not do it.
- ξ ~ (ln t)^(1/ψ) with ψ = 1.02 in the thesis, from one window and one law. Its ξ, a ratio of integrals of |C|, sees
  noise as a long correlation, so that it falls early in a quench; ξ₂, of C², does not. At this density and clock the
  antiferromagnetic dip deepens to -0.8 while its width shrinks until t ≈ 900 and grows by a few per cent only after it:
  no window of two decades has a ψ. A power of time and a logarithm are fitted beside it.

**Cost.** `quick`: a quarter of an hour of two cores. `paper`: 500 sites, 10 structures × 20 quenches; hours of exact
electrons. `large`: 10^5 sites, by the network alone; give it a GPU.

    nearsight run spin_glass --preset quick
    nearsight run spin_glass --preset quick --set model.J=3
"""

from __future__ import annotations

import zlib
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field

import nearsight as ns
from nearsight import analysis, forcefields, training
from nearsight.dynamics import AB2Rotation, State
from nearsight.fields import random_spins, spin
from nearsight.forcefields import Disjoint, ExactForceField, LearnedForceField
from nearsight.hamiltonians import Exponential, SDModel
from nearsight.lattices import PointCloud, Structures, random_cloud
from nearsight.networks import SpinMessagePassing
from nearsight.parallel import once
from nearsight.solvers import Dense
from nearsight.studies import figures, magnets
from nearsight.studies.checks import Check
from nearsight.studies.ensembles import Quench, carried_out_each, kept_fields
from nearsight.studies.locality import LocalityTarget
from nearsight.studies.options import Count, Device, NotNegative, Positive, Window, torch_device
from nearsight.studies.quench import Compared, LargeQuench, QuenchStudy
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.snapshots import forces as snapshot_forces
from nearsight.studies.snapshots import rms
from nearsight.studies.system import System
from nearsight.studies.systems import _spin_glass_checks as measured
from nearsight.training import KINDS, DataSet, FitOptions, Split

STEP = 0.1
"""Width of the bins of C(r), in units of l."""


# --- settings ---------------------------------------------------------------------------------------------------------


class Model(Section):
    """The amorphous magnet; lengths in units of l."""

    J: float = 6.0
    """Exchange of electrons and spins."""
    t0: Positive = 1.0
    """Of the hopping t0 exp(-R/l) over the distance R, the unit of energy."""
    density: Positive = 0.8
    """Sites in a volume l³."""
    minimum: Positive = 0.5
    """Smallest distance of two sites."""
    cutoff: Positive | None = None
    """Of the hopping; None: every pair once, at its nearest image, as in the thesis."""


class Data(Section):
    """Exact trajectories from random spins, one on every structure."""

    sites: Annotated[int, Field(ge=8)] = 100
    """Of a structure."""
    groups: Count = 7
    """Groups of structures; a step of the fit takes its snapshots from one of them, and each has a structure more for
    validation."""
    together: Count = 6
    """Structures of a group."""
    test: Annotated[int, Field(ge=2)] = 8
    """Structures that no fit has seen."""
    duration: Positive = 400.0
    snapshots: Annotated[int, Field(ge=3)] = 21
    """Of every trajectory, evenly spaced, random spins among them."""


class Network(Section):
    """Messages between sites; see ``networks.SpinMessagePassing``."""

    cutoff: Positive = 2.5
    layers: Count = 1
    """One sees as far as the cutoff. Two with 12 channels make a third fewer errors, at three times the cost."""
    channels: Count = 8
    vectors: Count = 2
    """Channels of spin vectors on every site."""
    radial: Count = 8
    """Functions of the distance of two sites."""
    hidden: Count = 32
    """Neurons of a layer of the networks that mix these functions."""


class Comparison(Section):
    """Quenches that compare learned with exact dynamics, on structures of their own."""

    length: Annotated[int, Field(ge=8)] = 100
    """Sites of a structure."""
    structures: Count = 2
    """Different ones."""
    quenches: Annotated[int, Field(ge=8)] = 20
    """On each structure; C(r) is averaged over the structures."""
    duration: Positive = 400.0
    records: Annotated[int, Field(ge=2)] = 5
    transfer: Annotated[int, Field(ge=8)] = 500
    """Sites of the structure on which the learned field is judged and timed far from its training."""


class Large(Section):
    """Quenches by the learned field alone."""

    sites: Annotated[int, Field(ge=8)] = 500
    """Of a structure."""
    structures: Count = 2
    """Different ones."""
    replicas: Annotated[int, Field(ge=4)] = 4
    duration: Positive = 2000.0
    records: Annotated[int, Field(ge=6)] = 20
    distance: Positive = 3.5
    """Largest r of C(r); the integrals of ξ end there."""
    windows: tuple[Window, ...] = ((50.0, 2000.0), (20.0, 500.0), (500.0, 2000.0))
    """Of the fits to ξ(t), the first of them judged; the others tell how far ψ depends on it."""
    waiting: tuple[Positive, ...] = (50.0, 200.0, 600.0)
    """Times t_w after which C(t_w, t_w + t) is measured."""
    audit: bool = True
    """Compare with exact electrons on the last states; for structures that fit a dense matrix."""


def network_fit(**options: Any) -> FitOptions:
    """Only the part of H normal to the spins moves them."""
    usual: dict[str, Any] = {
        "component": "tangent", "energy_weight": 0.0, "batch_size": 1, "steps": 800, "optimizer": "adamw",
        "learning_rate": 8e-3, "warmup": 40, "clip": 1.0, "average": 0.98,
    }  # fmt: skip
    return FitOptions(**usual | options)


class Config(Section):
    """Everything that decides the numbers of a run."""

    model: Model = Model()
    electron_kT: NotNegative = 0.0
    data: Data = Data()
    dynamics: magnets.Dynamics = magnets.Dynamics(dt=2.0, damping=0.05, kT=0.001)
    network: Network = Network()
    fit: FitOptions = network_fit()
    comparison: Comparison = Comparison()
    large: Large = Large()
    device: Device = "cpu"
    """Where networks are fitted and large structures quenched."""
    seed: Annotated[int, Field(ge=0)] = 1


# --- physics ----------------------------------------------------------------------------------------------------------


def structures(c: Config, purpose: str, count: int, sites: int) -> Structures:
    """Amorphous structures, a function of the seed and the name of their purpose."""
    seed = np.random.SeedSequence([c.seed, zlib.crc32(purpose.encode())]).generate_state(1, np.uint64)[0] >> 1
    rng = torch.Generator().manual_seed(int(seed))
    return Structures([random_cloud(sites, c.model.density, c.model.minimum, rng=rng) for _ in range(count)])


def electrons(c: Config, cloud: PointCloud, J: float | None = None) -> SDModel:
    # The model has -t: with the +t0 of the thesis most of the band lies above the Fermi energy.
    return SDModel(cloud, t=Exponential(-c.model.t0, cutoff=c.model.cutoff), J=c.model.J if J is None else J)


def physics(c: Config, lattice: Structures) -> System:
    """Electrons of each structure at half filling, and spins moved by one call of them per step."""
    solver = Dense(filling=0.5, kT=c.electron_kT)
    exact = Disjoint(*(ExactForceField(electrons(c, cloud), solver) for cloud in lattice.structures))

    def build_model(rng: torch.Generator) -> LearnedForceField:
        return LearnedForceField(SpinMessagePassing(lattice, spin(), **c.network.model_dump(), rng=rng))

    return System(
        exact=exact,
        scheme=AB2Rotation(dt=c.dynamics.dt, kT=c.dynamics.kT, damping=c.dynamics.damping, tangent=True),
        initial_fields=lambda replicas, rng: random_spins(lattice, rng, replicas),
        build_model=build_model,
        dress=lambda part: part,  # there is no classical energy
        time="ħ/t",
    )


def observe(c: Config, system: System, state: State) -> xr.Dataset:
    """C(r), averaged over the structures."""
    last = min(c.large.distance, 0.5 * min(float(s.vectors[0, 0]) for s in system.lattice.structures))  # type: ignore[attr-defined]
    bins = c.model.minimum + STEP * np.arange(int((last - c.model.minimum) / STEP + 1e-9) + 1)
    C = analysis.radial_correlation(state.field.double().cpu(), system.lattice, bins)
    r = C.r.assign_attrs(units="l")
    return xr.Dataset({"C": C.assign_coords(r=r), "nearest": C.isel(r=0, drop=True).assign_attrs(
        long_name="correlation at the smallest distance", symbol="C_1")})  # fmt: skip


def _kept(system: System, state: State) -> xr.Dataset:
    force = state.forces.force
    dims = ("replica", "site", "component")
    return xr.Dataset({"field": (dims, state.field.numpy()), "force": (dims, force.numpy())})


# --- the study --------------------------------------------------------------------------------------------------------


class SpinGlassStudy(QuenchStudy):
    """The template of quenches, on structures in place of lattices."""

    def system(self, config: Config, length: int | None = None, **variant: Any) -> System:
        """The physics of the structures of the comparison."""
        sites = config.comparison.length if length is None else length
        return self.physics(config, structures(config, "comparison", config.comparison.structures, sites))

    def locality(self, run: Run, config: Config) -> LocalityTarget:
        """Fields normal to the spins on one structure that no training has seen, in the quenches of the comparison.

        What lies beyond a cutoff is taken from other quenches of the same structure, which the data do not have.
        """
        if not run.complete("validate"):
            raise FileNotFoundError(
                f"{run.path} holds no quenches of the comparison, in which locality is examined. Finish it first: "
                f"nearsight run spin_glass --name {run.path.name} --resume"
            )
        both = self.system(config)
        whole: Structures = both.lattice  # type: ignore[assignment]
        cloud, spins = whole.structures[0], kept_fields(run.path / "comparison" / "exact")
        times, quenches = spins.sizes["time"], spins.sizes["replica"]
        field = torch.from_numpy(spins.transpose("replica", "time", "site", "component").values).double()
        field = whole.split(field.flatten(0, 1))[0]
        field = field / field.norm(dim=-1, keepdim=True)  # kept in single precision
        exact: ExactForceField = both.exact.parts[0]
        force = snapshot_forces(exact.electrons, field)
        number = np.repeat(np.arange(quenches), times)
        data = DataSet.from_arrays(lattice=cloud, field=field, force=force, trajectory=number, components=3)
        return LocalityTarget(
            exact=exact.electrons, learned=self.electrons(run, config, cloud), data=data, force=force,
            spins=True, turn=True, quantity="field normal to the spins",
        )  # fmt: skip

    def generate_data(self, run: Run, config: Config) -> None:
        """An exact trajectory on every structure, in parallel, then ``data.zarr`` on all of them side by side."""
        once(DataSet, run.path / "data.zarr", {}, partial(self._compute, run, config))

    def _compute(self, run: Run, c: Config, folder: Path) -> Path:
        lattice = _data_structures(c)
        last = max(2, round(c.data.duration / c.dynamics.dt))
        steps = tuple(sorted({round(s) for s in np.linspace(0, last, c.data.snapshots)}))
        quenches = []
        for k in range(0, len(lattice.structures), c.data.together):
            system = physics(c, Structures(lattice.structures[k : k + c.data.together]))
            quenches.append(
                Quench(
                    system=system,
                    engine=system.exact,
                    field=system.initial_fields(1, run.rng("data", "spins", k)),
                    steps=steps,
                    measure=partial(_kept, system),
                    path=folder / f"{k:03d}",
                    seed=run.seed("data", "noise", k),
                )
            )
        run.log("note", text=f"{len(steps)} states of {lattice!r}")
        found = carried_out_each(quenches, title="exact trajectories")
        field, force = (np.concatenate([part[name].values[0] for part in found], axis=1) for name in ("field", "force"))
        times = found[0].time.values
        made = folder / "data.zarr"
        DataSet.from_arrays(
            made,
            lattice=lattice,
            field=field,
            force=force,
            trajectory=np.zeros(len(times), dtype=np.int64),
            kind=np.where(times > 0, KINDS.index("relaxing"), KINDS.index("random")),
            time=times,
            components=3,
        )
        return made

    def fit_model(self, run: Run, config: Config) -> None:
        """Fit the network to groups of structures, each validated on one more, and save it in ``model/``."""
        data = DataSet.open(run.path / "data.zarr")
        splits = [Split(_part(data, train), _part(data, check), None) for train, check in _groups(config)]
        lattice = splits[0].train.lattice
        model = physics(config, lattice).build_model(run.rng("weights")).to(torch_device(config.device))
        run.log("note", text=f"{sum(p.numel() for p in model.parameters())} parameters, {len(splits)} groups")
        training.fit(model, splits, options=config.fit, path=run.path / "fit", resume=True)
        one = data.lattice.structures[0]  # type: ignore[attr-defined]
        forcefields.save(model.on(one), run.path / "model")

    def compare_speed(self, run: Run, config: Config) -> list[Check]:
        """The error on larger structures, the cost of a field there, and what the time step changes."""
        c, kept = config.comparison, run.observable("snapshots")
        random = kept.isel(snapshot=np.flatnonzero(kept.time == 0))
        error = rms(random.learned_force.values - random.exact_force.values) / rms(random.exact_force.values)
        larger = physics(config, structures(config, "transfer", 1, c.transfer))
        learned, spins = self.electrons(run, config, larger.lattice), larger.initial_fields(2, run.rng("transfer"))
        one = structures(config, "comparison", 1, c.length)
        engine, start = self.electrons(run, config, one).double(), random_spins(one, run.rng("time step"))
        step = {"dt": config.dynamics.dt, "damping": config.dynamics.damping}
        return [
            *measured.transfer(larger, learned, spins, config.data.sites, error),
            *measured.time_step(engine, start, min(100.0, c.duration), **step),
        ]

    def compare_quenches(self, run: Run, config: Config) -> tuple[xr.Dataset, list[Check]]:
        curves, checks = super().compare_quenches(run, config)
        return curves, [*checks, *measured.at_every_time(curves.C.isel(time=slice(1, None)))]


def _data_structures(c: Config) -> Structures:
    return structures(c, "data", c.data.groups * (c.data.together + 1) + c.data.test, c.data.sites)


def _groups(c: Config) -> list[tuple[range, range]]:
    """Numbers of the structures that every group is trained on, and of that which it is validated on."""
    n = c.data.together + 1
    return [(range(k * n, k * n + n - 1), range(k * n + n - 1, k * n + n)) for k in range(c.data.groups)]


def _part(data: DataSet, chosen: range) -> DataSet:
    """The snapshots of some of the structures."""
    lattice: Structures = data.lattice  # type: ignore[assignment]
    field, force = (torch.cat([lattice.split(x)[k] for k in chosen], -2) for x in (data.field, data.force))
    part = Structures([lattice.structures[k] for k in chosen])
    return DataSet.from_arrays(
        lattice=part, field=field, force=force, trajectory=data.trajectory, kind=data.kind, time=data.time, components=3
    )


def snapshots(run: Run, c: Config, system: System, learned: LearnedForceField) -> tuple[xr.Dataset, list[Check]]:
    data = DataSet.open(run.path / "data.zarr")
    test = _part(data, range(c.data.groups * (c.data.together + 1), len(data.lattice.structures)))  # type: ignore[attr-defined]
    return measured.compare_snapshots(test, learned.on(test.lattice), run.rng("symmetry"))


def levels(study: QuenchStudy, run: Run, c: Config) -> tuple[xr.Dataset, list[Check]]:
    """The density of states at J = 0."""
    many = structures(c, "levels", 4 if c.data.sites < 50 else 100, c.data.sites).structures
    return measured.levels([electrons(c, cloud, J=0.0) for cloud in many]), []


def large(study: QuenchStudy, c: Config) -> dict[str, LargeQuench]:
    system = physics(c, structures(c, "large", c.large.structures, c.large.sites))
    return {"": LargeQuench(system=system, duration=c.large.duration, records=c.large.records)}


def analyse(run: Run, c: Config, growth: xr.Dataset) -> tuple[xr.Dataset, list[Check]]:
    """Lengths, overlaps and aging of the large structures, and exact fields of the last states of one."""
    lattice, spins = structures(c, "large", c.large.structures, c.large.sites), kept_fields(run.path / "large")
    options: dict[str, Any] = {"windows": c.large.windows, "waiting": c.large.waiting, "rng": run.rng}
    glass, checks = measured.analyse_glass(growth, spins.assign_coords(time=growth.time), lattice, **options)
    if c.large.audit:
        one = Structures(lattice.structures[:1])
        learned, last = forcefields.load(run.path / "model").on(one), torch.from_numpy(spins.isel(time=-1).values)
        checks.append(measured.audit(physics(c, one).exact, learned, last[:2, : one.n_sites]))
    return glass, checks


def notes(run: Run, c: Config) -> list[str]:
    return [
        f"The density is {c.model.density:g}; 0.8 is that of 100 sites in a cube of 5 l. The part of H along a spin "
        "does not move it, and is not learned.",
        f"Exact and learned quenches were compared on {c.comparison.structures} structures of {c.comparison.length} "
        f"sites up to t = {c.comparison.duration:g} ħ/t; those of {c.large.sites} sites rest on what was learned, and "
        "on the audit of their last states.",
        "A large p-value means that no difference was seen with this number of quenches, not that there is none.",
    ]


# --- figures ----------------------------------------------------------------------------------------------------------


def _levels(run: Run, c: Config) -> Any:
    return ns.plots.compare(run.observable("levels").dos, x="energy", mark=0.0, log="")


# --- presets ----------------------------------------------------------------------------------------------------------

LATE = ((50.0, 1e4), (20.0, 1e3), (500.0, 1e4))
PRESETS = {
    "quick": Config(),
    "paper": Config(  # the numbers of the thesis; hours of exact electrons
        data=Data(groups=14, together=7, test=10),
        fit=network_fit(steps=4000),
        network=Network(layers=2, channels=16, vectors=4, hidden=64),
        comparison=Comparison(structures=10, quenches=20, duration=1200.0, records=8),
        large=Large(structures=10, replicas=20, duration=1e4, records=30, windows=LATE),
    ),
    "large": Config(  # by the learned field alone
        fit=network_fit(steps=2000),
        large=Large(
            sites=10**5, structures=1, replicas=4, duration=1e4, records=30, distance=8.0, audit=False, windows=LATE
        ),
        device="cuda",
    ),
    "tiny": Config(  # seconds: shows that the machinery works, and nothing about physics
        data=Data(sites=16, groups=2, together=2, test=2, duration=16.0, snapshots=3),
        network=Network(cutoff=1.5, layers=1, channels=3, vectors=1, radial=3, hidden=6),
        fit=network_fit(steps=12, validate_every=6, checkpoint_every=6),
        comparison=Comparison(length=16, structures=2, quenches=8, duration=16.0, records=3, transfer=24),
        large=Large(
            sites=20, structures=2, replicas=4, duration=200.0, records=8, distance=1.4, windows=((4.0, 200.0),),
            waiting=(10.0, 50.0),
        ),
    ),
}  # fmt: skip

STUDY = SpinGlassStudy(
    question="Does a field learned on small amorphous magnets freeze large ones as exact electrons do?",
    title="The metallic spin glass: learned fields on amorphous structures",
    presets=PRESETS,
    physics=physics,
    observe=observe,
    compare={
        "C": Compared("spin correlation C(r, t)"),
        "nearest": Compared("correlation at the smallest distance"),
    },
    snapshots=snapshots,
    large=large,
    guarded=False,
    kept=("field",),
    analyse=analyse,
    more={"validate": {"levels": levels}},
    notes=notes,
    figures={
        "levels": _levels,
        "parity": figures.parity("force"),
        "correlations": figures.profiles("C", 3, log=""),
        "comparison": figures.comparison("nearest", log="x"),
        "length": figures.growth("xi1", "xi2", "susceptibility", log="x"),
        "memory": figures.growth("memory", by="waiting", log="x"),
    },
)
