"""Falicov-Kimball model: checkerboards that stop growing.

**Question.** Do f electrons that hop at learned energies separate into checkerboards as exact electrons make them?

**System.** Light c electrons move through heavy f electrons on the square lattice, which hop to empty neighbours:

    H = -t Σ_<ij> (c_i† c_j + h.c.) + U Σ_i n_i c_i† c_i,     n_i = 0, 1
    P(hop) = exp(-ΔF/kT) where ΔF > 0, and 1 otherwise (Metropolis), ΔF at fixed number of c electrons

with U = 2t, kT = 0.05t, 0.187 f electrons and 0.55 c electrons per site. Time is in attempts per f electron. A learned
energy of the f electrons has the ΔF of hops as its differences: detailed balance is built in.

**What to expect** (S. Zhang, PhD thesis, University of Virginia, 2024, ch. 2).

- Error of ΔF: 0.046 in sec. 2.3, printed as a mean square; the published parity data have an rms of 0.043 t.
- Checkerboards grow as t^0.35 at first and are arrested; super-clusters, the domains of σ_i = ±1, the sublattice of the
  nearest f electron, grow as ln t, far beyond the checkerboards.
- The barrier that a test f electron crosses from one sublattice to the other is linear in the order of its
  surroundings: exact potentials in arrangements of nine clusters (the stage ``_barrier``).

**Cost.** `quick`: ten minutes on two cores. `paper`: hours; 30 × 30, 100 + 100 quenches, 150 × 150.

    nearsight run falicov_kimball --preset quick --set energy=internal     # as in the published programs
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field, model_validator
from torch import Tensor

import nearsight as ns
from nearsight import analysis
from nearsight.dynamics import HopMonteCarlo, State
from nearsight.fields import occupation
from nearsight.forcefields import LearnedForceField
from nearsight.hamiltonians import FalicovKimball
from nearsight.lattices import Lattice, square
from nearsight.moves import ExactMoves, LearnedMoves, MoveEnergies
from nearsight.networks import EmbeddedNetwork
from nearsight.parallel import resumable, threads
from nearsight.studies import audits, figures, moving
from nearsight.studies.checks import DISSERTATION, Above, Check, Published
from nearsight.studies.ensembles import at_end
from nearsight.studies.fits import attempted, exponent, fits, grows_freely, growth_law, logarithmic_growth, with_fits
from nearsight.studies.moving import Comparison, Large, MoveConfig, MoveStudy, Trajectories
from nearsight.studies.options import Count, Positive
from nearsight.studies.quench import Compared, caveats
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.study import Stage
from nearsight.studies.system import System
from nearsight.training import MoveFitOptions

PAPER_ERROR = Published(
    1.9e-3, f"{DISSERTATION}, fig. 2.4", note="parity data of five networks, 10⁶ samples each, 30 × 30"
)
BRAY = Published(2.0, "A. J. Bray, Adv. Phys. 43, 357 (1994)")
POROD = Published(-3.0, "G. Porod, Kolloid-Z. 124, 83 (1951)")
LENGTHS = {
    "cluster_length": ("√<s>", Published(0.35, f"{DISSERTATION}, sec. 2.4", note="at first, then freezing")),
    "R": (
        "R, the half height of super-clusters",
        Published(1.0, f"{DISSERTATION}, sec. 2.4", note="at first, then ln t"),
    ),
    "L": (
        "L = 1/<k>, which holds a logarithm of R",
        Published(1.0, f"{DISSERTATION}, sec. 2.4", note="at first, then ln t"),
    ),
}
LATE = f"logarithmic at last in {DISSERTATION}, sec. 2.4"
LARGEST_K = 1.5
"""Largest wave number at which domains, and not the lattice, shape S."""
BARRIER = ("observables.nc:barrier", "observables.nc:potential", "checks.json:barrier")
CLOSE_UP, PALE = 60, 0.22
"""Cells along an edge of a large lattice on which single f electrons are still seen; colour of σ under them."""

Density = Annotated[float, Field(gt=0, lt=1)]


class Model(Section):
    """Parameters of :class:`nearsight.hamiltonians.FalicovKimball`."""

    t: float = 1.0
    U: Positive = 2.0


class Network(Section):
    """The energy whose differences are learned: one wide layer, then a network at every site."""

    radius: Positive = 4.0
    """Two sites of which an energy depends on both are at most twice this apart."""
    channels: Count = 16
    widths: tuple[Count, ...] = (16,)


class Barrier(Section):
    """What a test f electron feels near frozen clusters: checkerboards in 9 blocks of a small lattice, exactly."""

    length: Annotated[int, Field(ge=12, multiple_of=6)] = 30
    configurations: Annotated[int, Field(ge=8)] = 50


class Config(MoveConfig):
    """Everything that decides the numbers of a run."""

    model: Model = Model()
    f_density: Density = 0.187
    """f electrons per site."""
    filling: Density = 0.55
    """c electrons per site: their number is fixed, as in the thesis."""
    energy: Literal["free", "internal"] = "free"
    """What a hop costs: the free energy of the c electrons, or their internal energy, at four times the work."""
    rule: Literal["metropolis", "glauber"] = "metropolis"
    network: Network = Network()
    barrier: Barrier = Barrier()

    @model_validator(mode="after")
    def _sizes(self) -> Config:
        for name, length in (("length", self.length), ("comparison.length", self.comparison.length)):
            if round(self.f_density * length**2) < 2:
                raise ValueError(f"{name}={length} holds fewer than two f electrons at f_density={self.f_density:g}")
        return self


def physics(c: Config, lattice: Lattice, screen: MoveEnergies | None = None) -> System:
    """One step is one attempt of every f electron."""

    def scattered(replicas: int, rng: torch.Generator) -> Tensor:
        rank = torch.rand(replicas, lattice.n_sites, generator=rng, dtype=torch.float64).argsort(-1).argsort(-1)
        return (rank < round(c.f_density * lattice.n_sites)).double()[..., None]

    def build_model(rng: torch.Generator) -> LearnedMoves:
        network = EmbeddedNetwork(lattice, occupation(), **c.network.model_dump(), rng=rng)
        return LearnedMoves(LearnedForceField(network))

    model = FalicovKimball(lattice, **c.model.model_dump())
    return System(
        exact=ExactMoves(model, kT=c.kT, filling=c.filling, energy=c.energy),
        scheme=partial(HopMonteCarlo, kT=c.kT, rule=c.rule, screen=screen),
        initial_fields=scattered,
        build_model=build_model,
        time="attempts per f electron",
    )


def _with_cutoff(c: Config, cutoff: float) -> Config:
    """The network with another radius, 0 where that is shorter than the way to a neighbour."""
    radius = 0.5 * cutoff if cutoff >= 2.0 else 0.0
    return c.model_copy(update={"network": c.network.model_copy(update={"radius": radius})})


def observe(c: Config, system: System, state: State) -> xr.Dataset:
    """Clusters, super-clusters and correlations of the f electrons, and what was attempted."""
    n, lattice, dims = state.field[..., 0].numpy(), system.lattice, ("replica",)
    sigma = analysis.sublattice_field(n, lattice, dims=dims)
    observed = analysis.phase_separation(n, lattice, dims=dims)
    measured = {
        # Where one sublattice rules everywhere L is infinite: the mean is of its inverse.
        "inverse_L": (1.0 / observed.L).assign_attrs(long_name="1/L of the super-clusters", units="1/a"),
        "C": analysis.axial_correlation(n, lattice, dims=dims).isel(r=slice(1, None)),  # C(0) is the density
        "S": analysis.shell_average(analysis.structure_factor(sigma, lattice), lattice),
    }
    return observed.assign(measured | moving.tally(state))


def maps(c: Config, system: System, state: State) -> xr.Dataset:
    n, plane = state.field[0, :, 0].numpy(), system.lattice.shape
    sigma = analysis.sublattice_field(n, system.lattice).values.reshape(plane)
    attrs = {"long_name": "sublattice of the nearest f electron", "units": "1"}
    return xr.Dataset({"n": (("x", "y"), n.reshape(plane)), "sigma": (("x", "y"), sigma, attrs)})


def analyse(run: Run, c: Config, growth: xr.Dataset) -> tuple[xr.Dataset, list[Check]]:
    """Growth while the torus does not matter yet, dynamical scaling of the super-clusters, and sharp walls."""
    free = {"below": c.large.length / 8, "since": c.large.growth_from}
    bounds = {"until": c.large.growth_until, **free}
    laws = {name: growth_law(growth[name], rng=run.rng("bootstrap"), **bounds) for name in (*LENGTHS, "l")}
    R, S = growth.R.transpose("replica", "time"), growth.S.transpose("replica", "time", "k")
    late, end = grows_freely(R, **free), float(R.isel(time=-1).mean())
    # With a Porod tail 1/<k> holds a logarithm of the half height R, which is the length to scale with.
    scaled = partial(analysis.dynamical_scaling, dimension=2, rng=run.rng("scaling"), largest_k=LARGEST_K, samples=60)
    scaling, words = attempted(lambda: scaled(S.sel(time=late), R.sel(time=late)))
    window, last = (max(3.0 / end, 0.2), LARGEST_K), growth.isel(time=-1)
    porod, more = attempted(lambda: analysis.porod_law(S.isel(time=-1), window=window, rng=run.rng("porod")))
    return with_fits(growth, **laws, scaling=scaling, porod=porod), [
        at_end("cluster size, mean over f electrons", last.weighted_size),
        at_end("half height R of the super-clusters", last.R),
        at_end("length L = 1/<k> of the super-clusters", last.L),
        at_end("fraction of f electrons in checkerboards", last.ordered),
        *(exponent(laws[k], paper, name=f"growth exponent of {label}") for k, (label, paper) in LENGTHS.items()),
        *logarithmic_growth(growth.L.sel(time=grows_freely(growth.L, **free)), note=LATE),
        exponent(scaling, BRAY, name="dynamical scaling of the super-clusters, S = R^θ G(kR): θ", missing=words),
        exponent(porod, POROD, name="Porod tail of the super-clusters, S ~ k^p: p", missing=more),
    ]


# --- why growth freezes: the barrier between the sublattices that frozen clusters raise -------------------------------


def _barrier(run: Run, c: Config) -> None:
    """Exact potentials of a test particle in arrangements of one cluster in nine blocks."""
    count, lattice = c.barrier.configurations, square(c.barrier.length)
    # The nine clusters hold as many f electrons as the quenches have, but for the one that is tested.
    size = max(2, round((c.f_density * lattice.n_sites - 1) / 9))
    patch = analysis.grow_checkerboard(lattice, size, rng=run.rng("patch"), span=c.barrier.length // 3 - 1)
    polarity = analysis.spread_polarity(count, 9, rng=run.rng("polarity"))
    arranged = analysis.block_arrangements(lattice, patch, rng=run.rng("blocks"), count=count, polarity=polarity)
    tasks, seconds = [(row,) for row in arranged.n.values], 1.3 * count * (c.barrier.length / 30) ** 6
    V = np.stack(resumable(_potential, tasks, shared=(c, lattice), seconds=seconds, title="barriers"))
    sigma = analysis.sublattice_field(arranged.n, lattice)
    gap = analysis.staggered_barrier(V, lattice, dims=("configuration",))
    L = analysis.correlation_length(analysis.structure_factor(sigma, lattice), lattice)
    phi, finite = analysis.polarity(sigma), np.isfinite(L.values)
    order = analysis.linear_law(np.abs(phi.values), gap.values, rng=run.rng("line"))
    length = analysis.linear_law(L.values[finite], gap.values[finite], rng=run.rng("line", "length"))
    measured = xr.Dataset({"barrier": gap, "L": L, "phi": phi, "M": arranged.M})
    run.record("barrier", with_fits(measured, by_order=order, by_length=length))
    grids = {"V": V[:2], "n": arranged.n.values[:2], "sigma": sigma.values[:2]}
    shown = {k: (("configuration", "x", "y"), v.reshape(-1, *lattice.shape)) for k, v in grids.items()}
    run.record("potential", xr.Dataset(shown))
    name, groups = "staggered barrier ΔV_AB", gap.groupby(abs(arranged.M))
    means = {m: (float(part.mean()), float(part.std(ddof=1)) / part.size**0.5) for m, part in groups}
    checks = [
        Check(
            f"{name}: slope against |φ|", order.slope, order.slope_sigma, "t", note=f"{order}; {DISSERTATION}: linear"
        ),
        Check(f"{name}: slope against |φ| over its error", order.slope / order.slope_sigma, criterion=Above(3.0)),
        Check(f"{name}: correlation with L", length.correlation, length.correlation_sigma, note=str(length)),
        *(Check(f"{name}: mean at block magnetisation |M| = {m}", *means[m], "t") for m in means),
    ]
    run.record_checks("barrier", checks)


def _potential(c: Config, lattice: Lattice, row: np.ndarray) -> np.ndarray:
    """V of one configuration ``(site,)``."""
    with threads(1):
        model = FalicovKimball(lattice, **c.model.model_dump())
        return analysis.particle_potential(row, model, kT=c.kT, number=c.filling * lattice.n_sites).V.values


# --- figures ----------------------------------------------------------------------------------------------------------


def _over_sigma(data: xr.Dataset) -> xr.DataArray:
    """±1 where an f electron is on the A (B) sublattice, pale σ elsewhere."""
    x, y = (xr.DataArray(np.arange(data.sizes[d]), dims=d) for d in "xy")
    shown = xr.where(data.n > 0.5, (-1.0) ** (x + y), PALE * data.sigma).transpose(*data.n.dims)
    return shown.assign_attrs(long_name="f electrons over σ", limit=1.0, centre=0.0)


def _particles(run: Run, c: Config) -> Any:
    """f electrons by their sublattice over pale σ, in a corner of the lattice."""
    data, window = figures.some_times(run.observable("maps"), 4), min(CLOSE_UP, c.large.length)
    return ns.plots.maps(_over_sigma(data), square(c.large.length), window=window)


def growth(run: Run, c: Config) -> Any:
    observed = run.observable("growth").rename(cluster_length="s")  # as columns of tables are named
    observed["time"] = observed.time.assign_attrs(units="1")  # four panels have no room for it
    symbols = {"s": "√⟨s⟩", "l": "checkerboards l", "R": "super-clusters R", "L": "super-clusters L = 1/⟨k⟩"}
    laws = [fits(observed).get(name) for name in ("cluster_length", "l", "R", "L")]
    lengths = [observed[name].assign_attrs(long_name=label) for name, label in symbols.items()]
    picture = ns.plots.compare(*lengths, log="xy", fits=laws, published=figures.tables(run))
    return figures.captioned(picture, "Time in attempts per f electron.")


def _collapse(run: Run, c: Config) -> Any:
    later = figures.some_times(run.observable("growth"), 6)
    R, found, labels = later.R.mean("replica"), fits(later), ("$k R(t)$", r"$S(k, t) \, / R^2(t)$")
    words = "; ".join(str(found[name]) for name in ("scaling", "porod") if name in found)
    return ns.plots.collapse(later.S, R, R**-2.0, log="xy", labels=labels, fit=words or None)


def _potentials(run: Run, c: Config) -> Any:
    data = run.observable("potential")
    V = (data.V - data.V.min(("x", "y"))).assign_attrs(long_name="potential above its minimum", units="t")
    return ns.plots.maps([_over_sigma(data), V], square(c.barrier.length))


def _barriers(run: Run, c: Config) -> Any:
    data = run.observable("barrier")
    lines, blocks, tables = fits(data), abs(data.M).rename("|M|"), figures.tables(run)
    length = data.L.assign_attrs(long_name="length of the super-clusters")
    order = abs(data.phi).assign_attrs(long_name="order of the sublattices", symbol=r"|\phi|")
    return {
        name: ns.plots.points(x, data.barrier, by=blocks, fit=lines.get(name), published=tables)
        for name, x in (("by_length", length), ("by_order", order))
    }


def _audit(run: Run, c: Config) -> Any:
    data = audits.stored(run, audits.HOPS)
    if data is None or "rms" not in data:  # earlier versions did not audit hops
        return {}
    label = {"long_name": "error of ΔF on the large lattice, rms", "units": "t"}
    shown = xr.Dataset({"mean": data.rms.assign_attrs(label), "error": (data.rms_high - data.rms_low) / 4})
    return ns.plots.compare(shown, x="time", points=True, log="x")


def _notes(run: Run, c: Config) -> list[str]:
    return [
        *caveats(run, c),
        f"Time counts attempts per f electron; a plot in units of 100 attempts of single electrons shows "
        f"{c.f_density:g} N t / 100 for N sites. Tables in the folder 'published' of this run, each with its card, are "
        "drawn as open symbols by the next report.",
    ]


PRESETS = {
    "quick": Config(),  # a laptop: minutes on two cores
    "paper": Config(  # the lattices of the thesis and its 100 + 100 quenches; hours on two cores
        length=30,
        trajectories=Trajectories(number=24, duration=300.0, snapshots=10),
        network=Network(radius=5.0, channels=24, widths=(32,)),
        fit=MoveFitOptions(steps=6000),
        comparison=Comparison(length=30, quenches=100, duration=300.0, records=12, screened=10),
        large=Large(length=150, replicas=10, duration=3000.0, records=30),
    ),
    "tiny": Config(  # seconds: shows that the machinery works, and nothing about physics
        length=8,
        trajectories=Trajectories(number=8, duration=4.0, snapshots=3),
        network=Network(radius=2.0, channels=3, widths=(4,)),
        fit=MoveFitOptions(steps=20, batch_size=4, hops=8, validate_every=10, checkpoint_every=10),
        comparison=Comparison(length=8, quenches=20, duration=4.0, records=3, screened=2, speed_length=8),
        large=Large(length=16, replicas=3, duration=6.0, records=6, speed_lengths=(8, 16), audited=30),
        barrier=Barrier(length=12, configurations=8),
    ),
}

STUDY = MoveStudy(
    question="Do f electrons that hop at learned energies separate into checkerboards as exact electrons make them?",
    title="Falicov-Kimball model: checkerboards, super-clusters, and what freezes them",
    presets=PRESETS,
    physics=physics,
    with_cutoff=_with_cutoff,
    observe=observe,
    maps=maps,
    compare={
        "l": Compared("checkerboard length l(t)", log=True),
        "weighted_size": Compared("cluster size <s>(t), mean over f electrons", log=True),
        "inverse_L": Compared("inverse length of super-clusters 1/L(t)"),
        "C": Compared("correlation C(r, t) of f electrons"),
        "accepted": Compared("accepted hops per f electron"),
    },
    snapshots=partial(moving.compare_moves, published=PAPER_ERROR, target=0.005, labels=10**5),
    analyse=analyse,
    more={"simulate": {audits.HOPS: moving.audit_large}},
    extra={"simulate": (Stage("barrier", _barrier, BARRIER),)},
    notes=_notes,
    symbols={"R": "half height of C(r), the size of super-clusters", "S": "structure factor of the sublattices"},
    figures={
        "maps": figures.maps("sigma"),
        "particles": _particles,
        "growth": growth,
        "collapse": _collapse,
        "comparison": figures.comparison("l", "weighted_size", "inverse_L"),
        "correlations": figures.profiles("C", 3, residuals=True, paired=True),
        "potentials": _potentials,
        "barriers": _barriers,
        "audit_of_hops": _audit,
        "parity": figures.parity(),
        "errors_by_age": figures.errors_by("time"),
        "symmetry": figures.symmetry,
    },
)
