"""Observations, and the protocol that makes them; reference sets."""

import numpy as np
import torch

from bad_arguments import NOT_COUNTS, NOT_FINITE, NOT_NUMBERS, NOT_OBJECTS, each
from nearsight.hamiltonians import Ising
from nearsight.inference import Observations, energy_errors, examine, load_observations, observe, reference_set
from nearsight.lattices import square
from nearsight.sampling import ising_levels

LATTICE = square(2)
STATES = np.array([[0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]])
NOT_STATES = (
    None, "up", 1, [], np.zeros((0, 4), int), STATES * 1.0, STATES == 1, STATES[:, :3], STATES + 1, 2 * STATES - 1,
    [[0, 1, 1, 0], [1, 0]], np.zeros((2, 2, 2, 4), int), dict, np.array([["a"] * 4]),
)  # fmt: skip
SEEN = Observations(LATTICE, STATES)
MODEL = Ising(square(4))
NOT_SEEDS = (None, "7", True, 1.5, -1, torch.Generator())
NOT_MODELS = (None, "ising", Ising, square(4))

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
]
