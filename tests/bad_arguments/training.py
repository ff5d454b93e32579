"""Data sets, recipes, options and fits."""

import math

import numpy as np
import torch

from bad_arguments import NOT_COUNTS, NOT_FINITE, NOT_FLAGS, NOT_NUMBERS, NOT_OBJECTS, NOT_WHOLE, each, row
from nearsight.descriptors import Irreps
from nearsight.dynamics import TDGL
from nearsight.fields import random_spins, scalar
from nearsight.forcefields import ExactForceField, LearnedForceField
from nearsight.hamiltonians import Holstein, SDModel
from nearsight.lattices import square
from nearsight.moves import Hops
from nearsight.networks import MLP
from nearsight.solvers import Dense
from nearsight.training import (
    SOAP,
    DataSet,
    FitOptions,
    MoveData,
    MoveFitOptions,
    NearEquilibrium,
    PropertyFitOptions,
    Random,
    Recipe,
    RefineOptions,
    Relaxing,
    Thermal,
    check_spins,
    evaluate,
    evaluate_moves,
    fit,
    fit_moves,
    fit_property,
    generate,
    identify,
    import_spins,
    refine,
)

LATTICE = square(4)
FIELD = torch.zeros(3, 16, 1, dtype=torch.float64)
ARRAYS = {"lattice": LATTICE, "field": FIELD, "force": FIELD}
DATA = DataSet.from_arrays(**ARRAYS)
SPINS = random_spins(LATTICE, torch.Generator().manual_seed(1), 2)
MAGNETS = DataSet.from_arrays(lattice=LATTICE, field=SPINS, force=SPINS, components=3)
ROTORS = DataSet.from_arrays(lattice=LATTICE, field=SPINS[..., :2], force=SPINS[..., :2], components=2)
STUDENT = LearnedForceField(Irreps(LATTICE, scalar(), 1.0), MLP((4,)))
EXACT = ExactForceField(Holstein(LATTICE), Dense(filling=0.5, kT=0.1))
MODEL = SDModel(LATTICE)
REFINED = {
    "learned": STUDENT, "exact": ExactForceField(Holstein(LATTICE), Dense(mu=0.0, kT=0.1)), "data": DATA,
    "scheme": TDGL(dt=0.1), "field": FIELD[0], "lattice": LATTICE, "path": "x",
}  # fmt: skip
KIND = {"trajectories": 1, "snapshots": 1}
NOT_PATHS = (None, 3, 1.5, [], dict, "")
OPTIONS = (FitOptions, MoveFitOptions, PropertyFitOptions)
WRONG = (3, "fast", [], {}, FitOptions, Recipe())
"""No options of a fit."""
NOT_INTERVALS = (1.0, "x", (1.0,), (1.0, None), (0.1, math.nan), ("0.1", "1"), (2.0, 1.0), (-1.0, 1.0), (0.0, 1j), True)


def bare(values):
    """Without None, which is the default."""
    return [v for v in values if v is not None]


