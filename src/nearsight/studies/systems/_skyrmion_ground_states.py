"""Skyrmion magnet: the model, and which texture has the lowest grand potential in which field."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from torch import Tensor

import nearsight as ns
from nearsight import analysis
from nearsight.dynamics import AB2Rotation, simulate
from nearsight.fields import cone, ferromagnet, perturbed, skyrmion_lattice, tangent
from nearsight.forcefields import ExactForceField, ForceField, Forces
from nearsight.hamiltonians import SDModel, skyrmion_magnet
from nearsight.lattices import Lattice, triangular
from nearsight.parallel import resumable, threads
from nearsight.solvers import Dense, Poles
from nearsight.studies import figures
from nearsight.studies.checks import Below, Check, Published, Within
from nearsight.studies.options import Count, NotNegative, Positive
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.study import Stage

Length = Annotated[int, Field(ge=12, multiple_of=12)]
"""Multiples of the magnetic cell of 12 sites: skyrmions at Q = π/3 fit on no other torus."""
Q = (math.pi / 3, 0.0)
"""The wave vector at which the Fermi surface nests, in units of 1/a; with its rotations, that of the skyrmions."""
CELL_SITES = 48
"""Sites of one magnetic unit cell, which holds one skyrmion of charge n_sk = 1 or 2."""
TEXTURES = ("helix", "skyrmions, n = 1", "skyrmions, n = 2", "ferromagnet")
"""By where they start: a helix becomes a cone in a field, and any texture may find a lower one on its way."""
RELAXING = 1.0
"""Damping of the relaxation."""
OZAWA = "Ozawa, Hayami, Motome, Phys. Rev. Lett. 118, 147205 (2017)"
CHARGES = {0.0: Published(2.0, OZAWA), 0.005: Published(1.0, OZAWA)}
"""Charge per magnetic cell by the field; 0 in large ones."""


class Model(Section):
    """Parameters of :func:`nearsight.hamiltonians.skyrmion_magnet`, with J_σ = J/2."""

    t1: float = 1.0
    """Hopping of nearest neighbours, the unit of energy."""
    t3: float = -0.85
    """Hopping of third neighbours."""
    J: Positive = 1.0
    """Exchange of electrons and moments."""
    B: NotNegative = 0.005
    """Field along z on the moments, exact and never learned."""
    mu: float = -3.5
    """Chemical potential."""


class GroundStates(Section):
    """Textures of one magnetic cell, relaxed with the electrons of a much larger lattice, against the field."""

    cell: Length = 12
    """Sites along each axis of the magnetic cell."""
    mesh: Count = 3
    """Twists per axis while textures relax: electrons as on ``mesh`` · ``cell`` sites."""
    fine_mesh: Count = 6
    """The same for the energies of what they relax to, which differ by 10⁻⁴ between phases: those of a mesh of 3 are
    wrong by up to 5 · 10⁻⁵, textures by nothing that counts."""
    fields: tuple[NotNegative, ...] = (0.0, 0.005, 0.01)
    """Rising; every texture is relaxed in one field after the other."""
    steps: Count = 120
    """Of damped dynamics in each field."""
    dt: Positive = 8.0
    spread: NotNegative = 0.02
    """Width of the perturbation at the start, without which a texture could rest on a saddle point."""


def magnet(c: Any, lattice: Lattice, *, B: float | None = None, twist: tuple[float, float] | None = None) -> SDModel:
    m = c.model
    return skyrmion_magnet(lattice, t=(m.t1, 0.0, m.t3), J=m.J, B=m.B if B is None else B, twist=twist)


def exact(c: Any, lattice: Lattice, *, B: float | None = None) -> ExactForceField:
    """Electrons from a few resolvents, and the field."""
    return ExactForceField(magnet(c, lattice, B=B), Poles(mu=c.model.mu, kT=c.electron_kT, tol=c.solver_tol))


class TwistAverage(ForceField):
    """The mean of exact force fields that differ in the twist of their boundaries."""

    def __init__(self, *parts: ExactForceField) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(parts)
        self.lattice, self.components, self.field_type = parts[0].lattice, parts[0].components, parts[0].field_type

    def evaluate(self, field: Tensor) -> Forces:
        force, energy = torch.zeros_like(field), torch.zeros_like(field[..., 0, 0])
        for part in self.parts:
            f, e = part.connected(field)  # type: ignore[operator]
            force += f / len(self.parts)
            energy += e / len(self.parts)
        return Forces(force, energy)


def twisted(c: Any, B: float, mesh: int) -> TwistAverage:
    """The electrons of a torus of mesh × mesh cells, on which spins repeat and electrons need not.

    Their Bloch phases θ from one cell to the next are 2π(k + ½)/mesh, and what they do to the spins of one cell is the
    mean over θ. The shift by ½ leaves out the point of highest symmetry, which represents the zone worst.
    """
    lattice, phases = triangular(c.ground.cell), [2 * math.pi * (k + 0.5) / mesh for k in range(mesh)]
    models = [magnet(c, lattice, B=B, twist=(one, two)) for one in phases for two in phases]
    return TwistAverage(*(ExactForceField(model, Dense(mu=c.model.mu, kT=c.electron_kT)) for model in models))


def ground_states(run: Run, c: Any) -> None:
    """Relax every texture in every field and compare Ω per site."""
    g = c.ground
    tasks = [(c, name, run.path / "ground" / f"{k}", run.seed("ground", k)) for k, name in enumerate(TEXTURES)]
    # 7 ms for the matrices of 12 × 12 sites and one twist on an idle core.
    seconds = 0.02 * 3 * len(g.fields) * g.steps * g.mesh**2 * (g.cell / 12) ** 6
    relaxed = np.stack(resumable(relax, tasks, seconds=seconds, title="ground states"))
    observed = measure(c, torch.from_numpy(relaxed))
    run.record("ground_states", observed)
    run.record_checks("ground_states", checks(c, observed))


STAGE = Stage("ground_states", ground_states, ("ground", "observables.nc:ground_states", "checks.json:ground_states"))


def relax(c: Any, name: str, path: Path, seed: int) -> np.ndarray:
    """One texture in all fields ``(field, site, 3)``, each from where the last field left it."""
    g, lattice = c.ground, triangular(c.ground.cell)
    if name == "ferromagnet":  # no torque acts on it in any field
        return np.stack([ferromagnet(lattice).numpy()] * len(g.fields))
    drawn = {
        "helix": lambda: cone(lattice, Q, magnetisation=0.0),
        "skyrmions, n = 1": lambda: skyrmion_lattice(lattice, Q, magnetisation=0.3),
        "skyrmions, n = 2": lambda: skyrmion_lattice(lattice, Q, phase=math.pi / 2),
    }
    spins = perturbed(drawn[name](), g.spread, torch.Generator().manual_seed(seed))
    result = []
    scheme = AB2Rotation(dt=g.dt, kT=0.0, damping=RELAXING, tangent=True)
    with threads(1):
        for k, B in enumerate(g.fields):
            forcefield, kept = twisted(c, B, g.mesh), path / f"{k}"
            run = simulate(forcefield, scheme, spins, steps=g.steps, record=None, rng=None, path=kept, resume=True)
            spins = run.final.field
            result.append(spins.numpy())
    return np.stack(result)


def measure(c: Any, relaxed: Tensor) -> xr.Dataset:
    """Energies, charges and magnetisations of textures ``(texture, field, site, 3)``.

    ``torus`` is the energy with the electrons of the torus on which data are made.
    """
    g, lattice, dims = c.ground, triangular(c.ground.cell), ("texture", "field")
    omega, torus, torque = [], [], []
    for k, B in enumerate(g.fields):
        spins = relaxed[:, k]
        fine, coarse = twisted(c, B, g.fine_mesh)(spins), twisted(c, B, g.mesh)(spins)
        small = exact(c, triangular(c.length), B=B)(tiled(spins, g.cell, c.length))
        assert fine.energy is not None and small.energy is not None
        omega.append(fine.energy / lattice.n_sites)
        torus.append(small.energy / c.length**2)
        torque.append(tangent(coarse.force, spins).norm(dim=-1).amax(-1))
    charge = analysis.topological_charge(relaxed, lattice, dims=dims)

    def column(parts: list[Tensor], long_name: str) -> tuple[tuple[str, str], np.ndarray, dict[str, str]]:
        return dims, torch.stack(parts, dim=1).numpy(), {"long_name": long_name, "units": "t"}

    return xr.Dataset(
        {
            "omega": column(omega, "grand potential per site"),
            "torus": column(torus, "grand potential per site on the torus of the data"),
            "torque": column(torque, "largest torque"),
            "n_sk": abs(charge.round()) / (lattice.n_sites / CELL_SITES),
            "M": (dims, relaxed[..., 2].mean(-1).numpy(), {"long_name": "magnetisation along the field"}),
            "spins": ((*dims, "site", "component"), relaxed.numpy(), {"long_name": "relaxed textures"}),
        },
        coords={"texture": list(TEXTURES), "field": ("field", list(g.fields), {"long_name": "field B", "units": "t"})},
    )


def tiled(spins: Tensor, cell: int, length: int) -> Tensor:
    """Textures of cell × cell sites ``(*batch, site, 3)``, repeated on length × length sites."""
    grid = spins.unflatten(-2, (cell, cell)).repeat(*[1] * (spins.ndim - 2), length // cell, length // cell, 1)
    return grid.flatten(-3, -2)


def checks(c: Any, observed: xr.Dataset) -> list[Check]:
    """The phase in every field, and whether the electrons of the torus on which data are made, whose levels are few,
    agree on it in the field of the dynamics: no network knows better than its data. On 24 × 24 sites they do not."""
    result = []
    about = f"electrons of {c.ground.fine_mesh * c.ground.cell}² sites, kT = {c.electron_kT:g}"
    for B in c.ground.fields:
        here = observed.sel(field=B).sortby("omega")
        lowest, second = (str(name) for name in here.texture.values[:2])
        published = CHARGES.get(B)
        result += [
            Check(
                f"skyrmion charge per cell of the ground state at B = {B:g}",
                value=float(here.n_sk[0]),
                published=published,
                criterion=None if published is None else Within(0.01),
                note=f"{lowest}, by where it started; {about}",
            ),
            Check(
                f"next texture above the ground state at B = {B:g}, per site",
                value=float(here.omega[1] - here.omega[0]),
                unit="t",
                note=f"{second}",
            ),
            Check(f"largest torque left at B = {B:g}", value=float(here.torque.max()), unit="t"),
        ]
    here = observed.sel(field=c.model.B, method="nearest")
    best = here.torus[int(here.omega.values.argmin())]
    return [
        *result,
        Check(
            "ground state above the lowest texture on the torus of the data, per site",
            value=float(best - here.torus.min()),
            unit="t",
            criterion=Below(0.0),
            note=f"lowest on {c.length} × {c.length} sites: {here.texture.values[int(here.torus.values.argmin())]!s}; "
            f"on large lattices: {best.texture.item()}",
        ),
    ]


# --- figures ----------------------------------------------------------------------------------------------------------


def phases(run: Run, c: Any) -> Any:
    """Energies less that of the helix; the ferromagnet, far above in low fields, is left out there."""
    omega = run.observable("ground_states").omega
    above = (1e4 * (omega - omega.sel(texture="helix", drop=True))).assign_attrs(
        long_name=r"$\Omega/N$ minus that of the helix", units="10⁻⁴ t"
    )
    above = above.sel(texture=(above.max("field") < 20.0).values)
    picture = ns.plots.compare(above, x="field", by="texture", points=True)
    words = "Textures are named by where they started ($n$: charge in a magnetic cell); those far above are not drawn."
    return figures.captioned(picture, words)


def textures(run: Run, c: Any) -> Any:
    """Relaxed textures in the field nearest to that of the dynamics, the ferromagnet apart."""
    data = run.observable("ground_states").sel(field=c.model.B, method="nearest")
    spins = data.spins.sel(texture=[name for name in TEXTURES if name != "ferromagnet"])
    picture = ns.plots.maps(spins, triangular(c.ground.cell), arrows=True)
    return figures.captioned(picture, f"Relaxed at B = {float(data.field):g}; $n$: charge in a magnetic cell.")
