"""Peierls: bond order of four kinds after a quench.

**Question.** Does a force field learned on a small lattice let the order of bonds grow as exact electrons do, and what
are the laws of that growth on a lattice that no exact solver can reach?

**System.** Spinless electrons on the square lattice at half filling; atoms displaced by u_i, a vector, stretch bonds:

    H = -Σ_<ij> [t - α (u_j - u_i)·e_ij] (c_i† c_j + h.c.) - t2 Σ_diagonals (c_i† c_j + h.c.)
    V = k/2 Σ_i u_i² + κ Σ_<ij> u_i·u_j,    γ du/dt = -∂<H + V>/∂u + η,    <η η'> = 2 γ kT δ(t - t')

with t = 2.5, t2 = 0.5, α = 4, k = 30, κ = 4, γ = 1, electrons and bath at kT = 1e-4. From random u the lattice orders
at (π, π) along one axis: ψ_i = (-1)^{x+y} (u_x + i u_y) is ±u or ±iu, so that four domains compete. Walls between x
and y domains run along the diagonals; where four domains meet there is a vortex, and it lives long.

**Electrons** are learned at fixed number between antiperiodic boundaries: the node of the ordered semimetal lies on the
mesh of a periodic lattice of even length. μ rises from 1.2 to 4 t2 = 2 as order grows, and the network infers it from
the order around a site. Cold metals see far: on 20 × 20 sites other boundary conditions change forces by 2 % of their
rms at the start, by 10 to 20 % among small domains and by 7 % among large ones, which no local force field can know.
The response that makes order grow is 3 % smaller on the whole torus of 20 × 20 than within 6 sites; on 28 × 28 both
agree. Compared there, walls are equal and the order itself is not: it lags by 3 % at t = 0.2 and leads by 1 % later.

**What to expect.**

- Displacement of the ordered state of the infinite lattice at T = 0: 0.24406, from a sum over wavevectors.
- Rms error of learned forces: ≤ 6 % of the total force's own rms over a quench, ≤ 10 % in its last third alone.
- Walls of learned and exact quenches agree; C(r, t) of 24 of each shows the errors at small, disordered fields.
- Growth L ~ t^α: α = 0.7 early and 1/2 late (H. Jang, Y. Yang, G.-W. Chern, arXiv:2510.20659).

**Cost.** `quick`: ten minutes of one core. `paper`: a day on a workstation, diagonalising 900 × 900 matrices.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

from nearsight import analysis
from nearsight.dynamics import Brownian, State
from nearsight.forcefields import ExactForceField, ForceField
from nearsight.hamiltonians import Peierls
from nearsight.lattices import Lattice
from nearsight.solvers import Dense
from nearsight.studies import figures, snapshots
from nearsight.studies.audits import Auditing
from nearsight.studies.checks import Below, Check, Published
from nearsight.studies.ensembles import at_end
from nearsight.studies.fits import exponent, growth_law, with_fits
from nearsight.studies.options import Count, Positive
from nearsight.studies.quench import Compared, Comparison, Large, QuenchConfig, QuenchStudy
from nearsight.studies.run import Run
from nearsight.studies.sections import Convolution, RandomStart
from nearsight.studies.settings import Section
from nearsight.studies.system import System
from nearsight.training import KINDS, FitOptions, NearEquilibrium, Random, Recipe, Relaxing, Thermal

PAPER = "Jang, Yang, Chern, arXiv:2510.20659"
Even = Annotated[int, Field(ge=2, multiple_of=2)]


class Model(Section):
    """Parameters of :class:`nearsight.hamiltonians.Peierls`."""

    t: float = 2.5
    t2: float = 0.5
    alpha: Positive = 4.0
    k: Positive = 30.0
    kappa: float = 4.0


class Network(Convolution):
    """The convolutional network that learns the electrons' force."""

    channels: Count = 6
    radii: tuple[Positive, ...] = (2.3, 1.5, 1.5, 1.5)
    scales: tuple[Positive, ...] = (4.0, 12.0)


