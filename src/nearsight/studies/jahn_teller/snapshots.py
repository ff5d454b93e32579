"""The learned force field on configurations it has never seen, and in the ordered states."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nearsight import analysis
from nearsight.analysis import Verdict
from nearsight.dynamics import Brownian, simulate
from nearsight.forcefields import ClassicalForceField, ForceField
from nearsight.hamiltonians.jahn_teller import MODES
from nearsight.lattices import Lattice
from nearsight.studies.jahn_teller.config import Config
from nearsight.studies.jahn_teller.physics import held, jahn_teller, quenched
from nearsight.studies.run import Run
from nearsight.studies.snapshots import forces, rms, split, symmetry_error, symmetry_verdict
from nearsight.training import KINDS

__all__ = ["PAPER_ERROR", "TARGET_ERROR", "compare", "ordered_states"]

PAPER_ERROR = 0.005
"""Error of the forces in units of λ, thesis sec. 7.3.4: printed as a mean square, of the size of a root mean square."""
TARGET_ERROR = 0.0025
"""What nearsight asks of itself, half of that, whichever way it is read."""


def compare(run: Run, config: Config, electrons: ForceField) -> tuple[xr.Dataset, list[Verdict]]:
    """Force errors in units of λ on the test trajectories, at fixed number, and how well the symmetry is kept."""
    test = split(run, config.fit, config.seed).test
    model = jahn_teller(config, config.length)
    springs = ClassicalForceField(model)(test.field).force
    density = model.density(test.force - springs).mean(-1)
    exact, learned, chosen, local = [], [], [], []
    for filling in config.fillings:
        # Of the two copies of a snapshot, the one whose electrons are those at this filling.
        here = torch.nonzero((density - 2 * filling).abs() < 1e-8).squeeze(-1)
        chosen.append(here)
        exact.append(test.force[here])
        learned.append(forces(held(config, electrons, filling), test.field[here]))
        local.append(forces(electrons, test.field[here]) + springs[here])
    index = torch.cat(chosen).numpy()
    exact_f, learned_f, local_f = ((torch.cat(part) / model.lam).numpy() for part in (exact, learned, local))
    error = learned_f - exact_f
    kinds = np.array(KINDS)[test.kind[index]]
    groups = list(dict.fromkeys(kinds.tolist()))
    symmetry = symmetry_error(electrons, model.field_type, test.field[:4])
    by_group = [error[kinds == group] for group in groups]
    dims = ("snapshot", "site", "mode")
    dataset = xr.Dataset(
        {
            "exact_force": (dims, exact_f, {"long_name": "exact force / λ", "units": "1"}),
            "learned_force": (dims, learned_f, {"long_name": "learned force / λ", "units": "1"}),
            "symmetry_error": ("operation", symmetry, {"long_name": "violation relative to the largest force"}),
        }
        | {
            name: (("group", "mode"), np.stack([measure(e) for e in by_group]), {"long_name": label})
            for name, (label, measure) in MEASURES.items()
        }
        | {
            f"{name}_all": ("mode", measure(error), {"long_name": label}) for name, (label, measure) in MEASURES.items()
        },
        coords={
            "mode": list(MODES),
            "group": groups,
            "kind": ("snapshot", kinds),
            "trajectory": ("snapshot", test.trajectory[index]),
            "time": ("snapshot", test.time[index], {"units": "ħ/t"}),
        },
    )
    mean_square = float((error**2).mean())
    note = ", ".join(f"{mode} {value:.2g}" for mode, value in zip(MODES, dataset.rmse_all.values, strict=True))
    return dataset, [
        Verdict(
            "force error / λ, rms",
            learned=rms(error),
            paper=f"{PAPER_ERROR}, if it is an rms",
            target=f"≤ {TARGET_ERROR}",
            passed=rms(error) <= TARGET_ERROR,
            note=f"{note}; {len(error)} unseen snapshots at fixed number",
        ),
        Verdict(
            "force error / λ, mean square",
            learned=mean_square,
            paper=f"{PAPER_ERROR}, as printed",
            target=f"≤ {TARGET_ERROR}",
            passed=mean_square <= TARGET_ERROR,
        ),
        Verdict("force error / λ at fixed μ, rms", learned=rms(local_f - exact_f), note="the local part, without μ"),
        Verdict("force error / λ, largest", learned=float(np.abs(error).max())),
        symmetry_verdict(symmetry),
    ]


MEASURES = {
    "std": ("standard deviation of the error", lambda e: e.std((0, 1))),
    "rmse": ("rms error", lambda e: np.sqrt((e**2).mean((0, 1)))),
    "mse": ("mean square error", lambda e: (e**2).mean((0, 1))),
    "max": ("largest error", lambda e: np.abs(e).max((0, 1))),
}
"""By mode, of errors ``(snapshot, site, mode)``."""

STATES = ("C-type", "charge density wave", "uniform Qx")


def ordered_states(config: Config, electrons: ForceField) -> list[Verdict]:
    """The three orders of the half-filled lattice, relaxed by exact and by learned forces, and their exact energies."""
    exact = quenched(config, config.length, 0.5)
    learned = held(config, electrons, 0.5)
    relaxed = {
        source: [relax(force, start(exact.lattice, kind)) for kind in STATES]
        for source, force in (("exact", exact), ("learned", learned))
    }
    # The model measures Q¹ from λ/(βK); the papers' energies do not.
    origin = 0.5 * config.model.lam**2 / (config.model.beta * config.model.K)
    energies = {
        source: [float(exact(field).energy) / exact.lattice.n_sites - origin for field in fields]
        for source, fields in relaxed.items()
    }
    order = {source: float(abs(phi(fields[0], exact.lattice).mean())) for source, fields in relaxed.items()}
    good = all(np.all(np.diff(e) > 0) for e in energies.values())
    close = abs(order["learned"] - order["exact"]) < 0.02 * order["exact"]
    return [
        Verdict(
            "energy per site of " + " < ".join(STATES),
            **{source: ", ".join(f"{e:.5f}" for e in energies[source]) for source in energies},
            target="in this order",
            passed=good,
            note=f"exact free energies of what each force relaxes to, {config.length} × {config.length} sites; "
            "-1.95393, -1.94235, -1.938 on the infinite lattice at T = 0",
        ),
        Verdict(
            "orbital order |φ| of the relaxed C-type state",
            **order,
            target="within 2 %",
            passed=close,
            note="0.4066 on the infinite lattice at T = 0 for the default parameters",
        ),
    ]


def start(lattice: Lattice, kind: str) -> Tensor:
    """A field from which descent leads to one of the ordered states."""
    sign = torch.tensor(analysis.sublattice_sign(lattice))
    field = torch.zeros(lattice.n_sites, 3, dtype=torch.float64)
    if kind == "C-type":
        field[:, 1] = 0.41 * sign
    elif kind == "charge density wave":
        field[:, 0], field[:, 2] = 0.1 * sign, -0.15 * sign
    else:
        field[:, 1] = 0.1
    return field


def relax(forcefield: ForceField, field: Tensor) -> Tensor:
    """The minimum downhill of a field, by descent that keeps its symmetry."""
    parameter = next(forcefield.parameters(), None)
    field = field if parameter is None else field.to(parameter.dtype)
    with torch.no_grad():
        return simulate(
            forcefield, Brownian(dt=0.4, kT=0.0, damping=1.0), field, steps=60, record=None, rng=None
        ).final.field.double()


def phi(field: Tensor, lattice: Lattice) -> xr.DataArray:
    return analysis.contrast_order(field[..., 1], lattice)
