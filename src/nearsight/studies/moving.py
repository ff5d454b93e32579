"""Template of the studies that learn what moves of particles cost, and quench by kinetic Monte Carlo."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import xarray as xr
from pydantic import AliasChoices, Field, model_validator
from torch import Tensor

from nearsight import forcefields, training
from nearsight.dynamics import State, audit_hops
from nearsight.fields import occupation
from nearsight.forcefields import LearnedForceField
from nearsight.lattices import Lattice, site_group, site_permutations
from nearsight.moves import LearnedMoves, MoveEnergies
from nearsight.parallel import once, threads
from nearsight.storage import rounded
from nearsight.studies import quench
from nearsight.studies.audits import error_check
from nearsight.studies.checks import Above, Below, Check, Published
from nearsight.studies.ensembles import Quench, carried_out
from nearsight.studies.locality import HopTarget
from nearsight.studies.options import Count, Length, Positive
from nearsight.studies.quench import QuenchStudy
from nearsight.studies.run import Run
from nearsight.studies.settings import Section
from nearsight.studies.shipping import card
from nearsight.studies.speed import seconds
from nearsight.studies.system import System
from nearsight.training import MoveData, MoveFitOptions, Split

SYMMETRY = 1e-4
"""Allowed violation: energies of single precision, of which small differences are taken."""
PAIRS = 16
"""Moves, of all that feel a given one, that are made before and after it."""
PROBED = 4
"""Configurations of which symmetry and detailed balance are examined."""
EXACT_TARGET = 100.0
"""Times faster than four diagonalisations an exact attempt should be, on 30 × 30 sites."""
LEARNED_TARGET = 5e3
"""Learned attempts per second and core."""
STEPS = 5


class Trajectories(Section):
    """Exact quenches from random positions, of which snapshots are kept; times in attempts per particle."""

    number: Annotated[int, Field(ge=4)] = 16
    """How many."""
    duration: Positive = 60.0
    snapshots: Count = 12
    """Of each, evenly spaced in the logarithm of time, the random start among them."""


class Comparison(quench.Comparison):
    """The quenches that compare learned with exact kinetic Monte Carlo."""

    quenches: Annotated[int, Field(ge=20, validation_alias=AliasChoices("quenches", "runs"))] = 24
    """``runs`` in runs of earlier versions."""
    duration: Positive = 40.0
    screened: Annotated[int, Field(ge=0)] = 4
    """Quenches in which learned energies propose and exact ones decide, to see how many of them that saves."""


class Large(Section):
    """The large quenches, with learned energies alone."""

    length: Length = 100
    replicas: Annotated[int, Field(ge=3)] = 3
    duration: Positive = 300.0
    records: Annotated[int, Field(ge=6)] = 20
    growth_from: Positive = 1.0
    """Growth exponents are fitted from this time on, while the lengths stay below an eighth of the lattice."""
    growth_until: Positive = 100.0
    """Growth exponents are fitted until this time."""
    speed_lengths: tuple[Length, ...] = (30, 100, 300)
    """Lattices on which attempts per second are measured."""
    audited: Annotated[int, Field(ge=0)] = 200
    """Hops whose exact energies are found on the large lattice, at each time of which a map is kept; 0: none."""

    @model_validator(mode="after")
    def _ordered(self) -> Large:
        if not self.growth_from < self.growth_until:
            raise ValueError("growth_from must be less than growth_until")
        return self


class MoveConfig(Section):
    """What every study of moves has; each adds its model and its network."""

    length: Length = 20
    """Lattice of the exact trajectories that are learned."""
    kT: Positive = 0.05
    """Temperature of electrons and of the moves."""
    trajectories: Trajectories = Trajectories()
    fit: MoveFitOptions = MoveFitOptions()
    comparison: Comparison = Comparison()
    large: Large = Large()
    seed: Annotated[int, Field(ge=0)] = 1


@dataclass(frozen=True, kw_only=True)
class MoveStudy(QuenchStudy):
    """Exact energies of moves, a fit, learned against exact energies and quenches, and a quench of a large lattice.

    physics: ``(config, lattice, screen=None) -> System``; learned energies that ``screen`` propose, exact ones decide.
    observe: among its quantities are "accepted" and "evaluated", what the scheme has counted.
    with_cutoff: ``(config, cutoff) -> config`` of a network whose energies depend on pairs at most so far apart.
    """

    with_cutoff: Callable[[Any, float], Any]
    initial_stream: str = "initial positions"

    def electrons(self, run: Run, config: Any, lattice: Lattice) -> LearnedMoves:
        return LearnedMoves(cast(LearnedForceField, forcefields.load(run.path / "model"))).on(lattice)

    def trained_on(self, run: Run, config: Any) -> Any:
        return split(run, config).train

    def generate_data(self, run: Run, config: Any) -> None:
        """Exact quenches, in parallel, and ΔE of every possible move of their snapshots, into ``data.zarr``."""
        wanted, system = config.trajectories, self.system(config)

        def build(folder: Path) -> Path:
            run.log("note", text=f"{wanted.number} quenches with {system.exact}")

            def label(state: State) -> xr.Dataset:
                found = torch.stack([system.exact.differences(field) for field in state.field])
                occupied = state.field[..., 0].numpy()
                return xr.Dataset({"n": (("replica", "site"), occupied), "cost": (("replica", "move"), found.numpy())})

            starts = system.initial_fields(wanted.number, run.rng("data", "start"))
            quenches = [
                Quench(
                    system=system,
                    engine=system.exact,
                    field=field,
                    steps=system.steps(wanted.duration, wanted.snapshots - 1),
                    measure=label,
                    path=folder / f"{k:03d}",
                    seed=run.seed("data", "chance", k),
                )
                for k, field in enumerate(starts.split(1))
            ]
            found = carried_out(quenches, title="exact quenches").transpose("replica", "time", ...)
            n = torch.from_numpy(found.n.values)
            made = folder / "data.zarr"
            MoveData.from_arrays(
                hops=system.exact.hops,
                field=n.flatten(0, 1)[..., None],
                difference=found.cost.values.reshape(n.shape[0] * n.shape[1], -1),
                trajectory=np.repeat(np.arange(n.shape[0]), n.shape[1]),
                time=np.tile(found.time.values, n.shape[0]),
                attrs={"energies": system.exact.config()},
            ).save(made)
            return made

        run.log("note", text=f"{once(MoveData, run.path / 'data.zarr', {}, build)}")

    def fit_model(self, run: Run, config: Any) -> None:
        """Fit an energy whose differences are those of the moves, and save it in ``model/``."""
        learned = self.system(config).build_model(run.rng("weights"))
        run.log("note", text=f"{learned}")
        training.fit_moves(learned, split(run, config), options=config.fit, path=run.path / "fit", resume=True)
        forcefields.save(learned.forcefield, run.path / "model", card=card(self, run, config))

    def compare_speed(self, run: Run, config: Any) -> list[Check]:
        """What attempts cost on one thread of this machine, in one go: random positions, which accept most."""
        length = config.comparison.speed_length
        system = self.system(config, length)
        with threads(1):
            field = system.initial_fields(1, run.rng("speed"))[0]
            spent, accepted = _attempt(system, system.exact, field, run.rng("speed", "chance"))
            # Levels are all that a free energy needs: no eigenvectors, no forces.
            four = 4 * seconds(lambda n: torch.linalg.eigvalsh(system.model.matrix(n)), field)
            checks = [
                Check(
                    f"time of four diagonalisations over one exact attempt on {length} × {length}, one thread",
                    value=four / spent,
                    criterion=Above(EXACT_TARGET) if length >= 30 else None,
                    note=f"{1e3 * four:.3g} ms and {1e3 * spent:.3g} ms at an acceptance of {accepted:.2g}, which "
                    "falls later",
                )
            ]
            for length in config.large.speed_lengths:
                large = self.system(config, length)
                field = large.initial_fields(1, run.rng("speed", length))[0]
                learned = self.electrons(run, config, large.lattice)
                rate = 1.0 / _attempt(large, learned, field, run.rng("speed", "chance"))[0]
                name = f"learned attempts per second on {length} × {length}, one thread"
                checks.append(Check(name, value=rate, criterion=Above(LEARNED_TARGET), note="random positions"))
        return checks

    def compare_quenches(self, run: Run, config: Any) -> tuple[xr.Dataset, list[Check]]:
        """As for forces, and how many exact energies are spared when learned ones propose; the law stays exact."""
        curves, checks = super().compare_quenches(run, config)
        options = config.comparison
        if not options.screened:
            return curves, checks
        lattice = self.lattice(options.length)
        system = self.physics(config, lattice, screen=self.electrons(run, config, lattice))
        screened = self.ensemble(run, config, system, "screened", system.exact, options.screened)
        tallies = {"with": screened, "without": curves.sel(source="exact")}
        asked, hops = (
            {name: float(part[tally].isel(time=-1).mean("replica")) for name, part in tallies.items()}
            for tally in ("evaluated", "accepted")
        )
        note = f"{options.screened} quenches in which learned energies propose and exact ones decide"
        return curves, [
            *checks,
            Check(
                "screened: exact energies asked for, over those without", asked["with"] / asked["without"], note=note
            ),
            Check("screened: accepted moves in the same time, over those without", hops["with"] / hops["without"]),
            Check(
                "screened: fraction of the exact energies that are accepted",
                value=hops["with"] / asked["with"],
                exact=hops["without"] / asked["without"],
                note="exact: without learned energies",
            ),
        ]

    def locality(self, run: Run, config: Any) -> HopTarget:  # type: ignore[override]
        """Energies of moves at fixed number of electrons, exact and learned, on test quenches."""
        system, data = self.system(config), split(run, config)

        def grow(cutoff: float, steps: int, folder: Path) -> LearnedMoves:
            options = config.fit.shortened(steps)
            learned = self.system(self.with_cutoff(config, cutoff)).build_model(run.rng("locality", "grow"))
            return training.fit_moves(learned, data, options=options, path=folder, resume=True, progress=False)

        learned = self.electrons(run, config, system.lattice)
        return HopTarget(exact=system.exact, learned=learned, data=data.test, more=data.train.field, grow=grow)


def audit_large(study: QuenchStudy, run: Run, config: Any) -> tuple[xr.Dataset, list[Check]]:
    """Learned energies of hops against exact electrons in patches, in the maps of the large quench."""
    system, hops = study.system(config, config.large.length), config.large.audited
    if not hops or system.exact.energy != "free":  # internal energies at fixed number are not local
        return xr.Dataset(), []
    maps = run.observable("maps").n.transpose("time", "x", "y")
    energies, found = study.electrons(run, config, system.lattice), []
    for k, field in enumerate(torch.from_numpy(maps.values).double().flatten(1)[..., None]):
        found.append(audit_hops(energies, system.exact, field, hops=hops, seed=run.seed("audit", k) % 2**31))
    data = xr.concat(found, dim=maps.time)

    def check(which: str, one: xr.Dataset) -> Check:
        label, time = f"error of hop energies in the large quench, {which}", f"{rounded(float(one.time))}"
        return error_check(label, one, time=time, exact="energy", sampled="hops", unit="t")

    worst = data.isel(time=int(np.argmax(data.rms.values)))
    return data, [check("rms at the end", data.isel(time=-1)), check("largest rms", worst)]


def split(run: Run, config: Any) -> Split:
    """Training, validation and test quenches, always the same in one run."""
    fit = config.fit
    return MoveData.open(run.path / "data.zarr").split(validation=fit.validation, test=fit.test, seed=config.seed)


def tally(state: State) -> dict[str, xr.DataArray]:
    """What a scheme of moves has counted, per particle."""
    particles = float(state.field[0].sum())
    return {
        name: xr.DataArray(
            state.tally[name].numpy() / particles,
            dims="replica",
            attrs={"long_name": f"{name} moves per particle", "units": "1"},
        )
        for name in ("accepted", "evaluated")
    }


def compare_moves(
    run: Run, config: Any, system: System, learned: MoveEnergies, *, published: Published, target: float, labels: int
) -> tuple[xr.Dataset, list[Check]]:
    """ΔF of every move of the test quenches, learned and exact, what has to hold whatever was learned, and how much the
    exact ΔF depends on the ensemble, which no local model can know.

    target: the mean squared error to reach; labels: moves with exact ΔF that training may take.
    """
    data = split(run, config)
    test = data.test
    probed, known = test.field[:PROBED], np.isfinite(test.difference)
    exact, age = test.difference[known], np.repeat(test.time, known.sum(1))
    found = torch.cat([learned.differences(field[None]) for field in test.field]).numpy()[known]
    square_error = np.square(found - exact)
    symmetry, loops = symmetry_error(learned, probed), loop_error(learned, probed, run.rng("loops"))
    ensembles = system.exact.ensembles(probed)
    off = (ensembles.canonical - ensembles.grand)[torch.isfinite(ensembles.canonical)]
    move, violation = {"long_name": "ΔF of a move", "units": "t"}, "violation relative to the largest ΔF"
    dataset = xr.Dataset(
        {
            "exact": ("hop", exact, move),
            "learned": ("hop", found, move),
            "symmetry_error": ("operation", symmetry, {"long_name": violation, "tolerance": SYMMETRY}),
        },
        coords={"time": ("hop", age, {"long_name": "time", "units": "attempts per particle"})},
    )
    mse, late = float(square_error.mean()), float(square_error[age > np.median(test.time)].mean())
    moves = f"{len(exact)} moves, whose ΔF has the mean square {np.square(exact).mean():.3g}"
    name, below = "ΔF of a move", Below(SYMMETRY)
    loop = "relative to the largest ΔF, 0 for the differences of a function of the state"
    fixed, falls = (
        "ΔF at fixed number minus ΔΩ at fixed μ, same hops",
        f"{config.length} × {config.length} sites, falls as 1/N",
    )
    return dataset, [
        Check(
            f"{name} on unseen quenches, mean squared error", mse, unit="t²", published=published,
            criterion=Below(target), note=moves,
        ),
        Check(
            "moves with exact ΔF in the training data", data.train.labels, criterion=Below(labels),
            note=f"{len(data.train)} configurations",
        ),
        Check(f"{name}, rms error", float(np.sqrt(mse)) / config.kT, unit="kT"),
        Check(f"{name} in the later half of the quenches, mean squared error", late, unit="t²"),
        Check(
            f"symmetry of ΔF, worst of {len(symmetry)} operations", max(symmetry), criterion=below,
            note="relative to the largest ΔF",
        ),
        Check(
            "detailed balance: pairs of moves in either order, difference of their costs", loops,
            criterion=None if loops is None else below, note=loop,
        ),
        Check(f"{fixed}, rms", float(off.square().mean().sqrt()), unit="t", note=falls),
        Check(f"{fixed}, largest", float(off.abs().max()), unit="t", note=falls),
    ]  # fmt: skip


def symmetry_error(energies: MoveEnergies, field: Tensor) -> list[float]:
    """max |ΔF(gn, gm) - ΔF(n, m)| / max |ΔF| for every operation g of the site group, the identity first."""
    group, law = site_group(energies.lattice), occupation()
    before = energies.differences(field)
    possible = torch.isfinite(before)
    places = torch.arange(energies.lattice.n_sites, dtype=torch.float64)[:, None]
    worst = []
    for g, permutation in enumerate(site_permutations(energies.lattice, group)):
        origin = law.transform(places, group, g, permutation)[:, 0].long().numpy()
        after = energies.differences(law.transform(field, group, g, permutation))
        after = after[:, torch.from_numpy(energies.hops.carried(origin))]
        worst.append(float((after - before)[possible].abs().max() / before[possible].abs().max()))
    return worst


def loop_error(energies: MoveEnergies, field: Tensor, rng: torch.Generator) -> float | None:
    """The cost of a move and of others that feel it, in one order minus the other, relative to the largest ΔF.

    Rates obey detailed balance if and only if no loop costs anything. None if no two moves feel each other.
    """
    worst, largest = 0.0, 0.0
    for one in field:
        first = energies.differences(one)
        moves = torch.nonzero(torch.isfinite(first))[:, 0]
        a = moves[torch.randint(len(moves), (), generator=rng)]
        after_a = energies.differences(energies.hops.apply(one, a))
        feel = moves[torch.isfinite(after_a[moves]) & (after_a[moves] != first[moves])]
        b = feel[torch.randperm(len(feel), generator=rng)[:PAIRS]]
        after_b = energies.differences(energies.hops.apply(one.expand(len(b), -1, -1), b))[:, a]
        loops = (first[a] + after_a[b] - first[b] - after_b).abs()
        loops = loops[torch.isfinite(loops)]  # the others are in each other's way
        if len(loops):
            worst, largest = max(worst, float(loops.max())), max(largest, float(first[moves].abs().max()))
    return worst / largest if largest else None


def _attempt(system: System, energies: MoveEnergies, field: Tensor, rng: torch.Generator) -> tuple[float, float]:
    """Seconds of one attempt and the fraction that is accepted, over the first steps of a quench."""
    scheme: Any = system.moved_by(energies)[1]
    state = scheme.step(scheme.start(field, None, rng), None, rng)  # compiled by now
    before = float(state.tally["accepted"])
    start = time.perf_counter()
    for _ in range(STEPS):
        state = scheme.step(state, None, rng)
    count = STEPS * float(field.sum())
    return (time.perf_counter() - start) / count, (float(state.tally["accepted"]) - before) / count
