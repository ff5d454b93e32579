"""Observations, the protocol that makes them, reference sets, and couplings learned from them."""

import math

import numpy as np
import torch

from bad_arguments import NOT_COUNTS, NOT_FINITE, NOT_NUMBERS, NOT_OBJECTS, NOT_WHOLE, each, row
from nearsight.hamiltonians import Ising
from nearsight.inference import (
    AutoregressiveEnergy,
    LikelihoodOptions,
    Observations,
    Terms,
    cross_entropy,
    distil,
    energy_errors,
    entropy,
    examine,
    fit_likelihood,
    learn_couplings,
    load_observations,
    observe,
    predict,
    reference_set,
    reweight,
    select_couplings,
)
from nearsight.lattices import honeycomb, square
from nearsight.networks import EDNN, LogisticAutoregression
from nearsight.sampling import ising_levels

LATTICE = square(2)
STATES = np.array([[0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]])
NOT_STATES = (
    None, "up", 1, [], np.zeros((0, 4), int), STATES * 1.0, STATES == 1, STATES[:, :3], STATES + 1, 2 * STATES - 1,
    [[0, 1, 1, 0], [1, 0]], np.zeros((2, 2, 2, 4), int), dict, np.array([["a"] * 4]),
)  # fmt: skip
SEEN = Observations(LATTICE, STATES)
MODEL = Ising(square(4))
LOGISTIC = LogisticAutoregression(LATTICE)
NOT_SEEDS = (None, "7", True, 1.5, -1, torch.Generator())
NOT_MODELS = (None, "ising", Ising, square(4))
FREE = torch.randint(2, (200, 16), generator=torch.Generator().manual_seed(1))
MANY = Observations(square(4), FREE)
TERMS = Terms.pairs(MANY.lattice, 2)
LEARNED = learn_couplings(MANY, TERMS)

