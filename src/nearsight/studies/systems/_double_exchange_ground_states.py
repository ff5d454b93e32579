"""Double exchange: the model, which phases coexist at which density, and what a fixed number of electrons costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from scipy.spatial import ConvexHull
from torch import Tensor

import nearsight as ns
from nearsight import analysis
from nearsight.fields import perturbed, random_spins, tangent
from nearsight.forcefields import ExactForceField, ForceField
from nearsight.hamiltonians import SDModel, double_exchange
from nearsight.lattices import Lattice, square, torus_distance
from nearsight.solvers import Dense, Poles
from nearsight.studies.checks import Above, Below, Check, Within
from nearsight.studies.options import Count, Length, Positive
from nearsight.studies.quench import QuenchStudy
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.snapshots import BATCH, forces, rms, split
from nearsight.studies.study import Stage
from nearsight.studies.system import System

AFM_ENERGY = -6.31517
"""Energy per site of the half-filled antiferromagnet at J = 6t by an independent diagonalisation; the ferromagnet has
-6."""
DENSE, TOL = 24, 1e-6
"""Edge of a lattice up to which diagonalisation is faster than poles at fixed number, and their largest error of ρ."""
DENSITIES = np.linspace(0.5, 1.0, 201)
"""Electrons per site at which energies are compared."""
ONE_PHASE = 0.01
"""Segments of the hull shorter than this are the curvature of one phase."""
RADII = (-1.0, 0.0, 1.5, 2.0, 2.9, 3.2)
"""Of the discs whose spins are made parallel; -1 for none. 0 reverses one spin, which makes five sites parallel."""


class Model(Section):
    """Parameters of :func:`nearsight.hamiltonians.double_exchange`."""

    t: Positive = 1.0
    """Hopping of nearest neighbours, the unit of energy."""
    J: Positive = 6.0
    """Exchange of electrons and spins."""


class GroundStates(Section):
    """Energies of ordered textures against the density, at kT = 0, and the phases that coexist."""

    mesh: Annotated[int, Field(ge=4, multiple_of=2)] = 240
    """Wave vectors per axis: the electrons of an infinite lattice to 10⁻⁵ t per site."""
    waves: Annotated[int, Field(ge=2)] = 20
    """Wave numbers between 0 and π of spirals, and angles of canted antiferromagnets."""
    random_length: Length = 12
    """Lattice of the random textures."""
    random: Count = 4
    """Their number: quenches start from such."""
    bubble_length: Length = 16
    """Lattice on which ferromagnetic bubbles trap holes in the antiferromagnet."""
    holes: Count = 6
    """Most holes of one bubble."""


def magnet(c: Any, lattice: Lattice) -> SDModel:
    return double_exchange(lattice, **c.model.model_dump())


def exact(c: Any, lattice: Lattice, mu: float | None = None, tol: float = TOL) -> ExactForceField:
    """Electrons of the given number, or of a chemical potential, whatever their number.

    Half filling is μ = 0, by the symmetry of particles and holes and in any texture.
    """
    fixed = {"filling": c.filling} if mu is None and not c.half_filled else {"mu": mu or 0.0}
    small = lattice.shape[0] <= DENSE
    solver = Dense(kT=c.electron_kT, **fixed) if small else Poles(kT=c.electron_kT, tol=tol, **fixed)
    return ExactForceField(magnet(c, lattice), solver)


def solved(forcefield: ExactForceField, field: Tensor, batch: int = BATCH) -> tuple[Tensor, Tensor]:
    """μ ``(*batch)`` and ⟨n_i⟩ ``(*batch, site)`` of the electrons on spins, the occupations of both of theirs."""
    electrons, model = forcefield.electrons, forcefield.model
    parts = [electrons.electrons(part) for part in field.double().flatten(0, -3).split(batch)]
    diagonal = model.rows == model.columns  # of the elements of ρ that the model asks for
    occupation = torch.cat([part.rho[..., diagonal].real for part in parts])
    site = torch.div(model.rows[diagonal], 2, rounding_mode="floor")
    n = torch.zeros(len(occupation), model.lattice.n_sites, dtype=occupation.dtype).index_add_(-1, site, occupation)
    return torch.cat([part.mu for part in parts if part.mu is not None]).reshape(field.shape[:-2]), n.reshape(
        field.shape[:-1]
    )


def antiferromagnet(lattice: Lattice) -> Tensor:
    """Spins along z, up on the sublattice of site 0 ``(site, 3)``."""
    spins = torch.zeros(lattice.n_sites, 3, dtype=torch.float64)
    spins[:, 2] = torch.from_numpy(analysis.sublattice_sign(lattice).astype(float))
    return spins


def with_disc(spins: Tensor, lattice: Lattice, centre: int, radius: float, direction: Tensor) -> Tensor:
    """A copy in which all spins within ``radius`` of a site point along ``direction``."""
    inside = torus_distance(lattice.positions - lattice.positions[centre], lattice) <= radius + 1e-9
    result = spins.clone()
    result[torch.from_numpy(inside)] = direction
    return result


def discs(c: Any, lattice: Lattice, replicas: int, rng: torch.Generator) -> Tensor:
    """Antiferromagnets with one ferromagnetic disc of random place, size and direction each, perturbed
    ``(replica, site, 3)``."""
    low, high = c.dynamics.radius
    fields = []
    for _ in range(replicas):
        centre = int(torch.randint(lattice.n_sites, (), generator=rng))
        radius = low + (high - low) * float(torch.rand((), generator=rng, dtype=torch.float64))
        direction = random_spins(lattice, rng)[0]
        fields.append(with_disc(antiferromagnet(lattice), lattice, centre, radius, direction))
    return perturbed(torch.stack(fields), c.dynamics.spread, rng)


# --- ground states ----------------------------------------------------------------------------------------------------


def ground_states(run: Run, c: Any) -> None:
    """E(n) of every texture, the common tangent, and what it costs to take an electron out of the antiferromagnet."""
    phases = energies(c, run.rng("ground", "random"))
    trapped = bubbles(c)
    run.record("phases", phases)
    run.record("bubbles", trapped)
    run.record_checks("ground_states", checks(c, phases, trapped))


STAGE = Stage(
    "ground_states",
    ground_states,
    ("observables.nc:phases", "observables.nc:bubbles", "checks.json:ground_states"),
)


def levels(c: Any, Q: tuple[float, float], cone: float, *, mesh: int | None = None) -> np.ndarray:
    r"""Levels of the electrons of a spiral on an infinite lattice, sorted; ``mesh``² wave vectors, two levels each.

    Spins turn with the wave vector Q about an axis, at an angle θ (``cone``) to it. Translations followed by rotations
    are symmetries, so that the matrix of a wave vector has two rows,

    .. math:: h(\mathbf k) = \begin{pmatrix} \epsilon(\mathbf k + \mathbf Q/2) - J\cos\theta & -J\sin\theta \\
              -J\sin\theta & \epsilon(\mathbf k - \mathbf Q/2) + J\cos\theta \end{pmatrix}, \qquad
              \epsilon(\mathbf k) = -2t(\cos k_x + \cos k_y).

    Wave vectors are shifted by half a step, which leaves out the points of highest symmetry.
    """
    t, J = c.model.t, c.model.J
    mesh = c.ground.mesh if mesh is None else mesh
    k = 2 * math.pi * (np.arange(mesh) + 0.5) / mesh
    kx, ky = np.meshgrid(k, k, indexing="ij")
    up, down = (-2 * t * (np.cos(kx + s * Q[0] / 2) + np.cos(ky + s * Q[1] / 2)) for s in (1, -1))
    up, down = up - J * math.cos(cone), down + J * math.cos(cone)
    middle, apart = (up + down) / 2, np.hypot((up - down) / 2, J * math.sin(cone))
    return np.sort(np.concatenate([(middle - apart).ravel(), (middle + apart).ravel()]))


def energy_per_site(levels: np.ndarray, sites: int, density: np.ndarray) -> np.ndarray:
    """Energy of the lowest ``density`` · ``sites`` levels per site, the last of them filled in part."""
    filled = np.concatenate([[0.0], np.cumsum(levels)])
    return np.interp(density * sites, np.arange(len(filled)), filled) / sites


def family(c: Any) -> Iterator[tuple[str, float, tuple[float, float], float]]:
    """Name, number (q/π or θ/π), wave vector and cone of every spiral that is compared."""
    pi = math.pi
    yield "ferromagnet", 0.0, (0.0, 0.0), 0.0
    yield "antiferromagnet", 1.0, (pi, pi), pi / 2
    for q in np.linspace(0, 1, c.ground.waves + 1)[1:-1]:
        yield "spiral (q, q)", q, (q * pi, q * pi), pi / 2
        yield "spiral (q, π)", q, (q * pi, pi), pi / 2
        yield "spiral (q, 0)", q, (q * pi, 0.0), pi / 2
        yield "canted antiferromagnet", q / 2, (pi, pi), q * pi / 2


def energies(c: Any, rng: torch.Generator) -> xr.Dataset:
    """The lowest energy per site of each family at every density, and of random spins, from which quenches start."""
    mesh, options = c.ground.mesh, c.ground
    best: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, number, Q, cone in family(c):
        E = energy_per_site(levels(c, Q, cone), mesh**2, DENSITIES)
        old, numbers = best.get(name, (np.full_like(E, np.inf), np.zeros_like(E)))
        best[name] = np.minimum(E, old), np.where(old > E, number, numbers)
    model = magnet(c, square(options.random_length))
    spectra = torch.linalg.eigvalsh(model.matrix(random_spins(model.lattice, rng, options.random))).numpy()
    random = np.mean([energy_per_site(s, model.lattice.n_sites, DENSITIES) for s in spectra], axis=0)
    best["random"] = random, np.zeros_like(random)
    dims = ("texture", "density")
    return xr.Dataset(
        {
            "energy": (dims, np.stack([E for E, _ in best.values()]), {"long_name": "energy per site", "units": "t"}),
            "number": (dims, np.stack([n for _, n in best.values()]), {"long_name": "q/π of spirals, θ/π of cones"}),
        },
        coords={"texture": list(best), "density": ("density", DENSITIES, {"long_name": "electrons per site"})},
    )


def bubbles(c: Any) -> xr.Dataset:
    """Energy per hole of 1, 2, ... holes in a ferromagnetic disc of an antiferromagnet, at kT = 0 ``(radius, holes)``.

    Measured from the energy of the half-filled antiferromagnet; the disc points against the spin in its middle, so that
    the outermost spins join up with the antiferromagnet around as well as they can.
    """
    model = magnet(c, square(c.ground.bubble_length))
    lattice, start = model.lattice, antiferromagnet(model.lattice)
    holes = np.arange(1, c.ground.holes + 1)
    radii = [r for r in RADII if 2 * r < c.ground.bubble_length - 1]
    textures = [start if r < 0 else with_disc(start, lattice, 0, r, -start[0]) for r in radii]
    spectra = [torch.linalg.eigvalsh(model.matrix(spins)).numpy() for spins in textures]
    filled = np.stack([np.concatenate([[0.0], np.cumsum(spectrum)]) for spectrum in spectra])
    energy = (filled[:, lattice.n_sites - holes] - filled[0, lattice.n_sites]) / holes
    return xr.Dataset(
        {"energy": (("radius", "holes"), energy, {"long_name": "energy per hole", "units": "t"})},
        coords={
            "radius": ("radius", radii, {"units": "a"}),
            "holes": ("holes", holes, {"long_name": "holes in one disc"}),
        },
    )


class Coexistence(NamedTuple):
    """The ends of the tangent on which a density lies; equal for one phase."""

    low: float
    high: float
    mu: float
    phases: tuple[str, str]

    @property
    def one_phase(self) -> bool:
        return self.low == self.high


def coexistence(phases: xr.Dataset, density: float = 1.0 - 2 * ONE_PHASE) -> Coexistence:
    """Maxwell's construction: the segment of the lower convex hull of all E(n) on which ``density`` lies, by default
    close to half filling."""
    ordered = phases.energy.sel(texture=phases.texture != "random")
    n, lowest = phases.density.values, ordered.min("texture").values
    hull = np.sort(ConvexHull(np.stack([n, lowest - n * (lowest[-1] - lowest[0])], 1)).vertices)
    below = hull[(lowest[hull] - np.interp(n[hull], n[[0, -1]], lowest[[0, -1]])) <= 1e-12]
    k = min(max(int(np.searchsorted(n[below], density - 1e-9)), 1), len(below) - 1)
    a, b = below[k - 1], below[k]
    mu = float((lowest[b] - lowest[a]) / (n[b] - n[a]))
    names = tuple(str(ordered.texture.values[int(ordered.values[:, i].argmin())]) for i in (a, b))
    if n[b] - n[a] < ONE_PHASE or density >= n[-1] - 1e-9:
        nearest = min((a, b), key=lambda i: abs(n[i] - density))
        name = names[0] if nearest == a else names[1]
        return Coexistence(float(n[nearest]), float(n[nearest]), mu, (name, name))
    return Coexistence(float(n[a]), float(n[b]), mu, (names[0], names[1]))


def checks(c: Any, phases: xr.Dataset, trapped: xr.Dataset) -> list[Check]:
    """Energies at half filling, the phases that coexist, and what holds a hole."""
    half, window = phases.energy.sel(density=1.0), coexistence(phases)
    afm, fm = (float(half.sel(texture=name)) for name in ("antiferromagnet", "ferromagnet"))
    standard = (c.model.t, c.model.J) == (1.0, 6.0)
    tangent = f"common tangent of {len(phases.texture) - 1} families of textures"
    result = [
        Check(
            "half filling: energy per site of the antiferromagnet",
            value=afm,
            unit="t",
            exact=AFM_ENERGY if standard else None,
            criterion=Within(2e-5) if standard else None,
            note=f"mean over {c.ground.mesh}² wave vectors",
        ),
        Check("half filling: energy per site of the ferromagnet", value=fm, unit="t", exact=-c.model.J),
        Check(
            "half filling: antiferromagnet above the lowest texture, per site",
            value=afm - float(half.min()),
            unit="t",
            criterion=Below(0.0),
            note=f"lowest: {half.texture.values[int(half.values.argmin())]!s}",
        ),
        Check("two phases coexist: from the filling", window.low / 2, note=f"{window.phases[0]}, {tangent}"),
        Check("two phases coexist: to the filling", window.high / 2, note=f"{window.phases[1]}, {tangent}"),
        Check("two phases coexist: chemical potential", window.mu, unit="t"),
    ]
    if c.half_filled:
        return result
    found, f = coexistence(phases, c.density), c.filling
    part = None if found.one_phase else 100 * (found.high - c.density) / (found.high - found.low)
    alone, band = (float(trapped.energy.sel(holes=1, radius=r).min()) for r in (trapped.radius, -1.0))
    together = trapped.energy.min("radius")
    return [
        *result,
        Check(
            "distance of the filling to the nearer of those of the phases",
            value=min(f - window.low / 2, window.high / 2 - f),
            criterion=Above(0.0),
        ),
        Check("lever rule: sites that are ferromagnetic", part, unit="%", note="one phase" if part is None else ""),
        Check("one hole in the antiferromagnet", band, unit="t"),
        Check("one hole that reverses spins around it", alone, unit="t", criterion=Below(band)),
        Check("one hole in the ferromagnet", -window.mu, unit="t", criterion=Below(alone)),
        *(
            Check(f"{n} holes in one disc, each", float(together.sel(holes=n)), unit="t")
            for n in together.holes.values[1:]
        ),
    ]


# --- what a fixed number costs a local field --------------------------------------------------------------------------


def at_mean_mu(run: Run, c: Any, system: System) -> ForceField:
    """Electrons at the mean μ of the test trajectories, whose torques are local: at a fixed number a turn of one spin
    moves μ for all. At half filling the number is local."""
    if c.half_filled:
        return system.exact.electrons
    mu, _ = solved(system.exact, split(run, c.fit, c.seed).test.field)
    return exact(c, system.lattice, float(mu.mean())).electrons


def drift(study: QuenchStudy, run: Run, c: Any) -> tuple[xr.Dataset, list[Check]]:
    """Exact torques of the test snapshots at fixed number against exact ones at fixed μ.

    At fixed μ they are local, at fixed number every electron that crosses the Fermi energy anywhere moves μ everywhere.
    Two ways to fix it: one μ for all snapshots, and the mean μ of each time and kind of start, for a network may tell
    from the order it sees how late it is.
    """
    test, lattice = split(run, c.fit, c.seed).test, study.lattice(c.length)
    truth, (mu, _) = tangent(test.force, test.field), solved(exact(c, lattice), test.field)

    def at_fixed_mu(some: np.ndarray) -> Tensor:
        electrons = exact(c, lattice, float(mu[some].mean())).electrons
        return tangent(forces(electrons, test.field[some]), test.field[some]) - truth[some]

    everywhere, at_time = np.arange(len(test)), torch.empty_like(truth)
    for k, t in sorted({*zip(test.kind, test.time, strict=True)}):
        alike = np.flatnonzero((test.time == t) & (test.kind == k))
        at_time[alike] = at_fixed_mu(alike)
    error = {"torque": truth, "at_mean": at_fixed_mu(everywhere), "at_time": at_time}
    names = {"torque": "torque", "at_mean": "error at the mean μ", "at_time": "error at μ(t)"}
    dataset = xr.Dataset(
        {
            "mu": ("snapshot", mu.numpy(), {"long_name": "chemical potential", "units": "t"}),
            **{
                key: ("snapshot", H.square().sum(-1).mean(-1).sqrt().numpy(), {"long_name": names[key], "units": "t"})
                for key, H in error.items()
            },
        },
        coords={"time": ("snapshot", test.time, {"units": "ħ/t"}), "trajectory": ("snapshot", test.trajectory)},
    )
    if c.half_filled:
        return dataset, [Check("chemical potential of the data", 0.0, unit="t", note="by symmetry, in every texture")]
    ends = {"first": mu[test.time == test.time.min()], "last": mu[test.time == test.time.max()]}
    relative = {key: rms(H.numpy()) / rms(truth.numpy()) for key, H in error.items()}
    note = "a local network sees no μ: of this much it can learn only what the order around a site tells"
    return dataset, [
        *(Check(f"chemical potential of the {k} snapshots", float(v.mean()), unit="t") for k, v in ends.items()),
        *(Check(f"spread of μ of the {k} snapshots", float(v.std()), unit="t") for k, v in ends.items()),
        Check("relative rms error of exact torques at the mean μ of all snapshots", relative["at_mean"], note=note),
        Check("relative rms error of exact torques at the mean μ of each time", relative["at_time"]),
    ]


# --- figures ----------------------------------------------------------------------------------------------------------


def draw_phases(run: Run, c: Any) -> Any:
    """Energies minus the common tangent, on which the phases that coexist lie."""
    energy, found = run.observable("phases").energy, coexistence(run.observable("phases"))
    touching = float(energy.min("texture").sel(density=found.high, method="nearest"))
    above = energy - (touching + found.mu * (energy.density - found.high))
    above = above.where(above < 0.3).assign_attrs(long_name="E/N minus the tangent", units="t")
    picture = ns.plots.compare(above, x="density", by="texture", levels=(0.0,), mark=c.density)
    picture.caption += (
        f" Between n = {found.low:.3g} and {found.high:.3g} two phases coexist, μ* = {found.mu:.3f} t; dotted: the "
        "density of the dynamics."
    )
    return picture


def draw_holes(run: Run, c: Any) -> Any:
    """Energy per hole in discs of parallel spins."""
    bulk, energy = -coexistence(run.observable("phases")).mu, run.observable("bubbles").energy
    shown = energy.where(energy < energy.isel(radius=0).max() + 0.4).assign_attrs(energy.attrs)
    picture = ns.plots.compare(shown, x="holes", by="radius", levels=(bulk,), points=True)
    picture.caption += (
        " Ferromagnetic discs in the half-filled antiferromagnet at kT = 0, radius -1 for none and 0 for one spin "
        "reversed; dashed: the ferromagnet with which it coexists. Where one hole alone lies below two or three "
        "together, holes stay apart."
    )
    return picture