class Quench(RandomStart):
    """Brownian dynamics from random displacements."""

    amplitude: Positive = 0.1
    dt: Positive = 0.03
    damping: Positive = 1.0


class LargeQuench(Large):
    """The large quench, with the learned force field alone; domains grow freely below a quarter of its length."""

    length: Even = 96
    duration: Positive = 30.0
    fit_from: Positive = 0.5
    """Time from which on the early exponent is fitted, until ``crossover``; the late one is fitted from there."""
    crossover: Positive = 4.0
    """Time at which the early exponent ends."""
    audit: Auditing = Auditing(times=2, replicas=1)
    """One replica, since at fixed number only the whole lattice tells."""


class Config(QuenchConfig):
    """Everything that decides the numbers of a run."""

    length: Even = 20
    model: Model = Model()
    kT: Positive = 1e-4
    """Temperature of the electrons and of the bath."""
    network: Network = Network()
    quench: Quench = Quench()
    comparison: Comparison = Comparison(duration=2.0)
    large: LargeQuench = LargeQuench()


def physics(c: Config, lattice: Lattice) -> System:
    """Half-filled electrons between antiperiodic boundaries."""
    model = Peierls(lattice, twist=(np.pi, np.pi), **c.model.model_dump())

    return System(
        exact=ExactForceField(model, Dense(filling=0.5, kT=c.kT)),
        scheme=Brownian(dt=c.quench.dt, kT=c.kT, damping=c.quench.damping),
        initial_fields=partial(c.quench.initial_fields, lattice, 2),
        build_model=partial(c.network.build, lattice, model.field_type),
        time="γ",
    )


def order(field: Tensor, lattice: Lattice) -> xr.DataArray:
    """ψ_i = (-1)^{x+y} (u_x + i u_y) ``(*batch, site)``: ±u in domains along x, ±iu in domains along y."""
    return analysis.staggered(torch.view_as_complex(field.double().cpu().contiguous()), lattice)


def observe(c: Config, system: System, state: State) -> xr.Dataset:
    """Domains of the bond order."""
    lattice = system.lattice
    psi = order(state.field, lattice)
    S, C = analysis.structure_factor(psi, lattice), analysis.correlation(psi, lattice)
    # Turned by 45° the four domains are the four signs of (Re ψ, Im ψ): two Ising variables, and a wall of one or both.
    turned = psi * np.exp(0.25j * np.pi)
    walls = [analysis.wall_density(analysis.ising_sign(part, lattice), lattice) for part in (turned.real, turned.imag)]
    return xr.Dataset(
        {
            "L": analysis.correlation_length(S, lattice),
            "C": C.real.assign_attrs(C.attrs),
            "walls": (0.5 * (walls[0] + walls[1])).assign_attrs(walls[0].attrs),
        }
    )


def maps(c: Config, system: System, state: State) -> xr.Dataset:
    psi = order(state.field[0], system.lattice)
    return system.grids(phi_x=(psi.real, r"$\phi_x$"), phi_y=(psi.imag, r"$\phi_y$"))


def compare_snapshots(run: Run, c: Config, system: System, learned: ForceField) -> tuple[xr.Dataset, list[Check]]:
    """Errors of the force over quenches that no training has seen, symmetry, and the ordered state."""
    test = snapshots.split(run, c.fit, c.seed).test
    total = learned + system.exact.classical
    exact, found = test.force, snapshots.forces(total, test.field)
    forces = exact.flatten(1).numpy(), found.flatten(1).numpy()
    symmetry = snapshots.symmetry_error(total, system.model.field_type, test.field[:4])
    dataset = snapshots.errors_by_kind(*forces, test, quantity="force", units="energy/length", symmetry=symmetry)
    quench = test.kind == KINDS.index("thermal")  # recorded at even times, from the first to the last
    late = quench & (test.time >= 2 / 3 * test.time.max())
    wave = torch.from_numpy((-1.0) ** system.lattice.cells.sum(axis=1))[:, None] * torch.tensor([1.0, 0.0]).double()
    relative = partial(snapshots.relative_rms, found, exact)
    note = f"rms of {len(np.unique(test.trajectory[quench]))} quenches over the rms of the total force"
    return dataset, [
        Check("error of the force over a quench", value=relative(quench), criterion=Below(0.06), note=note),
        Check("error of the force in the last third of a quench", value=relative(late), criterion=Below(0.10)),
        snapshots.symmetry_check(symmetry),
        snapshots.ordered_state(system.exact, total, wave, most=1.0, infinite=0.24406),
    ]


