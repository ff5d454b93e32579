"""From a model and temperatures to independent configurations on disk, in parallel, restartable at any moment."""

from __future__ import annotations

import functools
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nearsight import __version__
from nearsight._validation import boolean, choice, filename, instance, integer
from nearsight.hamiltonians import ClassicalModel
from nearsight.parallel import once, resumable
from nearsight.parallel.parts import unfinished
from nearsight.sampling._choice import choose, choose_start
from nearsight.sampling._clusters import cluster_costs
from nearsight.sampling._multispin import REPLICAS
from nearsight.sampling._streams import generator
from nearsight.sampling.autocorrelation import agreement, autocorrelation_time
from nearsight.sampling.sampler import START, Sampler, _magnetisation, _real_temperatures
from nearsight.sampling.samplers import SAMPLERS, SwendsenWang, Wolff, _not_checkerboard
from nearsight.sampling.snapshots import Snapshots, pack
from nearsight.storage import load_tensors, save_tensors, usable_tensors

if TYPE_CHECKING:
    from distributed import Client

DISCARD, MEASURE = 20, 200
"""Autocorrelation times that every chain discards, and that all chains of a unit together measure."""
CHAINS = 4
"""Chains for each temperature, unless 64 share words; equilibrium is judged on no fewer."""
DISAGREEMENT = 1e-3
"""Chains whose differences have a smaller p-value (:func:`agreement`) go on."""
RECORDS = 512
KEEP = 10.0
"""Seconds after which what a unit has drawn is kept on disk."""


