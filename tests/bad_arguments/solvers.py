"""Solvers: ensembles, accuracies, probes, matrices and what is wanted of them, changes of a matrix."""

import math

import numpy as np
import torch

from bad_arguments import NOT_COUNTS, NOT_FINITE, NOT_FLAGS, NOT_OBJECTS, NOT_WHOLE, each, row
from nearsight.hamiltonians import Holstein, Ising
from nearsight.lattices import square
from nearsight.solvers import (
    NEGF,
    Alternating,
    Chebyshev,
    Dense,
    LowRankUpdates,
    Pattern,
    Poles,
    ProbeSet,
    Pulse,
    Ramp,
    RecursiveNEGF,
    Reservoir,
    SelfConsistent,
    SparseMatrix,
    Step,
    Superposition,
    choose,
    coloured_vectors,
    distance_colours,
    electrodes,
    fermi_poles,
    lattice_colours,
    random_vectors,
    spectrum,
    two_site_updates,
    unit_vectors,
)

GIVEN = [v for v in NOT_FINITE if v is not None]  # None leaves the choice to the other ensemble or the solver
SOLVERS = [Dense, Poles, Chebyshev]
SITES, H = torch.arange(2), torch.eye(2, dtype=torch.float64)
PATTERN = Pattern(SITES, SITES, 2)
NOT_PLACES = (None, 0, "all", [0, 1], np.arange(2), SITES.double(), SITES > 0, SITES.to(torch.uint8), SITES[None],
              SITES - 1, SITES + 1, torch.arange(3) % 2, torch.Tensor)  # fmt: skip
NOT_GIVEN_COUNTS = [v for v in NOT_COUNTS if v is not None]
NOT_POSITIVE = [v for v in NOT_FINITE if v is not None] + [0.0, -1.0]
FIELD, KNOWN = torch.zeros(16, 1, dtype=torch.float64), {"kT": 0.1, "mu": 0.0}
HOLSTEIN = Holstein(square(4))
CHANGES = {"matrix": H.numpy(), "electrons": Dense(**KNOWN), "bounds": (-9.0, 9.0)}
PAIRS = {**CHANGES, "matrix": H, "i": np.array([0]), "j": np.array([1]), "change": np.array([1.0, -1.0])}
NOT_BOUNDS = (None, 3.0, "wide", (1.0,), (9.0, -9.0), (0.0, 0.0), (math.nan, 9.0), (-9.0, math.inf), (0, 1, 2))
LEAD = Reservoir([0], 1.0, 0.0, 0.1)
ATTACHED = {"sites": [0], "gamma": 1.0, "mu": 0.0, "kT": 0.1}
BAR = {"lattice": square(6, 2, periodic=(False, True)), "voltage": 2.5, "kT": 0.1}
NOT_SITES = (None, 3, "left", [], [0, 0], [-1], [0.5], [[0, 1]], np.zeros(3, dtype=bool), torch.zeros(0).long(), [None],
             np.zeros((2, 2), dtype=bool), Reservoir)  # fmt: skip
RAMP, PULSE = {"first": 0.0, "last": 1.0, "start": 0.0, "stop": 1.0}, {"value": 1.0, "start": 0.0, "stop": 1.0}
FREE = {"solver": Dense(kT=0.1, mu=0.0), "U": 2.0}
DRIVEN = NEGF(LEAD, Reservoir([1], 1.0, 0.5, 0.1))
NOT_STARTS = (None, 3, "bare", (), ("bar",), (1,), ("bare", None), ["staggered", "none"])
STEADY = NEGF(LEAD).steady_state(H)

