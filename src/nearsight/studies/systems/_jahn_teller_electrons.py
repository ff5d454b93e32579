"""Jahn-Teller: electrons at μ = 0, where their force is local: exact data of every filling, and what learns them.

At fixed number a density is not local: every level that crosses the Fermi energy moves μ for all sites. But only λQ1 +
μ enters the matrix. Snapshots of exact quenches at fixed number are shifted uniformly by μ/λ in Q1, where electrons at
μ = 0 are the same electrons, and there the network learns; in the quenches `FixedNumber` finds the shift that gives the
number. Every snapshot serves twice, the second time with a random shift on top, so that the network knows how its
density depends on μ. At μ = 0 the force is odd in Q by particle-hole symmetry (Q1 is measured from λ/(βK)), and so is
the network.

**Boundaries and temperatures.** The density's response to a random field is 7 % too large on 12 × 12 periodic sites
(length 4m, levels on the nested Fermi surface) and 4 % too small on 14 × 14. With a phase of π/2 across each boundary
(`twist`) it is that of large lattices to 0.3 %. `electron_kT` = 0.05 leaves the ordered state as it is (gap), and makes
disorder near-sighted: exchanging what lies beyond r = 5.3 changes a density by 0.010, 0.006, 0.004, 0.001 (rms) at kT =
0.01, 0.05, 0.1, 0.2, which no local force field can know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from nearsight import forcefields, training
from nearsight.forcefields import ClassicalForceField, ExactForceField, ForceField, LearnedForceField, OnComponents
from nearsight.hamiltonians import JahnTeller
from nearsight.lattices import Lattice, square
from nearsight.parallel import once, resumable, threads
from nearsight.solvers import Dense
from nearsight.studies.options import Positive
from nearsight.studies.quench import QuenchStudy
from nearsight.studies.run import Run
from nearsight.studies.sections import Convolution
from nearsight.studies.settings import Section
from nearsight.studies.shipping import card
from nearsight.training import DataSet

BATCH = 16
"""Snapshots of one task."""


class Model(Section):
    """Parameters of :class:`nearsight.hamiltonians.JahnTeller`; λ²/(Kt) = 1.35 as in the thesis."""

    t: float = 1.0
    lam: Positive = 1.25
    K: Positive = 1.1574
    beta: Positive = 2.0


class Network(Convolution):
    """A convolutional network that commutes with D4 and learns what electrons do at μ = 0."""

    learns: Literal["electrons", "total"] = "electrons"
    """The electrons' force, to which exact springs are added, or the total force, as in the thesis."""
    hybrid: bool = False
    """A network of its own for the force on the breathing mode, always direct, as in the thesis."""
    radii: tuple[Positive, ...] = (2.3, 1.5, 1.5, 1.5)


def exact(c: Any, lattice: Lattice, filling: float | None = None, *, periodic: bool = False) -> ExactForceField:
    """Electrons at μ = 0, or of a fixed number."""
    twist = None if periodic or c.twist == 0 else (c.twist, c.twist)
    model = JahnTeller(lattice, symmetric=True, twist=twist, **c.model.model_dump())
    ensemble = {"mu": 0.0} if filling is None else {"filling": filling}
    return ExactForceField(model, Dense(kT=c.electron_kT, **ensemble))


# --- data -------------------------------------------------------------------------------------------------------------


def generate(study: QuenchStudy, run: Run, c: Any) -> None:
    """Exact quenches at every filling, in parallel, then their snapshots at μ = 0, into ``data.zarr``."""

    def build(folder: Path) -> Path:
        run.log("note", text=f"{c.recipe} at every filling of {c.fillings}")
        ensembles = []
        for k, filling in enumerate(c.fillings):
            forcefield, path = exact(c, square(c.length), filling), folder / f"{k}.zarr"
            run.log("note", text=f"{forcefield}")
            ensembles.append(training.generate(forcefield, c.recipe, path, seed=run.seed("data", k), resume=True))
        made = folder / "data.zarr"
        DataSet.from_arrays(made, lattice=square(c.length), components=3, **_at_mu_zero(run, c, ensembles))
        return made

    run.log("note", text=f"{once(DataSet, run.path / 'data.zarr', {}, build)}")


