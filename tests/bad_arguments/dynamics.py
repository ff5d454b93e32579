"""Schemes, rates, records and runs."""

import math
from types import SimpleNamespace

import numpy as np
import torch

from bad_arguments import NOT_COUNTS, NOT_FINITE, NOT_FLAGS, NOT_OBJECTS, NOT_WHOLE, each, row
from nearsight.dynamics import (
    TDGL,
    AB2Rotation,
    At,
    Audit,
    Brownian,
    DepondtMertens,
    EulerMaruyama,
    Every,
    Guard,
    HeunSpins,
    HopMonteCarlo,
    HopRates,
    KineticMonteCarlo,
    Langevin,
    RejectionFreeHops,
    SemiImplicit,
    SphericalMidpoint,
    SpinFlips,
    audit_hops,
    simulate,
)
from nearsight.forcefields import ClassicalForceField, ExactForceField
from nearsight.hamiltonians import FalicovKimball, Heisenberg, Holstein
from nearsight.lattices import square
from nearsight.moves import ExactMoves, LatticeGas
from nearsight.solvers import Dense

LATTICE = square(3)
SPRINGS, SPINS, GAS = (
    ClassicalForceField(Holstein(LATTICE)),
    ClassicalForceField(Heisenberg(LATTICE)),
    LatticeGas(LATTICE),
)
FREE = {TDGL: ("damping",), Brownian: ("damping", "kT"), EulerMaruyama: ("damping", "kT"), Langevin: ("mass",)}
TURNING = (AB2Rotation, DepondtMertens, HeunSpins, SemiImplicit, SphericalMidpoint)
BOTH = {"kT": 0.1, "damping": 0.1}
NEEDED = {TDGL: {}, Brownian: {"kT": 0.1}, EulerMaruyama: {"kT": 0.1}, Langevin: BOTH} | dict.fromkeys(TURNING, BOTH)
RUN = {"steps": 1, "record": None, "rng": None}
FIELD = torch.zeros(9, 1, dtype=torch.float64)
LIKE = SimpleNamespace(lattice=LATTICE, components=1)
NOT_GENERATORS = (0, 7, "seed", np.random.default_rng(1), torch.Generator, [], True)
EXACT = ExactForceField(Holstein(LATTICE), Dense(kT=0.1, mu=0.0))
HOPS = ExactMoves(FalicovKimball(LATTICE), kT=0.1, mu=0.0)
OCCUPIED = {"energies": HOPS, "exact": HOPS, "field": torch.eye(9, dtype=torch.float64)[:1, :, None]}
NOT_RECORDS = (3, "field", Every, At, ["field"], {"every": 2}, True)


def run(**changed):
    """One step of a relaxation with one argument changed."""
    arguments = {"forcefield": SPRINGS, "scheme": TDGL(0.1), "field": FIELD, **RUN, **changed}
    return simulate(**arguments)


run.__qualname__ = "simulate"

