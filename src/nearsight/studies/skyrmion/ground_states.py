"""Stage 1: which texture has the lowest grand potential in which field."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight import analysis
from nearsight.analysis import Verdict
from nearsight.dynamics import AB2Rotation, simulate
from nearsight.fields import FieldType, cone, ferromagnet, perturbed, skyrmion_lattice, tangent
from nearsight.forcefields import ExactForceField, ForceField, Forces
from nearsight.lattices import Lattice, triangular
from nearsight.parallel import threads
from nearsight.solvers import Dense
from nearsight.studies import parallel
from nearsight.studies.run import Run
from nearsight.studies.skyrmion.config import Config
from nearsight.studies.skyrmion.physics import CELL_SITES, Q, exact, magnet

TEXTURES = ("helix", "skyrmions, n = 1", "skyrmions, n = 2", "ferromagnet")
"""By where they start: a helix becomes a cone in a field, and any texture may find a lower one on its way."""
RELAXING = 1.0
"""Damping of the relaxation."""


class TwistAverage(ForceField):
    """The mean of exact force fields that differ in the twist of their boundaries: the electrons of a larger torus.

    Spins repeat on a torus of mesh × mesh cells, electrons need not: their Bloch phases θ from one cell to the next are
    2π(k + ½)/mesh, and what they do to the spins of one cell is the mean over θ. The shift by ½ leaves out the point of
    highest symmetry, which represents the zone worst.
    """

    def __init__(self, config: Config, B: float, mesh: int) -> None:
        super().__init__()
        phases = [2 * math.pi * (k + 0.5) / mesh for k in range(mesh)]
        solver = Dense(mu=config.model.mu, kT=config.electron_kT)
        self.parts = torch.nn.ModuleList(
            ExactForceField(magnet(config, config.ground.cell, B=B, twist=(first, second)), solver)
            for first in phases
            for second in phases
        )
        one: ExactForceField = self.parts[0]  # type: ignore[assignment]
        self.lattice, self.components = one.lattice, one.components

    @property
    def field_type(self) -> FieldType | None:
        return self.parts[0].field_type  # type: ignore[return-value]

    @property
    def arguments(self) -> dict[str, Any]:
        """What it is the mean of."""
        return {"parts": tuple(self.parts)}

    def __repr__(self) -> str:
        return f"mean over {len(self.parts)} twists of {self.parts[0]!r}"

    def on(self, lattice: Lattice) -> Self:
        if not lattice.coincides(self.lattice):
            raise ValueError(
                f"The mean over twists is that of one magnetic cell, {self.lattice!r}, not of {lattice!r}."
            )
        return self

    def evaluate(self, field: Tensor) -> Forces:
        force, energy = torch.zeros_like(field), torch.zeros_like(field[..., 0, 0])
        for part in self.parts:
            f, e = part.connected(field)  # type: ignore[operator]
            force += f / len(self.parts)
            energy += e / len(self.parts)
        return Forces(force, energy)


def ground_states(run: Run, config: Config) -> None:
    """Relax every texture in every field and compare Ω per site."""
    options = config.ground
    folder = run.path / "ground"
    tasks = [(config, name, folder / f"{k}", run.seed("ground", k)) for k, name in enumerate(TEXTURES)]
    # 7 ms for the matrices of 12 × 12 sites and one twist on an idle core.
    seconds = 0.02 * 3 * len(options.fields) * options.steps * options.mesh**2 * (options.cell / 12) ** 6
    relaxed = np.stack(parallel.run(relax, tasks, seconds=seconds, title="ground states"))
    observed = measure(config, torch.from_numpy(relaxed))
    run.record("ground_states", observed)
    run.judge("ground_states", verdicts(config, observed))


def start(config: Config, lattice: Lattice, name: str, rng: torch.Generator) -> Tensor:
    """A texture as it is drawn, and a little noise."""
    spins = {
        "helix": lambda: cone(lattice, Q, magnetisation=0.0),
        "skyrmions, n = 1": lambda: skyrmion_lattice(lattice, Q, magnetisation=0.3),
        "skyrmions, n = 2": lambda: skyrmion_lattice(lattice, Q, phase=math.pi / 2),
        "ferromagnet": lambda: ferromagnet(lattice),
    }[name]()
    return spins if name == "ferromagnet" else perturbed(spins, config.ground.spread, rng)


def relax(config: Config, name: str, path: Path, seed: int) -> np.ndarray:
    """One texture in all fields ``(field, site, 3)``, each from where the last field left it."""
    options = config.ground
    rng = torch.Generator().manual_seed(seed)
    spins = start(config, triangular(options.cell), name, rng)
    if name == "ferromagnet":  # no torque acts on it in any field
        return np.stack([spins.numpy()] * len(options.fields))
    result = []
    scheme = AB2Rotation(dt=options.dt, kT=0.0, damping=RELAXING, tangent=True)
    with threads(1):
        for k, B in enumerate(options.fields):
            forcefield = TwistAverage(config, B, options.mesh)
            kept = path / f"{k}"
            spins = simulate(
                forcefield, scheme, spins, steps=options.steps, record=None, rng=None, path=kept, resume=True
            ).final.field
            result.append(spins.numpy())
    return np.stack(result)


def measure(config: Config, relaxed: Tensor) -> xr.Dataset:
    """Energies, charges and magnetisations of textures ``(texture, field, site, 3)``."""
    options = config.ground
    lattice = triangular(options.cell)
    cells = lattice.n_sites / CELL_SITES
    dims = ("texture", "field")
    omega, taught, torque = [], [], []
    for k, B in enumerate(options.fields):
        energy = TwistAverage(config, B, options.fine_mesh)(relaxed[:, k]).energy
        force = TwistAverage(config, B, options.mesh)(relaxed[:, k]).force
        learned = exact(config, config.length, B=B)(tiled(relaxed[:, k], options.cell, config.length)).energy
        assert energy is not None and learned is not None
        omega.append(energy / lattice.n_sites)
        taught.append(learned / config.length**2)
        torque.append(tangent(force, relaxed[:, k]).norm(dim=-1).amax(-1))
    charge = analysis.topological_charge(relaxed, lattice, dims=dims)
    return xr.Dataset(
        {
            "omega": (dims, torch.stack(omega, dim=1).numpy(), {"long_name": "grand potential per site", "units": "t"}),
            "taught": (dims, torch.stack(taught, dim=1).numpy(), {"long_name": "the same on the torus of the data"}),
            "torque": (dims, torch.stack(torque, dim=1).numpy(), {"long_name": "largest torque", "units": "t"}),
            "n_sk": (dims, np.abs(np.rint(charge.values)) / cells, {"long_name": "|charge| per magnetic cell"}),
            "M": (dims, relaxed[..., 2].mean(-1).numpy(), {"long_name": "magnetisation along the field"}),
            "spins": ((*dims, "site", "component"), relaxed.numpy()),
        },
        coords={"texture": list(TEXTURES), "field": ("field", list(options.fields), {"long_name": "B", "units": "t"})},
    )


def tiled(spins: Tensor, cell: int, length: int) -> Tensor:
    """Textures of cell × cell sites ``(*batch, site, 3)``, repeated on length × length sites."""
    grid = spins.unflatten(-2, (cell, cell)).repeat(*[1] * (spins.ndim - 2), length // cell, length // cell, 1)
    return grid.flatten(-3, -2)


def verdicts(config: Config, observed: xr.Dataset) -> list[Verdict]:
    """The phase in every field; Ozawa, Hayami and Motome find n_sk = 2, 1, 0 as the field rises.

    And whether the electrons of the torus on which data are made, whose levels are few, agree on the lowest texture in
    the field of the dynamics: a student cannot know better than its teacher. On 24 × 24 sites they do not.
    """
    mesh, cell = config.ground.fine_mesh, config.ground.cell
    about = f"electrons of {mesh * cell} × {mesh * cell} sites, kT = {config.electron_kT:g}"
    expected = {0.0: 2, 0.005: 1}
    result = []
    for B in config.ground.fields:
        here = observed.sel(field=B)
        order = np.argsort(here.omega.values)
        names = [f"{here.texture.values[i]!s} {here.omega.values[i]:.6f} ({here.n_sk.values[i]:.2g})" for i in order]
        charge = float(here.n_sk.values[order[0]])
        wanted = expected.get(B)
        result.append(
            Verdict(
                f"skyrmion charge per cell of the ground state at B = {B:g}",
                exact=charge,
                paper=None if wanted is None else float(wanted),
                target=None if wanted is None else f"{wanted}",
                passed=None if wanted is None else abs(charge - wanted) < 0.01,
                note=f"{' < '.join(names)} t per site (charge per cell), by where they started; {about}; "
                f"largest torque left {float(here.torque.max()):.1g}",
            )
        )
    return [*result, torus(config, observed)]


def torus(config: Config, observed: xr.Dataset) -> Verdict:
    """Whether the ground state on the torus of the data is that of large lattices."""
    here = observed.sel(field=config.model.B, method="nearest")
    best, taught = (str(here.texture.values[energy.values.argmin()]) for energy in (here.omega, here.taught))
    gaps = [
        f"{texture!s} {float(large):+.1e} ({float(small):+.1e})"
        for texture, large, small in zip(
            here.texture.values, here.omega - here.omega.min(), here.taught - here.taught.min(), strict=True
        )
    ]
    mesh = config.ground.fine_mesh * config.ground.cell
    return Verdict(
        f"lowest texture on the torus of the data, {config.length} × {config.length} sites",
        exact=best,
        learned=taught,
        target="that of large lattices",
        passed=best == taught,
        note=f"t per site above the lowest, electrons of {mesh} × {mesh} sites (of the torus): {'; '.join(gaps)}",
    )
