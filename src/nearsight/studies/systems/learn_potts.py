"""Learning Potts: a clock model of three states from configurations seen at one temperature.

**Question.** Do configurations of a Potts model at one temperature tell its couplings, and its transition?

**System.** H = -J Σ_<ij> cos(θ_i - θ_j), θ = 2π a / q, q = 3, J = 1, on a square torus under single-spin Metropolis
dynamics, one observation every 10 attempts in 32 chains. Looked for are pair couplings up to the third shell; those
that the observations support are then carried to a larger lattice and to all temperatures.

**What to expect.** Sprague, Carrasquilla, Whitelam, Tamblyn (2021), fig. 2: energy and order parameter against
temperature, by eye as with the true Hamiltonian. For q = 3 the clock model is the Potts model with J_Potts = 3/2 J; its
transition on the infinite lattice is at kT_c = 3/2 J / ln(1 + √3) = 1.492 J (F. Y. Wu, Rev. Mod. Phys. 54, 235 (1982)).

**Cost.** `quick`: 10⁶ observations of 8 × 8 sites at each of two temperatures, minutes on two cores.

    nearsight run learn_potts --preset quick
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from scipy import stats

import nearsight as ns
from nearsight.hamiltonians import Potts
from nearsight.inference import Terms, predict, select_couplings
from nearsight.lattices import Lattice, square
from nearsight.studies.checks import Below, Check, Sigma, Within
from nearsight.studies.inference import (
    InferenceStudy,
    Watched,
    Work,
    no_others,
    observed,
    result,
    selected,
    selection,
    watch,
)
from nearsight.studies.options import Count, Length, Positive
from nearsight.studies.run import Run

STATES = 3
KT_C = 1.5 / math.log(1 + math.sqrt(3))
"""Transition of the infinite lattice in units of J."""


class Config(Watched):
    """Everything that decides the numbers of a run."""

    length: Length = 8
    temperatures: Annotated[tuple[Positive, ...], Field(min_length=1)] = (3.0, 1.8)
    """kT/J of the observations."""
    shells: Count = 3
    """Couplings that are looked for: shells of neighbours."""
    large: Length = 16
    """Side of the lattice that is predicted."""
    predicted: tuple[Positive, ...] = (1.2, 1.4, 1.5, 1.6, 1.8, 2.2, 3.0)
    """Temperatures of the predictions."""
    snapshots: Annotated[int, Field(ge=128)] = 4000
    """Configurations at each temperature of a prediction."""
    nodes: Count = 24
    """Inverse temperatures at which energies are integrated, about."""
    seed: Annotated[int, Field(ge=0)] = 1


def model(lattice: Lattice) -> Potts:
    """The true one."""
    return Potts(lattice, q=STATES, kind="clock")


def observe_all(run: Run, c: Config) -> None:
    for kT in c.temperatures:
        watch(run, c, model(square(c.length)), kT, f"{kT:g}")


def candidates(c: Config) -> Terms:
    """The couplings that are looked for."""
    return Terms.pairs(square(c.length), c.shells, n_states=STATES, kind="clock")


def learn(path: Path, c: Config, seed: int, kT: float) -> xr.Dataset:
    """Couplings that the observations at one temperature support."""
    rng = torch.Generator().manual_seed(seed)
    return selection(select_couplings(observed(path, f"{kT:g}"), candidates(c), rng=rng))


def transfer(path: Path, c: Config, seed: int, kT: float | None) -> xr.Dataset:
    """Curves of the couplings learned at one temperature, or of the true ones."""
    lattice = square(c.large)
    energy = model(lattice) if kT is None else selected(result(path, "learn", f"{kT:g}"), candidates(c), c, kT)
    options: dict[str, Any] = {"snapshots": c.snapshots, "nodes": c.nodes, "progress": False}
    return predict(energy, lattice, np.array(c.predicted), seed=seed % 2**31, **options)


def measure_couplings(run: Run, c: Config) -> xr.Dataset:
    """All couplings that were looked for, with their errors ``(seen, term)``."""
    names = ["value", "error", "chosen", "rest", "effective"]
    found = [result(run.path, "learn", f"{kT:g}")[names] for kT in c.temperatures]
    return xr.concat(found, dim="seen").assign_coords(seen=list(c.temperatures))


def measure_curves(run: Run, c: Config) -> xr.Dataset:
    """Equilibrium of the true and of the learned models, ``(source, temperature)``."""
    names = ["true", *(f"{kT:g}" for kT in c.temperatures)]
    found = xr.concat([result(run.path, "transfer", name) for name in names], dim="source")
    return found.assign_coords(source=["true", *(f"learned at {kT:g}" for kT in c.temperatures)])


def judge(run: Run, c: Config, measured: Any) -> list[Check]:
    couplings, curves, found = measured["couplings"], measured["curves"], []
    for kT in c.temperatures:
        here = couplings.sel(seen=kT)
        first, where = here.sel(term="J1"), f"from kT = {kT:g}"
        value, error, exact = float(first.value), float(first.error), KT_C
        found += [
            Check(f"J {where}", value, error, unit="J", exact=1.0, criterion=Sigma(4.0)),
            Check(f"error of J {where}", error, unit="J", criterion=Below(0.01) if c.observations >= 10**6 else None),
            *no_others(here, where),
            Check(
                f"transition temperature {where}", exact * value, exact * error, unit="J", exact=exact,
                criterion=Within(0.01, relative=True) if c.observations >= 10**6 else None,
            ),
        ]  # fmt: skip
        true, learned = curves.sel(source="true"), curves.sel(source=f"learned at {kT:g}")
        for name, symbol in (("energy", "U"), ("order", "order parameter"), ("entropy", "S")):
            errors = [learned[f"{name}_sampling"], learned[f"{name}_learning"], true[f"{name}_sampling"]]
            pull = (learned[name] - true[name]) / np.sqrt(sum(e**2 for e in errors))
            worst = stats.norm.isf(0.05 / 2 / len(pull))
            note = f"{len(pull)} temperatures; 95 % of the largest of as many independent ones stay below {worst:.2f}"
            name = f"{symbol} of {c.large} × {c.large} {where}: largest deviation in standard errors"
            found.append(Check(name, float(abs(pull).max()), criterion=Below(4.0), note=note))
    return found


def _draw_curves(run: Run, c: Config) -> Any:
    data = run.observable("curves")
    names = ("energy", "specific_heat", "order")
    shown = [xr.Dataset({"mean": data[name], "error": data[f"{name}_sampling"]}) for name in names]
    return ns.plots.compare(*shown, x="temperature", by="source", points=True, log="")


PRESETS = {
    "quick": Config(),
    "paper": Config(observations=51_200_000, large=24, snapshots=20_000),
    "tiny": Config(  # seconds: shows that the machinery works
        length=4,
        temperatures=(3.0,),
        observations=20_000,
        chains=8,
        shells=2,
        large=6,
        predicted=(2.0, 3.0),
        snapshots=128,
        nodes=3,
    ),
}

STUDY = InferenceStudy(
    question="Do configurations of a Potts model at one temperature tell its couplings, and its transition?",
    title="Learning Potts: a clock model from configurations",
    presets=PRESETS,
    observe=observe_all,
    learn=Work(
        tasks=lambda c: {f"{kT:g}": kT for kT in c.temperatures},
        do=learn,
        seconds=lambda c, kT: 5e-7 * c.length**2 * c.observations,
    ),
    transfer=Work(
        tasks=lambda c: {"true": None} | {f"{kT:g}": kT for kT in c.temperatures},
        do=transfer,
        seconds=lambda c, kT: 6e-7 * c.large**2 * c.snapshots * 30,
    ),
    measures={"couplings": measure_couplings, "curves": measure_curves},
    judge=judge,
    figures={"curves": _draw_curves},
)
