"""Samplers, stores of snapshots, exact references."""

import math

import numpy as np
import torch

from bad_arguments import NOT_NUMBERS, each
from nearsight.hamiltonians import Ising
from nearsight.lattices import square
from nearsight.sampling import (
    HeatBath,
    Metropolis,
    ParallelTempering,
    SwendsenWang,
    Wolff,
    agreement,
    anneal,
    autocorrelation_time,
    chain_thermodynamics,
    critical_temperature,
    enumerate_states,
    ising_bulk,
    ising_torus,
    mean_and_error,
    planar_thermodynamics,
    sample,
    spontaneous_magnetisation,
    temperature_ladder,
)

MODEL = Ising(square(4))
NOT_TEMPERATURES = (None, "hot", True, 1j, float, math.nan, math.inf, 0.0, -1.0, [], [[1.0]], [1.0, None])
NOT_COUNTS = (None, "3", True, 1.5, -1, 0, 1j, int, math.nan)
NOT_SWEEPS = (None, "3", True, 1.5, -1, 1j, int, math.nan)
NOT_SEEDS = (None, "7", True, 1.5, -1, (), (1, "x"), torch.Generator())
NOT_STARTS = (None, "cold", 1, torch.zeros(3), torch.full((16,), 7), np.zeros(16))
NOT_MODELS = (None, "ising", Ising, square(4), Ising(square(4)).pairs)
NOT_SERIES = (None, "x", [1.0, 2.0], [1j] * 8, [math.nan] * 8, np.ones((2, 2, 8)), [[1.0] * 8, [1.0] * 7])
KINDS = (Metropolis, HeatBath, SwendsenWang, Wolff)

CHAIN = Metropolis(MODEL, 2.0, chains=2)
LADDER = ParallelTempering(MODEL, [1.0, 2.0])

ROWS = [
    *(row for kind in KINDS for row in each(kind, "model", NOT_MODELS, kT=1.0)),
    *(row for kind in KINDS for row in each(kind, "kT", NOT_TEMPERATURES, MODEL)),
    *(row for kind in KINDS for row in each(kind, "seed", NOT_SEEDS, MODEL, kT=1.0)),
    *each(Metropolis, "chains", [x for x in NOT_COUNTS if x is not None], MODEL, kT=1.0),
    *each(Metropolis, "start", NOT_STARTS, MODEL, kT=1.0),
    *each(Metropolis, "code", (None, 1, "word"), MODEL, kT=1.0),
    *(row for run in (CHAIN, LADDER) for row in each(run.sweep, "number", NOT_SWEEPS)),
    *(row for run in (CHAIN, LADDER) for row in each(run.record, "sweeps", NOT_COUNTS)),
    *(row for run in (CHAIN, LADDER) for row in each(run.record, "every", NOT_COUNTS, 4)),
    *each(LADDER.search, "sweeps", NOT_SWEEPS),
    *each(LADDER.search, "goal", (None, "low", True, 1j, math.nan), 1),
    *each(SwendsenWang(MODEL, 1.0).sweep, "number", NOT_SWEEPS),
    *each(Wolff(MODEL, 1.0).sweep, "number", NOT_SWEEPS),
    *each(ParallelTempering, "model", NOT_MODELS, kT=[1.0, 2.0]),
    *each(ParallelTempering, "kT", (*NOT_TEMPERATURES, [1.0], [1.0, 1.0]), MODEL),
    *each(ParallelTempering, "sampler", (None, "gibbs", 3, Ising), MODEL, kT=[1.0, 2.0]),
    *each(anneal, "model", NOT_MODELS, schedule=(2.0, 0.1)),
    *each(anneal, "schedule", (None, "slow", 1.0, (1.0,), (2.0, 0.0), [], [1.0, math.nan]), MODEL),
    *each(anneal, "sweeps", (*NOT_COUNTS, 1), MODEL, (2.0, 0.1)),
    *each(anneal, "runs", NOT_COUNTS, MODEL, (2.0, 0.1), sweeps=2),
    *each(temperature_ladder, "low", (*NOT_NUMBERS, 0.0, 3.0), high=2.0, number=3),
    *each(temperature_ladder, "number", (*NOT_COUNTS, 1), 1.0, 2.0),
    *each(sample, "model", NOT_MODELS, kT=1.0, snapshots=4, seed=0),
    *each(sample, "kT", NOT_TEMPERATURES, MODEL, snapshots=4, seed=0),
    *each(sample, "snapshots", NOT_COUNTS, MODEL, 1.0, seed=0),
    *each(sample, "seed", (None, "7", True, 1.5, -1, (1, 2)), MODEL, 1.0, 4),
    *each(sample, "sampler", (None, "gibbs", Metropolis), MODEL, 1.0, 4, seed=0),
    *each(sample, "chains", [x for x in NOT_COUNTS if x is not None], MODEL, 1.0, 4, seed=0),
    *each(sample, "start", (None, "cold", 3), MODEL, 1.0, 4, seed=0),
    *each(sample, "interval", [x for x in NOT_COUNTS if x is not None], MODEL, 1.0, 4, seed=0),
    *each(sample, "equilibration", [x for x in NOT_SWEEPS if x is not None], MODEL, 1.0, 4, seed=0),
    *each(sample, "max_sweeps", NOT_COUNTS, MODEL, 1.0, 4, seed=0),
    *each(sample, "symmetrise", (None, 1, "no"), MODEL, 1.0, 4, seed=0),
    *each(sample, "progress", (None, 1, "no"), MODEL, 1.0, 4, seed=0),
    *each(sample, "resume", (None, 1, "no"), MODEL, 1.0, 4, seed=0),
    *each(sample, "workers", ("2", True, 1.5, -1), MODEL, 1.0, 4, seed=0),
    *(row for judge in (autocorrelation_time, mean_and_error, agreement) for row in each(judge, "series", NOT_SERIES)),
    *each(enumerate_states, "model", NOT_MODELS),
    *each(chain_thermodynamics, "model", NOT_MODELS, kT=1.0),
    *each(planar_thermodynamics, "model", NOT_MODELS, kT=1.0),
    *each(planar_thermodynamics, "kT", (None, "hot", 0.0, math.nan, 1j), MODEL),
    *each(critical_temperature, "lattice", (None, 3, "sqare", square), J=1.0),
    *each(critical_temperature, "J", (*NOT_NUMBERS, 0.0), lattice="square"),
    *each(ising_bulk, "kT", (None, "hot", 0.0, math.nan, 1j), lattice="square"),
    *each(ising_torus, "kT", (None, "hot", 0.0, math.nan, 1j), length=4, width=4),
    *each(spontaneous_magnetisation, "kT", (None, "hot", 0.0, math.nan, 1j), lattice="square"),
]  # fmt: skip

_STORE = sample(MODEL, 5.0, 4, seed=0, chains=2, progress=False, workers=1)
ROWS += [
    *each(lambda size: list(_STORE.batches(size)), "size", NOT_COUNTS),
    *each(lambda rng: list(_STORE.batches(2, rng=rng)), "rng", (0, "seed", np.random.default_rng(0))),
    *each(_STORE.split, "fraction", (*NOT_NUMBERS, 0.0, 1.0), rng=torch.Generator()),
    *each(_STORE.split, "rng", (None, 0, "seed"), 0.5),
    *each(_STORE.select, "kT", ("hot", math.nan, 1j, 2.0)),
]
