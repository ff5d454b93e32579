"""Holstein: charge-density waves after a quench.

**Question.** Does a force field learned on a small lattice let charge-density waves grow as exact electrons do, and
what do they look like on a lattice that no exact solver can reach?

**System.** Spinless electrons at half filling on the square lattice, coupled to a breathing mode Q of every site:

    H = -t Σ_<ij> (c_i† c_j + h.c.) - g Σ_i Q_i (n_i - 1/2),    V = k/2 Σ_i Q_i² + κ Σ_<ij> Q_i Q_j
    m Q̈ + λ Q̇ = -∂V/∂Q + g (<n> - 1/2) + η,    <η η'> = 2 λ kT δ(t - t')

with g = 1.5 t, k = 0.67 g, κ = 0.12 g. From hot, random Q the electrons order into a checkerboard; the two
checkerboards compete, and domains of each grow. The order parameter is φ_i = (<n_i> - 1/2) (-1)^i.

**What to expect.**

- Error of the density on unseen snapshots (standard deviation): 0.023 in arXiv:2201.00798, sec. IV, with 2000 snapshots
  of 30 × 30 sites.
- Displacement in the ordered state of the infinite lattice at T = 0: ±2.3428, from the mean-field equation.
- L(t) and C(r, t) of learned and exact quenches agree: a statistical test on at least 20 of each.
- Growth of domains as (t - t0)^α: α = 1/2 for a non-conserved order parameter driven by curvature (Allen, Cahn, Acta
  Metall. 27, 1085 (1979)); reported slower or faster in models with electrons. Their size is the mean chord between
  walls; L = 1/<|k|> of the papers grows more slowly than the domains themselves.

**Cost.** `quick`: minutes on two cores, 16 × 16 to learn, 160 × 160 to quench. `paper`: hours on a workstation, most of
them diagonalisations of 900 × 900 matrices; 30 × 30 and 2000 training snapshots, 1000 × 1000 to quench.

    nearsight run holstein --preset quick
    nearsight run holstein --preset quick --set filling=0.5     # quenches at fixed number, as in the papers
    nearsight run holstein --preset paper --set device=cuda --set large.length=400
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field

import nearsight as ns
from nearsight import analysis
from nearsight.dynamics import Langevin, State
from nearsight.forcefields import ExactForceField, FixedNumber, ForceField, SumForceField
from nearsight.hamiltonians import Holstein
from nearsight.lattices import Lattice, square
from nearsight.solvers import Dense
from nearsight.studies import figures, snapshots
from nearsight.studies.checks import Below, Check, Published
from nearsight.studies.ensembles import at_end
from nearsight.studies.fits import exponent, grows_freely, growth_law, with_fits
from nearsight.studies.options import Count, Positive
from nearsight.studies.quench import Compared, Comparison, Large, QuenchConfig, QuenchStudy, energy_per_site
from nearsight.studies.quench import recipe as quench_recipe
from nearsight.studies.run import Run
from nearsight.studies.sections import Convolution, LangevinQuench
from nearsight.studies.settings import Section
from nearsight.studies.study import Cost
from nearsight.studies.system import System
from nearsight.training import FitOptions, Recipe

ALLEN_CAHN = Published(0.5, "Allen, Cahn, Acta Metall. 27, 1085 (1979)")
LENGTHS = {"chord": "domain size, mean chord", "R": "half height of C(r)", "L": "length L = 1/<|k|>"}
PAPER_ERROR = Published(0.023, "arXiv:2201.00798, fig. 5", note="correlation-matrix descriptor, 30 × 30")


class Model(Section):
    """Parameters of :class:`nearsight.hamiltonians.Holstein`; k = 0.67 g and κ = 0.12 g as in the thesis."""

    t: float = 1.0
    g: Positive = 1.5
    k: Positive = 1.005
    kappa: float = 0.18
    spins: Literal[1, 2] = 1


class Network(Convolution):
    """What learns the electrons."""

    kind: Literal["convolution", "descriptor"] = "convolution"
    """A convolutional network that commutes with D4, or invariants of a neighbourhood and an ordinary network, whose
    force is always the gradient of an energy."""
    cutoff: Positive = 5.0
    """Radius of the neighbourhood of the descriptor; 5 holds the paper's 89 sites."""
    widths: tuple[Count, ...] = (64, 64)
    """Layers of the network on top of the descriptor."""
    channels: Count = 6


class LargeQuench(Large):
    """The large quench, with the learned force field alone."""

    fit_from: Positive = 10.0
    """Laws of growth are fitted from this time on, while the mean chord stays below a quarter of the lattice."""