ROWS = [
    *each(Audit, "exact", (*NOT_OBJECTS, SPRINGS, ExactForceField)),
    *each(Audit, "sites", (*NOT_COUNTS, 1), exact=EXACT),
    *each(Audit, "at", ("all", (), (-1,), (0.5,), 2.5), exact=EXACT),
    *each(Audit, "tol", (*NOT_FINITE[1:], 0.0, -1.0), exact=EXACT),
    *each(Audit, "budget", NOT_FINITE, exact=EXACT),
    *each(Audit, "replicas", NOT_COUNTS[1:], exact=EXACT),
    *each(Audit, "excess", ("ignore", 1, None), exact=EXACT),
    *each(run, "audit", NOT_RECORDS),
    *each(audit_hops, "energies", (*NOT_OBJECTS, SPRINGS), **OCCUPIED),
    *each(audit_hops, "exact", (*NOT_OBJECTS, GAS, EXACT), **OCCUPIED),
    *each(audit_hops, "field", (None, FIELD + 0.5, FIELD[:4], FIELD[:, 0]), **OCCUPIED),
    *each(audit_hops, "hops", (*NOT_COUNTS, 1), **OCCUPIED),
    *each(audit_hops, "boundaries", ((), "twisted", 1, ("open", "shut")), **OCCUPIED),
    *each(audit_hops, "budget", (*NOT_FINITE, 0.0), **OCCUPIED),
    *each(audit_hops, "seed", NOT_WHOLE, **OCCUPIED),
    *(r for make in NEEDED for r in each(make, "dt", [*NOT_FINITE, 0.0, -0.1], **NEEDED[make])),
    *(r for make, names in FREE.items() for name in names for r in each(make, name, [*NOT_FINITE, -0.1], dt=0.1,
      **{k: v for k, v in NEEDED[make].items() if k != name})),
    *(r for make in (*TURNING, Langevin) for name in BOTH for r in each(make, name, [*NOT_FINITE, -0.1], dt=0.1,
      **{k: v for k, v in BOTH.items() if k != name})),
    *(r for make in TURNING for r in each(make, "tangent", NOT_FLAGS, dt=0.1, **BOTH)),
    *each(SphericalMidpoint, "tolerance", [*NOT_FINITE, 0.0], dt=0.1, **BOTH),
    *each(SphericalMidpoint, "iterations", NOT_COUNTS, dt=0.1, **BOTH),
    *each(HopMonteCarlo, "energies", [*NOT_OBJECTS, SPRINGS, LatticeGas], kT=1.0),
    *each(HopMonteCarlo, "kT", [*NOT_FINITE, -1.0], energies=GAS),
    *each(HopMonteCarlo, "rule", ("heat", None, 1, str), energies=GAS, kT=1.0),
    *each(HopMonteCarlo, "attempts", [*NOT_FINITE, 0.0], energies=GAS, kT=1.0),
    *each(HopMonteCarlo, "screen", (3, "gas", SPRINGS, LatticeGas), energies=GAS, kT=1.0),
    *each(HopRates, "energies", [*NOT_OBJECTS, SPRINGS, LatticeGas], kT=1.0),
    *each(HopRates, "kT", [*NOT_FINITE, -1.0], energies=GAS),
    *each(HopRates, "rule", ("heat", None, 1), energies=GAS, kT=1.0),
    *each(HopRates, "attempt_rate", [*NOT_FINITE, 0.0], energies=GAS, kT=1.0),
    *each(SpinFlips, "forcefield", [*NOT_OBJECTS, GAS, ClassicalForceField, SPINS], kT=1.0),
    *each(SpinFlips, "kT", [*NOT_FINITE, -1.0], forcefield=SPRINGS),
    *each(SpinFlips, "attempt_rate", [*NOT_FINITE, 0.0], forcefield=SPRINGS, kT=1.0),
    *each(KineticMonteCarlo, "rates", [*NOT_OBJECTS, GAS, HopRates]),
    *each(RejectionFreeHops, "rates", [*NOT_OBJECTS, GAS, HopRates]),
    *each(RejectionFreeHops, "duration", [*NOT_FINITE, 0.0], rates=HopRates(GAS, kT=1.0)),
    *each(Guard, "low", [v for v in NOT_FINITE if np.ndim(v) == 0], high=1.0),
    *each(Guard, "high", [v for v in NOT_FINITE if np.ndim(v) == 0], low=-1.0),
    *each(Guard, "factor", [*NOT_FINITE, 0.9], low=-1.0, high=1.0),
    row(Guard, (0.0, None), (1.0, 1.0)),
    row(Guard, np.zeros((2, 2)), np.ones((2, 2))),
    *each(Every, "n", NOT_COUNTS),
    *each(Every, "fields", ("forces", ("field", "forces"), (), ("field", 3)), n=1),
    *each(At, "steps", ("all", None, (), (1, -1), (0.5,), (1, None), True)),
    *each(At.logarithmic, "steps", NOT_COUNTS),
    *each(At.logarithmic, "per_decade", NOT_COUNTS, steps=10),
    *each(run, "forcefield", [*NOT_OBJECTS, LIKE, GAS, ClassicalForceField, SPRINGS.model]),
    *each(run, "scheme", [*NOT_OBJECTS, TDGL, SPRINGS]),
    *each(run, "field", [None, 3, "zeros", FIELD.numpy(), FIELD.long(), FIELD[:-1], FIELD + math.nan, FIELD[..., 0],
                         FIELD.cfloat(), torch.full_like(FIELD, math.inf)]),
    *each(run, "steps", [*NOT_WHOLE, -1]),
    *each(run, "record", NOT_RECORDS),
    *each(run, "rng", NOT_GENERATORS),
    *each(run, "rng", NOT_GENERATORS, scheme=Brownian(0.1, 0.1)),
    row(run, scheme=Brownian(0.1, 0.1)),
    *each(run, "velocity", [3, "rest", FIELD.numpy(), FIELD[:-1], FIELD + math.nan], scheme=Langevin(0.1, 0.0, 0.1)),
    *each(run, "velocity", [FIELD, 3, "rest"]),
    *each(run, "guard", (3, "wide", Guard, (0.0, 1.0))),
    *each(run, "resume", NOT_FLAGS),
    *each(run, "progress", NOT_FLAGS),
    *each(run, "path", (3, 1.5, [], True, str)),
    *each(run, "checkpoint_every", [v for v in NOT_COUNTS if v is not None]),
    row(run, forcefield=SPINS, field=torch.ones(9, 3).double() / 3**0.5),
    row(run, scheme=SemiImplicit(0.1, **BOTH)),
    row(run, forcefield=SPINS, scheme=SemiImplicit(0.1, 0.0, 0.1), field=torch.ones(9, 3).double()),
    row(run, field=FIELD.clone().requires_grad_()),
]  # fmt: skip