def analyse(run: Run, c: Config, growth: xr.Dataset) -> tuple[xr.Dataset, list[Check]]:
    """L ~ t^α before and after the crossover, with L from walls: stripes of width L have 1/(2L) of them per bond."""
    rng, below = run.rng("bootstrap"), c.large.length / 4
    size = (0.5 / growth.walls.where(growth.walls > 0)).assign_attrs(long_name="domain size", units="a")
    early = growth_law(size, rng=rng, since=c.large.fit_from, until=c.large.crossover, below=below)
    late = growth_law(size, rng=rng, since=c.large.crossover, below=below)
    return with_fits(growth.assign(size=size), size=late, early=early), [
        at_end("walls of the large quench", growth.walls.isel(time=-1)),
        exponent(early, Published(0.7, PAPER), name="exponent of early growth, L ~ t^α"),
        exponent(late, Published(0.5, PAPER), name="exponent of late growth, L ~ t^α"),
    ]


def recipe(quenches: int, snapshots: int, duration: float, dt: float = 0.03) -> Recipe:
    """Quenches recorded at even times, and as many recorded at logarithmic times."""
    steps, many = round(duration / dt), {"trajectories": quenches, "snapshots": snapshots}
    common: dict[str, Any] = {**many, "amplitude": (0.05, 0.15), "kT": (1e-4, 1e-4), "dt": dt, "damping": 1.0}
    return Recipe(
        random=Random(trajectories=0, snapshots=1),
        thermal=Thermal(**common, burn_in=0, every=max(1, steps // (snapshots - 1))),
        relaxing=Relaxing(**common, steps=steps),
        near_equilibrium=NearEquilibrium(trajectories=0, snapshots=1),
    )


PRESETS = {
    "quick": Config(recipe=recipe(18, 24, 6.0), fit=FitOptions(steps=2500)),
    "paper": Config(
        length=30,
        recipe=recipe(60, 40, 15.0),
        network=Network(channels=8, radii=(2.3, 2.3, 2.3, 1.5)),
        fit=FitOptions(steps=40000, threads=None),
        comparison=Comparison(length=30, quenches=48, duration=10.0, records=10),
        large=LargeQuench(length=512, duration=300.0, records=40),
    ),
    "tiny": Config(  # seconds: shows that the machinery works, and nothing about physics
        length=6,
        recipe=recipe(3, 4, 0.3),
        network=Network(channels=2, radii=(1.1, 1.1)),
        fit=FitOptions(steps=100, validate_every=50, checkpoint_every=5),
        comparison=Comparison(length=6, duration=0.6, records=4, speed_length=6),
        large=LargeQuench(length=12, duration=1.5, records=8, fit_from=0.1, crossover=0.5, guard=10.0),
    ),
}

STUDY = QuenchStudy(
    question="Does a force field learned on a small lattice let bond order grow as exact electrons do?",
    title="Peierls model: bond order after a quench",
    presets=PRESETS,
    physics=physics,
    observe=observe,
    maps=maps,
    compare={"walls": Compared("walls per bond"), "C": Compared("correlation C(r, t)")},
    matched_noise="L",
    snapshots=compare_snapshots,
    analyse=analyse,
    figures={
        "domains": figures.maps("phi_x", "phi_y"),
        "growth": figures.growth("size"),
        "comparison": figures.comparison("walls", "L"),
        "correlations": figures.profiles("C"),
        "parity": figures.parity("force", symbol="F"),
        "errors_by_time": figures.errors_by("time", "force"),
    },
)
