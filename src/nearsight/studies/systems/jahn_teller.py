"""Cooperative Jahn-Teller model: orbital order after a quench.

**Question.** Does a force field learned on a small lattice let orbital order grow, and freeze, as exact electrons do?

**System.** Spinless e_g electrons, two orbitals a = x² - y² and b = 3z² - r² per site of the square lattice, coupled to
the breathing mode Q1 and the doublet (Qx, Qz) of their octahedron:

    H = Σ_γ Σ_<ij>||γ (t^γ_µν c_iµ† c_jν + h.c.) - λ Σ_i [Q1_i n_i + Qx_i τx_i + Qz_i τz_i]
    V = K/2 Σ_i [β Q1² + Qx² + Qz²],    m Q̈ + damping Q̇ = -∂V/∂Q + λ (<n>, <τx>, <τz>) + η

with λ²/(Kt) = 1.35, β = 2, at f = 0.5 (one electron per site) and f = 0.49. Domains of the two C-type orders, with
Qx = ±0.41 on the sublattices, grow from random distortions. The order parameter is φ_i = (Qx_i - mean of its 4
neighbours)/2 · (-1)^i, the unit of time τ0 = √(m/K).

**One network for every filling.** It learns electrons at µ = 0, whose force is local, from exact quenches at fixed
number that are shifted there by µ/λ in Q1; in the quenches `FixedNumber` finds the shift that gives the number.

**What to expect.** Thesis, sec. 7.3.4: error of the forces 0.005 λ, printed as a mean square, of the size of an rms.
Infinite lattice, T = 0: energies per site of C-type order, charge-density wave and undistorted metal -1.95393,
-1.94235, -1.938; Qx = ±0.4066; gap 0.88 t. Sec. 7.3.5: L ~ (t - t0)^½ until t = 15 to 20 τ0, then frozen; walls along x
and y; holes on the walls at f = 0.49.

**Cost.** `quick`: ten minutes on two cores. `paper`: a day on a workstation, most of it diagonalisations of 1800 × 1800
matrices; 30 × 30 to learn, 40 quenches of 100 × 100.

    nearsight run jahn_teller --preset quick --set network.hybrid=true     # a network of its own for the breathing mode
    nearsight run jahn_teller --preset quick --set network.learns=total    # the total force, as in the thesis
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field, model_validator

import nearsight as ns
from nearsight import analysis
from nearsight.analysis.order import CHECKERBOARD
from nearsight.dynamics import Langevin, State
from nearsight.forcefields import FixedNumber, ForceField
from nearsight.hamiltonians.jahn_teller import MODES
from nearsight.lattices import Lattice
from nearsight.studies import figures, quench, snapshots
from nearsight.studies.checks import DISSERTATION, Above, Below, Check, Published, Within
from nearsight.studies.ensembles import at_end, mean_check
from nearsight.studies.fits import fits, with_slowing
from nearsight.studies.options import Length, NotNegative, Positive, Window
from nearsight.studies.quench import Compared, QuenchConfig, QuenchStudy
from nearsight.studies.run import Run
from nearsight.studies.sections import LangevinQuench
from nearsight.studies.system import System
from nearsight.studies.systems import _jahn_teller_electrons as electrons
from nearsight.training import FitOptions, Recipe

Filling = Annotated[float, Field(gt=0, lt=1)]
"""Electrons per orbital: a site of two orbitals holds 2f of them."""
NUMBER_TOL = 1e-4
"""Allowed error of the mean electron force at fixed number, far below that of a learned force."""
THESIS = f"{DISSERTATION}, sec. 7.3.4"


class Quench(LangevinQuench):
    """Langevin dynamics from a random field; times in units of τ0 = √(m/K), damping in units of 1/τ0."""

    amplitude: Positive = 0.3
    """Of every mode; the ordered state has |Qˣ| = 0.41."""
    kT: NotNegative = 0.01
    """Temperature of the bath of the modes."""
    dt: Positive = 0.05
    damping: NotNegative = 0.25


class Comparison(quench.Comparison):
    length: Length = 14
    filling: Filling = 0.49
    duration: Positive = 15.0
    """The fast stage of the growth."""


class Large(quench.Large):
    """The large quenches, with the learned force field alone, at every filling of ``fillings``."""

    length: Length = 64
    records: Annotated[int, Field(ge=6)] = 24
    fit: Window = (3.0, 15.0)
    """The Allen-Cahn law is fitted to times in this interval, before the growth freezes in the thesis."""


class Config(QuenchConfig):
    """Everything that decides the numbers of a run."""

    length: Length = 12
    model: electrons.Model = electrons.Model()
    fillings: tuple[Filling, ...] = (0.5, 0.49)
    """Fillings at which data are made and large lattices are quenched."""
    twist: float = 0.5 * math.pi
    """Phase that exact electrons pick up across each boundary; it breaks the symmetry of the square by 0.0015. At 0
    matrices are real, and solved in half the time."""
    electron_kT: Positive = 0.05
    shift: NotNegative = 0.25
    """Largest uniform shift of Q¹ of the second copy of a snapshot, in either direction."""
    network: electrons.Network = electrons.Network()
    quench: Quench = Quench()
    comparison: Comparison = Comparison()
    large: Large = Large()

    @model_validator(mode="after")
    def _distinct(self) -> Config:
        if not self.fillings or len(set(self.fillings)) < len(self.fillings):
            raise ValueError(f"fillings must be one or more different numbers, got {self.fillings}")
        return self


def physics(c: Config, lattice: Lattice, filling: float | None = None, *, periodic: bool = False) -> System:
    """Electrons at μ = 0 are learned; quenches have a fixed number of them."""
    filling = c.comparison.filling if filling is None else filling
    exact, canonical = (electrons.exact(c, lattice, f, periodic=periodic) for f in (None, filling))
    tau = math.sqrt(c.quench.mass / c.model.K)
    rates: dict[str, float] = {"dt": c.quench.dt * tau, "damping": c.quench.damping * c.quench.mass / tau}
    return System(
        exact=exact,
        canonical=canonical,
        dress=lambda part: FixedNumber(part, c.model.lam * (2 * filling - 1), tolerance=NUMBER_TOL) + exact.classical,
        scheme=Langevin(kT=c.quench.kT, mass=c.quench.mass, **rates),
        initial_fields=partial(c.quench.initial_fields, lattice, 3),
        build_model=lambda rng: electrons.joined(c, lattice, electrons.networks(c, lattice, rng)),
        time="τ0",
        unit=tau,
    )


# --- what is measured -------------------------------------------------------------------------------------------------


def observe(c: Config, system: System, state: State) -> xr.Dataset:
    """Orbital order, its domains and their walls, and where the charge is."""
    lattice, Qx = system.lattice, state.field.double().cpu()[..., 1]
    n = system.density(state.field, state.forces.force)
    phi, S = analysis.contrast_order(Qx, lattice), analysis.structure_factor(Qx, lattice)
    sigma = analysis.ising_sign(phi, lattice)
    charge_order = analysis.local_amplitude(analysis.contrast_order(n, lattice), lattice)
    profile = analysis.wall_profile(n, sigma, lattice).drop_vars("at")
    spread = {"long_name": "standard deviation of the density", "units": "1"}
    observed = {
        "L": analysis.correlation_length(S, lattice, about=CHECKERBOARD),
        "C": analysis.axial_correlation(Qx, lattice),
        "S": analysis.shell_average(S, lattice, about=CHECKERBOARD),
        "Phi": analysis.global_order(phi),
        "phi_rms": quench.rms_over_sites(phi, "rms of the local order parameter"),
        "walls": analysis.wall_density(sigma, lattice),
        "chord": analysis.mean_chord(sigma, lattice),
        "n_std": ("replica", n.std(-1, correction=0).numpy(), spread),
        "cdw": quench.rms_over_sites(charge_order, "rms amplitude of the charge order"),
        **analysis.wall_shape(sigma, lattice).rename(length="wall_length"),
        **profile.rename(deviation="charge", spread="charge_spread", sites="charge_sites"),
    }
    return xr.Dataset(observed).assign(quench.energy_per_site(system, state))


def maps(c: Config, system: System, state: State) -> xr.Dataset:
    field, lattice = state.field[0].double().cpu(), system.lattice
    n = system.density(field, state.forces.force[0])
    shown = system.grids(
        phi=(analysis.contrast_order(field[:, 1], lattice), "orbital order"),
        density=(n, "density"),
        cdw=(analysis.local_amplitude(analysis.contrast_order(n, lattice), lattice), "charge order"),
        **{name: (field[:, k], name) for k, name in enumerate(MODES)},
    )
    shown.density.attrs["centre"] = 1.0
    return shown


# --- checks -----------------------------------------------------------------------------------------------------------


def compare_snapshots(run: Run, c: Config, system: System, learned: ForceField) -> tuple[xr.Dataset, list[Check]]:
    """Force errors in units of λ on the test trajectories, at fixed number, symmetry, and the ordered states."""
    test = snapshots.split(run, c.fit, c.seed).test
    n = system.density(test.field, test.force).mean(-1)
    # Of the two copies of a snapshot, the one whose electrons are those at this filling.
    rows = [torch.nonzero((n - 2 * filling).abs() < 1e-8).squeeze(-1) for filling in c.fillings]
    dressed = [physics(c, system.lattice, filling).learned(learned) for filling in c.fillings]
    found = torch.cat([snapshots.forces(f, test.field[here]) for f, here in zip(dressed, rows, strict=True)])
    here = torch.cat(rows)
    field, exact = test.field[here], test.force[here]
    at_fixed_mu = snapshots.forces(learned, field) + system.exact.classical(field).force
    exact_f, found_f = (force.numpy() / c.model.lam for force in (exact, found))
    symmetry = snapshots.symmetry_error(learned, system.model.field_type, test.field[:4])
    options: dict[str, Any] = {"rows": here.numpy(), "components": {"mode": list(MODES)}, "symmetry": symmetry}
    dataset = snapshots.errors_by_kind(exact_f, found_f, test, quantity="force", units="λ", **options)
    error, local = found_f - exact_f, (at_fixed_mu - exact).numpy() / c.model.lam
    as_rms, printed = (Published(0.005, THESIS, note=note) for note in ("if it is an rms", "as printed"))
    below, note = Below(0.0025), f"{len(error)} unseen snapshots at fixed number"
    mean_square = float((error**2).mean())
    return dataset, [
        Check("force error, rms", snapshots.rms(error), unit="λ", published=as_rms, criterion=below, note=note),
        Check("force error, mean square", mean_square, unit="λ²", published=printed, criterion=below),
        *(Check(f"force error of {m}, rms", snapshots.rms(error[..., k]), unit="λ") for k, m in enumerate(MODES)),
        Check("force error at fixed μ, rms", snapshots.rms(local), unit="λ", note="the local part"),
        Check("force error, largest", float(np.abs(error).max()), unit="λ"),
        snapshots.symmetry_check(symmetry),
        *_ordered_states(c, system.lattice, learned),
    ]


STATES = {"C-type": -1.95393, "charge density wave": -1.94235, "uniform Qx": -1.938}
"""Orders of the half-filled lattice in the order of their energies per site, infinite lattice, T = 0."""


def _ordered_states(c: Config, lattice: Lattice, learned: ForceField) -> list[Check]:
    """The three orders of the half-filled lattice, relaxed by exact and by learned forces, and their exact energies."""
    half, sign = physics(c, lattice, 0.5), torch.tensor(analysis.sublattice_sign(lattice))
    none = torch.zeros_like(sign)
    modes = [(none, 0.41 * sign, none), (0.1 * sign, none, -0.15 * sign), (none, none + 0.1, none)]
    starts = dict(zip(STATES, (torch.stack(mode, dim=-1) for mode in modes), strict=True))
    checks, (exact, found) = snapshots.relaxed_states(half.quenched, half.learned(learned), starts, STATES)
    order = [float(abs(analysis.contrast_order(field[..., 1], lattice).mean())) for field in (exact, found)]
    note, within = "0.4066 on the infinite lattice at T = 0 for the default parameters", Within(0.02, relative=True)
    name = "orbital order |φ| of the relaxed C-type state"
    return [*checks, Check(name, order[1], exact=order[0], criterion=within, note=note)]


def analyse(run: Run, c: Config, growth: xr.Dataset) -> tuple[xr.Dataset, list[Check]]:
    """The Allen-Cahn law, when growth leaves it, the walls and the charge on them, for every filling."""
    since, until = c.large.fit
    growth = with_slowing(growth, "filling", rng=run.rng, since=since, until=until, below=c.large.length / 8)
    end, found = growth.isel(time=-1), fits(growth)
    return growth, [check for f in c.fillings for check in _growth_checks(f, end.sel(filling=f), found)]


def _growth_checks(filling: float, end: xr.Dataset, laws: Mapping[str, Any]) -> list[Check]:
    """What the quench at one filling ends at."""
    name, beside, gone = f"f = {filling:g}", end.isel(distance=0), "walls in fewer than two replicas"
    law, fall = (laws.get(f"{of} {filling:g}") for of in ("L", "departure"))
    mean = partial(mean_check, missing=gone)
    charge = mean(f"{name}: density at the walls minus the mean", beside.charge, weights=beside.charge_sites)
    holes = -charge.value / charge.error if charge.value is not None and charge.error else None
    note = gone if charge.value is None else "thesis: holes gather there at f = 0.49, no net charge at ½"
    diagonal, many = (100 * end.diagonal).assign_attrs(units="%"), Above(3.0) if filling < 0.5 else None
    growing = str(law) if law else "too few records while domains grow"
    falling = str(fall) if fall else "no window of the local exponent was recorded in full"
    freezing = Published(17.5, f"{DISSERTATION}, sec. 7.3.5", note="15 to 20 τ0", error=2.5)
    below = f"{name}: time from which the local exponent stays below ¼"
    return [
        at_end(f"{name}: domain size, mean chord", end.chord),
        at_end(f"{name}: length L = 1/<|k - Q|>", end.L),
        Check(f"{name}: a of L = a (t - t0)^½", law and law.a, law and law.a_sigma, unit="a/√τ0", note=growing),
        Check(below, fall and fall.time, unit="τ0", published=freezing, note=falling),
        mean(f"{name}: length of the walls that runs diagonally", diagonal, weights=end.wall_length),
        charge,
        Check(f"{name}: holes at the walls, in standard errors", holes, note=note, criterion=many),
        at_end(f"{name}: charge order, rms amplitude", end.cdw),
    ]


def _walls(run: Run, c: Config) -> Any:
    """The direction of walls over time, and the charge near them at the end."""
    observed = run.observable("growth")
    last = observed.isel(time=-1)
    directions = analysis.weighted_mean_and_error(observed.diagonal, observed.wall_length)
    charge = analysis.weighted_mean_and_error(last.charge, last.charge_sites)
    directions["mean"].attrs["long_name"] = "fraction of diagonal walls"
    return ns.plots.compare(directions, charge, by="filling", levels=(0.5, 0.0))


TAU = 1.1574**-0.5
"""τ0 at the default K, in units of ħ/t: recipes know nothing of the model."""


def recipe(trajectories: Sequence[int], snapshots: Sequence[int], every: int, relaxing: int, steps: int) -> Recipe:
    """Random fields; the quench itself at temperatures around its own; descent; the checkerboard of all modes, relaxed
    and shaken by as much as temperature does."""
    rates, descent = {"dt": 0.3 * TAU, "damping": 0.25 / TAU, "mass": 1.0}, {"dt": 0.2, "damping": 0.5}
    return quench.recipe(
        trajectories, snapshots, random={"amplitude": (0.1, 0.6)},
        thermal={"kT": (0.001, 0.05), "amplitude": (0.2, 0.4), **rates, "burn_in": 0, "every": every},
        relaxing={"amplitude": (0.05, 0.6), **descent, "steps": relaxing},
        near_equilibrium={
            "wavevector": (0.5, 0.5), "amplitude": (0.2, 0.5), "shake": (0.01, 0.2), **descent, "steps": steps,
        },
    )  # fmt: skip


PRESETS = {
    "quick": Config(  # a laptop: minutes on two cores
        recipe=recipe((24, 40, 20, 8), (4, 13, 8, 5), every=7, relaxing=60, steps=60),
        fit=FitOptions(steps=8000, learning_rate=1e-2, weight_decay=0.1),
        quench=Quench(dt=0.1),
    ),
    # The lattice, the snapshots (1700 random, 1300 relaxing, 800 near equilibrium, in halves for the two fillings) and
    # the quenches of the thesis.
    "paper": Config(
        length=30,
        twist=0.0,
        electron_kT=0.01,
        recipe=recipe((170, 30, 10, 40), (5, 20, 5, 10), every=14, relaxing=100, steps=60),
        network=electrons.Network(channels=12, radii=(2.3, 2.3, 1.5, 1.5)),
        fit=FitOptions(steps=60000, learning_rate=1e-2, weight_decay=0.1, threads=None),
        comparison=Comparison(length=30, quenches=40, duration=30.0, records=10),
        large=Large(length=100, replicas=40, duration=200.0, records=40),
    ),
    "tiny": Config(  # seconds: shows that the machinery works, and nothing about physics
        length=6,
        recipe=recipe((3, 3, 3, 3), (2, 3, 4, 2), every=5, relaxing=10, steps=10),
        network=electrons.Network(channels=3, radii=(1.5, 1.5)),
        fit=FitOptions(steps=150, validate_every=50, checkpoint_every=5),
        quench=Quench(dt=0.2),
        comparison=Comparison(length=6, quenches=20, duration=3.0, records=4, speed_length=6),
        large=Large(length=12, duration=6.0, records=8, fit=(0.5, 6.0), guard=10.0),
    ),
}


STUDY = QuenchStudy(
    question="Does a force field learned on a small lattice let orbital order grow, and freeze, as exact electrons do?",
    title="Cooperative Jahn-Teller model: orbital order after a quench",
    presets=PRESETS,
    physics=physics,
    generate=electrons.generate,
    train=electrons.train,
    load_model=electrons.load_model,
    timed={"periodic": True},  # real matrices: the faster of the two
    observe=observe,
    maps=maps,
    compare={
        "C": Compared("correlation C^xx(r, t)"),
        "L": Compared("length L(t) = 1/<|k - Q|>", log=True),
        "phi_rms": Compared("local orbital order, rms φ(t)"),
        "n_std": Compared("spread of the density, rms n - 2f"),
    },
    matched_noise="L",
    snapshots=compare_snapshots,
    along="filling",
    analyse=analyse,
    figures={
        "domains": figures.maps("phi", "density", "cdw", by="filling"),
        "growth": figures.growth("L", "exponent", by="filling", log="x", levels=(None, 0.25)),
        "structure_factor": figures.profiles("S", group="growth", by="filling", log="xy"),
        "walls": _walls,
        "correlations": figures.profiles("C", 6),
        "comparison": figures.comparison("L", "phi_rms"),
        "parity": figures.parity("force", by="mode", published=Published(0.005, THESIS)),
        "errors_by_kind": figures.errors_by("kind", "force"),
        "symmetry": figures.symmetry,
    },
)
