"""The double-exchange magnet: two phases, and the holes that stay apart.

**Question.** Do spins that move by learned torques part into ferromagnetic and antiferromagnetic regions as electrons
of a given number make them?

**System.** Electrons on the square lattice that see a classical spin on every site, and turn it:

    H = -t Σ_<ij>α (c_iα† c_jα + h.c.) - J Σ_i S_i · c_iα† σ_αβ c_iβ,    H_i = J <c_i† σ c_i>
    dS_i/dt = S_i × H_i - α S_i × (S_i × H_i)

with J = 6 t and α = 0.1, from random spins, at a fixed number of electrons. Half filled, the lower band is full
whatever the spins do, and virtual hops make an antiferromagnet. A few holes gain kinetic energy where spins are
parallel: the lattice parts into half-filled antiferromagnetic regions and ferromagnetic ones with fewer electrons.

**What to expect.**

- Half filled, -6.31517 t per site (antiferromagnet, E = -<√(ε² + J²)>) and -6 t (ferromagnet, the full band of one
  spin). Both phases coexist at 0.37 to 0.5 electrons per orbital, μ* = -4.634 t (common tangent, kT = 0).
- One hole costs 6 t mobile in the antiferromagnet, 4.79 t with one spin reversed, 4.63 t in the ferromagnet; two or
  three in one disc 5.14 t and 4.81 t each, more than apart. So a lone hole stays on the spin that it reverses, and
  growth is arrested (P. Zhang, G.-W. Chern, Phys. Rev. Lett. 127, 146401 (2021)).
- Fixed number is not local: μ falls while the spins order. On the data of `quick` exact torques at the mean μ of each
  time are off by 0.19 (relative rms), at one μ by 0.78, and an equivariant network by 0.19 as well: more training or
  reach have little left to win. At half filling, where μ = 0 holds the number, it is off by 0.004.

**Cost.** `quick`: seven minutes of two cores, 12 × 12 to learn, 64 × 64 to quench. `half`: the same at half filling.
`paper`: 30 × 30 and 3500 snapshots, filling 0.485, 150 × 150 to quench; days of exact electrons on one core.

    nearsight run double_exchange --preset quick
    nearsight run double_exchange --preset quick --set filling=0.4583333333333333    # 12 holes on 12 × 12 sites
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

import nearsight as ns
from nearsight import analysis
from nearsight.analysis.order import CHECKERBOARD
from nearsight.dynamics import State
from nearsight.lattices import Lattice, square
from nearsight.studies import figures, magnets, torques
from nearsight.studies.audits import Auditing
from nearsight.studies.checks import Above, Check, Published
from nearsight.studies.ensembles import at_end, same_mean
from nearsight.studies.figures import some_times
from nearsight.studies.fits import exponent, fits, growth_law, with_fits
from nearsight.studies.magnets import MagnetConfig, MagnetStudy, Trajectories, compared_spins
from nearsight.studies.options import Length, NotNegative, Positive, Window
from nearsight.studies.quench import Compared, QuenchStudy, caveats
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.system import System
from nearsight.studies.systems import _double_exchange_ground_states as ground
from nearsight.studies.systems._double_exchange_ground_states import GroundStates, Model
from nearsight.studies.torques import Equivariant, augmented_fit, equivariant_fit
from nearsight.training.recipe import Interval


class Dynamics(magnets.Dynamics):
    """The equation of motion, and the discs it starts from."""

    dt: Positive = 1.0
    """Torques of random spins are 0.12 t (rms) and 0.3 t at most, so that a step turns spins by 0.3 rad at most. At
    t = 20 spins differ from those of a hundred times finer steps by 0.03 rad; 0.5 makes it 0.006."""
    radius: Interval = (1.0, 3.0)
    """Of the discs, each drawn from here; their directions are random."""
    spread: NotNegative = 0.2
    """Width of the perturbation of every spin."""


class Comparison(magnets.Comparison):
    """Quenches from random spins that compare learned with exact dynamics."""

    length: Length = 12
    duration: Positive = 300.0
    records: Annotated[int, Field(ge=2)] = 7
    speed_length: Length = 30


class Large(Section):
    """What no exact solver can follow, with learned fields alone."""

    length: Length = 64
    duration: Positive = 1000.0
    replicas: Annotated[int, Field(ge=3)] = 3
    records: Annotated[int, Field(ge=6)] = 16
    growth: Window = (30.0, 300.0)
    """L(t) is fitted by a power of time between these times."""
    audit: Auditing = Auditing(times=3, replicas=1)
    """One replica, since at fixed number only the whole lattice tells."""


class Config(MagnetConfig):
    """Everything that decides the numbers of a run."""

    length: Length = 12
    model: Model = Model()
    filling: Annotated[float, Field(gt=0, le=0.5)] = 35 / 72
    """Electrons per orbital; ½ is an antiferromagnet, a little less parts into two phases. Choose a whole number of
    holes, (1 - 2f) N, on all lattices with exact electrons: 4 on 12 × 12 sites; 27 on 30 × 30 at the 0.485 of Zhang and
    Chern."""
    electron_kT: Positive = 0.05
    """Temperature of the electrons, far below the gap of 12 t and the t that binds a hole."""
    ground: GroundStates = GroundStates()
    trajectories: Trajectories = Trajectories(random=18, perturbed=9, duration=300.0, snapshots=40)
    dynamics: Dynamics = Dynamics()
    comparison: Comparison = Comparison()
    large: Large = Large()

    @property
    def density(self) -> float:
        """Electrons per site."""
        return 2 * self.filling

    @property
    def half_filled(self) -> bool:
        return self.filling == 0.5


def physics(c: Config, lattice: Lattice) -> System:
    """Spins that move by electrons of a given number."""
    return magnets.spin_system(c, ground.exact(c, lattice))


def path(lattice: Lattice) -> analysis.Path:
    """Γ-X-M-Γ: ferromagnets peak at Γ, antiferromagnets at M = (π, π)."""
    return analysis.symmetry_path(lattice)


def observe(c: Config, system: System, state: State) -> xr.Dataset:
    """Order of both phases, and how much of the lattice each has."""
    lattice, spins = system.lattice, state.field.double().cpu()
    S, b = analysis.spin_structure_factor(spins, lattice), analysis.spin_alignment(spins, lattice)
    sizes = analysis.cluster_sizes(analysis.parallel_clusters(spins, lattice), lattice, smallest=2).weighted_size
    peak = analysis.peak_order(S, lattice, [CHECKERBOARD], radius=0.0) / lattice.n_sites
    # All weight at the peak would make it infinite; nothing is longer than the lattice.
    length = analysis.peak_length(S, lattice, [CHECKERBOARD]).clip(max=min(lattice.shape), keep_attrs=True)
    return xr.Dataset(
        {
            "S": analysis.spin_structure_factor_at(spins, lattice, path(lattice)).drop_vars(("kx", "ky")),
            "staggered": peak.assign_attrs(long_name="S(π, π)/N", units="1"),
            "m": ("replica", spins.mean(-2).norm(dim=-1).numpy(), {"long_name": "magnetisation"}),
            "L": length.assign_attrs(scale="log", symbol="L"),
            "b": b.mean("site").assign_attrs(long_name="mean of $S_i·S_j$ over bonds"),
            "ferro": (b > 0).mean("site").assign_attrs(long_name="fraction of ferromagnetic sites"),
            "cluster": sizes.fillna(0.0).assign_attrs(long_name="sites of a ferromagnetic cluster", scale="log"),
        }
    )


# --- exact electrons on learned spins ---------------------------------------------------------------------------------


def _phases(spins: xr.DataArray, n: Tensor, lattice: Lattice) -> xr.Dataset:
    """Bond order and density on every site, and which phase it belongs to."""
    b, clusters = analysis.spin_alignment(spins, lattice), analysis.parallel_clusters(spins, lattice)
    density = clusters.copy(data=n.numpy()).assign_attrs(long_name=r"$\langle n_i \rangle$", centre=1.0, limit=0.4)
    maps = xr.Dataset({"b": b.assign_attrs(centre=0.0, limit=1.0), "n": density}).astype(np.float32)
    return maps.assign(ferro=clusters > 0)


def parted(name: str, data: xr.Dataset, c: Config) -> list[Check]:
    """Densities of both phases, and whether there are fewer electrons in the ferromagnetic one."""
    inside, outside = (float(data.n.where(part).mean()) for part in (data.ferro, ~data.ferro))
    known = math.isfinite(outside - inside)
    note = "exact electrons on the last spins" if known else "all sites are in one phase"
    more = Check(
        f"{name}: electrons per site outside of ferromagnetic clusters minus inside",
        value=outside - inside if known else None,
        criterion=None if c.half_filled else Above(0.0),
        note=note,
    )
    values = {"in": inside, "outside of": outside} if known else {}
    return [more, *(Check(f"{name}: electrons per site {k} ferromagnetic clusters", v) for k, v in values.items())]


def _densities(study: QuenchStudy, run: Run, c: Config) -> tuple[xr.Dataset, list[Check]]:
    """Exact electrons of the given number on the spins of both ensembles: their μ, and where they are.

    ``_number`` is what learned and exact spins of the last time would hold at the mean μ of the exact ones: learned
    torques know of no number, and this is the number that they keep.
    """
    lattice, dims = study.lattice(c.comparison.length), ("source", "replica", "time")
    spins = compared_spins(run).transpose(*dims, "site", "component")
    field = torch.from_numpy(spins.values)
    mu, n = ground.solved(ground.exact(c, lattice), field)
    mean_mu = float(mu[0, :, -1].mean())
    _, last = ground.solved(ground.exact(c, lattice, mean_mu), field[:, :, -1])
    data = _phases(spins, n, lattice).assign(
        mu=(dims, mu.numpy(), {"long_name": "chemical potential", "units": "t"}),
        number=(dims[:2], last.mean(-1).numpy(), {"long_name": "electrons per site at the mean chemical potential"}),
    )
    data = data.assign_coords(time=run.observable("curves").time).assign_attrs(mean_mu=mean_mu)
    exact, learned = (data.isel(time=-1).sel(source=source) for source in ("exact", "learned"))
    checks = [*parted("exact quenches", exact, c), *parted("learned quenches", learned, c)]
    if not c.half_filled:
        numbers = [d.number.assign_coords(time=d.time) for d in (learned, exact)]
        checks += same_mean("chemical potential that holds the number", data.mu.isel(time=slice(1, None)))
        checks.append(at_end("electrons per site at the μ of exact quenches", numbers[0], exact=numbers[1]))
    return data, checks


def _electrons(study: QuenchStudy, run: Run, c: Config) -> tuple[xr.Dataset, list[Check]]:
    """Exact electrons on a few textures of the large quench, at the μ of exact quenches."""
    lattice, mu = study.lattice(c.large.length), float(run.observable("densities").attrs["mean_mu"])
    spins = run.observable("maps").spins.stack(site=("x", "y"), create_index=False)
    spins = spins.transpose("time", "site", "component")
    exact = ground.exact(c, lattice, mu, tol=1e-4)  # enough for maps
    data = _phases(spins, ground.solved(exact, torch.from_numpy(spins.values), batch=1)[1], lattice)
    end = data.isel(time=-1)
    name = "quench: electrons per site at the end, at the μ of exact quenches"
    number = Check(name, value=float(end.n.mean()), exact=c.density, note="first replica; torques know of no number")
    return data.assign_attrs(mu=mu), [number, *parted("quench", end, c)]


def analyse(run: Run, c: Config, growth: xr.Dataset) -> tuple[xr.Dataset, list[Check]]:
    """What became of the quench; small exact quenches stand beside it where sizes may be compared."""
    first, last = c.large.growth
    law = growth_law(growth.L, rng=run.rng("bootstrap"), since=first, until=last)
    end, small = growth.isel(time=-1), run.observable("curves").sel(source="exact").isel(time=-1)
    note = f"; exact: {c.comparison.length}² sites at t = {float(small.time):g}"
    return with_fits(growth, L=law), [
        at_end("quench: bond order", end.b, exact=small.b, note=note),
        at_end("quench: fraction of ferromagnetic sites", end.ferro, exact=small.ferro, note=note),
        at_end("quench: sites of a ferromagnetic cluster", end.cluster, exact=small.cluster, note=note),
        at_end("quench: length of the antiferromagnet", end.L),
        exponent(law, name="quench: growth exponent of this length, L ~ t^n"),
        at_end("quench: magnetisation", end.m),
    ]


def _notes(run: Run, c: Config) -> list[str]:
    drift = "μ falls while the spins order, and a local network cannot know it: its dynamics conserves no number."
    return [*caveats(run, c), *([] if c.half_filled else [drift])]


# --- figures ----------------------------------------------------------------------------------------------------------


def _number(run: Run, c: Config) -> Any:
    """The μ that holds the number, and exact torques against exact ones at a fixed μ, which alone are local."""
    found = None if c.half_filled else ground.coexistence(run.observable("phases"), c.density).mu
    torque = run.observable("number").rename(trajectory="replica").set_index(snapshot=("replica", "time"))
    errors = [torque[name].unstack("snapshot") for name in ("torque", "at_mean", "at_time")]
    by_name = {values.attrs["long_name"]: values for values in errors}
    picture = ns.plots.compare(run.observable("densities").mu, by_name, log="x", levels=(found, None))
    return figures.captioned(
        picture, "Right: rms of exact torques, and of their errors at a fixed μ. Dashed: two phases coexist."
    )


def _phase_maps(data: xr.Dataset, length: int) -> Any:
    """Bond order and electrons on the same spins."""
    return ns.plots.maps([data.b, data.n], square(length))


def _quench(run: Run, c: Config) -> Any:
    """The large learned quench over the small exact ones, where clusters and lengths have less room."""
    large, small = run.observable("growth"), run.observable("curves").sel(source="exact", drop=True)
    pairs = [{"exact": small[name], "learned": large[name]} for name in ("L", "ferro", "cluster")]
    return ns.plots.compare(*pairs, fits=({"learned": fits(large).get("L")},), mark=c.trajectories.duration)


# --- presets ----------------------------------------------------------------------------------------------------------

QUICK = Config(networks=torques.NETWORKS, fit=equivariant_fit(steps=2000), resnet_fit=augmented_fit(steps=1000))
PRESETS = {
    "quick": QUICK,  # a laptop: lattices of 12 × 12 and a quarter of an hour on two cores
    "half": QUICK.model_copy(update={"filling": 0.5}),  # no holes and one phase
    "paper": Config(  # the 3500 snapshots of the theory of descriptors, the filling of Zhang and Chern: days
        **torques.THESIS,
        length=30,
        filling=0.485,
        ground=GroundStates(mesh=960, waves=80, random_length=30, bubble_length=24, holes=10),
        trajectories=Trajectories(random=40, perturbed=10, duration=1000.0, snapshots=70),
        dynamics=Dynamics(dt=0.5, radius=(1.0, 8.0)),
        equivariant=Equivariant(channels=8, radii=(5.1, 3.1, 2.1)),
        fit=equivariant_fit(steps=40000, threads=None),
        comparison=Comparison(length=30, quenches=40, duration=1000.0, records=10, receptive_fields=4),
        large=Large(length=150, duration=10000.0, replicas=10, records=30, growth=(200.0, 5000.0)),
    ),
    "tiny": Config(  # seconds: shows that the machinery works, and nothing about physics
        **torques.TINY,
        length=6,
        filling=17 / 36,
        ground=GroundStates(mesh=8, waves=4, random_length=6, random=3, bubble_length=6, holes=2),
        trajectories=Trajectories(random=3, perturbed=3, duration=8.0, snapshots=3),
        dynamics=Dynamics(radius=(1.0, 2.0)),
        comparison=Comparison(length=6, quenches=8, duration=8.0, records=3, speed_length=6, receptive_fields=1),
        large=Large(length=12, duration=30.0, records=6, growth=(2.0, 30.0)),
    ),
}

STUDY = MagnetStudy(
    question="Do spins that move by learned torques part into ferromagnetic and antiferromagnetic regions as electrons "
    "of a given number make them?",
    title="The double-exchange magnet: learned torques and phases that part",
    presets=PRESETS,
    physics=physics,
    observe=observe,
    path=path,
    compare={
        "S": Compared("structure factor S(q, t) along Γ-X-M-Γ", log=True),
        "staggered": Compared("antiferromagnetic order S(π, π)/N", log=True),
        "L": Compared("length L(t) of the antiferromagnet", log=True),
        "b": Compared("bond order ⟨S_i·S_j⟩"),
        "ferro": Compared("fraction of ferromagnetic sites"),
        "cluster": Compared("size of ferromagnetic clusters"),
        "m": Compared("magnetisation"),
    },
    perturbed=ground.discs,
    # Evenly spaced in the square root of time: spins freeze, and late snapshots are all alike.
    snapshot_steps=lambda c, last: np.linspace(0, 1, c.trajectories.snapshots) ** 2 * last,
    snapshots=magnets.compare_torques(
        published=Published(0.035, "arXiv:2201.00798, sec. VI", note="of all of H, 50 times as long as the torque"),
        comparable=False,
        peaks=lambda lattice: np.array([CHECKERBOARD]),
    ),
    local=ground.at_mean_mu,
    large=lambda study, c: {"quench": magnets.large_quench(study.system(c, c.large.length), c, c.large.duration)},
    analyse=analyse,
    extra={"": (ground.STAGE,)},
    more={"validate": {"number": ground.drift, "densities": _densities}, "simulate": {"electrons": _electrons}},
    needs=("densities",),
    notes=_notes,
    symbols={r"\Omega": "grand potential of the electrons"},
    figures={
        "phases": ground.draw_phases,
        "holes": ground.draw_holes,
        "maps": lambda run, c: _phase_maps(run.observable("electrons"), c.large.length),
        "quench": _quench,
        "side_by_side": lambda run, c: _phase_maps(  # the first exact quench and the first learned one
            some_times(run.observable("densities").isel(replica=0), 5), c.comparison.length
        ),
        "comparison": figures.comparison("b", "L", "ferro", log="x"),
        "number": _number,
    },
)