ROWS = [
    *(r for solver in SOLVERS for r in each(solver, "kT", [*NOT_FINITE, -0.1], mu=0.0)),
    *(r for solver in SOLVERS for r in each(solver, "mu", GIVEN, kT=0.1)),
    *(r for solver in SOLVERS for r in each(solver, "filling", [*GIVEN, 0.0, 1.0, 5], kT=0.1)),
    *(row(solver, kT=0.1) for solver in SOLVERS),
    *each(Poles, "tol", [*NOT_FINITE, 0.0, 1], kT=0.1, mu=0.0),
    *each(Poles, "dtype", ["complex64", torch.float64, 3], kT=0.1, mu=0.0),
    *each(Chebyshev, "accuracy", [*NOT_FINITE, 0.0, 1], kT=0.1, mu=0.0),
    *each(Chebyshev, "moments", [v for v in NOT_WHOLE if v is not None] + [2], kT=0.1, mu=0.0),
    *each(Chebyshev, "margin", [*NOT_FINITE, 0.0, 1], kT=0.1, mu=0.0),
    *each(Chebyshev, "probes", [v for v in NOT_OBJECTS if v is not None] + [unit_vectors], kT=0.1, mu=0.0),
    *each(Chebyshev, "rng", [0, 7, "seed", torch.Generator], kT=0.1, mu=0.0),
    *each(Chebyshev, "kernel", ["jakson", 3], kT=0.1, mu=0.0, moments=64),
    *(
        row(solver(kT=0.1, mu=0.0).solve, matrix, SITES, SITES)
        for solver in SOLVERS
        for matrix in (None, [[1.0]], "h", torch.zeros(2, 3), torch.full((2, 2), math.nan),
                       H.bool(), H.to_sparse(), H.to("meta"), Pattern, torch.zeros(0, 0))
    ),
    *(r for solver in SOLVERS for name in ("rows", "columns") for r in each(
        solver(**KNOWN).solve, name, NOT_PLACES, **{"matrix": H, "rows": SITES, "columns": SITES, name: None})),
    *(r for solver in SOLVERS for r in each(
        solver(**KNOWN).solve, "degeneracy", NOT_COUNTS, matrix=H, rows=SITES, columns=SITES)),
    *(r for name in ("rows", "columns") for r in each(
        Pattern, name, NOT_PLACES, **{"rows": SITES, "columns": SITES, "size": 2, name: None})),
    *each(Pattern, "size", [*NOT_COUNTS, 1], rows=SITES, columns=SITES),
    *each(Pattern, "cuts", (3, "rows", [[0, 1]], SITES, SITES[None].double(), SITES[None] > 0, SITES[None, :1]),
          rows=SITES, columns=SITES, size=2),
    *each(SparseMatrix, "pattern", [*NOT_OBJECTS, Pattern], values=torch.ones(2)),
    *each(SparseMatrix, "values", (None, 1.0, "ones", [1.0, 1.0], torch.ones(3), torch.tensor(1.0), SITES, SITES > 0),
          pattern=PATTERN),
    *(row(SparseMatrix.of, wrong) for wrong in (None, 3, H.numpy(), torch.zeros(2, 3), H * math.nan, H.bool())),
    *each(fermi_poles, "y1", [*NOT_FINITE, -20], y2=10.0),
    *each(fermi_poles, "y2", [*NOT_FINITE, -20], y1=10.0),
    *each(fermi_poles, "n", [*NOT_GIVEN_COUNTS, 21], y1=10.0, y2=10.0),
    *each(fermi_poles, "tol", [*NOT_FINITE, 0.0, 1.0], y1=10.0, y2=10.0),
    *each(choose, "model", [*NOT_OBJECTS, Holstein, Ising(square(4)), square(4)], field=FIELD, **KNOWN),
    *each(choose, "field", (None, 3, "zeros", FIELD.numpy(), FIELD[:-1], FIELD[None], FIELD * math.nan), model=HOLSTEIN,
          **KNOWN),
    *each(choose, "kT", [*NOT_FINITE, -0.1], model=HOLSTEIN, field=FIELD, mu=0.0),
    *each(choose, "mu", GIVEN, model=HOLSTEIN, field=FIELD, kT=0.1),
    *each(choose, "filling", [*GIVEN, 0.0, 1.0], model=HOLSTEIN, field=FIELD, kT=0.1),
    row(choose, HOLSTEIN, FIELD, kT=0.1),
    row(choose, HOLSTEIN, FIELD, kT=0.1, mu=0.0, filling=0.5),
    *each(choose, "accuracy", [*NOT_POSITIVE, 1.0], model=HOLSTEIN, field=FIELD, **KNOWN),
    *each(choose, "rng", [0, "seed", np.random.default_rng(1), torch.Generator], model=HOLSTEIN, field=FIELD, **KNOWN),
    *each(spectrum, "matrix", [*NOT_OBJECTS, H, PATTERN, SparseMatrix, SparseMatrix(PATTERN, H[0] * math.nan)]),
    *each(spectrum, "vectors", NOT_COUNTS, matrix=SparseMatrix.of(H)),
    *each(LowRankUpdates, "matrix", (None, 3, "h", H[:1], H[None], H * math.nan, H.cfloat(), H.bool(), np.zeros((0, 0)),
          H + H.roll(1, 0).tril()), **CHANGES),
    *each(two_site_updates, "matrix", (None, 3, "h", H.numpy(), H[:1], H[None], H * math.nan, H.bool()), **PAIRS),
    *(r for f, good in ((LowRankUpdates, CHANGES), (two_site_updates, PAIRS)) for r in (
        *each(f, "electrons", [*NOT_OBJECTS, Dense, Poles(**KNOWN), Dense(kT=0.0, mu=0.0)], **good),
        *each(f, "bounds", NOT_BOUNDS, **good),
        *each(f, "tolerance", [None, *NOT_POSITIVE], **good))),
    *each(LowRankUpdates, "rank", [*NOT_COUNTS, 3], **CHANGES),
    *(r for name in ("i", "j") for r in each(
        two_site_updates, name, (None, 0, [0], SITES, np.array([0.0]), np.array([2]), np.array([-1]), np.array([True]),
                             np.array([0, 1]), np.array([[0]]), 1 - PAIRS[name]), **PAIRS)),
    *each(two_site_updates, "change", (None, 1.0, "up", [1.0], [[1.0], [2.0]], [math.nan, 1.0], [1j, 1.0]), **PAIRS),
    *each(Reservoir, "sites", NOT_SITES, **ATTACHED),
    *each(Reservoir, "gamma", [*NOT_POSITIVE, None], **ATTACHED),
    *each(Reservoir, "mu", NOT_FINITE, **ATTACHED),
    *each(Reservoir, "kT", [*NOT_FINITE, -0.1], **ATTACHED),
    *(r for name in ("value", "start", "before") for r in each(Step, name, NOT_FINITE, **{"value": 1.0, "start": 0.0})),
    *(r for name in ("first", "last", "start", "stop") for r in each(Ramp, name, NOT_FINITE, **RAMP)),
    *(r for name in ("value", "start", "stop", "base") for r in each(Pulse, name, NOT_FINITE, **PULSE)),
    *(row(make, **good | {"stop": stop}) for make, good in ((Ramp, RAMP), (Pulse, PULSE)) for stop in (0.0, -1.0)),
    *each(Alternating, "period", NOT_POSITIVE, amplitude=1.0),
    *(r for name in ("amplitude", "phase") for r in each(
        Alternating, name, NOT_FINITE, **{"amplitude": 1.0, "period": 1.0})),
    *(row(way, value) for way in (Step(1.0).__add__, Step(1.0).__sub__, Step(1.0).__mul__, Step(1.0).at_time,
                                  Alternating(1.0, 1.0).at_time, Ramp(**RAMP).at_time) for value in NOT_FINITE),
    *each(Superposition, "protocols", (None, Step(1.0), (1.0,), [Step(1.0)]), factors=(1.0,)),
    *each(Superposition, "factors", (None, 1.0, (), (1.0, 2.0), ("1",), (math.nan,)), protocols=(Step(1.0),)),
    row(NEGF(LEAD.replaced(mu=Step(1.0))).solve, H, SITES, SITES),
    *each(electrodes, "lattice", [*NOT_OBJECTS, square(6), square(2, 6, periodic=False)], **BAR),
    *each(electrodes, "voltage", NOT_FINITE, **BAR),
    *each(electrodes, "kT", [*NOT_FINITE, -0.1], **BAR),
    *each(electrodes, "mu", NOT_FINITE, **BAR),
    *each(electrodes, "gamma", [None, *NOT_POSITIVE], **BAR),
    *each(electrodes, "bath", [*NOT_FINITE, -0.001], **BAR),
    *each(electrodes, "gate", ("low", None, 1, True), **BAR),
    *each(electrodes, "lead_columns", ("leads", None, 1, True), **BAR),
    *each(electrodes, "columns", [*NOT_COUNTS, 3], **BAR),
    *each(electrodes, "axis", [*NOT_WHOLE, -1, 1, 2], **BAR),
    *(row(solver, *wrong) for solver in (NEGF, RecursiveNEGF) for wrong in
       ((), (None,), (LEAD, 3), (Reservoir,), ([LEAD],))),
    *(r for solver in (NEGF, RecursiveNEGF) for r in each(solver, "orbitals", NOT_COUNTS, LEAD)),
    *each(RecursiveNEGF, "tol", [*NOT_FINITE, 0.0, 1.0], LEAD),
    *(row(solver(LEAD).solve, matrix, SITES, SITES) for solver in (NEGF, RecursiveNEGF)
      for matrix in (None, [[1.0]], "h", torch.zeros(2, 3), torch.full((2, 2), math.nan), H.bool(), H.to("meta"))),
    *(row(solver(LEAD.replaced(sites=[0, 2])).solve, H, SITES, SITES) for solver in (NEGF, RecursiveNEGF)),
    *(row(measure, energies)
      for measure in (STEADY.transmission, STEADY.local_density_of_states, STEADY.spectral_currents)
      for energies in (None, "mu", math.nan, [math.inf], [[0.0]], 1j, H)),
    *each(choose, "reservoirs", (3, LEAD, [3], "leads"), model=HOLSTEIN, field=FIELD),
    row(choose, HOLSTEIN, FIELD, reservoirs=[LEAD], kT=0.1),
    *each(ProbeSet, "kind", ("units", None, 3, str)),
    *(r for make in (random_vectors, coloured_vectors) for r in (
        *each(make, "phases", ("z2", None, 1, str)),
        *each(make, "sets", [*NOT_COUNTS, 1]),
        *each(make, "orbitals", NOT_COUNTS))),
    *each(ProbeSet, "repeats", NOT_GIVEN_COUNTS, kind="random", sets=2),
    *each(random_vectors, "count", NOT_GIVEN_COUNTS),
    *each(coloured_vectors, "distance", NOT_GIVEN_COUNTS),
    *each(coloured_vectors, "colours", (3, "red", [0, 1], np.arange(2), SITES.double(), SITES > 0, SITES - 1,
                                        SITES[None], SITES[:0])),
    *each(lattice_colours, "lattice", NOT_OBJECTS, period=2),
    *each(lattice_colours, "period", [*NOT_COUNTS, 3], lattice=square(4)),
    *each(lattice_colours, "orbitals", NOT_COUNTS, lattice=square(4), period=2),
    *each(distance_colours, "lattice", NOT_OBJECTS, distance=1.0),
    *each(distance_colours, "orbitals", NOT_COUNTS, lattice=square(4), distance=1.0),
    *each(SelfConsistent, "solver", [*NOT_OBJECTS, Dense, SelfConsistent(**FREE)], U=2.0),
    *each(SelfConsistent, "U", NOT_FINITE, **FREE),
    *each(SelfConsistent, "noncollinear", NOT_FLAGS, **FREE),
    *each(SelfConsistent, "starts", NOT_STARTS, **FREE),
    *each(SelfConsistent, "tol", [*NOT_FINITE, 0.0, 1.0], **FREE),
    *each(SelfConsistent, "mixing", [*NOT_FINITE, 0.0, 1.5], **FREE),
    *each(SelfConsistent, "steps", [*NOT_COUNTS, 1], **FREE),
    row(SelfConsistent, DRIVEN, U=2.0),
    *each(SelfConsistent(**FREE).solve, "degeneracy", [*NOT_COUNTS, 1, 3], matrix=H, rows=SITES, columns=SITES),
    *(row(SelfConsistent(**FREE).solve, matrix, SITES, SITES, degeneracy=2)
      for matrix in (None, [[1.0]], "h", torch.zeros(2, 3), torch.full((2, 2), math.nan), H.bool(), H.to("meta"))),
    *(r for name in ("rows", "columns") for r in each(
        SelfConsistent(**FREE).solve, name, NOT_PLACES,
        **{"matrix": H, "rows": SITES, "columns": SITES, "degeneracy": 2, name: None})),
    *(row(SelfConsistent(**FREE).mean_field, matrix) for matrix in (None, "h", torch.zeros(2, 3), H[None][:0])),
]  # fmt: skip