ROWS = [
    *(r for kind in OPTIONS for name in ("steps", "batch_size", "validate_every", "checkpoint_every")
      for r in each(kind, name, NOT_COUNTS)),
    *(r for kind in OPTIONS for name in ("warmup", "seed") for r in each(kind, name, [*NOT_WHOLE, -1])),
    *(r for kind in OPTIONS for r in each(kind, "learning_rate", [*NOT_FINITE, 0.0, -1.0])),
    *(r for kind in OPTIONS for r in each(kind, "weight_decay", [*NOT_FINITE, -1.0])),
    *(r for kind in OPTIONS for r in each(kind, "average", [*NOT_FINITE, -0.1, 1.0])),
    *(r for kind in OPTIONS for r in each(kind, "clip", [*NOT_NUMBERS, 0.0])),
    *(r for kind in OPTIONS for r in each(kind, "optimizer", (None, "adam", 3))),
    *(r for kind in OPTIONS for r in each(kind, "dtype", (None, "float16", torch.float32))),
    *(r for kind in OPTIONS for r in each(kind, "threads", bare(NOT_COUNTS))),
    *(r for kind in OPTIONS for r in each(kind, "epochs", (3,))),
    *each(FitOptions, "augment", NOT_FLAGS),
    *each(FitOptions, "component", ("tangents", 3, True)),
    *each(FitOptions, "patience", bare(NOT_COUNTS)),
    *each(FitOptions, "relative_floor", [*NOT_FINITE, 0.0, 2.0]),
    *(r for name in ("trajectories", "snapshots") for r in each(Random, name, [*NOT_WHOLE, -1], **KIND | {})),
    *each(Random, "amplitude", NOT_INTERVALS, **KIND),
    *each(Random, "correlated", [*NOT_FINITE, -0.1, 1.1], **KIND),
    *each(Thermal, "kT", NOT_INTERVALS, **KIND),
    *(r for name in ("dt", "damping") for r in each(Thermal, name, [*NOT_FINITE, 0.0, -1.0], **KIND)),
    *each(Relaxing, "steps", NOT_COUNTS, **KIND),
    *each(NearEquilibrium, "wavevector", (0.5, "pi", (0.5, None), (0.5, math.nan), (True, False)), **KIND),
    *each(NearEquilibrium, "steps", [*NOT_WHOLE, -1], **KIND),
    *each(Recipe, "random", (None, 3, Random, Thermal(**KIND))),
    *each(Recipe().scaled, "factor", [*NOT_FINITE, 0.0, -1.0]),
    *each(DataSet.from_arrays, "lattice", NOT_OBJECTS, **ARRAYS),
    *(r for name in ("field", "force") for r in each(DataSet.from_arrays, name, (
        None, "x", 1.0, [[1.0], [1.0, 2.0]], FIELD[:2], FIELD[:, :4], FIELD * math.nan, FIELD.bool(),
        FIELD.to(torch.cfloat), FIELD.to_sparse(), FIELD.to("meta"), np.array([None])), **ARRAYS)),
    *(r for name in ("energy", "time") for r in each(DataSet.from_arrays, name, (
        1.0, "x", [1.0], [1.0, math.nan, 2.0], np.ones(3) > 0, np.ones((3, 1))), **ARRAYS)),
    *each(DataSet.from_arrays, "trajectory", (1, "x", [1, 2], [0.5, 1.0, 2.0], [True] * 3), **ARRAYS),
    *each(DataSet.from_arrays, "kind", (None, "randm", 3, [0.0, 1.0, 2.0], [7, 7, 7], [True] * 3), **ARRAYS),
    *each(DataSet.from_arrays, "components", [*NOT_COUNTS, 2], **ARRAYS),
    *each(DataSet.from_arrays, "path", bare(NOT_PATHS), **ARRAYS),
    *each(DataSet.open, "path", NOT_PATHS),
    *each(DataSet.open, "verify", NOT_FLAGS, path="x"),
    *each(DataSet.from_npz, "npz", NOT_PATHS, lattice=LATTICE),
    *each(DATA.select, "kind", (3, "randm", [None], dict)),
    *each(DATA.select, "trajectory", ("x", 1.5, [0.5], True, math.nan)),
    *each(DATA.select, "time", (1.0, "x", (0.0,), (0.0, None), (0.0, math.nan))),
    *(r for name in ("validation", "test") for r in each(DATA.split, name, [*NOT_FINITE, -0.1, 1.0])),
    *each(DATA.split, "train", [*bare(NOT_FINITE), 0.0, -0.1, 1.1]),
    *each(DATA.split, "seed", [*NOT_WHOLE, -1]),
    *each(fit, "model", [*NOT_OBJECTS, MODEL, MLP((4,)), EXACT], data=DATA),
    *each(fit, "data", [*NOT_OBJECTS, ARRAYS, FIELD], model=STUDENT),
    *each(fit, "options", [*WRONG, MoveFitOptions()], model=STUDENT, data=DATA),
    *(r for name in ("resume", "progress", "tensorboard")
      for r in each(fit, name, NOT_FLAGS, model=STUDENT, data=DATA)),
    *(r for name in ("rounds", "seed") for r in each(RefineOptions, name, [*NOT_WHOLE, -1])),
    *(r for name in ("steps", "times", "sites", "audited") for r in each(RefineOptions, name, NOT_COUNTS)),
    *(r for name in ("referee", "guard") for r in each(RefineOptions, name, [*NOT_FINITE, 0.0, -1.0])),
    *each(RefineOptions, "solutions", [*bare(NOT_COUNTS), 60]),
    *each(RefineOptions, "seconds", [*bare(NOT_FINITE), 0.0]),
    *each(RefineOptions, "fit", (None, 3, MoveFitOptions)),
    *(r for name, wrong in {
        "learned": [*NOT_OBJECTS, MODEL, EXACT], "exact": [*NOT_OBJECTS, MODEL, EXACT.electrons, EXACT],
        "data": [*NOT_OBJECTS, FIELD], "scheme": NOT_OBJECTS, "field": (None, 3, "x"), "lattice": NOT_OBJECTS,
        "path": NOT_PATHS, "options": [*bare(WRONG), FitOptions()],
    }.items() for r in each(refine, name, wrong, **REFINED)),
    *(r for name in ("resume", "progress") for r in each(refine, name, NOT_FLAGS, **REFINED)),
    *each(evaluate, "forcefield", [*NOT_OBJECTS, MODEL], data=DATA),
    *each(evaluate, "data", [*NOT_OBJECTS, FIELD], forcefield=EXACT),
    *each(evaluate, "batch", NOT_COUNTS, forcefield=EXACT, data=DATA),
    *each(evaluate, "component", ("tangents", 3, True), forcefield=EXACT, data=DATA),
    *each(generate, "exact", [*NOT_OBJECTS, MODEL], recipe=Recipe(), path="x", seed=1),
    *each(generate, "parameters", [3, "kT", [], {}, {"kT": (0.2, 0.1)}, {"U": (0, 1)}],
          exact=EXACT, recipe=Recipe(), path="x", seed=1),
    *each(generate, "recipe", [*NOT_OBJECTS, Recipe], exact=EXACT, path="x", seed=1),
    *each(generate, "path", NOT_PATHS, exact=EXACT, recipe=Recipe(), seed=1),
    *each(generate, "seed", [*NOT_WHOLE, -1], exact=EXACT, recipe=Recipe(), path="x"),
    *each(generate, "workers", [*bare(NOT_WHOLE), -1], exact=EXACT, recipe=Recipe(), path="x", seed=1),
    *(r for name in ("progress", "resume")
      for r in each(generate, name, NOT_FLAGS, exact=EXACT, recipe=Recipe(), path="x", seed=1)),
    *each(MoveData.from_arrays, "hops", NOT_OBJECTS, field=FIELD, difference=FIELD),
    *each(MoveData.from_arrays, "difference", ("x", None, [[1.0], [1.0, 2.0]], 1j), hops=Hops(LATTICE), field=FIELD),
    *each(MoveData.label, "energies", [*NOT_OBJECTS, EXACT], field=FIELD),
    *each(fit_moves, "model", [*NOT_OBJECTS, STUDENT], data=DATA),
    *each(evaluate_moves, "energies", [*NOT_OBJECTS, STUDENT], data=DATA),
    *each(fit_property, "model", [*NOT_OBJECTS, STUDENT], snapshots=np.ones((2, 8, 8)), labels=np.ones(2)),
    *each(check_spins, "data", [*NOT_OBJECTS, SPINS, DATA, ROTORS]),
    *each(check_spins, "cutoff", [*NOT_FINITE, 0.0, -1.0], data=MAGNETS),
    *each(import_spins, "card", NOT_PATHS),
    *each(import_spins, "trust", NOT_FLAGS, card="x"),
    *each(identify, "data", [*NOT_OBJECTS, SPINS], model=MODEL),
    *each(identify, "model", [*NOT_OBJECTS, EXACT, SDModel], data=MAGNETS),
    *(r for name in ("filling", "J", "kT") for r in each(identify, name, [
        *(v for v in NOT_FINITE if v is not None), -1.0, (2.0, 1.0), (0.5,), (0.1, None)], data=MAGNETS, model=MODEL)),
    *each(identify, "mu", [*bare(NOT_FINITE), (2.0, 1.0)], data=MAGNETS, model=MODEL),
    *each(identify, "snapshots", NOT_COUNTS, data=MAGNETS, model=MODEL),
    row(identify, MAGNETS, MODEL, filling=0.3, mu=0.1),
    *each(SOAP, "lr", [*NOT_FINITE, -1.0], params=[torch.zeros(2, 2)]),
    *each(SOAP, "betas", (0.9, (0.9,), (0.9, 1.0), (None, 0.9), "x"), params=[torch.zeros(2, 2)]),
    *each(SOAP, "eps", [*NOT_FINITE, 0.0], params=[torch.zeros(2, 2)]),
    *each(SOAP, "every", NOT_COUNTS, params=[torch.zeros(2, 2)]),
]  # fmt: skip
