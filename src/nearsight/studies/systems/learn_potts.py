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
from nearsight.inference import LearnedCouplings, Observations, Terms, examine, observe, predict, select_couplings
from nearsight.lattices import Lattice, square
from nearsight.studies.checks import Below, Check, PValue, Sigma, Within
from nearsight.studies.inference import InferenceStudy, Work, result
from nearsight.studies.options import Count, Length, Positive
from nearsight.studies.run import Run
from nearsight.studies.settings import Section

STATES = 3
KT_C = 1.5 / math.log(1 + math.sqrt(3))
"""Transition of the infinite lattice in units of J."""


class Config(Section):
    """Everything that decides the numbers of a run."""

    length: Length = 8
    temperatures: Annotated[tuple[Positive, ...], Field(min_length=1)] = (3.0, 1.8)
    """kT/J of the observations."""
    observations: Annotated[int, Field(ge=1000)] = 1_000_000
    chains: Annotated[int, Field(ge=2)] = 32
    period: Count = 10
    """Attempts to change a state from one observation to the next."""
    shells: Count = 3
    large: Length = 16
    """Side of the lattice that is predicted."""
    predicted: tuple[Positive, ...] = (1.2, 1.4, 1.5, 1.6, 1.8, 2.2, 3.0)
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
        seed = run.seed("seen", f"{kT:g}")
        seen = observe(model(square(c.length)), kT, c.observations, chains=c.chains, period=c.period, seed=seed)
        seen.save(run.path / "observations" / f"{kT:g}.safetensors")
        run.log("note", text=str(examine(seen)))


def candidates(c: Config) -> Terms:
    """The couplings that are looked for."""
    return Terms.pairs(square(c.length), c.shells, n_states=STATES, kind="clock")


def learn(path: Path, c: Config, seed: int, kT: float) -> xr.Dataset:
    """Couplings that the observations at one temperature support."""
    seen, rng = Observations.load(path / "observations" / f"{kT:g}.safetensors"), torch.Generator().manual_seed(seed)
    found = select_couplings(seen, candidates(c), rng=rng)
    data = {
        "value": ("term", found.full.value, {"long_name": "coupling", "units": "J"}),
        "error": ("term", found.full.error, {"long_name": "standard error", "units": "J"}),
        "chosen": ("term", found.supported.astype(np.int8)),
        "rest": ((), found.rest, {"long_name": "p-value of no others"}),
        "effective": ((), found.learned.effective),
        "final": ("kept", found.learned.value, {"units": "J"}),
        "covariance": (("kept", "also_kept"), found.learned.covariance),
        "freedom": ("kept", found.learned.freedom),
    }
    return xr.Dataset(data, {"term": list(found.full.terms.names)})


def learned_couplings(path: Path, c: Config, kT: float) -> LearnedCouplings:
    """The supported couplings, as they were kept."""
    found = result(path, "learn", f"{kT:g}")
    terms = candidates(c).take(found.chosen.values.astype(bool))
    return LearnedCouplings(
        terms, found.final.values, found.covariance.values, found.freedom.values, "pseudo-likelihood", kT,
        c.observations, float(found.effective),
    )  # fmt: skip


def transfer(path: Path, c: Config, seed: int, kT: float | None) -> xr.Dataset:
    """Curves of the couplings learned at one temperature, or of the true ones."""
    lattice = square(c.large)
    energy = model(lattice) if kT is None else learned_couplings(path, c, kT)
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
            Check(f"couplings supported besides J {where}", int(here.chosen.sum()) - 1, exact=0, criterion=Below(0)),
            Check(f"all other couplings are zero {where}, p-value", float(here.rest), criterion=PValue(0.001)),
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
        seconds=lambda c, kT: 3e-6 * c.observations,
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