class Config(QuenchConfig):
    """Everything that decides the numbers of a run."""

    model: Model = Model()
    mu: float = 0.0
    """Chemical potential at which electrons are learned, and at which they are quenched if ``filling`` is not set; 0 is
    half filling, by the symmetry of particles and holes. A density at fixed μ is local, so that it can be learned."""
    filling: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Electrons per site and spin, fixed in the quenches: the ensemble of the papers. The network is the same, with
    :class:`nearsight.forcefields.FixedNumber` around it, which makes its forces about five times slower."""
    kT: Positive = 0.1
    """Temperature of the electrons and of the bath of the field."""
    network: Network = Network()
    quench: LangevinQuench = LangevinQuench()
    comparison: Comparison = Comparison(quenches=32)
    large: LargeQuench = LargeQuench()

    @property
    def mean_density(self) -> float:
        """Electrons per site about which charge order is measured."""
        return self.model.spins * (0.5 if self.filling is None else self.filling)


def physics(c: Config, lattice: Lattice) -> System:
    """Electrons at fixed μ are learned; quenches may fix their number."""
    model = Holstein(lattice, **c.model.model_dump())

    def build_model(rng: torch.Generator) -> ForceField:
        if c.network.kind == "descriptor":
            descriptor = ns.descriptors.Irreps(lattice, model.field_type, cutoff=c.network.cutoff)
            return ns.LearnedForceField(descriptor, ns.networks.MLP(c.network.widths, rng=rng))
        # At half filling the exact energy is even in Q, and so is the learned one.
        return c.network.build(lattice, model.field_type, rng, parity="odd" if c.mu == 0 else None)

    exact = ExactForceField(model, Dense(mu=c.mu, kT=c.kT))
    filling = c.filling

    def at_fixed_number(electrons: ForceField) -> SumForceField:
        assert filling is not None
        return FixedNumber(electrons, c.model.g * c.model.spins * (filling - 0.5)) + exact.classical

    return System(
        exact=exact,
        canonical=None if filling is None else ExactForceField(model, Dense(filling=filling, kT=c.kT)),
        dress=None if filling is None else at_fixed_number,
        scheme=Langevin(dt=c.quench.dt, kT=c.kT, damping=c.quench.damping, mass=c.quench.mass),
        initial_fields=partial(c.quench.initial_fields, lattice, 1),
        build_model=build_model,
        time="1/t",
    )


def observe(c: Config, system: System, state: State) -> xr.Dataset:
    """Domains of the charge-density wave."""
    lattice = system.lattice
    phi = analysis.cdw_order(system.density(state.field, state.forces.force), lattice, mean=c.mean_density)
    S, sigma = analysis.structure_factor(phi, lattice), analysis.ising_sign(phi, lattice)
    observed = {
        "L": analysis.correlation_length(S, lattice),
        "chord": analysis.mean_chord(sigma, lattice),
        "C": analysis.correlation(phi, lattice),
        "S": analysis.shell_average(S, lattice),
        "Phi": analysis.global_order(phi),
        "walls": analysis.wall_density(sigma, lattice),
    }
    return xr.Dataset(observed).assign(energy_per_site(system, state))


def maps(c: Config, system: System, state: State) -> xr.Dataset:
    n = system.density(state.field[0], state.forces.force[0])
    phi = analysis.cdw_order(n, system.lattice, mean=c.mean_density)
    return system.grids(density=(n, "density"), phi=(phi, "charge-density wave"))


# --- checks -----------------------------------------------------------------------------------------------------------


def compare_snapshots(run: Run, c: Config, system: System, learned: ForceField) -> tuple[xr.Dataset, list[Check]]:
    """Density errors on the test trajectories, symmetry, and the ordered state."""
    test = snapshots.split(run, c.fit, c.seed).test
    total = learned + system.exact.classical
    exact_n = system.density(test.field, test.force).numpy()
    learned_n = system.density(test.field, snapshots.forces(total, test.field)).numpy()
    symmetry = snapshots.symmetry_error(total, system.model.field_type, test.field[:4])
    dataset = snapshots.errors_by_kind(exact_n, learned_n, test, quantity="density", units="1", symmetry=symmetry)
    error = learned_n - exact_n
    checkerboard = torch.from_numpy((-1.0) ** system.lattice.cells.sum(axis=1)).unsqueeze(-1)
    return dataset, [
        Check(
            "density error on unseen trajectories, standard deviation",
            value=float(error.std()),
            published=PAPER_ERROR,
            criterion=Below(0.006),
            note=f"{len(test)} snapshots of {len(np.unique(test.trajectory))} trajectories",
        ),
        Check("density error, rms", value=snapshots.rms(error)),
        Check("density error, largest", value=float(np.abs(error).max())),
        snapshots.symmetry_check(symmetry),
        snapshots.ordered_state(system.exact, total, checkerboard, most=10.0, infinite=2.3428),
    ]


def analyse(run: Run, c: Config, growth: xr.Dataset) -> tuple[xr.Dataset, list[Check]]:
    """Domains grow as (t - t0)^α where they have formed and the torus does not matter yet: by three lengths."""
    if "chord" not in growth:  # a quench of 0.1, without C(r)
        chord = 1 / growth.walls.where(growth.walls > 0)
        growth = growth.assign(chord=chord.assign_attrs(long_name="mean chord of domains", units="a"))
    if "C" in growth:
        growth = growth.assign(R=analysis.crossing_length(growth.C).assign_attrs(long_name="half height of C(r)"))
    free = grows_freely(growth.chord, since=c.large.fit_from, below=c.large.length / 4)
    law = partial(growth_law, rng=run.rng("bootstrap"), since=0.0, least=5)
    lengths = {name: growth[name].isel(time=free) for name in LENGTHS if name in growth}
    laws = {name: law(L, fit=partial(analysis.growth_exponent, onset=None)) for name, L in lengths.items()}
    size = LENGTHS["chord"]
    return with_fits(growth, **laws), [
        *(at_end(LENGTHS[name], growth[name].isel(time=-1)) for name in lengths),
        exponent(laws["chord"], ALLEN_CAHN, name=f"exponent of growth, (t - t0)^α: {size}"),
        exponent(law(lengths["chord"]), ALLEN_CAHN, name=f"exponent of growth with t0 = 0, t^α: {size}"),
        *(exponent(laws[k], name=f"exponent of growth, (t - t0)^α: {LENGTHS[k]}") for k in lengths if k != "chord"),
    ]


# --- figures ----------------------------------------------------------------------------------------------------------


def _scattering(run: Run, c: Config) -> Any:
    n = run.observable("maps").density.isel(time=-1)
    lattice = square(c.large.length)
    S = analysis.structure_factor((n - n.mean()).values.reshape(-1), lattice)
    return ns.plots.zones(S.assign_coords(time=n.time), lattice, about=(np.pi, np.pi))


# --- presets ----------------------------------------------------------------------------------------------------------


def recipe(trajectories: Sequence[int], snapshots: Sequence[int], steps: int = 100) -> Recipe:
    """Random fields; the quench itself, at temperatures around its own; descent from random fields; the checkerboard,
    relaxed and shaken by as much as temperature does."""
    rates, descent = {"dt": 0.2, "mass": 1.0, "burn_in": 0, "every": 8}, {"dt": 0.1, "steps": steps}
    return quench_recipe(
        trajectories, snapshots, random={"amplitude": (0.2, 2.0)},
        thermal={"kT": (0.05, 0.2), "amplitude": (0.3, 0.8), **rates},
        relaxing=descent,
        near_equilibrium={"wavevector": (0.5, 0.5), "amplitude": (1.0, 2.5), "shake": (0.02, 0.5), **descent},
    )  # fmt: skip


PRESETS = {
    "quick": Config(  # a laptop: the whole study in minutes on two cores
        recipe=recipe((36, 36, 28, 16), (4, 10, 8, 5)),
        fit=FitOptions(steps=11000, learning_rate=1e-2, weight_decay=0.1),
    ),
    "paper": Config(  # the lattice and the number of snapshots of the paper; hours, most of it diagonalisation
        length=30,
        recipe=recipe((100, 100, 75, 50), (5, 15, 8, 5)),
        network=Network(channels=8, radii=(2.3, 1.5, 1.5, 1.5)),
        fit=FitOptions(steps=40000, learning_rate=1e-2, weight_decay=0.1, threads=None),
        comparison=Comparison(length=30, quenches=48, duration=30.0, records=10),
        large=LargeQuench(length=1000, duration=1000.0, records=40),
    ),
    "tiny": Config(  # seconds: shows that the machinery works, and nothing about physics
        length=6,
        recipe=recipe((3, 3, 3, 3), (2, 3, 4, 2), steps=10),
        fit=FitOptions(steps=150, validate_every=50, checkpoint_every=5),
        comparison=Comparison(length=6, quenches=20, duration=2.0, records=4, speed_length=6),
        large=LargeQuench(length=24, duration=4.0, records=10, fit_from=0.5, guard=10.0),
    ),
}

STUDY = QuenchStudy(
    question="Does a force field learned on a small lattice let charge-density waves grow as exact electrons do?",
    title="Holstein model: charge-density waves after a quench",
    presets=PRESETS,
    cost={"quick": Cost({"generate": 34, "train": 111, "validate": 24, "simulate": 18, "report": 2}, megabytes=23)},
    physics=physics,
    observe=observe,
    maps=maps,
    compare={
        "L": Compared("length L(t) = 1/<|k|>", log=True),
        "C": Compared("correlation C(r, t)"),
        "Phi": Compared("global order |Φ|(t)"),
    },
    matched_noise="L",
    snapshots=compare_snapshots,
    analyse=analyse,
    figures={
        "domains": figures.maps("phi", "density"),
        "growth": figures.growth("chord", "R", "L"),
        "comparison": figures.comparison("L", "Phi"),
        "correlations": figures.profiles("C"),
        "parity": figures.parity("density", symbol="n"),
        "errors": figures.errors("density", symbol="n", published=PAPER_ERROR),
        "errors_by_kind": figures.errors_by("kind", "density"),
        "structure_factor": _scattering,
        "symmetry": figures.symmetry,
    },
)