ROWS = [
    *each(Observations, "lattice", NOT_OBJECTS, states=STATES),
    *each(Observations, "states", NOT_STATES, LATTICE),
    *each(Observations, "n_states", (*NOT_COUNTS, 1, 128), LATTICE, STATES),
    *each(Observations, "kT", [x for x in (*NOT_FINITE, 0.0, -1.0) if x is not None], LATTICE, STATES),
    *each(Observations, "chain", ("a", [0, 1], [0.0, 1.0, 2.0], 3, [[0, 1, 2]]), LATTICE, STATES),
    *each(Observations, "chain", ([0, 0, 0],), LATTICE, STATES[None]),
    *each(Observations, "missing", ("a", STATES, STATES[:2] == 1, STATES < 5, True), LATTICE, STATES),
    *each(Observations.from_packed, "packed", (None, [[1]], STATES, np.zeros((3, 2), np.uint8)), LATTICE),
    *each(Observations.from_snapshots, "snapshots", (None, STATES, SEEN)),
    *each(lambda size: list(SEEN.batches(size)), "size", NOT_COUNTS),
    *each(lambda rng: list(SEEN.batches(2, rng)), "rng", (0, "seed", np.random.default_rng(0))),
    *each(SEEN.split, "validation", (*NOT_NUMBERS, 0.0, 1.0), rng=torch.Generator()),
    *each(SEEN.split, "gap", (None, "1", 1.5, -1, 3), rng=torch.Generator()),
    *each(SEEN.split, "rng", (None, 0, "seed"), 0.5),
    *each(SEEN.take, "rows", ([], [False] * 3, 1)),
    *each(observe, "model", NOT_MODELS, kT=1.0, count=4, seed=0),
    *each(observe, "kT", (*NOT_FINITE, 0.0, -1.0), MODEL, count=4, chains=2, seed=0),
    *each(observe, "count", NOT_COUNTS, MODEL, 1.0, chains=1, seed=0),
    *each(observe, "chains", (*NOT_COUNTS, 5), MODEL, 1.0, 4, seed=0),
    *each(observe, "period", NOT_COUNTS, MODEL, 1.0, 4, chains=2, seed=0),
    *each(observe, "seed", NOT_SEEDS, MODEL, 1.0, 4, chains=2),
    *each(reference_set, "model", (*NOT_MODELS, Ising(square(5)), Ising(square(4), h=1.0)), seed=0),
    *each(
        reference_set,
        "levels",
        ("all", 3, ising_levels(4, 6), ising_levels(4, 4, J=0.3), ising_levels(4, 4, J=0.5)),
        MODEL,
        seed=0,
    ),
    *each(reference_set, "per_level", NOT_COUNTS, MODEL, seed=0),
    *each(reference_set, "seed", NOT_SEEDS, MODEL),
    *each(energy_errors, "energy", (None, 3.0, "ising"), reference=reference_set(MODEL, per_level=1, seed=0)),
    *each(energy_errors, "reference", (None, 3.0, MODEL), MODEL),
    *each(examine, "observations", (None, 3, STATES, Observations)),
    *each(examine, "draws", (*NOT_COUNTS, 5), SEEN),
    *each(examine, "rows", NOT_COUNTS, SEEN),
    *each(examine, "seed", NOT_SEEDS, SEEN),
    *each(load_observations, "path", (None, 3, ""), lattice=LATTICE),
    *each(load_observations, "lattice", NOT_OBJECTS, path="states.npy"),
    *each(load_observations, "values", (None, "spin", 3), "states.npy", LATTICE),
    *each(Terms, "lattice", NOT_OBJECTS, terms=TERMS.terms),
    *each(Terms, "terms", (None, 3, "J1", [], [None], (TERMS,), TERMS.terms * 2), MANY.lattice),
    *each(Terms, "n_states", (*NOT_COUNTS, 1, 128), MANY.lattice, TERMS.terms),
    *each(Terms.pairs, "lattice", NOT_OBJECTS),
    *each(Terms.pairs, "shells", ("2", 1.5, 0, -1, [], [0], [1.5], True), MANY.lattice),
    *each(Terms.pairs, "by", (None, "site", 3), MANY.lattice),
    *each(Terms.pairs, "kind", ("spin", 3), MANY.lattice),
    *each(Terms.pairs, "kind", ("ising",), MANY.lattice, n_states=3),
    *each(Terms.pairs, "by", ("bond",), LATTICE),
    *each(Terms.pairs, "n_states", (*NOT_COUNTS, 1), MANY.lattice),
    *each(Terms.fields, "lattice", NOT_OBJECTS),
    *each(Terms.fields, "by", (None, "bond"), MANY.lattice),
    *each(Terms.plaquettes, "lattice", (*NOT_OBJECTS, honeycomb(3), LATTICE)),
    row(Terms.products, MANY.lattice),
    row(Terms.products, MANY.lattice, [[0, 0], [4, 0]]),
    row(Terms.products, MANY.lattice, [[0.0, 0.0], [1.0, 0.0]]),
    row(Terms.products, MANY.lattice, [[0, 0, 0], [1, 0, 1]]),
    row(Terms.products, MANY.lattice, "square"),
    row(Terms.products, MANY.lattice, [[0, 0], [1, 0]], name=3),
    *each(TERMS.__add__, "other", (None, 1, Terms.pairs(square(3)), Terms.pairs(MANY.lattice, n_states=3))),
    *each(TERMS.statistics, "states", (None, [0] * 16, torch.zeros(16), torch.zeros(4, 3, dtype=int), 3 * FREE[0])),
    *each(learn_couplings, "observations", (None, FREE, Observations), terms=TERMS),
    *each(
        learn_couplings,
        "terms",
        (None, 3, "pairs", Terms.pairs(square(3)), Terms.pairs(MANY.lattice, n_states=3)),
        MANY,
    ),
    *each(learn_couplings, "method", (None, "likelyhood", 3), MANY, TERMS),
    *each(learn_couplings, "method", ("bethe", "tap", "mean-field"), MANY, Terms.fields(MANY.lattice)),
    *each(learn_couplings, "samples", NOT_COUNTS, MANY, TERMS),
    *each(learn_couplings, "seed", (None, "1", 1.5, -1), MANY, TERMS),
    *each(LEARNED.interval, "level", (*NOT_NUMBERS, 0.0, 1.0)),
    *each(LEARNED.model, "lattice", (3, "square", honeycomb(3))),
    *each(select_couplings, "observations", (None, FREE), candidates=TERMS, rng=torch.Generator()),
    *each(
        select_couplings,
        "candidates",
        (None, 3, [], [None], [TERMS, Terms.pairs(square(3), 2)]),
        MANY,
        rng=torch.Generator(),
    ),
    *each(select_couplings, "rng", (None, 0, "seed"), MANY, TERMS),
    *each(select_couplings, "method", (None, "bethe", "x"), MANY, TERMS, rng=torch.Generator()),
    *each(select_couplings, "level", (*NOT_NUMBERS, 0.0, 1.0), MANY, TERMS, rng=torch.Generator()),
    *each(select_couplings, "validation", (*NOT_NUMBERS, 0.0, 1.0), MANY, TERMS, rng=torch.Generator()),
    *each(fit_likelihood, "model", (None, MODEL, LogisticAutoregression), observations=SEEN),
    *each(fit_likelihood, "observations", (None, STATES, (SEEN,), (SEEN, STATES)), model=LOGISTIC),
    *each(fit_likelihood, "options", (3, {"steps": 2}, LikelihoodOptions), model=LOGISTIC, observations=SEEN),
    *each(LikelihoodOptions, "augment", (None, "everything", True)),
    *each(LikelihoodOptions, "gap", (None, 1.5, -1)),
    *each(AutoregressiveEnergy, "model", (None, MODEL, LogisticAutoregression)),
    *each(AutoregressiveEnergy, "kT", (*NOT_FINITE, 0.0, -1.0), model=LOGISTIC),
    *each(entropy, "model", (None, MODEL), count=2, rng=torch.Generator()),
    *each(entropy, "count", (*NOT_COUNTS, 1), model=LOGISTIC, rng=torch.Generator()),
    *each(entropy, "rng", (None, 0, "seed"), model=LOGISTIC, count=2),
    *each(cross_entropy, "model", (None, MODEL), observations=SEEN),
    *each(cross_entropy, "observations", (None, STATES, SEEN.take([0])), model=LOGISTIC),
    *each(reweight, "model", (None, MODEL), energy=MODEL, kT=1.0, count=2, rng=torch.Generator()),
    *each(reweight, "energy", (None, 3.0, "ising"), model=LOGISTIC, kT=1.0, count=2, rng=torch.Generator()),
    *each(reweight, "kT", (*NOT_FINITE, 0.0), model=LOGISTIC, energy=MODEL, count=2, rng=torch.Generator()),
    *each(reweight, "count", (*NOT_COUNTS, 1), model=LOGISTIC, energy=MODEL, kT=1.0, rng=torch.Generator()),
    *each(predict, "energy", (*NOT_MODELS, TERMS), lattice=square(6), kT=2.5, seed=1),
    *each(predict, "lattice", (*NOT_OBJECTS, honeycomb(3)), LEARNED, kT=2.5, seed=1),
    *each(predict, "kT", (*NOT_FINITE[:-4], math.inf, 0.0, -1.0, [], [2.5, 2.5], [[2.5]]), LEARNED, square(6), seed=1),
    *each(predict, "snapshots", (*NOT_COUNTS, 79), LEARNED, square(6), 2.5, seed=1),
    *each(predict, "nodes", (*NOT_WHOLE, -1), LEARNED, square(6), 2.5, seed=1),
    *each(predict, "seed", NOT_SEEDS, LEARNED, square(6), 2.5),
    *each(
        distil, "energy", (None, "ising", 3.0, torch.zeros(3)), lattice=square(4), states=FREE, rng=torch.Generator()
    ),
    *each(distil, "lattice", (*NOT_OBJECTS, square(3), honeycomb(3)), MODEL.energy, rng=torch.Generator()),
    *each(
        distil,
        "states",
        (3, "random", torch.zeros(16, dtype=int), FREE[:, :9]),
        MODEL.energy,
        square(4),
        rng=torch.Generator(),
    ),
    *each(distil, "count", NOT_COUNTS, MODEL.energy, square(4), rng=torch.Generator()),
    *each(
        distil,
        "weights",
        (3, "w", torch.ones(3), -torch.ones(200)),
        MODEL.energy,
        square(4),
        FREE,
        rng=torch.Generator(),
    ),
    *each(distil, "n_states", (*NOT_COUNTS, 1, 128), MODEL.energy, square(4), rng=torch.Generator()),
    *each(
        distil,
        "ridge",
        (*[x for x in NOT_FINITE if x is not None], -1.0),
        MODEL.energy,
        square(4),
        rng=torch.Generator(),
    ),
    *each(distil, "validation", (*NOT_NUMBERS, 0.0, 1.0), MODEL.energy, square(4), rng=torch.Generator()),
    *each(distil, "network", (3, "ednn", EDNN), MODEL.energy, square(4), rng=torch.Generator()),
    *each(
        distil, "options", (3, {"steps": 2}), MODEL.energy, square(4), network=EDNN(square(4)), rng=torch.Generator()
    ),
    *each(distil, "rng", (None, 0, "seed"), MODEL.energy, square(4)),
]