@dataclass(frozen=True)
class Unit:
    """A group of chains at one temperature: what one worker does at a time, with random numbers of its own."""

    temperature: int
    group: int
    kT: float
    sampler: str
    start: str
    chains: int
    snapshots: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What is the same for all units."""

    seed: int
    interval: int | None
    equilibration: int | None
    max_sweeps: int
    symmetrise: bool


def sample(
    model: ClassicalModel,
    kT: float | Sequence[float] | np.ndarray,
    snapshots: int,
    path: str | Path | None = None,
    *,
    seed: int,
    sampler: str = "auto",
    chains: int | None = None,
    start: str = "auto",
    interval: int | None = None,
    equilibration: int | None = None,
    max_sweeps: int = 2**17,
    symmetrise: bool = True,
    workers: int | None = None,
    client: Client | None = None,
    progress: bool = True,
    resume: bool = True,
) -> Snapshots:
    r"""Configurations of a classical model in equilibrium, ``snapshots`` at every temperature, written to ``path``.

    Chains equilibrate until they have forgotten their start, and are then read so rarely that successive snapshots are
    nearly independent. Both are measured, not guessed. With τ the larger of the integrated autocorrelation times of E
    and of m² (:func:`autocorrelation_time`; m is the staggered magnetisation in a bipartite antiferromagnet), the
    number of sweeps is doubled until its first half, which is discarded, is at least 20 τ and its second half, in which
    τ is measured, at least 200 τ for all chains together, so that τ is known to 36 % or better, and until chains, four
    or more, that began in order and in disorder agree in E and m² (:func:`agreement`, p > 0.001): τ alone is blind to
    what did not happen. Then a snapshot is taken every ⌈2τ⌉ sweeps, after which exp(-2) of a correlation is left. What
    was measured is kept in ``Snapshots.attrs["units"]``.

    Every unit of work, some chains at one temperature, has random numbers that follow from ``seed``, its temperature's
    place in ``kT`` and its number alone: the snapshots do not depend on how many workers share the work. Finished units
    are kept in ``path.parts/``, and of unfinished ones every ten seconds what there is; killed at any moment, the same
    call goes on from there and ends with the same store.

    Parameters
    ----------
    model: on its lattice.
    kT: temperatures, > 0, all different.
    snapshots: number at every temperature.
    path: a folder for the store; None keeps it in memory.
    seed: whole number >= 0.
    sampler: "metropolis", "heat-bath", "swendsen-wang", "wolff", or "auto". On an even square torus with equal bonds
        "auto" is Swendsen-Wang for |kT - kT_c| < 0.4 |J|, Metropolis elsewhere up to 2 kT_c, a heat bath above, where
        Metropolis's rule turns nearly every spin at every sweep; on other lattices, for Potts models, and on tori so
        narrow or small that domains reach around them with a weight that counts (1e-6) below kT_c, Swendsen-Wang;
        where clusters do not turn freely (field, frustration, vacancies) a heat bath. No rule that moves one site at a
        time equilibrates glasses: see :class:`ParallelTempering`.
    chains: independent chains at every temperature; by default 64 where they share words, 4 elsewhere.
    start: "random", "ordered" (:func:`~nearsight.sampling.sampler.ordered_states`), "mixed" (half of the chains each),
        or "auto": ordered below the transition of an Ising model with nearest neighbours, where that is known and walls
        across the lattice have no weight, and mixed elsewhere. Random chains may freeze into stripes in an ordered
        phase, and are then seen to differ from the others: where you know the phase, give "ordered". Chains that all
        begin alike prove less.
    interval, equilibration: sweeps between snapshots and discarded before the first, in place of the measured ones.
    max_sweeps: what a chain may spend on equilibration before it gives up with a ``RuntimeError``.
    symmetrise: turn every snapshot by a random element of the model's internal symmetry: all spins of an Ising or
        Blume-Capel model at h = 0 change sign with probability 1/2, states of a standard Potts model are permuted.
        Below the transition a local sampler never does so in any reasonable time. Energies are not touched.
    workers: local processes of one thread each; by default one for every core, or this process if the work is a matter
        of seconds.
    client: a :class:`distributed.Client` of your own, to whose workers the chains go.
    resume: go on with what is there; False refuses to touch it.
    """
    units = _units(model, kT, snapshots, sampler, chains, start)
    plan = _plan(seed, interval, equilibration, max_sweeps, symmetrise)
    progress, resume = boolean(progress, "progress"), boolean(resume, "resume")
    workers = None if workers is None else integer(workers, "workers", least=0)
    about = _about(model, units, plan)

    def measured(folder: Path | None) -> Any:
        kept = [None if folder is None else unfinished(folder, number) for number in range(len(units))]
        # 30 ns a site and sweep, about 20 sweeps a snapshot.
        seconds = 6e-7 * model.lattice.n_sites * sum(sum(unit.snapshots) for unit in units)
        return resumable(
            run_unit, [(unit, plan, file) for unit, file in zip(units, kept, strict=True)], folder, shared=(model,),
            plan=about, workers=workers, client=client, seconds=seconds, title="units of chains", progress=progress,
        )  # fmt: skip

    def build(folder: Path) -> Path:
        parts = measured(folder)
        shutil.rmtree(made := folder / "assembled.zarr", ignore_errors=True)
        _assemble(made, model, units, parts.plan, parts)
        return made

    if path is None:
        return _assemble(None, model, units, about, measured(None))
    return once(Snapshots, filename(path, "path"), about, build, resume=resume)


# --- the plan ---------------------------------------------------------------------------------------------------------


def _units(model: ClassicalModel, kT: Any, snapshots: int, sampler: str, chains: int | None, start: str) -> list[Unit]:
    instance(model, ClassicalModel, "model", "Samplers take a classical model such as Ising(lattice).")
    choice(sampler, "sampler", ("auto", *SAMPLERS))
    choice(start, "start", ("auto", "random", "ordered", "mixed"))
    snapshots = integer(snapshots, "snapshots", least=1)
    chains = None if chains is None else integer(chains, "chains", least=1)
    if sampler in (SwendsenWang.name, Wolff.name):
        cluster_costs(model)
    temperatures = np.atleast_1d(_real_temperatures(kT))
    if temperatures.ndim != 1 or not temperatures.size or len(np.unique(temperatures)) < len(temperatures):
        raise ValueError("kT holds one or several different temperatures; ask for more snapshots, not for one twice.")
    words = _not_checkerboard(model) is None and model.h == 0  # type: ignore[attr-defined]
    units = []
    for place, t in enumerate(temperatures.tolist()):
        name = choose(model, t) if sampler == "auto" else sampler
        share = words and name in ("metropolis", "heat-bath")
        number = min(snapshots, chains or (REPLICAS if share else CHAINS))
        size = REPLICAS if share and number >= REPLICAS else CHAINS
        counts = [snapshots // number + (chain < snapshots % number) for chain in range(number)]
        for group, first in enumerate(range(0, number, size)):
            own = tuple(counts[first : first + size])
            units.append(
                Unit(place, group, t, name, choose_start(model, t) if start == "auto" else start, len(own), own)
            )
    return units


def _plan(seed: int, interval: int | None, equilibration: int | None, max_sweeps: int, symmetrise: bool) -> Plan:
    return Plan(
        integer(seed, "seed", least=0),
        None if interval is None else integer(interval, "interval", least=1),
        None if equilibration is None else integer(equilibration, "equilibration", least=0),
        integer(max_sweeps, "max_sweeps", least=1),
        boolean(symmetrise, "symmetrise"),
    )


def _about(model: ClassicalModel, units: list[Unit], plan: Plan) -> dict[str, Any]:
    """Everything that decides the snapshots. The description of a model may leave couplings out; a probe sees them."""
    states = generator(0, START).integers(model.n_states, size=(3, model.lattice.n_sites), dtype=np.int8)
    return {
        "nearsight": __version__,
        "model": repr(model),
        "lattice": model.lattice.config(),
        "values": model.values.tolist(),
        "fingerprint": model.energy(torch.from_numpy(states)).tolist(),
        "internal": model.field_type.internal,
        **asdict(plan),
        "plan": [{**asdict(unit), "snapshots": list(unit.snapshots)} for unit in units],
    }


# --- the work ---------------------------------------------------------------------------------------------------------


def run_unit(model: ClassicalModel, unit: Unit, plan: Plan, kept: Path | None = None) -> dict[str, np.ndarray]:
    """The snapshots of some chains, by chain and then time, and what was measured on the way.

    ``kept`` is a file for what there is every ``KEEP`` seconds; one that exists is gone on with, bit for bit.
    """
    name = (unit.temperature, unit.group)
    make = functools.partial(SAMPLERS[unit.sampler], model, unit.kT, seed=(plan.seed, *name), start=unit.start)
    chain = make(chains=unit.chains)
    turn = generator(plan.seed, *name, START + 1)
    rows: dict[str, list[np.ndarray]] = {"states": [], "energy": [], "magnetisation": []}
    work = json.dumps([repr(model), asdict(unit), asdict(plan)])
    if kept is not None and usable_tensors(kept) and (found := load_tensors(kept))[1]["work"] == work:
        tensors, text = found
        chain.restore({key.removeprefix("chain/"): x for key, x in tensors.items() if key.startswith("chain/")})
        rows = {column: list(tensors[f"rows/{column}"].numpy()) for column in rows}
        turn.bit_generator.state = json.loads(text["turn"])
        done, tau, error = json.loads(text["equilibration"])
    else:
        # One chain alone agrees with itself: others help to judge, and are left when snapshots are taken.
        judged = make(chains=CHAINS) if unit.chains < CHAINS else chain
        done, tau, error = _equilibrate(judged, plan)
        if judged is not chain:
            chain.restore({key: x[: unit.chains] for key, x in judged.checkpoint().items()})
    interval = plan.interval or max(1, math.ceil(2 * max(tau)))
    number = max(unit.snapshots)
    saved = time.monotonic()
    for _ in range(len(rows["energy"]), number):
        chain.sweep(interval)
        states = chain.states.numpy()
        energy, counts = chain.measure()
        if plan.symmetrise:
            states, counts = _turned(model, states, counts, turn)
        rows["states"].append(pack(states, model.n_states))
        rows["energy"].append(energy)
        rows["magnetisation"].append(_magnetisation(model, counts))
        if kept is not None and time.monotonic() - saved >= KEEP and kept.parent.is_dir():
            tensors = {f"chain/{key}": x for key, x in chain.checkpoint().items()}
            tensors |= {f"rows/{column}": torch.from_numpy(np.stack(parts)) for column, parts in rows.items()}
            text = {"turn": json.dumps(turn.bit_generator.state), "equilibration": json.dumps([done, tau, error])}
            text["work"] = work
            save_tensors(kept, tensors, text)
            saved = time.monotonic()
    keep = np.arange(number)[None, :] < np.array(unit.snapshots)[:, None]
    arrays = {column: np.stack(parts, axis=1)[keep] for column, parts in rows.items()}
    sweep = done + interval * (1 + np.arange(number))
    arrays["sweep"] = np.broadcast_to(sweep, keep.shape)[keep].astype(np.int64)
    arrays["chain"] = np.broadcast_to(np.arange(unit.chains)[:, None], keep.shape)[keep].astype(np.int32)
    arrays["measured"] = np.array([*tau, *error, interval, done])
    return arrays


def _equilibrate(chain: Sampler, plan: Plan) -> tuple[int, tuple[float, float], tuple[float, float]]:
    """Sweeps made, and the autocorrelation times of E and m² in sweeps with their errors (1/2 if nothing changes)."""
    done = 0
    if plan.equilibration is not None:
        chain.sweep(plan.equilibration)
        done = plan.equilibration
        if plan.interval is not None:
            return done, (np.nan, np.nan), (np.nan, np.nan)
    length = 32
    chain.sweep(length)
    done += length
    while True:
        # At most RECORDS measurements: coarser than a fraction of τ they need not be.
        every = max(1, length // RECORDS)
        series = chain.record(length, every=every)
        done += length
        agreed = min(agreement(x) for x in series) > DISAGREEMENT
        times = [autocorrelation_time(x) for x in series]
        tau = tuple(0.5 if np.isnan(t.tau) else every * t.tau for t in times)
        error = tuple(0.0 if np.isnan(t.tau) else every * t.error for t in times)
        if agreed and length >= DISCARD * max(tau) and chain.chains * length >= MEASURE * max(tau):
            return done, tau, error  # type: ignore[return-value]
        if 2 * done > plan.max_sweeps:
            raise RuntimeError(
                f"{chain!r} has not equilibrated after {done} sweeps (autocorrelation time about {max(tau):.0f}"
                f"{'' if agreed else '; chains from different starts disagree'}). "
                'Take sampler="swendsen-wang" near a transition and on small or narrow lattices, ParallelTempering in '
                'a glass or far below a transition, start="ordered" if you know the phase, or raise max_sweeps.'
            )
        length = done


def _turned(
    model: ClassicalModel, states: np.ndarray, counts: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """States and counts of states after a random element of the internal symmetry, another for every chain."""
    q, chains = model.n_states, len(states)
    if model.field_type.internal == "Z2":
        maps = np.where(rng.integers(2, size=(chains, 1)) == 1, np.arange(q)[::-1], np.arange(q))
    elif model.field_type.internal == "S(n)":
        maps = rng.permuted(np.broadcast_to(np.arange(q), (chains, q)), axis=1)
    else:
        return states, counts
    turned = np.zeros_like(counts)
    np.put_along_axis(turned, maps, counts, axis=1)
    return np.take_along_axis(maps, states.astype(np.int64), axis=1).astype(np.int8), turned


# --- the store --------------------------------------------------------------------------------------------------------


def _assemble(
    path: Path | None, model: ClassicalModel, units: list[Unit], about: dict[str, Any], results: Sequence[Any]
) -> Snapshots:
    total = sum(sum(unit.snapshots) for unit in units)
    store = Snapshots.room(path, total, model.lattice.n_sites, model.values.numpy(), about)
    measured: list[dict[str, Any]] = []
    chains = 0
    for number in sorted(range(len(units)), key=lambda k: (units[k].kT, units[k].group)):
        block, unit = {name: np.asarray(values) for name, values in results[number].items()}, units[number]
        block["kT"] = np.full(len(block["energy"]), unit.kT)
        block["chain"] = block["chain"] + np.int32(chains)
        chains += unit.chains
        store.append(block)
        names = ("tau_energy", "tau_order", "tau_energy_error", "tau_order_error", "interval", "discarded")
        numbers = [None if np.isnan(x) else float(x) for x in block["measured"]]
        about_unit = {"kT": unit.kT, "sampler": unit.sampler, "start": unit.start, "chains": unit.chains}
        measured.append({**about_unit, **dict(zip(names, numbers, strict=True))})
    store.attrs["units"] = measured
    store.seal()
    return store