def _at_mu_zero(run: Run, c: Any, ensembles: list[DataSet]) -> dict[str, Any]:
    """The snapshots of all fillings, each in the gauge μ = 0 and once more with a random uniform shift of Q¹.

    A copy belongs to the trajectory of its original: no split can put them on different sides.
    """
    rng, parts, first = run.rng("shift"), [], 0
    for filling, data in zip(c.fillings, ensembles, strict=True):
        shift = c.shift * (2 * torch.rand(len(data), generator=rng, dtype=torch.float64) - 1)
        tasks = [(c, filling, *part) for part in zip(data.field.split(BATCH), shift.split(BATCH), strict=True)]
        # Three diagonalisations a snapshot, 15 ms each for a complex matrix of 300 rows.
        seconds = 0.045 * len(data) * (c.length / 12) ** 6
        found = resumable(moved, tasks, seconds=seconds, title=f"snapshots of f = {filling:g} at μ = 0")
        labels = [np.repeat(x, 2) for x in (data.trajectory + first, data.kind, data.time)]
        parts.append([*(torch.cat(x).flatten(0, 1).numpy() for x in zip(*found, strict=True)), *labels])
        first += int(data.trajectory.max()) + 1
    names = ("field", "force", "energy", "trajectory", "kind", "time")
    return {name: np.concatenate(x) for name, x in zip(names, zip(*parts, strict=True), strict=True)}


def moved(c: Any, filling: float, field: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fields ``(snapshot, copy, site, 3)`` of one filling with the exact total forces and energies at μ = 0.

    Only λQ¹ + μ enters the matrix: the first copy is the field plus μ/λ, so that its electrons are those at the
    filling; the second has ``shift`` on top.
    """
    forcefield = exact(c, square(c.length))
    model = forcefield.model
    with threads(1):
        electrons = Dense(filling=filling, kT=c.electron_kT).solve(model.matrix(field), model.rows, model.columns)
        uniform = torch.stack([electrons.mu / c.model.lam, electrons.mu / c.model.lam + shift], dim=1)
        both = field[:, None].repeat(1, 2, 1, 1)
        both[..., 0] += uniform[..., None]
        force, energy = forcefield(both)
    assert energy is not None
    return both, force, energy


# --- networks ---------------------------------------------------------------------------------------------------------


def parts(c: Any) -> dict[str, tuple[int, ...]]:
    """Names of the networks, and the modes whose force each learns."""
    return {"doublet": (1, 2), "breathing": (0,)} if c.network.hybrid else {"all_modes": (0, 1, 2)}


def networks(c: Any, lattice: Lattice, rng: torch.Generator) -> list[LearnedForceField]:
    """One network, or two for a hybrid, with their initial weights."""
    law, heads = JahnTeller(lattice).field_type, (c.network.head, "force")[: len(parts(c))]
    return [c.network.build(lattice, law, rng, parity="odd", head=head) for head in heads]


def joined(c: Any, lattice: Lattice, learned: list[LearnedForceField]) -> ForceField:
    """The force of the electrons on all modes; a total force that was learned is given without that of the springs."""
    force: ForceField = learned[0]
    if c.network.hybrid:
        doublet, breathing = (OnComponents(*part) for part in zip(learned, parts(c).values(), strict=True))
        force = doublet + breathing
    if c.network.learns == "total":
        force = force + ClassicalForceField(JahnTeller(lattice, **c.model.model_dump() | {"K": -c.model.K}))
    return force


def train(study: QuenchStudy, run: Run, c: Any) -> None:
    """Fit the electrons' part of the force, springs being exact (or the total force), and save it in ``model/``."""
    lattice = square(c.length)
    learned = networks(c, lattice, run.rng("weights"))
    study.fit(run, c, joined(c, lattice, learned))
    for name, network in zip(parts(c), learned, strict=True):
        forcefields.save(network, run.path / "model" / name, card=card(study, run, c))


def load_model(run: Run, c: Any, lattice: Lattice) -> ForceField:
    """The trained electrons at μ = 0."""
    found = [cast(LearnedForceField, forcefields.load(run.path / "model" / name)) for name in parts(c)]
    return joined(c, lattice, [network.on(lattice) for network in found])
